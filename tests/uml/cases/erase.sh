# shellcheck shell=bash
# A volume in use is not erased, whoever has it; one that is free is, and then nothing opens it: not the TPM, not the recovery
# key, not what cryptsetup repairs. What the certificate says is what the disk has, read past every cache, also in the next boot.
# disk: data 96M
# disk: pv 80M
# disk: leg 64M
# timeout: 240

refused() {
  local before
  before=$(sha256sum <"$1")
  expect_status 5 volseal erase "$1" --yes-really
  expect_equal "$(sha256sum <"$1")" "$before" "something was written to $1"
}

phase_1() {
  local data recovery_key
  data=$(disk data)
  mkdir -p /run/data
  mkfs.ext4 -q -b 4096 -L data "$data"
  udevadm settle
  expect_status 0 volseal enroll --yes --recovery-key-dir /window/keys "$data"
  local uuid
  uuid=$(blkid -p -s UUID -o value "$data")
  recovery_key=$(echo /window/keys/*)
  cryptsetup open --test-passphrase --key-file "$recovery_key" "$data"

  echo "--- open, mounted, swap, or held by LVM, md or device-mapper"
  local mapping=data
  refused "$data"
  mount "/dev/mapper/$mapping" /run/data
  refused "$data"
  expect_status 5 volseal erase "/dev/mapper/$mapping" --yes-really
  umount /run/data
  echo "/dev/mapper/$mapping /run/data ext4 defaults 0 2" >>/etc/fstab
  cryptsetup close "$mapping"
  local map_size
  map_size=$(blockdev --getsz "$data")
  dmsetup create holder --table "0 $map_size linear $data 0"
  udevadm settle
  refused "$data"
  dmsetup remove --retry holder
  # A program that claims it.
  python3 -c 'import os, sys, time; os.open(sys.argv[1], os.O_RDONLY | os.O_EXCL); print("held", flush=True); time.sleep(600)' \
    "$data" >/run/held &
  local holder=$!
  wait_for 10 grep -q held /run/held
  refused "$data"
  kill "$holder"
  wait "$holder" || true
  # LUKS below a logical volume, and in a leg of an array.
  pvcreate -q "$(disk pv)" && vgcreate -q vg "$(disk pv)" && lvcreate -q -L 64M -n lv vg
  udevadm settle
  expect_status 4 volseal erase "$(disk pv)" --yes-really
  mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 "$(disk leg)" missing 2>/dev/null
  udevadm settle
  expect_status 4 volseal erase "$(disk leg)" --yes-really

  echo "--- free, and erased"
  cryptsetup luksHeaderBackup "$data" --header-backup-file /window/copy
  head -c 16M "$data" >/window/old-header
  expect_status 0 volseal erase "$data" --yes-really
  echo 3 >/proc/sys/vm/drop_caches
  expect_status 1 cryptsetup isLuks "$data"
  expect_status 1 cryptsetup repair -q "$data"
  expect_status 1 cryptsetup open --test-passphrase --key-file "$recovery_key" "$data"
  expect_status 4 volseal unlock "$data" --name again
  expect_equal "$(blkid -p "$data")" ""
  expect_equal "$(cat /etc/crypttab)" ""
  grep -q "$mapping" /etc/fstab && fail "fstab still has it"
  [[ $(cat /var/lib/volseal/erasures/*.html) == *"Certificate of erasure"* ]] || fail "no page"
  proven "$data"

  echo "--- what was named as still there is what it is"
  local backup=/var/lib/volseal/headers/$uuid.luks-header
  grep -q "\"where\": \"$backup\"" /var/lib/volseal/erasures/"$uuid"-*.json || fail "the backup is not named"
  cryptsetup open --test-passphrase --key-file "$recovery_key" "$backup"
  # With header and TPM brought back, the group's secret still opens it: that is what the certificate says, and erasing the group ends.
  cryptsetup luksHeaderRestore -q "$data" --header-backup-file /window/copy
  udevadm settle
  expect_status 0 volseal unlock --test "$data"
  expect_status 0 volseal erase default --yes-really --header-backups
  cryptsetup luksHeaderRestore -q "$data" --header-backup-file /window/copy
  expect_output "the revocation counter is gone" volseal unlock --test --json "$data"
  expect_status 0 volseal erase "$data" --yes-really
  volseal audit verify || (($? == 1)) || fail "the audit log is not what was written"
  sync
}

# No byte of the old header is where it was, and the disk has what the certificate says.
proven() {
  python3 - "$1" <<'PY'
import glob, hashlib, json, mmap, os, sys
device = sys.argv[1]
fd = os.open(device, os.O_RDONLY | os.O_DIRECT)
page = mmap.mmap(-1, 16 << 20)
assert os.readv(fd, [page]) == len(page)
now = page[:]
old = open("/window/old-header", "rb").read()
sectors = {old[i:i + 512] for i in range(0, len(old), 512)} - {bytes(512)}
assert len(sectors) > 400
assert not any(now[i:i + 512] in sectors for i in range(0, len(now), 512)), "old keyslots are still there"
certificates = [json.load(open(f)) for f in glob.glob("/var/lib/volseal/erasures/*.json") if not f.endswith(".dsse.json")]
areas = [(a, v) for c in certificates for v in c["volumes"] if v["path"] == device for a in v["areas"]]
assert len(areas) == 2
for area, volume in areas:
    part = now[area["offset"]:area["offset"] + area["bytes"]]
    assert hashlib.sha256(part).hexdigest() == area["sha256"], area
    assert area["read_from_disk"] is True
print("as certified")
PY
}

phase_2() {
  expect_status 1 cryptsetup isLuks "$(disk data)"
  ls /var/lib/volseal/erase/*.json 2>/dev/null && fail "a journal is left"
  expect_status 64 volseal erase
}
