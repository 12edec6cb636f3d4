# shellcheck shell=bash
# The watch as its unit, sandbox and all, below a real systemd: it keeps a disk, tells the journal, and is told from systemd.
# systemd: all of it
# disk: plain 32M
# mem: 1024M
# timeout: 300

journal_has() { journalctl -q -o cat MESSAGE_ID=9f3c1a6e52b44d0bb1a7f0c85d2e6431 "$@" | grep -q .; }

phase_1() {
  dmesg -n 3
  mkfs.ext4 -q "$(disk plain)"
  hotplug_load delay=0
  mkdir -p /run/udev/rules.d
  cp "$SOURCE/cli/units/10-volseal-watch.rules" /run/udev/rules.d/
  udevadm control --reload
  echo '[watch]' >/etc/volseal/policy.toml
  # As it is installed, but for where the program is, and that everybody is told.
  sed "s|/usr/sbin/volseal watch|$BUILD/cli/volseal watch --wall|" "$SOURCE/cli/units/volseal-watch.service" >/run/systemd/system/volseal-watch.service
  systemctl daemon-reload
  expect_status 0 systemctl start volseal-watch
  wait_for 60 journal_has VOLSEAL_FINDING_NAME=ubda VOLSEAL_FINDING_ACTION=quarantine
  expect_equal "$(blockdev --getro "$(disk plain)")" 1

  wait_for 20 everybody_told 'present /dev/ubda'
  echo "--- a disk is plugged in"
  hotplug 1
  wait_for 60 journal_has VOLSEAL_FINDING_WHAT=attached VOLSEAL_FINDING_NAME=sda VOLSEAL_FINDING_ACTION=quarantine
  expect_equal "$(systemctl is-active dev-sda.device || true)" inactive
  if mount /dev/sda /mnt 2>/dev/null; then fail "it could be mounted"; fi

  echo "--- released through the unit's sandbox"
  expect_status 0 volseal quarantine release /dev/sda --reason "a test"
  wait_for 20 systemctl is-active dev-sda.device
  wait_for 20 writable /dev/sda
  mkfs.ext4 -qF /dev/sda

  echo "--- reloaded, killed, stopped"
  expect_status 0 systemctl reload volseal-watch
  systemctl kill -s KILL volseal-watch
  wait_for 30 restarted
  wait_for 30 systemctl is-active volseal-watch
  wait_for 30 quarantined
  expect_status 0 systemctl stop volseal-watch
  expect_equal "$(systemctl show -p Result --value volseal-watch)" success
  test ! -e /run/volseal/first-moment || fail "udevd would hold what nobody decides about"
  systemd-analyze security --no-pager --offline=true /run/systemd/system/volseal-watch.service | tail -1
}
# As journald forwards it to whoever is logged in.
everybody_told() { journalctl -q -u volseal-watch -p 0..0 -o cat | grep -q "$1"; }
restarted() { test "$(systemctl show -p NRestarts --value volseal-watch)" = 1; }
writable() { test "$(blockdev --getro "$1")" = 0; }
quarantined() { volseal quarantine list | grep -q '^/dev/ubda '; }
