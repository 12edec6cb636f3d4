# shellcheck shell=bash
# A group is locked down: what is idle is closed, what is busy is listed with who has it, and nothing opens by TPM, not after a restart either,
# until two factors bring it back. Then the watch sees a keyslot that somebody added, and locks by policy.
# disk: idle 48M
# disk: busy 48M
# disk: plain 16M
# mem: 1024M
# timeout: 240

write_policy() { # MORE: lines of [group.default]
  cat >/etc/volseal/policy.toml <<-TOML
	[group.default]
	$1
	[group.default.escrow]
	certificates = ["/etc/volseal/alice.pem"]
	directory = "/window/escrow"
	[[rule]]
	name = "idle"
	match = { path = "$(disk idle)" }
	mapping = "idle"
	[[rule]]
	name = "busy"
	match = { path = "$(disk busy)" }
	mapping = "busy"
	TOML
}
blob() { echo /window/escrow/*"$(cryptsetup luksUUID "$1")"*; }
# By what is in escrow, and Alice's private key.
recover() { volseal recover --yes --keep-key --keyslot 0 --blob "$(blob "$1")" --key /window/alice.key "$1"; }
drill() {
  rm -f /run/key
  volseal escrow open --key /window/alice.key --output /run/key "$(blob "$1")"
  volseal drill --keyslot 0 --key-file /run/key "$1"
}
start_watch() {
  volseal watch --json >/run/findings 2>/run/watch.err &
  watch=$!
  # Of what is not covered it tells once it has looked.
  wait_for 30 grep -q '"what":"present".*"name":"ubdc"' /run/findings
}
stop_watch() {
  kill "$watch"
  expect_status 0 wait "$watch"
}
is_locked() { test -e /var/lib/volseal/locks/default.json; }

phase_1() {
  dmesg -n 3
  mkdir -p /window/escrow /srv/busy
  openssl req -x509 -newkey rsa:3072 -nodes -keyout /window/alice.key -out /etc/volseal/alice.pem -days 30 \
    -subj "/CN=Alice" -addext keyUsage=critical,keyEncipherment 2>/dev/null
  write_policy ''
  expect_status 0 volseal enroll --yes "$(disk idle)" "$(disk busy)"
  mount /dev/mapper/busy /srv/busy
  (cd /srv/busy && exec sleep 1000) &
  local sleeper=$!

  echo "--- refused while nobody has shown to get in again"
  expect_status 5 volseal lock default --yes
  expect_status 0 drill "$(disk idle)"
  expect_status 0 drill "$(disk busy)"
  expect_status 0 volseal lock default --dry-run
  test -e /dev/mapper/idle || fail "a dry run closed it"

  echo "--- locked: the idle one is closed, the busy one listed"
  # As systemd-ask-password keeps what was typed: add_key(2).
  python3 -c 'import ctypes; ctypes.CDLL(None).syscall(248, b"user", b"cryptsetup", b"typed", 5, -4)'
  grep -q ' cryptsetup: ' /proc/keys || fail "no passphrase is cached, so nothing can be dropped"
  local status=0
  volseal lock default --yes --reason "a test" --json >/run/lock.json || status=$?
  cat /run/lock.json
  expect_equal $status 1
  python3 - "$(disk idle)" "$(disk busy)" $sleeper <<-'PY'
	import json, sys
	done = json.load(open("/run/lock.json"))
	idle, busy, sleeper = sys.argv[1:]
	state = {volume["volume"]: volume for volume in done["volumes"]}
	assert done["complete"], done["problems"]
	assert state[idle]["state"] == "closed", state[idle]
	assert state[busy]["state"] == "busy", state[busy]
	assert "mounted at /srv/busy" in state[busy]["busy"], state[busy]
	assert any(who.startswith(f"process {sleeper} (") for who in state[busy]["busy"]), state[busy]
	PY
  test ! -e /dev/mapper/idle || fail "it is still mapped"
  if grep -q ' cryptsetup: ' /proc/keys; then fail "the cached passphrase is still there"; fi
  touch /srv/busy/still-works
  expect_status 7 volseal unlock "$(disk idle)"
  expect_status 7 volseal unlock --listed "$(disk idle)"
  expect_status 5 volseal tpm approve

  echo "--- once it is idle, the same command closes it"
  kill $sleeper
  wait $sleeper || true
  umount /srv/busy
  expect_status 0 volseal lock default --yes
  test ! -e /dev/mapper/busy || fail "it is still mapped"
}

phase_2() {
  dmesg -n 3
  expect_status 7 volseal unlock --all
  expect_output 'group default was locked on .*: a test' volseal lock --list
  echo wrong >/run/wrong
  expect_status 6 volseal recover --yes --keyslot 0 --key-file /run/wrong "$(disk idle)"

  echo "--- two factors bring it back, each volume by itself"
  expect_status 0 recover "$(disk idle)"
  expect_output 'no group is locked' volseal lock --list
  expect_status 7 volseal unlock "$(disk busy)"
  expect_status 0 recover "$(disk busy)"
  cryptsetup close idle
  cryptsetup close busy
  expect_status 0 volseal unlock --all
  cryptsetup close idle

  echo "--- what volseal itself does to a header is no sign of tampering"
  write_policy 'on_tamper = "lock"'
  mkfs.ext4 -q "$(disk plain)"
  start_watch
  echo "something long" >/run/new
  expect_status 0 volseal protector add passphrase --new-key-file /run/new "$(disk idle)"
  wait_for 30 grep -q '"name":"ubda".*opens with' /run/findings
  if is_locked; then fail "volseal's own change locked it"; fi
  stop_watch
}

phase_3() {
  dmesg -n 3
  expect_status 0 volseal unlock --all
  start_watch
  # As cryptsetup reads them: without a newline.
  printf %s "something long" >/run/new
  printf %s "something else" >/run/added
  cryptsetup luksAddKey -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /run/new "$(disk idle)" /run/added
  wait_for 60 grep -q 'its header was changed: keyslot' /run/findings
  wait_for 60 is_locked
  wait_for 60 grep -q '"complete": true' /var/lib/volseal/locks/default.json
  test ! -e /dev/mapper/idle || fail "it is still mapped"
  expect_output 'the header of .* was changed: keyslot .* volseal did not do that' volseal lock --list
  expect_status 7 volseal unlock "$(disk idle)"
  grep -q '"action":"lock","outcome":"ok".*"trigger":"tamper"' /var/lib/volseal/audit.log || fail "the log does not say why"
  stop_watch
  expect_output 'it is what was written' volseal audit verify
}
