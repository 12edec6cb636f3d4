# shellcheck shell=bash
# The audit log's units as they are installed, below a real systemd: by the timer's service, and when the machine goes down.
# systemd: all of it
# mem: 1024M
# timeout: 300

phase_1() {
  local unit
  echo >/etc/volseal/policy.toml
  # As they are installed, but for where the program is.
  for unit in volseal-audit.service volseal-audit.timer volseal-audit-end.service; do
    sed "s|/usr/sbin/volseal|$BUILD/cli/volseal|" "$SOURCE/cli/units/$unit" >/run/systemd/system/$unit
  done
  systemctl daemon-reload

  echo "--- nothing to sign yet"
  expect_status 0 systemctl start volseal-audit.service volseal-audit.timer volseal-audit-end.service
  expect_equal "$(systemctl is-active volseal-audit.timer)" active

  echo "--- an act, signed through the unit's sandbox"
  truncate -s 40M /run/image
  printf secret >/run/key
  cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /run/image /run/key
  volseal protector test --key-file /run/key /run/image
  expect_status 1 volseal audit verify
  expect_status 0 systemctl start volseal-audit.service
  expect_status 0 volseal audit verify

  echo "--- and what came since, at the end"
  volseal protector test --key-file /run/key /run/image
  volseal audit verify --json | grep -q '"signed_lines": 2,' || fail "signed already"
  expect_status 0 systemctl stop volseal-audit-end.service
  volseal audit verify --json | grep -q '"signed_lines": 4,' || fail "not signed at the end"
}
