# shellcheck shell=bash
# What is in quarantine the kernel lets nobody open, mount or map, with the watch or without it; other disks it does.
# This kernel has control groups for it. The BPF LSM, which also stops who had it open, wants Debian's: see tests/watch.
# systemd: all of it
# disk: plain 32M
# disk: other 32M
# mem: 1024M
# timeout: 300

journal_has() { journalctl -q -o cat MESSAGE_ID=9f3c1a6e52b44d0bb1a7f0c85d2e6431 "$@" | grep -q .; }
reads() { dd if="$1" of=/dev/null bs=4096 count=1 iflag=direct status=none; }
# denied COMMAND...: the kernel says EPERM, or mount(8) its own words for it.
denied() {
  echo "# $*"
  if "$@" 2>/run/said; then fail "it could: $*"; fi
  cat /run/said
  grep -Eq 'not permitted|permission denied' /run/said || fail "for another reason: $*"
}
everything_denied() {
  denied reads "$plain"
  denied dd if=/dev/zero of="$plain" bs=4096 count=1 status=none
  denied mount -o ro "$plain" /mnt
  denied losetup -f "$plain"
  expect_status 0 reads "$other"
}
is_held() { volseal quarantine list | grep -q "^$1 "; }
started() {
  systemctl start volseal-watch && return
  journalctl -q -u volseal-watch -o cat --no-pager | tail -n 20
  fail "the watch does not start"
}
partitions() { find /sys/class/block -name 'sda?*' | wc -l; }
two_partitions() { test -e /sys/class/block/sda2; }

phase_1() {
  dmesg -n 3
  plain=$(disk plain) other=$(disk other)
  # Elsewhere systemd does it.
  mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
  mkfs.ext4 -q "$plain"
  mkfs.ext4 -q "$other"
  hotplug_load delay=0 dev_size_mb=32 num_parts=2
  mkdir -p /run/udev/rules.d
  cp "$SOURCE/cli/units/10-volseal-watch.rules" /run/udev/rules.d/
  udevadm control --reload
  printf '%s\n' '[watch]' '[[watch.rule]]' 'name = "other"' 'match = { path = "/dev/ubdb" }' 'action = "allow"' 'reason = "a test"' >/etc/volseal/policy.toml
  sed "s|/usr/sbin/volseal|$BUILD/cli/volseal|; s|^Restart=.*|Restart=no|" "$SOURCE/cli/units/volseal-watch.service" \
    >/run/systemd/system/volseal-watch.service
  systemctl daemon-reload
  started
  wait_for 60 is_held "$plain"

  echo "--- held, claimed and denied"
  expect_output 'read-only, claimed, denied by the kernel \(bpf-cgroup' volseal quarantine list
  everything_denied
  denied dmsetup create leak --table "0 65536 linear $plain 0"
  # udevd reads it, and a report does.
  udevadm trigger --settle "$plain"
  expect_output 'ID_FS_TYPE=ext4' udevadm info "$plain"
  expect_output 'UDISKS_IGNORE=1' udevadm info "$plain"
  expect_output 'ubda.*ext4' volseal scan

  echo "--- broken by hand"
  expect_status 0 "$BUILD/cli/volseal" quarantine list --json
  rm /sys/fs/bpf/volseal/on-device
  everything_denied

  echo "--- killed: nothing claims it any more, and the kernel denies it still"
  systemctl kill -s KILL volseal-watch
  wait_for 30 is_down
  started
  wait_for 30 is_claimed
  systemctl kill -s KILL volseal-watch
  wait_for 30 is_down
  everything_denied
  denied dmsetup create leak --table "0 65536 linear $plain 0"
  started
  wait_for 30 is_claimed
  everything_denied

  echo "--- another disk gets the number of one that was denied"
  hotplug 1
  wait_for 60 is_held /dev/sda
  wait_for 20 denied reads /dev/sda2
  expect_equal "$(partitions)" 2
  systemctl stop volseal-watch
  expect_equal "$(systemctl show -p Result --value volseal-watch)" success
  hotplug -1
  wait_for 20 test ! -e /sys/class/block/sda
  printf '%s\n' '[[watch.rule]]' 'name = "new"' 'match = { path = "/dev/sda*" }' 'action = "allow"' 'reason = "a test"' >>/etc/volseal/policy.toml
  hotplug 1
  wait_for 20 test -e /sys/class/block/sda
  udevadm settle
  denied reads /dev/sda
  expect_equal "$(partitions)" 0 "the kernel could look for partitions"
  started
  wait_for 30 two_partitions
  expect_status 0 reads /dev/sda2

  echo "--- stopped, and released without it"
  systemctl stop volseal-watch
  everything_denied
  expect_status 0 volseal quarantine release "$plain" --reason "a test"
  expect_status 0 reads "$plain"
  expect_status 0 mount "$plain" /mnt
  umount /mnt
  test ! -e /sys/fs/bpf/volseal || fail "something is left in the kernel"
}
is_down() { ! systemctl is-active -q volseal-watch; }
is_claimed() { find "/proc/$(systemctl show -p MainPID --value volseal-watch)/fd" -lname "*$plain" | grep -q .; }
