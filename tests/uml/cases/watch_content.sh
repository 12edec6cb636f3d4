# shellcheck shell=bash
# What changes long after a disk was plugged in is told too: mappings, loop devices, a volume that grows onto a plain disk.
# disk: sealed 64M
# disk: plain 64M
# disk: other 32M
# mem: 768M
# timeout: 300

told() { grep -Eq "$1" /window/findings; }

phase_1() {
  dmesg -n 3
  modprobe loop
  head -c 32 /dev/urandom >/run/key
  cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /run/key "$(disk sealed)"
  cryptsetup open --key-file /run/key "$(disk sealed)" sealed
  pvcreate -qq /dev/mapper/sealed
  vgcreate -qq vg /dev/mapper/sealed
  lvcreate -qq -y -L 32M -n data vg
  mkfs.ext4 -q /dev/vg/data
  mkfs.ext4 -q "$(disk other)"
  udevadm settle
  : >/window/findings
  volseal watch --json >/window/findings 2>/window/watch.err &
  watch=$!
  wait_for 60 told '"what":"present".*"name":"ubdc"'

  echo "--- a logical volume grows onto a disk that is not encrypted"
  vgextend -qq vg "$(disk plain)"
  lvextend -qq -l +100%FREE vg/data
  wait_for 60 told '"what":"changed".*"path":"/dev/(vg/data|mapper/vg-data)".*was covered-weak, is not-covered'

  echo "--- a loop device, and a mapping"
  mkdir -p /srv/other
  mount "$(disk other)" /srv/other
  wait_for 60 told '"what":"changed".*"name":"ubdc".*is mounted at /srv/other'
  truncate -s 8M /srv/other/image
  losetup /dev/loop0 /srv/other/image
  mkfs.ext4 -q /dev/loop0
  wait_for 60 told '"name":"loop0".*"content":"ext4".*"verdict":"not-covered"'
  dmsetup create thing --table "0 8192 linear /dev/loop0 0"
  wait_for 60 told '"what":"attached".*"name":"dm-2".*"verdict":"not-covered"'

  echo "--- the policy is read again, and everything is looked at"
  install -d /etc/volseal
  cat >/etc/volseal/policy.toml <<-'TOML'
	[[rule]]
	name = "thing"
	match = { path = "/dev/mapper/thing" }
	action = "leave"
	reason = "a test"
	TOML
  kill -HUP $watch
  wait_for 60 told '"path":"/dev/mapper/thing".*was not-covered, is exempt'

  kill $watch
  expect_status 0 wait $watch
  dmsetup remove thing
  losetup -d /dev/loop0
  umount /srv/other
  vgchange -qq -an vg
  cryptsetup close sealed
}
