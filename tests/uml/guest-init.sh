#!/bin/sh
# The guest's first process: turns the host's read-only root into a writable server and hands over
# to guest-main.sh in it. See run-guest, which starts the kernel.
#
# The host's file system lies below an overlay, so every program of the host, the one just built
# included, is there; what the guest writes goes to the upper layer, which a later boot finds again.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

# Set by run-guest on the kernel's command line: the host folder that the guest may write to.
window=$VOLSEAL_WINDOW
# BUILD, SOURCE: host folders; ROOT: where the root's upper layer lies, see run-guest --root.
# shellcheck source=/dev/null
. "$window/boot.env"

die() {
  echo "guest-init: $1"
  poweroff -f
}

modules=lib/modules/$(uname -r)
mount -n -t tmpfs t /mnt || die "no tmpfs"
mkdir -p "/mnt/$modules" /mnt/layer /mnt/root
mount -n --bind "/usr/lib/uml/modules/$(uname -r)" "/mnt/$modules" || die "no modules for this kernel"
modprobe -d /mnt overlay || die "no overlayfs"

case $ROOT in
  window) # What lies in /etc and /var/lib/volseal is bound from the window below; the rest is forgotten.
    mount -n -t tmpfs t /mnt/layer
    ;;
  disk | luks)
    node=/dev/ubdp
    if [ "$ROOT" = luks ]; then
      mount -n -t proc proc /proc
      for module in cbc hmac xts dm-crypt; do modprobe -d /mnt "$module"; done
      mount -n -t tmpfs t /run
      node=/dev/mapper/root
      # No udev yet.
      DM_DISABLE_UDEV=1 cryptsetup open --type luks2 --key-file "$window/root.key" /dev/ubdp root ||
        die "the root disk does not open"
      if ! blkid -p "$node" >/dev/null; then mkfs.ext4 -q "$node"; fi
    fi
    mount -n -t ext4 "$node" /mnt/layer || die "the root disk cannot be mounted"
    ;;
esac
mkdir -p /mnt/layer/upper /mnt/layer/work
mount -n -t overlay root /mnt/root \
  -o lowerdir=/,upperdir=/mnt/layer/upper,workdir=/mnt/layer/work || die "no overlay"

cd /mnt/root
mkdir -p "$modules" window
mount -n --bind "/usr/lib/uml/modules/$(uname -r)" "$modules"
mount -n -t proc proc proc
mount -n -t sysfs sysfs sys
mount -n -t devtmpfs devtmpfs dev
mkdir -p dev/pts dev/shm
mount -n -t devpts devpts dev/pts
mount -n -t tmpfs -o mode=1777 tmpfs dev/shm
mount -n -t tmpfs -o mode=755 tmpfs run
mount -n -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p run/lock/lvm
if [ "$ROOT" = window ]; then
  mkdir -p var/lib/volseal
  for folder in etc var/lib/volseal; do
    mount -n -t hostfs -o "$window/root/$folder" none "$folder" || die "no /$folder in the window"
  done
fi
# Synchronous, since the TPM's own memory is in it: a real TPM forgets nothing when the power goes.
mount -n -t hostfs -o "$window" none window -o sync || die "the window cannot be mounted"
# A checkout below /tmp or /run would now be hidden.
for folder in "$SOURCE" "$BUILD"; do
  case $folder in
    /tmp/* | /run/* | /dev/shm/*)
      mkdir -p ".$folder"
      mount -n --bind "$folder" ".$folder"
      ;;
  esac
done

exec chroot . /bin/bash "$SOURCE/tests/uml/guest-main.sh"
