# shellcheck shell=bash
# Two tenants on one machine, below a real systemd: their operators see and open their own volumes, by
# files and a socket of their Unix groups, and nothing of each other.
# systemd: all of it
# mem: 1024M
# timeout: 300
# disk: a 64M
# disk: b 64M

readonly published=/var/lib/volseal-operators

as() { # USER COMMAND...
  local user=$1
  shift
  echo "# $user: $*"
  runuser -u "$user" -- "$@"
}

# refused_as STATUS USER COMMAND...
refused_as() {
  local wanted=$1 status=0
  shift
  as "$@" || status=$?
  expect_equal "$status" "$wanted" "$*"
}

set_up_people() {
  groupadd dba-a
  groupadd dba-b
  useradd -G dba-a alice
  useradd -G dba-b bob
  useradd eve
  cat >/etc/volseal/policy.toml <<-POLICY
	[group.a]
	tenant = "Tenant A"
	environment = "production"
	operators = "dba-a"
	[group.b]
	tenant = "Tenant B"
	environment = "test"
	operators = "dba-b"
	[[rule]]
	name = "root"
	match = { path = "/dev/ubdp" }
	action = "leave"
	reason = "what the guest runs from"
	[[rule]]
	name = "a"
	match = { path = "$(disk a)" }
	group = "a"
	mapping = "data-a"
	filesystem = "none"
	[[rule]]
	name = "b"
	match = { path = "$(disk b)" }
	group = "b"
	mapping = "data-b"
	filesystem = "none"
	POLICY
}

# As they are installed, but for where the program and the TPM are.
install_units() {
  local unit
  for unit in volseal-operators@.socket volseal-operators@.service volseal-operators-publish.service; do
    sed -e "s|/usr/sbin/volseal|$BUILD/cli/volseal|" "$SOURCE/cli/units/$unit" >"/run/systemd/system/$unit"
  done
  mkdir -p "/run/systemd/system/volseal-operators@.service.d"
  printf '[Service]\nEnvironment=VOLSEAL_TCTI=%s\n' "$VOLSEAL_TCTI" \
    >"/run/systemd/system/volseal-operators@.service.d/tpm.conf"
  systemctl daemon-reload
}

ask_raw() { # USER TEXT
  as "$1" python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("/run/volseal-operators/dba-b.sock")
s.sendall(sys.argv[1].encode())
s.shutdown(socket.SHUT_WR)
print(s.makefile().read())' "$2"
}

phase_1() {
  set_up_people
  expect_status 0 volseal enroll --yes --recovery-key-dir /window/keys "$(disk a)" "$(disk b)"
  cryptsetup close data-a
  cryptsetup close data-b

  echo "--- a policy that everybody can read is published to nobody"
  chmod 644 /etc/volseal/policy.toml
  expect_status 5 volseal operators publish
  chmod 600 /etc/volseal/policy.toml
  install_units
  mkdir -p "$published"
  expect_status 0 systemctl start volseal-operators-publish.service
  expect_status 0 systemctl start volseal-operators@dba-a.socket volseal-operators@dba-b.socket

  echo "--- each sees theirs"
  as alice volseal check --json >/run/alice.json || fail "alice sees no report"
  grep -q '"Tenant A"' /run/alice.json || fail "alice does not see hers"
  if grep -Eq "Tenant B|$(disk b)|data-b|dba-b" /run/alice.json; then fail "alice sees something of B"; fi
  as bob volseal status >/run/bob.status || true
  grep -q 'Tenant B/test group b' /run/bob.status || fail "bob does not see his: $(cat /run/bob.status)"
  if grep -q 'Tenant A' /run/bob.status; then fail "bob sees something of A"; fi
  as alice volseal audit show --json >/run/alice.audit
  grep -q '"group":"a"' /run/alice.audit || fail "alice sees no event of hers"
  if grep -q '"group":"b"' /run/alice.audit; then fail "alice sees events of B"; fi
  as alice volseal protector list "$(disk a)" | grep -q recovery-key || fail "alice does not see what opens hers"
  refused_as 4 alice volseal protector list "$(disk b)"

  echo "--- and no file of the other's, nor of root's"
  for file in "$published/dba-b/report.json" "$published/dba-b/audit.jsonl" /var/lib/volseal/groups/a/sealed.json \
    /var/lib/volseal/audit.log /etc/volseal/policy.toml "$(disk a)" "$(disk b)"; do
    if as alice head -c 1 "$file" 2>/dev/null; then fail "alice reads $file"; fi
  done
  if as alice ls "$published" 2>/dev/null; then fail "alice lists who is published to"; fi
  if as alice ls "$published/dba-b" 2>/dev/null; then fail "alice lists B's folder"; fi
  if as eve cat "$published/dba-a/report.json" 2>/dev/null; then fail "eve reads A's report"; fi
  expect_equal "$(stat -c '%a %U:%G' "$published" "$published/dba-a" "$published/dba-a/report.json" | tr '\n' ' ')" \
    '711 root:root 750 root:dba-a 640 root:dba-a '

  echo "--- each opens theirs, and the other's is not there"
  refused_as 4 bob volseal unlock "$(disk a)" 2>/run/others
  refused_as 4 bob volseal unlock /dev/nothing 2>/run/nothing
  expect_equal "$(sed "s|$(disk a)|X|" /run/others)" "$(sed 's|/dev/nothing|X|' /run/nothing)" "an oracle"
  refused_as 4 bob volseal unlock "$(cryptsetup luksUUID "$(disk a)")"
  if [[ -e /dev/mapper/data-a ]]; then fail "bob opened A's volume"; fi
  as alice volseal unlock "$(disk a)" || {
    journalctl --no-pager -u 'volseal-operators@*' | tail -20
    fail "alice cannot open hers"
  }
  test -e /dev/mapper/data-a
  as alice volseal unlock "$(cryptsetup luksUUID "$(disk a)")" | grep -q 'is open as data-a'
  as alice volseal check --json | grep -q '"opened": "tpm"' || fail "what alice sees is old"

  echo "--- no socket for who is in no group, no request but the one that there is"
  refused_as 4 eve volseal unlock "$(disk a)"
  if ask_raw alice x 2>/dev/null; then fail "alice connects to B's socket"; fi
  ask_raw bob 'volseal-operator/1 lock /dev/sda
' | grep -q '"bad-request"'
  ask_raw bob "$(head -c 2000 /dev/zero | tr '\0' a)" | grep -q '"bad-request"'

  echo "--- who was taken out of the group loses it, whatever their processes have"
  gpasswd -d alice dba-a
  cryptsetup close data-a
  local status=0
  setpriv --reuid alice --regid alice --groups dba-a "$BUILD/cli/volseal" unlock "$(disk a)" || status=$?
  expect_equal "$status" 4
  if [[ -e /dev/mapper/data-a ]]; then fail "alice opens what is no longer hers"; fi

  echo "--- every request is in the log, with who asked"
  volseal audit show --json --action operator.unlock >/run/requests
  grep -q "\"uid\":$(id -u bob),.*\"outcome\":\"refused\".*\"asked_for\":\"$(disk a)\"" /run/requests ||
    fail "bob's request is not recorded: $(cat /run/requests)"
  grep -q "\"uid\":$(id -u alice),.*\"outcome\":\"started\".*\"tenant\":\"Tenant A\"" /run/requests
  expect_output 'Tenant A/production' volseal status

  echo "--- what the policy no longer names is taken away"
  sed -i '/operators/d' /etc/volseal/policy.toml
  expect_status 0 volseal operators publish
  if [[ -e $published/dba-a ]]; then fail "it is still published"; fi
}
