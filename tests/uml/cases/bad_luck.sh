# shellcheck shell=bash
# What fails in the middle of an enrollment: the disk is pulled out, one of its sectors cannot be read, it
# turns read-only, the clock jumps, the policy is another one by then. Each is said in one line, its exit
# status is right, and a later run finishes with every file as it was.
# disk: data 128M
# root: disk
# timeout: 600

readonly state=/var/lib/volseal
enroll() { volseal enroll --yes --recovery-key-dir /window/keys "$@"; }

# fill DEVICE: an ext4 with files, whose sums are remembered.
fill() {
  mkfs.ext4 -q -b 4096 "$1"
  mount "$1" /srv
  make_files /srv 4096
  checksums /srv >/run/sums
  umount /srv
  udevadm settle
}

# finishes DEVICE NAME: whatever happened before, the same command comes to its end.
finishes() {
  expect_status 0 enroll "$1"
  mount "/dev/mapper/$2" /srv
  expect_equal "$(checksums /srv)" "$(cat /run/sums)" "the files of $1 differ"
  umount /srv
  expect_status 0 volseal unlock --test "$1"
  if [[ -n $(ls "$state/enroll") ]]; then fail "a journal is left"; fi
}

# fails STATUS PATTERN COMMAND...: with that exit status, and one line of its errors says so.
fails() {
  local wanted=$1 pattern=$2 status=0
  shift 2
  echo "# $*"
  "$@" >/run/out 2>/run/err || status=$?
  cat /run/out /run/err
  expect_equal "$status" "$wanted" "exit status"
  grep -Eq -e "^volseal: .*($pattern)" /run/err || fail "no line says '$pattern'"
}

# at_step TEXT COMMAND...: runs the command once volseal has said that on standard error, and waits for volseal.
at_step() {
  local text=$1 status=0
  shift
  mkfifo /run/said
  enroll "$device" >/run/out 2>/run/said &
  local job=$!
  while IFS= read -r line; do
    echo "$line"
    if [[ $line == *"$text"* ]]; then "$@"; fi
  done </run/said | tee /run/err
  rm /run/said
  wait "$job" || status=$?
  echo "exit status $status"
  return $status
}

phase_1() {
  local device node
  dmesg -n 1

  echo "== a sector that cannot be read, then is mended"
  hotplug_load dev_size_mb=128 medium_error_start=100000 medium_error_count=1
  hotplug
  wait_for 10 test -b /dev/sda
  device=/dev/sda
  fill $device
  # SCSI_DEBUG_OPT_MEDIUM_ERR
  echo 2 >/sys/bus/pseudo/drivers/scsi_debug/opts
  echo 3 >/proc/sys/vm/drop_caches
  fails 4 'sda' enroll $device
  # Half-encrypted or not, it opens.
  expect_status 0 volseal unlock --test $device
  echo 0 >/sys/bus/pseudo/drivers/scsi_debug/opts
  finishes $device sda-crypt
  cryptsetup close sda-crypt

  echo "== the same, of a volume that is in use meanwhile"
  wipefs -qa $device
  : >/etc/crypttab
  fill $device
  mkdir -p /srv/used
  mount $device /srv/used
  echo 2 >/sys/bus/pseudo/drivers/scsi_debug/opts
  echo 3 >/proc/sys/vm/drop_caches
  fails 4 'sda' enroll --unmount $device
  # Nobody waits for it for ever: what can be read is read, and it can be unmounted.
  timeout 60 cat /srv/used/folder*/* >/run/read 2>/run/unread || test $? != 124
  echo 0 >/sys/bus/pseudo/drivers/scsi_debug/opts
  expect_status 5 enroll $device
  expect_status 0 enroll --unmount $device
  expect_equal "$(checksums /srv/used)" "$(cat /run/sums)" "the files of $device differ"
  umount /srv/used
  cryptsetup close srv-used

  echo "== it turns read-only when the data is about to be rewritten, the policy and the clock change after"
  device=$(disk data)
  fill "$device"
  at_step 'crypttab and fstab' blockdev --setro "$device" && fail "a read-only disk was encrypted"
  blockdev --setrw "$device"
  printf '[volumes]\ncipher = "serpent-xts-plain64"\n' >/etc/volseal/policy.toml
  date -s '2001-01-01 00:00'
  finishes "$device" ubda-crypt
  expect_output 'aes-xts-plain64' cryptsetup luksDump "$device"
  date -s '2031-01-01 00:00'
  rm /etc/volseal/policy.toml

  echo "== it is pulled out while its data is rewritten"
  device=/dev/sda
  wipefs -qa $device
  : >/etc/crypttab
  fill $device
  at_step 'encrypting' hotplug -1 && fail "a disk that is gone was encrypted"
  wait_for 10 test ! -e /dev/sda
  udevadm settle
  # 5, not 4: the guest's root, which nobody may encrypt here, is in the way too.
  fails 5 'no device of 128 MiB bears one of its names' enroll
  hotplug
  wait_for 10 test -b /dev/sda
  udevadm settle
  node=$(echo /dev/sd?)
  finishes "$node" sda-crypt
}
