# shellcheck shell=bash
# An ext4 of which a tenth is used, encrypted whole and encrypted as far as it is used: called by enroll_bench.py. Free
# space is only spared below a mapping, which an image file has not; so in a guest.
# disk: whole 3072M
# disk: used 3072M
# mem: 768M
# timeout: 500

# timed DEVICE FREE_SPACE: prints how long the whole job took, and how long what depends on the size.
timed() {
  local device=$1 way=$2 begun shrinks binds line
  mkfs.ext4 -q -b 4096 "$device"
  mount "$device" /mnt
  head -c 307M /dev/urandom >/mnt/noise
  umount /mnt
  printf '[volumes]\nfree_space = "%s"\n' "$way" >/etc/volseal/policy.toml
  begun=${EPOCHREALTIME//[.,]/}
  volseal enroll --yes --recovery-key-dir /window/keys "$device" 2>&1 >/dev/null | {
    while IFS= read -r line; do
      case $line in
        *": shrinking"*) shrinks=${EPOCHREALTIME//[.,]/} ;;
        *": binding"*) binds=${EPOCHREALTIME//[.,]/} ;;
      esac
    done
    echo "TOOK $way $(((${EPOCHREALTIME//[.,]/} - begun) / 1000)) $(((binds - shrinks) / 1000))"
  }
  volseal unlock --test "$device" >/dev/null
}

phase_1() {
  mkdir -p /etc/volseal
  timed "$(disk whole)" encrypt
  timed "$(disk used)" zero
}
