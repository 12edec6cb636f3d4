# shellcheck shell=bash
# A blank disk that a rule wants enrolled becomes a covered volume with nobody there; one that was closed is opened again.
# disk: plain 32M
# mem: 1024M
# timeout: 300

told() { grep -Eq "$1" /window/findings; }
start_watch() {
  : >/window/findings
  volseal watch --json >/window/findings 2>>/window/watch.err &
  watch=$!
}

phase_1() {
  dmesg -n 3
  mkfs.ext4 -q "$(disk plain)"
  mkdir -p /run/udev/rules.d /srv/escrow
  cp "$SOURCE/cli/units/10-volseal-watch.rules" /run/udev/rules.d/
  udevadm control --reload
  openssl req -x509 -newkey rsa:3072 -nodes -keyout /run/alice.key -out /etc/volseal/alice.pem -days 30 \
    -subj "/CN=Alice" -addext keyUsage=critical,keyEncipherment 2>/dev/null
  hotplug_load dev_size_mb=96 per_host_store=1 delay=0
  cat >/etc/volseal/policy.toml <<-'TOML'
	[group.default.escrow]
	certificates = ["/etc/volseal/alice.pem"]
	directory = "/srv/escrow"

	[[rule]]
	name = "new"
	match = { bus = "scsi" }
	mapping = "fresh"

	[watch]

	[[watch.rule]]
	name = "blank"
	match = { bus = "scsi", filesystem = "blank" }
	action = "enroll"

	[[watch.rule]]
	name = "ours"
	match = { bus = "scsi" }
	action = "unlock"
	TOML
  start_watch
  wait_for 60 told '"what":"present".*"name":"ubda"'
  hotplug 1
  wait_for 60 told '"what":"attached".*"name":"sda".*"action":"enroll".*"watch_rule":"blank"'
  wait_for 120 told '"name":"sda".*"verdict":"covered'
  wait_for 30 test -e /dev/mapper/fresh
  find /srv/escrow -type f | grep -q . || fail "the recovery key is nowhere"
  wait_for 30 idle
  kill $watch
  expect_status 0 wait $watch

  echo "--- closed, and opened again by the watch"
  cryptsetup close fresh
  start_watch
  wait_for 60 test -e /dev/mapper/fresh
  wait_for 30 idle

  echo "--- one that cannot be enrolled is denied"
  rm -r /srv/escrow
  hotplug 1
  wait_for 60 told '"name":"sdb".*"action":"enroll"'
  wait_for 60 told '"name":"sdb".*"action":"quarantine","why":"it was to be enrolled, and is not"'
  expect_equal "$(blockdev --getro /dev/sdb)" 1
  kill $watch
  expect_status 0 wait $watch
  volseal check /dev/sda || expect_equal $? 1 "the report"
  cryptsetup close fresh
}
# Nothing that the watch has started still runs.
idle() { ! pgrep -P "$watch" >/dev/null; }
