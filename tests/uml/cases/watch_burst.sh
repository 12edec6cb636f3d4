# shellcheck shell=bash
# Disks come and go in bursts on a loaded machine: each gets one finding, who races for it writes nothing, and a watch that
# was killed in the middle finds all that is there.
# --set COUNT=1000 is the long variant.
# disk: plain 32M
# mem: 768M
# timeout: 900

told() { grep -Eq "$1" /run/findings; }
start_watch() {
  volseal watch --json >>/run/findings 2>>/window/watch.err &
  watch=$!
}
# words_of KERNEL|UDEV: each name's first word, second word ..., in milliseconds: "sda 1234".
words_of() {
  sed -nE "s|^$1 *\[([0-9]+)\.([0-9]{3})[0-9]*\] add .*/(sd[a-z]+) \(block\)|\3 \1\2|p" /run/kernel
}
announced() { words_of KERNEL; }
# delays TITLE: of lines "k NAME N MILLISECONDS" and "f NAME N MILLISECONDS", from each k to its f.
delays() {
  awk '$1 == "k" { at[$2, $3] = $4 } $1 == "f" { print $4 - at[$2, $3] }' | sort -n |
    awk -v title="$1" '{ d[NR] = $1 } END { if (!NR) exit 1
      printf "%s, %d disks under load: median %d ms, 99th percentile %d ms, at most %d ms\n", title, NR, d[int((NR + 1) / 2)], d[int(NR * 0.99 + 0.99)], d[NR] }'
}
numbered() { awk -v kind="$1" '{ print kind, $1, ++n[$1], $2, $4 }'; }
# The same of the findings: name, boot clock, sequence number of the disk, action.
found() {
  sed -nE 's/.*"boot_ms":([0-9]+),"what":"(attached|vanished)".*"name":"(sd[a-z]+)".*"diskseq":([0-9]+),.*"action":"([a-z]+)".*/\3 \1 \4 \5/p' /run/findings
}
all_found() { (($(found | wc -l) >= $(announced | wc -l))); }
held_now() { find /run/volseal/quarantine -name 'sd*' | wc -l; }
disks_now() { (cd /sys/class/block && echo sd*) | tr ' ' '\n' | grep -Ec '^sd[a-z]+$' || true; }
all_held() { (($(held_now) == $(disks_now))); }

# Writes to the disk as soon as it can be opened, until that is refused; prints how many bytes got through.
cat >/run/race.py <<'PY'
import errno, os, sys, time
node, until, written, opened = sys.argv[1], time.monotonic() + float(sys.argv[2]), 0, False
# As a program does that waits for udevd.
while len(sys.argv) > 3 and not os.path.exists(sys.argv[3]) and time.monotonic() < until:
    time.sleep(0.001)
block = b"stolen!!" * 512
while time.monotonic() < until:
    try:
        fd = os.open(node, os.O_WRONLY)
    except OSError:
        continue
    opened = True
    try:
        while time.monotonic() < until:
            written += os.pwrite(fd, block, written % 524288)
    except OSError as error:
        if error.errno == errno.EPERM:
            break
    finally:
        os.close(fd)
print(written, "opened" if opened else "never opened")
PY

# race NODE WAIT COMMAND...: bytes that a racing writer got onto the next disk, run by that command; once WAIT is there.
race() {
  local node=$1 wait=$2
  shift 2
  # shellcheck disable=SC2086
  "$@" python3 /run/race.py "$node" 6 $wait >/run/raced &
  local racer=$!
  # Until it runs.
  sleep 2
  hotplug 1
  wait $racer
  cat /run/raced
}

phase_1() {
  dmesg -n 3
  mkdir -p /run/udev/rules.d
  cp "$SOURCE/cli/units/10-volseal-watch.rules" /run/udev/rules.d/
  udevadm control --reload
  hotplug_load dev_size_mb=8 delay=0
  install -d /etc/volseal
  echo '[watch]' >/etc/volseal/policy.toml
  : >/run/findings
  start_watch
  wait_for 60 test -e /run/volseal/first-moment
  wait_for 60 grep -q '"name":"ubda"' /run/findings

  echo "--- who races for a new disk"
  echo "a user of the group disk: $(race /dev/sda "" setpriv --reuid 65534 --regid 6 --clear-groups)"
  expect_equal "$(cut -d' ' -f1 /run/raced)" 0 "bytes that a user wrote"
  wait_for 60 all_held
  echo "root, once udevd is through with it: $(race /dev/sdb /run/udev/data/b8:16 env)"
  expect_equal "$(cat /run/raced)" "0 opened" "bytes that root wrote who waited for udevd"
  wait_for 60 all_held
  # Nothing but the kernel could stop this one.
  echo "root, polling /dev: $(race /dev/sdc "" env)"
  wait_for 60 all_held
  hotplug -3
  wait_for 60 grep -q '"what":"removed".*"name":"sdc"' /run/findings
  kill $watch
  expect_status 0 wait $watch

  local disks=${COUNT:-40} burst=20 done_=0
  echo "--- $disks disks in bursts of $burst, on a loaded machine"
  : >/run/findings
  start_watch
  wait_for 60 test -e /run/volseal/first-moment
  udevadm monitor --kernel --udev --subsystem-match=block >/run/kernel &
  local monitor=$!
  wait_for 5 grep -q KERNEL /run/kernel
  sha256sum /dev/zero >/dev/null &
  local load=$!
  while ((done_ < disks)); do
    hotplug $burst
    # Every other burst is pulled out while udevd is at work.
    if ((done_ / burst % 2 == 0)); then wait_for 120 all_found; fi
    hotplug -$burst
    wait_for 120 expect_no_disks
    done_=$((done_ + burst))
  done
  wait_for 120 all_found
  kill $load
  # What still comes would be one too many.
  udevadm settle
  sleep 1
  local came
  came=$(announced | wc -l)
  echo "the kernel announced $came disks; findings: $(found | wc -l), of them vanished: $(grep -c '"what":"vanished"' /run/findings || true)"
  expect_equal "$(found | wc -l)" "$came" "findings"
  expect_equal "$(found | cut -d' ' -f3 | sort -u | wc -l)" "$came" "disks that were found"
  if told '"what":"blind"'; then fail "events were lost"; fi
  # The n-th time that a name comes is the n-th finding of it.
  { announced | numbered k; words_of UDEV | numbered f; } | delays "kernel to the word of udevd, read-only since before" || fail "udevd was not there"
  { announced | numbered k; found | numbered f | awk '$5 == "quarantine"'; } | delays "kernel to quarantine" || fail "nothing was put in quarantine"
  kill $monitor

  echo "--- killed in a storm: the next watch has all of them"
  hotplug 10
  kill -KILL $watch
  wait $watch || true
  hotplug 10
  wait_for 60 twenty
  udevadm settle
  : >/run/findings
  start_watch
  wait_for 60 all_held
  expect_equal "$(held_now)" 20
  expect_equal "$(grep -Ec '"what":"(present|attached)".*"name":"sd[a-z]+".*"action":"quarantine"' /run/findings)" 20 "findings"
  local node
  for node in /dev/sd?; do
    expect_equal "$(blockdev --getro "$node")" 1 "$node is read-only"
  done
  kill $watch
  expect_status 0 wait $watch
  hotplug -20
}
expect_no_disks() { test "$(disks_now)" = 0; }
twenty() { test "$(disks_now)" = 20; }
