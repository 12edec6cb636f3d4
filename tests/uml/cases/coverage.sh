# shellcheck shell=bash
# What only looks encrypted is found out on a real kernel, and a saved graph is judged as the machine is.
# disk: mixed 96M
# disk: second 96M
# disk: plain 64M
# disk: swap 64M
# disk: nothing 64M
# disk: null 64M
# disk: decoy 64M
# disk: begun 96M
# disk: legs 128M
# disk: lvm 160M
# disk: tagged 96M
# disk: random 16M
# disk: fast 64M
# disk: pool 280M
# mem: 1024M
# timeout: 240

# shellcheck source=tests/uml/coverage-lib.sh
. "$SOURCE/tests/uml/coverage-lib.sh"

# enrolled DEVICE [luksFormat options]: a LUKS2 volume with the tokens of an enrolled one.
enrolled() {
  local device=$1
  shift
  cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /run/key "$@" "$device"
  cryptsetup luksAddKey -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /run/key "$device" /run/key
  cryptsetup token import --json-file - "$device" <<<'{"type":"systemd-recovery","keyslots":["0"]}'
  cryptsetup token import --json-file - "$device" <<<'{"type":"volseal-tpm2","keyslots":["1"],"group":"default"}'
}
opened() { cryptsetup open --key-file /run/key "$1" "$2"; }

judge_now() {
  udevadm settle
  volseal scan
  volseal scan --json >/run/graph
  volseal check || true
  volseal check --json >/run/verdicts || true
  volseal check --json --graph /run/graph >/run/verdicts.saved || true
  # Of a saved graph it is not known when anything was drilled, and when the report was made differs.
  python3 - <<'PYTHON' || fail "a saved graph is judged otherwise"
import json
reports = [json.load(open(f'/run/{name}')) for name in ('verdicts', 'verdicts.saved')]
for report in reports:
    for key in ('taken_at', 'made_at'):
        report.pop(key, None)
    for volume in report['volumes']:
        volume.pop('drills')
assert reports[0] == reports[1]
PYTHON
  cp /run/graph /run/verdicts /window/
}

