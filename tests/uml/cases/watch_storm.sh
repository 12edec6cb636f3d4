# shellcheck shell=bash
# A storm of events while the watch stands still: all of them are accounted for, or it says how long it was blind.
# --set EVENTS=100000 is the long variant: some minutes, for the memory.
# disk: plain 32M
# mem: 512M
# timeout: 600

# storm COUNT: so many events of a disk in which nothing changes.
storm() {
  local i
  for ((i = 0; i < $1; ++i)); do echo change >/sys/block/sda/uevent; done
}
# Memory of the watch in KiB, without what it shares.
memory() { awk '/^RssAnon/ { print $2 }' "/proc/$watch/status"; }
told() { grep -q "$1" /window/findings; }
# start_watch [COMMAND...]: perhaps run by another command; returns once it listens and has looked.
start_watch() {
  : >/window/findings
  "$@" volseal watch --json >/window/findings &
  watch=$!
  wait_for 60 told '"what":"present".*"name":"ubda"'
}
stop_watch() {
  kill "$watch"
  expect_status 0 wait "$watch"
}

phase_1() {
  dmesg -n 3
  mkfs.ext4 -q "$(disk plain)"
  hotplug_load delay=0
  hotplug 1
  wait_for 30 test -b /dev/sda
  udevadm settle
  # udevd keeps what comes and works on none of it: this is about the watch, which must not need it.
  udevadm control --stop-exec-queue

  echo "--- 10000 events for a reader that stands still, and a disk that comes and goes among them"
  start_watch
  kill -STOP $watch
  storm 5000
  hotplug 1
  wait_for 30 test -b /dev/sdb
  hotplug -1
  wait_for 30 test ! -e /dev/sdb
  storm 5000
  hotplug 1
  wait_for 30 test -b /dev/sdb
  kill -CONT $watch
  wait_for 60 told '"what":"vanished".*"name":"sdb"'
  wait_for 60 told '"what":"attached".*"name":"sdb"'
  stop_watch
  if told '"what":"blind"'; then fail "events were lost from a buffer that has room for them"; fi
  local received
  received=$(sed -nE '$s/.*"action":"watch.stop".*"events":"([0-9]+)".*/\1/p' /var/lib/volseal/audit.log)
  echo "$received events received"
  # The storms, and what the two disks said of themselves.
  if ((received < 10000 + 3)); then fail "only $received"; fi

  echo "--- the same with the buffer of an unprivileged socket: it says that it was blind, and finds the disk"
  start_watch setpriv --bounding-set=-net_admin
  kill -STOP $watch
  storm 4000
  hotplug 1
  wait_for 30 test -b /dev/sdc
  kill -CONT $watch
  wait_for 60 told '"what":"blind"'
  wait_for 60 told '"what":"attached".*"name":"sdc"'
  stop_watch
  grep '"what":"blind"' /window/findings
  grep -q '"action":"watch.finding","outcome":"blind"' /var/lib/volseal/audit.log || fail "it is not in the audit log"

  local events=${EVENTS:-8000} before after
  echo "--- $events events, read as they come: no more memory than after the first of them"
  start_watch
  storm 2000
  before=$(memory)
  storm $((events - 2000))
  after=$(memory)
  stop_watch
  echo "memory: $before KiB after 2000 events, $after KiB after $events"
  if ((after > before + 1024)); then fail "it grows"; fi
}
