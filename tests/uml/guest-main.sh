#!/bin/bash
# Runs one script in the guest that guest-init.sh made, tells its exit status, and powers off.
set -u
# shellcheck source=/dev/null
. /window/boot.env
# shellcheck source=tests/uml/guest-lib.sh
. "$SOURCE/tests/uml/guest-lib.sh"

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
