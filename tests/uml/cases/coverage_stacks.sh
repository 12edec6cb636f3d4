# shellcheck shell=bash
# Stacks that a check by names or signatures gets wrong, on a real kernel; and what is below them is read and believed.
# disk: old 64M
# disk: tail 96M
# disk: luks1 64M
# disk: detached 64M
# disk: keys 64M
# disk: caches 160M
# disk: files 128M
# disk: secret 128M
# disk: origin 128M
# disk: pasted 96M
# disk: crypto 64M
# disk: reader 32M
# mem: 1024M
# timeout: 400

# shellcheck source=tests/uml/coverage-lib.sh
. "$SOURCE/tests/uml/coverage-lib.sh"

luks() {
  local device=$1
  shift
  cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /run/key "$@" "$device"
}
opened() { cryptsetup open --key-file /run/key "$@"; }

look() {
  udevadm settle --timeout="${SETTLE:-120}" || true  # it waits for what hangs, too
  volseal scan "$@"
  volseal check --json "$@" >/run/verdicts || true
  volseal check "$@" || true
  cp /run/verdicts /window/
}

phase_1() {
  modprobe -a dm-snapshot dm-writecache dm-multipath dm-round-robin dm-delay ecb
  modprobe zram num_devices=1 || true
  modprobe bcache || true
  modprobe nbd nbds_max=1 || true
  head -c 32 /dev/urandom >/run/key
  head -c 16 /dev/urandom >/run/key16

  # A disk that nobody has mounted for years; the tail of another, where a partition was deleted.
  mkfs.xfs -q -f "$(disk old)" 2>/dev/null || mkfs.ext4 -q "$(disk old)"
  partitioned "$(disk tail)" 16M 32M
  luks "$(disk tail)1" --offset 4096
  mkfs.ext4 -q "$(disk tail)2"
  sfdisk -q --delete "$(disk tail)" 2
  udevadm settle

  # LUKS1; a header elsewhere, locked and open; keys that are fixed, short, or of no use.
  luks "$(disk luks1)" --type luks1
  luks "$(disk detached)" --header /run/header
  opened --header /run/header "$(disk detached)" apart
  dd if=/dev/zero of=/dev/mapper/apart bs=1M count=8 conv=fsync status=none
  cryptsetup close apart
  partitioned "$(disk keys)" 12M 12M 12M 12M
  opened "$(disk keys)1" fixed --type plain --cipher aes-xts-plain64 --key-size 512 --keyfile-size 32 2>/dev/null ||
    cryptsetup open --type plain --cipher aes-xts-plain64 --key-size 256 --key-file /run/key "$(disk keys)1" fixed
  cryptsetup open --type plain --cipher aes-ecb --key-size 128 --key-file /run/key16 "$(disk keys)2" ecb
  cryptsetup open --type plain --cipher cipher_null-ecb --key-size 0 --key-file /dev/null "$(disk keys)3" nothing 2>/dev/null ||
    dmsetup create nothing --table "0 24576 crypt cipher_null-ecb - 0 $(disk keys)3 0"
  for name in fixed ecb nothing; do mkfs.ext4 -q "/dev/mapper/$name"; done

  # A plaintext write cache before an encrypted origin; two ways to one disk, LUKS above.
  partitioned "$(disk caches)" 48M 16M 40M 40M
  luks "$(disk caches)1" --offset 4096 && opened "$(disk caches)1" backing
  dmsetup create written --table "0 $(blockdev --getsz /dev/mapper/backing) writecache s /dev/mapper/backing $(disk caches)2 4096 0"
  mkfs.ext4 -q /dev/mapper/written
  dmsetup create ways --table "0 $(blockdev --getsz "$(disk caches)3") multipath 2 queue_mode bio 0 1 1 round-robin 0 1 1 $(disk caches)3 100"
  luks /dev/mapper/ways --offset 4096 && opened /dev/mapper/ways safe
  mkfs.ext4 -q /dev/mapper/safe

  # Files that are swapped to and looped over, on a plain and on an encrypted file system.
  mkfs.ext4 -q "$(disk files)"
  luks "$(disk secret)" && opened "$(disk secret)" secret && mkfs.ext4 -q /dev/mapper/secret
  mkdir -p /run/plain /run/hidden
  mount "$(disk files)" /run/plain
  mount /dev/mapper/secret /run/hidden
  for folder in plain hidden; do
    dd if=/dev/zero of=/run/$folder/swap bs=1M count=8 status=none
    chmod 600 /run/$folder/swap
    mkswap -q /run/$folder/swap && swapon /run/$folder/swap
  done
  # The decoy: an encrypted loop device on the plain file system makes nothing else encrypted.
  truncate -s 24M /run/plain/decoy
  losetup /dev/loop5 /run/plain/decoy
  luks /dev/loop5 && opened /dev/loop5 decoy && mkfs.ext4 -q /dev/mapper/decoy
  rm /run/plain/decoy
  if [[ -b /dev/zram0 ]]; then
    echo 16M >/sys/block/zram0/disksize
    mkswap -q /dev/zram0 && swapon /dev/zram0
  fi
  mkdir -p /srv/memory && mount -t tmpfs tmpfs /srv/memory

  # The store of a snapshot is plain, its origin is encrypted.
  partitioned "$(disk origin)" 80M 30M
  luks "$(disk origin)1" --offset 4096 && opened "$(disk origin)1" real
  mkfs.ext4 -q /dev/mapper/real
  size=$(blockdev --getsz /dev/mapper/real)
  dmsetup create snap --table "0 $size snapshot /dev/mapper/real $(disk origin)2 N 8"
  dmsetup create source --table "0 $size snapshot-origin /dev/mapper/real"

  # The header of another volume, pasted over the head of a plain file system.
  mkfs.ext4 -q "$(disk pasted)"
  mount "$(disk pasted)" /mnt
  seq 1 9000000 >/mnt/numbers || true
  umount /mnt
  truncate -s 96M /run/donor && luks /run/donor
  dd if=/run/donor of="$(disk pasted)" bs=1M count=16 conv=notrunc status=none

  # fscrypt; a disk that may only be read; one that cannot.
  mkfs.ext4 -q -O encrypt "$(disk crypto)"
  mkfs.ext4 -q "$(disk reader)"
  blockdev --setro "$(disk reader)"
  dmsetup create broken --table "0 65536 error"

  look
  expect_verdict "$(disk old)" not-covered
  expect_verdict "$(disk tail)1" covered-weak
  expect_verdict "$(disk tail)@$((17 * 1048576))" not-covered "is not encrypted"
  expect_verdict "$(disk luks1)" covered-weak LUKS1
  expect_verdict "$(disk detached)" unknown random
  expect_verdict /dev/mapper/fixed covered-weak "no way to recover"
  expect_verdict /dev/mapper/ecb covered-weak ECB
  expect_verdict /dev/mapper/nothing not-covered null
  expect_verdict /dev/mapper/written not-covered "$(disk caches)2 is not encrypted"
  expect_verdict /dev/mapper/ways covered-weak
  expect_verdict "$(disk caches)3" none
  expect_verdict "$(disk caches)4" unknown blank
  expect_verdict "$(disk files)" not-covered
  expect_verdict /run/plain/swap not-covered "$(disk files) is not encrypted"
  expect_verdict /run/hidden/swap covered-weak
  expect_verdict /dev/loop5 covered-weak
  if [[ -b /dev/zram0 ]]; then expect_verdict /dev/zram0 covered; fi
  expect_verdict /srv/memory not-covered "swapped out"
  expect_verdict /dev/mapper/source not-covered "$(disk origin)2 is not encrypted"
  expect_verdict /dev/mapper/snap not-covered "$(disk origin)2 is not encrypted"
  expect_verdict "$(disk pasted)" covered-weak
  expect_verdict "$(disk crypto)" not-covered fscrypt
  expect_verdict "$(disk reader)" not-covered
  expect_verdict /dev/mapper/broken unknown "could not be read"

  echo "resume=$(cat /sys/power/resume 2>/dev/null || true)"
  swapoff /run/plain/swap
  look --sample
  expect_verdict "$(disk pasted)" not-covered "it is not encrypted, whatever is said of it"
  expect_verdict "$(disk tail)1" covered-weak
  expect_verdict /dev/mapper/ways covered-weak
  expect_verdict /dev/mapper/fixed covered-weak
  expect_verdict /srv/memory covered

  # With its header at hand the detached one is as good as its table.
  opened --header /run/header "$(disk detached)" apart && mkfs.ext4 -q /dev/mapper/apart
  # A file on a volume group of a plain and an encrypted part: the way of its own extents.
  pvcreate -q -y /dev/mapper/safe "$(disk caches)4"
  vgcreate -q -y vg /dev/mapper/safe "$(disk caches)4"
  lvcreate -q -y -l 100%FREE -n both vg
  mkfs.ext4 -q /dev/vg/both
  mkdir -p /run/both && mount /dev/vg/both /run/both
  dd if=/dev/urandom of=/run/both/file bs=1M count=40 status=none
  sync /run/both/file
  look
  expect_verdict /dev/mapper/apart covered-weak "detached header"
  expect_verdict /dev/vg/both not-covered "$(disk caches)4 is not encrypted"
  expect_output "leaks on $(disk caches): .* at byte" volseal explain /run/both/file
  expect_output "ENCRYPTED from here on" volseal explain /dev/vg/both
  expect_output "No plaintext reaches a disk" volseal explain /run/hidden/swap
  expect_status 2 volseal explain /run/plain
  python3 - <<'PYTHON' || fail "bytes of /dev/vg/both"
import json
both = [v for v in json.load(open('/run/verdicts'))['volumes'] if v['path'] == '/dev/vg/both'][0]
print(both['size'], both['bytes'])
assert both['bytes']['encrypted'] > 30 << 20 and both['bytes']['plaintext'] > 30 << 20
assert sum(both['bytes'].values()) == both['size']
PYTHON

  # A mapping that hangs, found suspended; then one that the kernel does not call so: reads of it wait for minutes.
  umount /run/hidden || { swapoff /run/hidden/swap && umount /run/hidden; }
  dmsetup suspend secret
  dmsetup --noudevsync create slow --table "0 $(blockdev --getsz "$(disk reader)") delay $(disk reader) 0 120000"
  local -i before=$((${EPOCHREALTIME//[.,]/} / 1000))
  SETTLE=1 look --device-timeout 3
  local -i took=$((${EPOCHREALTIME//[.,]/} / 1000 - before))
  echo "three looks with a hanging device took $took ms"
  if ((took > 40000)); then fail "a hanging device holds up a scan"; fi
  expect_verdict "$(disk secret)" suspended "neither be read nor written"
  expect_verdict "/dev/$(dmsetup info -c --noheadings -o blkdevname slow)" unknown "did not answer within 3 s"
  dmsetup resume secret
  dmsetup --noudevsync remove --force slow
}
