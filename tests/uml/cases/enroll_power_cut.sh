# shellcheck shell=bash
# The power goes while a file system is shrunk, while the header is written, and twice while the data
# is rewritten; each time the same command goes on, and the files are the same in the end.
# disk: data 192M
# root: disk
# timeout: 240
# cut 1: shrinking the file system
# cut 2: writing the LUKS header
# cut 3: [2-5][0-9] %
# cut 4: [5-9][0-9] %

enroll() { volseal enroll --yes --recovery-key-dir /var/lib/volseal/keys "$(disk data)"; }

phase_1() {
  mkfs.ext4 -q -L data "$(disk data)"
  udevadm settle
  mount "$(disk data)" /srv
  make_files /srv 8192
  remember sums "$(checksums /srv)"
  umount /srv
  sync
  test "$(grep -ac -e '^12345$' -e 'folder 1' "$(disk data)")" -gt 0
  enroll
  fail "the power was not cut"
}

# Whatever the cut has left, nobody but volseal mounts it.
phase_2() {
  enroll
  fail "the power was not cut"
}

phase_3() {
  enroll
  fail "the power was not cut"
}

phase_4() {
  # Half-encrypted, it opens by TPM and by its recovery key.
  expect_status 0 volseal unlock --test "$(disk data)"
  expect_status 0 volseal unlock --test --key-file "$(echo /var/lib/volseal/keys/*.recovery-key)" "$(disk data)"
  enroll
  fail "the power was not cut"
}

# As after an unattended boot: it is open and in use, with the files that it always had. Whoever wants the rest offline
# has it taken out of use to go on, and put back.
phase_5() {
  expect_status 0 volseal unlock --all
  mount /dev/mapper/data /srv
  expect_equal "$(checksums /srv)" "$(recall sums)" "the files differ while it is half encrypted"
  expect_status 5 volseal enroll --offline --yes --recovery-key-dir /var/lib/volseal/keys "$(disk data)"
  expect_status 0 volseal enroll --offline --unmount --yes --recovery-key-dir /var/lib/volseal/keys "$(disk data)"
  mountpoint /srv
  expect_equal "$(grep -c '"enroll.finish"' /var/lib/volseal/audit.log)" 2 "one refusal and one end"
  expect_equal "$(checksums /srv)" "$(recall sums)" "the files differ"
  umount /srv
  e2fsck -fn /dev/mapper/data
  expect_status 0 volseal unlock --test "$(disk data)"
  test -z "$(ls /var/lib/volseal/enroll)" || fail "a journal is left"
  cryptsetup close data
  blockdev --flushbufs "$(disk data)"
  # A line of the files, and a name of theirs: neither is left anywhere on the disk.
  expect_equal "$(grep -ac -e '^12345$' -e 'folder 1' "$(disk data)")" 0 "old plaintext is left"
}
