# shellcheck shell=bash
# A disk that does not answer holds up no other one.
# disk: slow 32M
# mem: 512M
# timeout: 120

told() { grep -Eq "$1" /window/findings; }

phase_1() {
  dmesg -n 3
  modprobe dm-delay
  hotplug_load delay=0
  install -d /etc/volseal
  echo '[watch]' >/etc/volseal/policy.toml
  # udevd would read it, too: this is about the watch.
  udevadm control --stop-exec-queue
  dmsetup create hanging --noudevsync --table "0 65536 delay $(disk slow) 0 600000"
  : >/window/findings
  volseal watch --json >/window/findings 2>/window/watch.err &
  watch=$!
  wait_for 30 told '"what":"present".*"name":"dm-0".*"verdict":"unknown"'
  local name begun
  for name in sda sdb sdc; do
    begun=${EPOCHREALTIME/./}
    hotplug 1
    wait_for 30 told "\"what\":\"attached\".*\"name\":\"$name\".*\"action\":\"quarantine\""
    echo "$name: $(((${EPOCHREALTIME/./} - begun) / 1000)) ms beside a disk that hangs"
    if (((${EPOCHREALTIME/./} - begun) / 1000 > 5000)); then fail "it waited for the other"; fi
  done
  # A claim of its own waits for that disk, in a process that no signal ends.
  begun=${EPOCHREALTIME/./}
  kill $watch
  expect_status 0 wait $watch
  echo "ended after $(((${EPOCHREALTIME/./} - begun) / 1000)) ms beside a claim that waits"
  if (((${EPOCHREALTIME/./} - begun) / 1000 > 5000)); then fail "it waited for its claim"; fi
  # The disk answers at last, with errors, so that the kernel can let go of it.
  dmsetup --noudevsync suspend --noflush hanging
  dmsetup load hanging --table "0 65536 error"
  dmsetup --noudevsync resume hanging
  wait_for 20 closed
  dmsetup --noudevsync remove hanging
}
closed() { test "$(dmsetup info -c --noheadings -o open hanging)" = 0; }