phase_1() {
  modprobe -a dm-integrity dm-snapshot dm-thin-pool dm-cache dm-cache-smq raid1 btrfs
  head -c 32 /dev/urandom >/run/key

  # LVM on LUKS, beside a plain partition; a volume group with a plain member.
  partitioned "$(disk mixed)" 20M 70M
  mkfs.ext4 -q "$(disk mixed)1"
  mount "$(disk mixed)1" /mnt
  mkdir /run/second
  enrolled "$(disk mixed)2" && opened "$(disk mixed)2" vault
  pvcreate -q /dev/mapper/vault "$(disk second)"
  vgcreate -q vg /dev/mapper/vault "$(disk second)"
  lvcreate -q -y -l 4 -n inside vg /dev/mapper/vault
  lvcreate -q -y -l 4 -n outside vg "$(disk second)"
  lvcreate -q -y -l 100%PVS -n both vg /dev/mapper/vault
  lvextend -q -l +4 /dev/vg/both "$(disk second)"
  mkfs.ext4 -q /dev/vg/inside
  mkfs.ext4 -q /dev/vg/outside
  mkfs.ext4 -q /dev/vg/both
  # LUKS on LVM.
  lvcreate -q -y -l 9 -n container vg "$(disk second)"
  enrolled /dev/vg/container && opened /dev/vg/container inner
  mkfs.ext4 -q /dev/mapper/inner
  mount /dev/mapper/inner /run/second

  # In the clear, and nothing.
  mkfs.ext4 -q "$(disk plain)"
  mkswap "$(disk swap)"
  swapon "$(disk swap)"

  # Called encrypted by every header and tool; none of it is.
  enrolled "$(disk null)" --cipher null
  opened "$(disk null)" null
  mkfs.ext4 -q /dev/mapper/null
  dmsetup create decoy --uuid CRYPT-LUKS2-0123456789abcdef0123456789abcdef-decoy \
    --table "0 131072 linear $(disk decoy) 0"
  mkfs.ext4 -q /dev/mapper/decoy

  # An encryption that has only been begun: two linear segments.
  mkfs.ext4 -q "$(disk begun)" 56M
  (cd /run && cryptsetup reencrypt -q --encrypt --init-only --reduce-device-size 32M --pbkdf pbkdf2 \
    --pbkdf-force-iterations 1000 --key-file /run/key "$(disk begun)" begun)

  # Arrays: a plain leg, two encrypted ones, LUKS above.
  partitioned "$(disk legs)" 20M 20M 20M 20M 20M
  for leg in 1 2 3; do
    enrolled "$(disk legs)$leg" --offset 4096
    opened "$(disk legs)$leg" "leg$leg"
  done
  local create="mdadm --create --run --metadata=1.2 --level=1 --raid-devices=2"
  $create /dev/md10 /dev/mapper/leg1 "$(disk legs)4"
  $create /dev/md11 /dev/mapper/leg2 /dev/mapper/leg3
  mkfs.ext4 -q /dev/md10
  mkfs.ext4 -q /dev/md11

  # Thin pool with LUKS in it, snapshot, cache: all of LVM's own kind.
  pvcreate -q "$(disk lvm)"
  vgcreate -q data "$(disk lvm)"
  lvcreate -q -y -L 60M -T data/pool
  lvcreate -q -y -V 32M -T data/pool -n thin
  lvcreate -q -y -V 32M -T data/pool -n thinplain
  mkfs.ext4 -q /dev/data/thinplain
  enrolled /dev/data/thin && opened /dev/data/thin thick
  mkfs.ext4 -q /dev/mapper/thick

  # A snapshot of what is encrypted, one of what is not.
  lvcreate -q -y -L 8M -s -n sealed vg/container
  lvcreate -q -y -L 8M -s -n bare vg/outside

  # LUKS2 with integrity; random keys; a loop file where it is encrypted and where not.
  enrolled "$(disk tagged)" --integrity hmac-sha256 && opened "$(disk tagged)" tagged
  echo "scratch $(disk random) /dev/urandom swap,cipher=aes-xts-plain64,size=512" >>/etc/crypttab
  cryptsetup open --type plain --cipher aes-xts-plain64 --key-size 512 --key-file /dev/urandom "$(disk random)" scratch
  mkfs.ext4 -q /dev/mapper/tagged
  mkswap /dev/mapper/scratch
  truncate -s 4M /mnt/file /run/second/file
  mkfs.ext4 -q /mnt/file
  mkfs.ext4 -q /run/second/file
  losetup /dev/loop6 /mnt/file
  losetup /dev/loop7 /run/second/file

  # A cache in clear before an encrypted origin: hot data lies in it. A btrfs with a plain member.
  partitioned "$(disk fast)" 16M 16M 20M
  enrolled "$(disk fast)3" --offset 4096 && opened "$(disk fast)3" origin
  dd if=/dev/zero of="$(disk fast)1" bs=1M count=16 status=none
  dmsetup create cached --table "0 $(blockdev --getsz /dev/mapper/origin) cache $(disk fast)1 $(disk fast)2 \
    /dev/mapper/origin 128 1 writethrough smq 0"
  mkfs.ext4 -q /dev/mapper/cached
  partitioned "$(disk pool)" 138M 138M
  enrolled "$(disk pool)1" && opened "$(disk pool)1" member
  mkfs.btrfs -q /dev/mapper/member "$(disk pool)2"
  mkdir /run/btrfs
  mount /dev/mapper/member /run/btrfs

  judge_now
  expect_verdict "$(disk mixed)1" not-covered
  expect_verdict "$(disk mixed)2" none
  expect_verdict /dev/vg/inside covered
  expect_verdict /dev/vg/outside not-covered "$(disk second) is not encrypted"
  expect_verdict /dev/vg/both not-covered "$(disk second) is not encrypted"
  expect_verdict /dev/vg/container covered
  expect_verdict "$(disk plain)" not-covered
  expect_verdict "$(disk swap)" not-covered
  expect_verdict "$(disk nothing)" unknown blank
  expect_verdict "$(disk null)" not-covered null
  expect_verdict /dev/mapper/decoy not-covered
  expect_verdict "$(disk begun)" converting
  expect_verdict /dev/md10 not-covered "$(disk legs)4 is not encrypted"
  expect_verdict /dev/md11 covered
  expect_verdict /dev/data/thin covered
  expect_verdict /dev/data/thinplain not-covered
  expect_verdict /dev/data/pool none
  expect_verdict /dev/vg/sealed covered
  expect_verdict /dev/vg/bare not-covered
  expect_verdict "$(disk tagged)" covered
  expect_verdict /dev/mapper/cached not-covered "$(disk fast)2 is not encrypted"
  expect_verdict "$(disk pool)2" not-covered
  expect_verdict "$(disk pool)1" not-covered "same btrfs"
  expect_verdict /dev/mapper/scratch covered
  expect_verdict /dev/loop6 not-covered
  expect_verdict /dev/loop7 covered
  expect_status 2 volseal check
  expect_status 0 volseal check /dev/vg/container
  if grep -q "$(dmsetup table --showkeys scratch | cut -d' ' -f5)" /run/graph; then fail "a key in the graph"; fi
}
