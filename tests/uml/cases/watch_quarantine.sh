# shellcheck shell=bash
# Deny is the last word: a disk that no rule allows cannot be written to, mounted or mapped, from its first moment until it
# is released, whoever restarts or kills the watch meanwhile.
# disk: plain 32M
# mem: 768M
# timeout: 300

told() { grep -Eq "$1" /window/findings; }
start_watch() {
  volseal watch --json >>/window/findings 2>>/window/watch.err &
  watch=$!
}
stop_watch() {
  kill "$watch"
  expect_status 0 wait "$watch"
}
read_only() { test "$(blockdev --getro "$1")" = 1; }
property() { udevadm info -q property -n "$1" | grep -qx "$2"; }
no_property() { ! property "$@"; }
# refused COMMAND...: it fails.
refused() {
  if "$@" >/dev/null 2>&1; then fail "it was not refused: $*"; fi
}
# plug: one more disk; its name is in $new.
plug() {
  before=" $(cd /sys/class/block && echo *) "
  hotplug 1
  wait_for 30 new_disk
}
new_disk() {
  for new in $(cd /sys/class/block && echo sd*); do
    if [[ $new =~ ^sd[a-z]+$ && $before != *" $new "* && -b /dev/$new ]]; then return 0; fi
  done
  return 1
}

phase_1() {
  dmesg -n 3
  mkdir -p /run/udev/rules.d
  cp "$SOURCE/cli/units/10-volseal-watch.rules" /run/udev/rules.d/
  udevadm control --reload
  mkfs.ext4 -q "$(disk plain)"
  hotplug_load per_host_store=1 delay=0
  mkdir -p /mnt /srv/plain
  mount "$(disk plain)" /srv/plain
  install -d /etc/volseal
  cat >/etc/volseal/policy.toml <<-'TOML'
	[watch]
	metrics = "/run/watch.prom"
	command = ["/bin/sh", "-c", "cat >>/run/told; sleep 100"]
	timeout = 1

	[[watch.rule]]
	name = "backup"
	match = { label = "backup" }
	action = "allow"
	reason = "written by the backup"

	[[watch.rule]]
	name = "ours"
	match = { filesystem = "crypto_LUKS" }
	action = "notify"
	TOML
  : >/window/findings

  echo "--- what is in use stays so, and that is said"
  start_watch
  wait_for 60 told '"what":"present".*"name":"ubda".*"action":"notify","why":"quarantine is not possible: it is in use"'
  echo still >/srv/plain/file
  sync /srv/plain/file
  wait_for 10 test -e /run/volseal/first-moment

  echo "--- a disk that nobody allows"
  plug
  wait_for 60 told "\"what\":\"attached\".*\"name\":\"$new\".*\"action\":\"quarantine\",\"why\":\"no rule allows it\""
  read_only "/dev/$new"
  refused dd if=/dev/urandom of="/dev/$new" bs=4096 count=1 oflag=direct conv=notrunc
  refused mkfs.ext4 -qF "/dev/$new"
  refused cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "/dev/$new" /etc/hostname
  refused dmsetup create thief --table "0 8192 linear /dev/$new 0"
  refused mount "/dev/$new" /mnt
  wait_for 10 property "/dev/$new" UDISKS_IGNORE=1
  property "/dev/$new" SYSTEMD_READY=0 || fail "systemd would use it"
  expect_equal "$(stat -c '%U:%G %a' "/dev/$new")" "root:root 400"
  expect_output "/dev/$new .*no rule allows it" volseal quarantine list
  expect_output '"watched": true' volseal quarantine list --json
  local held=$new

  echo "--- broken by hand: closed again, and told"
  blockdev --setrw "/dev/$held"
  kill -HUP $watch
  wait_for 60 told "\"what\":\"changed\".*\"name\":\"$held\".*its quarantine was broken by hand"
  read_only "/dev/$held"

  echo "--- killed: it stays read-only, and the next watch has it again, together with what came meanwhile"
  kill -KILL $watch
  wait $watch || true
  read_only "/dev/$held"
  refused dd if=/dev/urandom of="/dev/$held" bs=4096 count=1 oflag=direct conv=notrunc
  plug
  local meanwhile=$new
  wait_for 10 property "/dev/$meanwhile" VOLSEAL_HELD=1
  read_only "/dev/$meanwhile"
  expect_output 'no watch runs' volseal quarantine list
  : >/window/findings
  start_watch
  wait_for 60 told "\"what\":\"present\".*\"name\":\"$held\".*\"action\":\"quarantine\""
  wait_for 60 told "\"what\":\"present\".*\"name\":\"$meanwhile\".*\"action\":\"quarantine\""
  refused mount "/dev/$held" /mnt

  echo "--- released: by whom and why is in the log, and for this disk only"
  expect_status 64 volseal quarantine release "/dev/$held" --reason " "
  expect_status 4 volseal quarantine release /dev/ubda --reason "not there"
  expect_status 0 volseal quarantine release "/dev/$held" --reason "the new data disk"
  grep -q '"action":"quarantine.release","outcome":"ok".*the new data disk' /var/lib/volseal/audit.log || fail "it is not in the log"
  wait_for 10 no_property "/dev/$held" UDISKS_IGNORE=1
  mkfs.ext4 -qF -L backup "/dev/$held"
  wait_for 60 told "\"what\":\"changed\".*\"name\":\"$held\".*\"action\":\"allow\""
  mount "/dev/$held" /mnt
  umount /mnt
  refused mount "/dev/$meanwhile" /mnt
  volseal quarantine list | grep -q "/dev/$held " && fail "it is still listed"

  echo "--- a partition is kept by its disk; LUKS is welcome by a rule"
  expect_status 0 volseal quarantine release "/dev/$meanwhile" --reason "to make partitions"
  wait_for 10 no_property "/dev/$meanwhile" UDISKS_IGNORE=1
  printf 'label: gpt\nsize=4M\nsize=4M\n' | sfdisk -q "/dev/$meanwhile"
  mkfs.ext4 -qF "/dev/${meanwhile}1"
  wait_for 60 told "\"name\":\"${meanwhile}1\".*\"action\":\"allow\",\"why\":\"released by uid 0"
  cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "/dev/${meanwhile}2" /etc/hostname
  stop_watch
  test ! -e /run/volseal/first-moment || fail "udevd would still hold what nobody decides about"
  rm "/run/volseal/released/$meanwhile."*
  : >/window/findings
  start_watch
  wait_for 60 told "\"name\":\"${meanwhile}1\".*\"action\":\"quarantine\""
  refused dd if=/dev/urandom of="/dev/${meanwhile}1" bs=4096 count=1 oflag=direct conv=notrunc
  refused mount "/dev/${meanwhile}1" /mnt
  cryptsetup open --test-passphrase --key-file /etc/hostname "/dev/${meanwhile}2"

  echo "--- the command was told, and killed when it took too long; the metrics say how many are held"
  wait_for 20 grep -q '"schema":"volseal-finding/1"' /run/told
  wait_for 30 grep -q 'took too long and was killed' /window/watch.err
  wait_for 10 grep -qx 'volseal_watch_quarantined 1' /run/watch.prom
  tail -1 /run/watch.prom | grep -qx '# EOF' || fail "it is cut off"
  stop_watch

  echo "--- learned rules allow what is there"
  volseal watch --learn >/run/learned.toml
  cat /run/learned.toml
  expect_status 2 volseal --policy /run/learned.toml watch --once --json >/run/once
  grep -q '"name":"ubda".*"action":"would quarantine"' /run/once && fail "ubda was not learned"
  umount /srv/plain
}
