# shellcheck shell=bash
# A mounted volume is encrypted while files on it are written. The power goes twice; then it is finished with a file
# held open all the while. Of another volume the encrypting process is killed, within a hot zone.
# disk: data 224M
# disk: other 160M
# root: disk
# timeout: 280
# cut 1: [3-6][0-9] %
# cut 2: [6-9][0-9] %

enroll() { volseal enroll --yes --io-limit '30 MiB' --recovery-key-dir /var/lib/volseal/keys "$@"; }

# write_files FOLDER: once a volume is mounted from its mapping there, until somebody wants no more. What is synced is
# told to the host, for the boots to come.
write_files() {
  local folder=$1 file i=0
  wait_for 240 grep -q "^/dev/mapper/[a-z]* $folder " /proc/mounts
  while [[ ! -e /run/enough ]]; do
    file=$folder/written-$EPOCHREALTIME
    head -c 200K /dev/urandom >"$file.new"
    sync "$file.new"
    mv "$file.new" "$file"
    sync -f "$file"
    sha256sum "$file" >>/window/written
    # So much stays, all over the volume.
    if ((++i > 40)); then sleep 0.1; fi
  done
}

written_is_there() { sha256sum --check --quiet /window/written; }

use_it() {
  volseal unlock --all
  mount -a
  mountpoint -q /srv/data
  expect_equal "$(checksums_of_old /srv/data)" "$(recall data)" "the files differ"
  written_is_there
}

checksums_of_old() { (cd "$1" && find . -path './folder*' -type f -print0 | sort -z | xargs -0r sha256sum); }

phase_1() {
  dmesg -n 1
  local name
  : >/window/written
  for name in data other; do
    mkfs.ext4 -q -b 4096 -L "$name" "$(disk "$name")"
    mkdir -p "/srv/$name"
    echo "UUID=$(blkid -p -s UUID -o value "$(disk "$name")") /srv/$name ext4 nosuid 0 2" >>/etc/fstab
  done
  udevadm settle
  mount -a
  make_files /srv/data 8192
  make_files /srv/other 8192
  remember data "$(checksums_of_old /srv/data)"
  remember other "$(checksums_of_old /srv/other)"
  sync
  expect_status 5 volseal plan "$(disk data)"
  expect_output 'encrypt the data while it is in use' volseal plan --unmount "$(disk data)"
  expect_output 'out of use for about' volseal plan --unmount "$(disk data)"
  expect_output '^ +8. encrypt the data \(' volseal plan --unmount --offline "$(disk data)"
  write_files /srv/data &
  enroll --unmount "$(disk data)"
  fail "the power was not cut"
}

# Nobody needs --unmount: it is open since the boot, and goes on so.
phase_2() {
  dmesg -n 1
  use_it
  write_files /srv/data &
  enroll "$(disk data)"
  fail "the power was not cut"
}

phase_3() {
  dmesg -n 1
  use_it
  exec 3>/srv/data/held
  # Twice the mapping's table changes for each zone; what is encrypted is told all the same.
  (wait_for 240 test -e /dev/mapper/data-overlay && volseal check >/window/meanwhile) &
  local looks=$!
  write_files /srv/data &
  enroll "$(disk data)"
  wait "$looks" || true
  touch /run/enough
  wait
  echo "it was never unmounted" >&3
  exec 3>&-
  cat /window/meanwhile
  grep -Eq '^converting [0-9]+ % +/dev/(ubda|mapper/data) ' /window/meanwhile || fail "what goes on does not show"
  expect_equal "$(cat /srv/data/held)" "it was never unmounted"
  expect_equal "$(findmnt -no OPTIONS /srv/data | grep -c nosuid)" 1 "it lost its mount options"
  expect_equal "$(checksums_of_old /srv/data)" "$(recall data)" "the files differ"
  written_is_there
  expect_equal "$(dmsetup ls | grep -c -e overlay -e hotzone)" 0
  expect_equal "$(blockdev --getsize64 /dev/mapper/data)" $(((224 - 16) << 20))
  expect_equal "$(dumpe2fs -h /dev/mapper/data 2>/dev/null | awk '/^Block count:/ { print $3 / 256 }')" $((224 - 16)) "MiB of file system"
  umount /srv/data
  e2fsck -fn /dev/mapper/data
  cryptsetup close data
  blockdev --flushbufs "$(disk data)"
  expect_equal "$(grep -ac -e '^12345$' -e 'folder 1' "$(disk data)")" 0 "old plaintext is left"
  test -z "$(ls /var/lib/volseal/enroll)" || fail "a journal is left"

  # Killed within a hot zone: its readers and writers would wait for ever.
  enroll --unmount "$(disk other)" >/run/said 2>&1 &
  local volseal=$!
  wait_for 240 grep -q '[3-7][0-9] %' /run/said
  pkill -KILL -P "$volseal" || true
  kill -KILL "$volseal"
  wait "$volseal" || true
  dmsetup suspend --noflush --nolockfs other-hotzone-backward
  expect_status 5 enroll "$(disk other)"
  expect_status 0 enroll --unmount "$(disk other)"
  expect_equal "$(checksums_of_old /srv/other)" "$(recall other)" "the files differ after a kill"
  expect_equal "$(dmsetup ls | grep -c -e overlay -e hotzone)" 0
  expect_status 0 volseal check "$(disk other)"
  umount /srv/other
  e2fsck -fn /dev/mapper/other
}
