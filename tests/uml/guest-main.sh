#!/bin/bash
# Runs one script in the guest that guest-init.sh made, tells its exit status, and powers off.
set -u
# shellcheck source=/dev/null
. /window/boot.env
# shellcheck source=tests/uml/guest-lib.sh
. "$SOURCE/tests/uml/guest-lib.sh"

# A case with "# systemd:" at its top runs as a unit of all of systemd; this script is then started again by it.
boot_systemd() {
  mkdir -p /run/systemd/system
  cat >/run/systemd/system/volseal-case.service <<-UNIT
	[Unit]
	Requires=basic.target
	After=basic.target
	[Service]
	Type=oneshot
	ExecStart=/bin/bash $SOURCE/tests/uml/guest-main.sh
	TimeoutStartSec=infinity
	StandardInput=null
	StandardOutput=tty
	StandardError=inherit
	TTYPath=/dev/tty0
	UNIT
  first_boot
  exec /lib/systemd/systemd --unit=volseal-case.service --show-status=no
}
if [[ $$ == 1 ]] && grep -q '^# systemd:' "$SCRIPT"; then boot_systemd; fi

# A subshell: whatever the script does to itself, the status still gets out.
(
  set -eu
  guest_start
  # run-guest --live shows what stands between these two.
  printf '\036'
  # shellcheck source=/dev/null
  . "$SCRIPT"
  if declare -F "phase_$PHASE" >/dev/null; then "phase_$PHASE"; fi
)
status=$?
printf '\037'
guest_stop
sync
echo "$status" >/window/status
sync
poweroff -f
