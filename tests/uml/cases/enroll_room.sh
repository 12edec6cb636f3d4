# shellcheck shell=bash
# Room for the header: a nearly empty ext4 is shrunk, encrypted as far as it is used, and grown back; an XFS that fills its
# logical volume gets 32 MiB more; one that ends before its partition needs nothing; one that fills its disk is refused.
# disk: archive 512M
# disk: group 348M
# disk: short 332M
# disk: full 300M
# timeout: 300

readonly canary="this was written, deleted, and must not be found again"

# A file system with files, and the memory of them.
fill() {
  local device=$1 name=$2
  mount "$device" /mnt
  make_files /mnt 8000
  checksums /mnt >"/window/sums.$name"
  if [[ $name == archive ]]; then
    # Deleted files far behind what stays.
    yes "$canary" | head -c 200M >/mnt/deleted
    sync
    rm /mnt/deleted
  fi
  umount /mnt
}

size_of() { blockdev --getsize64 "$1"; }

phase_1() {
  modprobe -a xfs dm-snapshot
  mkfs.ext4 -q -L archive "$(disk archive)"
  fill "$(disk archive)" archive
  shows "$canary" "$(disk archive)" || fail "the canary is not there to begin with"

  pvcreate -q "$(disk group)"
  vgcreate -q vg "$(disk group)"
  lvcreate -qq -L 300M -n db vg
  mkfs.xfs -q /dev/vg/db
  fill /dev/vg/db db

  mkfs.xfs -q -d size=300m "$(disk short)"
  fill "$(disk short)" short
  mkfs.xfs -q "$(disk full)"
  fill "$(disk full)" full
  echo "LABEL=archive /srv/archive ext4 defaults 0 2" >>/etc/fstab
  udevadm trigger --settle --subsystem-match=block

  expect_status 5 volseal plan
  expect_status 5 volseal enroll --yes --recovery-key-dir /etc/volseal/keys

  expect_output "cannot shrink" volseal plan "$(disk full)"
  mount "$(disk full)" /mnt
  checksums /mnt | cmp - /window/sums.full || fail "what was refused has changed"
  umount /mnt
}

phase_2() {
  modprobe xfs
  expect_status 0 volseal unlock --all
  local name called mapping
  for name in archive db short; do
    called=$name
    # It has no label. The lines stand in the order in which the volumes were done.
    if [[ $name == short ]]; then called=$(basename "$(disk short)"); fi
    mapping=$(awk -v name="$called" '$1 ~ name { print $1 }' /etc/crypttab)
    mount "/dev/mapper/$mapping" /mnt
    checksums /mnt | cmp - "/window/sums.$name" || fail "$name has changed"
    umount /mnt
  done
  # All of the volume again, but for the header.
  local blocks
  blocks=$(dumpe2fs -h /dev/mapper/archive 2>/dev/null | awk '/^Block count:/ { print $3 }')
  expect_equal $((blocks * 4096)) "$(size_of /dev/mapper/archive)" "the file system did not grow back"
  expect_equal "$(size_of /dev/mapper/archive)" $((512 * 1048576 - 16 * 1048576))
  e2fsck -fn /dev/mapper/archive
  if shows "$canary" "$(disk archive)"; then fail "old plaintext is left"; fi
  expect_equal "$(size_of /dev/vg/db)" $((332 * 1048576))
}
