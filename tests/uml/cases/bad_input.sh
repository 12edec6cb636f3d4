# shellcheck shell=bash
# Whatever is in the way is said in one line with what to do next, has its exit status, and leaves every
# byte as it was.
# disk: data 96M
# disk: odd 96M
# disk: small 40M
# timeout: 240

digest() { sha256sum <"$1"; }

# refused STATUS PATTERN DISK ARGUMENTS...: enroll ends so, says so, and the disk stays the same.
refused() {
  local wanted=$1 pattern=$2 disk=$3 before output status=0
  shift 3
  sync
  before=$(digest "$disk")
  echo "# volseal $*"
  output=$(volseal "$@" 2>&1) || status=$?
  echo "$output"
  expect_equal "$status" "$wanted" "exit status"
  grep -Eq -e "$pattern" <<<"$output" || fail "it does not say '$pattern'"
  blockdev --flushbufs "$disk"
  expect_equal "$(digest "$disk")" "$before" "the disk changed"
  test -z "$(ls /var/lib/volseal/enroll 2>/dev/null)" || fail "a journal is left"
}

phase_1() {
  local data odd small
  data=$(disk data) odd=$(disk odd) small=$(disk small)
  local enroll=(enroll --yes --recovery-key-dir /run/keys)

  mkfs.ext4 -q "$data"
  mkfs.ext4 -q "$small"
  head -c 3M /dev/urandom | dd of="$odd" bs=1M seek=20 status=none
  udevadm settle

  # Somebody works on it.
  mkdir -p /mnt/data
  mount -o ro "$data" /mnt/data
  refused 5 'mounted at /mnt/data.*' "$data" "${enroll[@]}" "$data"
  umount /mnt/data

  # Data without a signature is data.
  refused 5 'no signature, but not blank' "$odd" "${enroll[@]}" "$odd"
  refused 5 'MiB' "$small" "${enroll[@]}" "$small"
  refused 4 'no such|not found|gone' "$data" "${enroll[@]}" /dev/absent

  # The TPM is not there, then in the way: nobody gets a recovery key for a volume that stays as it is.
  refused 7 'TPM' "$data" --tcti swtpm:path=/run/no-such-socket "${enroll[@]}" "$data"
  test -z "$(ls /run/keys)" || fail "a recovery key was handed over for nothing"

  # No room for the journal.
  mkdir -p /run/full
  mount -t tmpfs -o size=64k none /run/full
  refused 4 'is full' "$data" --state /run/full "${enroll[@]}" "$data"
  umount /run/full

  # The kernel says no.
  blockdev --setro "$data"
  refused 5 'read-only' "$data" "${enroll[@]}" "$data"
  blockdev --setrw "$data"

  # A file system that is full cannot make room.
  mount "$data" /mnt/data
  dd if=/dev/urandom of=/mnt/data/filler bs=1M 2>/dev/null || true
  umount /mnt/data
  refused 5 'needs .* and would get' "$data" "${enroll[@]}" "$data"

  # Two at once: the second names the first.
  flock /var/lib/volseal/lock sleep infinity &
  wait_for 5 bash -c '! flock -n /var/lib/volseal/lock true'
  refused 5 'another volseal is at work' "$data" "${enroll[@]}" "$data"
  kill %1
}
