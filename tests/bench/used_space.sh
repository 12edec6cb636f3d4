# shellcheck shell=bash
# An ext4 of which a tenth is used, encrypted whole and encrypted as far as it is used: called by enroll_bench.py. Free
# space is only spared below a mapping, which an image file has not; so in a guest.
# disk: whole 8192M
# disk: used 8192M
# mem: 768M
# timeout: 580

# MiB (Documentation/block/stat.rst: sectors read). What is written counts as much, but so would zeros that cost nothing.
have_read() { awk '{ print int($3 / 2048) }' "/sys/block/$(basename "$1")/stat"; }

# timed DEVICE FREE_SPACE: prints how long the whole job took, how long what depends on the size, and how many MiB were
# read from the device.
timed() {
  local device=$1 way=$2 begun shrinks binds line before
  mkfs.ext4 -q -b 4096 "$device"
  mount "$device" /mnt
  head -c 819M /dev/urandom >/mnt/noise
  umount /mnt
  printf '[volumes]\nfree_space = "%s"\n' "$way" >/etc/volseal/policy.toml
  sync
  before=$(have_read "$device")
  begun=${EPOCHREALTIME//[.,]/}
  volseal enroll --yes --recovery-key-dir /window/keys "$device" 2>&1 >/dev/null | {
    while IFS= read -r line; do
      case $line in
        *": shrinking"*) shrinks=${EPOCHREALTIME//[.,]/} ;;
        *": binding"*) binds=${EPOCHREALTIME//[.,]/} ;;
      esac
    done
    echo "TOOK $way $(((${EPOCHREALTIME//[.,]/} - begun) / 1000)) $(((binds - shrinks) / 1000)) $(($(have_read "$device") - before))"
  }
  volseal unlock --test "$device" >/dev/null
}

phase_1() {
  mkdir -p /etc/volseal
  timed "$(disk whole)" encrypt
  timed "$(disk used)" zero
}
