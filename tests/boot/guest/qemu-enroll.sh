# shellcheck shell=bash
# Runs in the server's first boot, which a person has let in: see ../prepare-qemu.
cat /run/window/passphrase >/tmp/key
ls -l /dev/tpm*
volseal protector add recovery-key /dev/vda --key-file /tmp/key >/run/window/recovery-key
for disk in /dev/vda /dev/vdb /dev/vdc; do
  volseal protector add tpm "$disk" --key-file /tmp/key
done
# The packages' own hooks look at what was built.
update-initramfs -c -k "$(uname -r)"
volseal verify-next-boot
cp "/boot/initrd.img-$(uname -r)" /run/window/
