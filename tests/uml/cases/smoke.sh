# shellcheck shell=bash
# The sandbox itself: dm-crypt, LVM, hot-plug, tables that survive, a TPM that the next boot finds again.
# disk: data 64M
# disk: pv 64M

phase_1() {
  head -c 32 /dev/urandom >/window/key
  cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /window/key "$(disk data)"
  cryptsetup open --key-file /window/key "$(disk data)" data
  mkfs.ext4 -q /dev/mapper/data
  mount /dev/mapper/data /mnt
  make_files /mnt 1024
  remember sums "$(checksums /mnt)"

  pvcreate -q "$(disk pv)"
  vgcreate -q vg "$(disk pv)"
  lvcreate -q -L 20M -n lv vg
  udevadm settle
  expect_equal "$(udevadm info --query=property --property=DM_LV_NAME --value /dev/vg/lv)" lv

  hotplug_load
  hotplug
  wait_for 10 test -b /dev/sda
  udevadm settle
  hotplug -1
  wait_for 10 test ! -e /dev/sda

  echo "# kept" >/etc/fstab
  echo kept >/var/lib/volseal/note
  tpm2_createprimary -Q -C o -g sha256 -G ecc -c /run/primary
  tpm2_flushcontext -t
  echo secret | tpm2_create -Q -C /run/primary -i - -u /window/public -r /window/private
}

phase_2() {
  expect_equal "$(cat /etc/fstab)" "# kept"
  expect_equal "$(cat /var/lib/volseal/note)" kept
  cryptsetup open --key-file /window/key "$(disk data)" data
  mount /dev/mapper/data /mnt
  expect_equal "$(checksums /mnt)" "$(recall sums)" "the files differ"
  wait_for 10 vgchange -q -ay vg
  udevadm settle
  test -b /dev/vg/lv

  tpm2_createprimary -Q -C o -g sha256 -G ecc -c /run/primary
  tpm2_flushcontext -t
  tpm2_load -Q -C /run/primary -u /window/public -r /window/private -c /run/object
  tpm2_flushcontext -t
  expect_equal "$(tpm2_unseal -c /run/object)" secret "another TPM"
  if tpm2_pcrread sha256:7 | grep -Eq '0x0+$'; then fail "PCR 7 is zero: the firmware measured nothing"; fi
}
