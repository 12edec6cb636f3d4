# shellcheck shell=bash
# Runs in a User-Mode Linux guest with an empty root disk: see ../prepare.
# BENCH: "true" for the server of ./dev bench boot.
target=/target
names=(data1 data2 data3)
if [ "$BENCH" = true ]; then names=(data{1..8}); fi

umask 077
printf 'correct horse battery staple' >/window/passphrase
umask 022
format() {
  cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --luks2-metadata-size 64k \
    --key-file /window/passphrase "$(disk "$1")"
  cryptsetup open --key-file /window/passphrase "$(disk "$1")" "$1"
  udevadm settle
}

for name in root "${names[@]}"; do format "$name"; done
mkfs.ext4 -q -O ^has_journal /dev/mapper/root
mkdir -p $target
mount /dev/mapper/root $target
cp -a /window/tree/root/. $target/
for name in "${names[@]}"; do
  mkfs.ext4 -q "/dev/mapper/$name"
  mount "/dev/mapper/$name" /mnt
  echo "this is $name" >/mnt/content
  umount /mnt
  mkdir -p "$target/srv/$name"
done

for name in root "${names[@]}"; do
  # `initramfs`: where the initramfs is built, nothing is mounted that would tell what the root is.
  echo "$name UUID=$(blkid -s UUID -o value "$(disk "$name")") none luks,discard$([ "$name" != root ] || echo ,initramfs)"
done >$target/etc/crypttab
{
  echo "/dev/mapper/root / ext4 defaults 0 1"
  for name in "${names[@]}"; do echo "/dev/mapper/$name /srv/$name ext4 defaults 0 2"; done
} >$target/etc/fstab
cp $target/etc/crypttab $target/etc/fstab /window/

volseal() { command volseal --state $target/var/lib/volseal "$@"; }
if [ "$BENCH" = true ]; then
  # What udevd makes; clevis is bash.
  ln -sf /proc/self/fd /dev/fd
  for name in root "${names[@]}"; do
    clevis luks bind -y -k /window/passphrase -d "$(disk "$name")" tpm2 '{"pcr_bank":"sha256","pcr_ids":"7"}'
    PASSWORD=$(cat /window/passphrase) systemd-cryptenroll --tpm2-device="$VOLSEAL_TCTI" --tpm2-pcrs=7 "$(disk "$name")"
    # There is no resource manager, and they leave sessions behind.
    tpm2_flushcontext --loaded-session
    tpm2_flushcontext --transient-object
  done
fi
# First, so that the TPM's token knows its keyslot.
volseal protector add recovery-key "$(disk root)" --key-file /window/passphrase >/window/recovery-key
for name in root "${names[@]}"; do
  volseal protector add tpm "$(disk "$name")" --key-file /window/passphrase
done
test -s $target/var/lib/volseal/groups/default/late.key || fail "the group has no late copy"

for folder in dev proc sys run; do mount --bind /$folder $target/$folder; done
chroot $target /usr/sbin/volseal verify-next-boot --list >/window/list
cat /window/list
for folder in dev proc sys run; do umount $target/$folder; done
umount $target
for name in root "${names[@]}"; do cryptsetup close "$name"; done
