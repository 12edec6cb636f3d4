# shellcheck shell=bash
# A volume in use is encrypted, and decrypted again: the power goes twice while its data is rewritten, the machine comes up
# without it each time, the same command goes on. The files are the same, fstab mounts them, and it can be encrypted again.
# disk: data 256M
# root: disk
# timeout: 240
# cut 1: [2-5][0-9] % .* of 240 MiB
# cut 2: [6-9][0-9] % .* of 240 MiB

decrypt() { volseal decrypt --io-limit 40MiB "$@" "$(disk data)"; }
enroll() { volseal enroll --unmount --yes --recovery-key-dir /var/lib/volseal/keys "$(disk data)"; }

# What fstab mounts, and nothing else.
expect_files() {
  mountpoint -q /srv || fail "/srv is not mounted"
  expect_equal "$(checksums /srv)" "$(recall sums)" "the files differ"
}

exempt() {
  printf '[[rule]]\nname = "sold"\nmatch = { path = "%s" }\naction = "leave"\nreason = "sold with the machine"\n' \
    "$(disk data)" >/etc/volseal/policy.toml
  sync
}

phase_1() {
  mkfs.ext4 -q -L data "$(disk data)"
  udevadm settle
  echo "$(disk data) /srv ext4 noatime 0 2" >/etc/fstab
  mount /srv
  make_files /srv 8192
  remember sums "$(checksums /srv)"
  expect_status 0 enroll
  expect_files
  expect_output '^/dev/mapper/data /srv ext4 noatime 0 2$' cat /etc/fstab

  expect_status 5 decrypt --yes --unmount
  expect_output 'no rule exempts it' decrypt --yes --unmount
  exempt
  expect_status 5 decrypt --yes
  expect_output 'say --unmount' decrypt --yes
  # Where the journal itself would lie.
  mkdir /srv/state
  expect_output 'volseal itself needs it' volseal --state /srv/state decrypt --yes --unmount "$(disk data)"
  expect_status 5 volseal --state /srv/state decrypt --yes --unmount "$(disk data)"
  rm -r /srv/state
  expect_status 64 decrypt --unmount </dev/null
  expect_files
  expect_output '"obstacles": \[\]' volseal decrypt --unmount --json "$(disk data)" </dev/null
  expect_files
  decrypt --yes --unmount
  fail "the power was not cut"
}

# The machine starts without the volume, waits for nothing and keeps its hands off it.
comes_up() {
  expect_status 0 volseal unlock --all
  test ! -e /dev/mapper/data || fail "a half-decrypted volume was opened"
  expect_status 0 mount -a
  expect_equal "$(findmnt -n -o SOURCE /srv)" ""
  expect_output '^data .*noauto' cat /etc/crypttab
  expect_output '^/dev/mapper/data /srv ext4 noatime,noauto,x-volseal.decrypting 0 2$' cat /etc/fstab
  expect_status 5 enroll
}

phase_2() {
  comes_up
  decrypt
  fail "the power was not cut"
}

phase_3() {
  comes_up
  expect_status 0 volseal decrypt
  expect_files
  expect_equal "$(findmnt -n -o SOURCE,OPTIONS /srv | grep -c "^$(disk data) .*noatime")" 1
  expect_output "^UUID=$(blkid -s UUID -o value "$(disk data)") /srv ext4 noatime 0 2$" cat /etc/fstab
  expect_equal "$(grep -c "^data " /etc/crypttab || true)" 0
  expect_status 0 volseal check "$(disk data)"
  expect_output 'sold with the machine' volseal check "$(disk data)"
  expect_status 0 volseal header verify
  test -z "$(ls /var/lib/volseal/decrypt)" || fail "a journal or a header is left"
  expect_equal "$(grep -c '"decrypt.finish".*"ok"' /var/lib/volseal/audit.log)" 1
  umount /srv
  e2fsck -fn "$(disk data)"
  expect_equal "$(tail -c 16M "$(disk data)" | tr -d '\0' | wc -c)" 0 "the end is not zero"
  expect_status 64 volseal decrypt

  # There and back once more: closed, against the policy.
  mount -a
  rm /etc/volseal/policy.toml
  expect_status 2 volseal check "$(disk data)"
  expect_status 0 enroll
  expect_status 0 volseal check "$(disk data)"
  expect_files
  umount /srv
  cryptsetup close data
  expect_status 0 volseal decrypt --yes --despite-policy "goes to the museum" --progress json "$(disk data)"
  expect_equal "$(grep -c 'goes to the museum' /var/lib/volseal/audit.log | sed 's/^[1-9].*/some/')" some
  udevadm settle
  mount -a
  expect_files
  expect_status 2 volseal check "$(disk data)"
}
