# shellcheck shell=bash
# The worst day: the head of a volume is wiped and the firmware has changed. The header comes back from its
# backup by the recovery key, recover opens it, approves the boot and replaces the key; every file is there.
# disk: data 96M
# timeout: 240

phase_1() {
  local data key uuid before
  data=$(disk data)
  mkfs.ext4 -q -b 4096 -L data "$data"
  udevadm settle
  mkdir -p /run/data
  mount "$data" /run/data
  make_files /run/data 4096
  before=$(checksums /run/data)
  umount /run/data
  expect_status 0 volseal enroll --yes --recovery-key-dir /window/recovery-keys
  uuid=$(blkid -p -s UUID -o value "$data")
  key=$(ls /window/recovery-keys/*"$uuid"*)
  expect_status 0 volseal drill --keyslot 0 --key-file "$key" "$data"
  expect_output 'keyslot 0 .recovery-key.: last drill today' volseal check
  cryptsetup close data

  dd if=/dev/zero of="$data" bs=1M count=16 conv=fsync status=none
  udevadm settle
  tpm2_pcrextend 7:sha256="$(printf %064d 7)"
  echo wrong >/run/wrong
  expect_status 6 volseal header restore "$data" --yes --key-file /run/wrong
  expect_status 0 volseal header restore "$data" --yes --key-file "$key"
  expect_status 7 volseal unlock "$data"

  expect_output 'keyslot 0 .*recovery-key' volseal recover --list
  expect_status 0 volseal recover --yes --keyslot 0 --key-file "$key" --recovery-key-dir /window/new-keys "$data"
  mount /dev/mapper/data /run/data
  expect_equal "$(checksums /run/data)" "$before" "the files differ"
  umount /run/data
  cryptsetup close data
  expect_status 6 volseal unlock --key-file "$key" "$data"
  expect_status 0 volseal unlock "$data"
  cryptsetup close data
  expect_status 0 volseal unlock --key-file "/window/new-keys/$uuid.recovery-key" "$data"
}
