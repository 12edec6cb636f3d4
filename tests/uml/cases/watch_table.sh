# shellcheck shell=bash
# A disk with a partition table of 100,000 entries, each checksum of it right: it gets its finding, the
# disks that come after it are judged in time, and a report over it ends.
# disk: many 78M
# mem: 512M
# timeout: 120

told() { grep -Eq "$1" /window/findings; }

phase_1() {
  dmesg -n 3
  hotplug_load delay=0
  install -d /etc/volseal
  echo '[watch]' >/etc/volseal/policy.toml
  truncate -s 0 /window/findings
  "$SOURCE/tests/uml/large-gpt" "$(disk many)" 100000
  blockdev --rereadpt "$(disk many)"
  udevadm settle
  expect_equal "$(blkid -p -s PTTYPE -o value "$(disk many)")" gpt
  volseal watch --json >/window/findings 2>/window/watch.err &
  watch=$!
  wait_for 30 told "\"what\":\"present\".*\"name\":\"$(basename "$(disk many)")\""
  local name begun
  for name in sda sdb sdc; do
    begun=${EPOCHREALTIME/./}
    hotplug 1
    wait_for 30 told "\"what\":\"attached\".*\"name\":\"$name\".*\"action\":\"quarantine\""
    echo "$name: $(((${EPOCHREALTIME/./} - begun) / 1000)) ms beside a table of 100,000 entries"
    # libblkid alone takes two seconds for it in such a guest.
    if (((${EPOCHREALTIME/./} - begun) / 1000 > 15000)); then fail "it waited for the other"; fi
  done
  kill $watch
  expect_status 0 wait $watch
  expect_equal "$(grep -c '"what":"attached"' /window/findings)" 3
  expect_status 3 volseal check "$(disk many)"
  expect_output "its partition table has 100000 entries" volseal check --json "$(disk many)"
}
