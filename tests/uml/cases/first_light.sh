# shellcheck shell=bash
# One server from plaintext to covered: a partition with ext4, a blank disk, a logical volume with ext4
# and swap; then a reboot, and an unencrypted disk that somebody plugs in. `./dev demo` shows it.
# disk: data 256M
# disk: blank 96M
# disk: pv 256M
# disk: swap 64M
# timeout: 480

tell() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

phase_1() {
  dmesg -n 1
  tell "A server like many others: nothing is encrypted"
  sfdisk -q "$(disk data)" <<<$'label: gpt\nstart=2048'
  sfdisk -q "$(disk swap)" <<<$'label: gpt\nstart=2048, type=swap'
  udevadm settle
  mkfs.ext4 -q -b 4096 -L data "$(disk data)1"
  pvcreate -q "$(disk pv)" && vgcreate -q vg0 "$(disk pv)" && lvcreate -q -L 200M -n archive vg0
  udevadm settle
  mkfs.ext4 -q -b 4096 /dev/vg0/archive
  mkswap -q -L swap "$(disk swap)1"
  udevadm settle
  mkdir -p /srv/data /srv/archive
  cat >/etc/fstab <<-TABLE
	# what this server mounts
	UUID=$(blkid -s UUID -o value "$(disk data)1") /srv/data ext4 defaults 0 2
	/dev/vg0/archive /srv/archive ext4 defaults 0 2
	UUID=$(blkid -s UUID -o value "$(disk swap)1") none swap sw 0 0
	TABLE
  mount -a
  swapon -a
  make_files /srv/data 8192
  make_files /srv/archive 8192
  remember data "$(checksums /srv/data)"
  remember archive "$(checksums /srv/archive)"

  expect_status 2 volseal check
  tell "What volseal would do about it"
  expect_status 0 volseal plan --unmount
  tell "It is done: recovery keys go to a folder here, at a terminal they are shown and typed back"
  expect_status 0 volseal enroll --unmount --yes --recovery-key-dir /window/recovery-keys
  expect_equal "$(checksums /srv/data)" "$(recall data)" "the files of the partition differ"
  expect_equal "$(checksums /srv/archive)" "$(recall archive)" "the files of the logical volume differ"
  expect_output 'tpm' volseal protector list "$(disk data)1"

  # Nothing here is hostage to volseal: other people's tools open it with the recovery key.
  local key
  key=$(echo /window/recovery-keys/data-*.recovery-key)
  cryptsetup open --test-passphrase --key-file "$key" "$(disk data)1"
  expect_output 'recovery' systemd-cryptenroll "$(disk data)1"
  expect_equal "$(grep -c none.luks /etc/crypttab)" 4
  expect_equal "$(grep -c '^/dev/mapper/srv-archive /srv/archive ' /etc/fstab)" 1
  tell "The machine restarts"
}

phase_2() {
  dmesg -n 1
  vgchange -q -ay vg0 && udevadm settle
  tell "The same TPM: every volume opens, and nobody is asked"
  expect_status 0 volseal unlock --all
  mkdir -p /srv/data /srv/archive
  mount -a
  swapon -a
  expect_equal "$(checksums /srv/data)" "$(recall data)" "the files of the partition differ"
  expect_equal "$(checksums /srv/archive)" "$(recall archive)" "the files of the logical volume differ"
  echo "the files are the same, byte for byte"
  expect_status 0 volseal check

  # A graph that was saved is judged like the machine that saved it.
  volseal scan --json >/run/graph.json
  expect_equal "$(volseal check --json --graph /run/graph.json | grep verdict)" "$(volseal check --json | grep verdict)"

  tell "Somebody plugs in a disk with a plain file system"
  # The bus keeps what is on a disk while it is out.
  hotplug_load
  hotplug
  wait_for 10 test -b /dev/sda
  mkfs.ext4 -q /dev/sda
  udevadm settle
  hotplug -1
  wait_for 10 test ! -e /dev/sda
  udevadm settle
  volseal watch --quiet >/run/findings &
  local watcher=$! begun
  # It listens once its socket for uevents (netlink protocol 15) is there.
  wait_for 20 grep -Eq "^[0-9a-f]+ +15 +$watcher " /proc/net/netlink
  begun=${EPOCHREALTIME//[.,]/}
  hotplug
  wait_for 10 grep -q '/dev/sda' /run/findings
  echo "# volseal watch"
  cat /run/findings
  echo "the finding came $(((${EPOCHREALTIME//[.,]/} - begun) / 1000)) ms after the disk was put in, the kernel's own search of the bus included"
  kill "$watcher"
  wait "$watcher" || true
  expect_status 2 volseal check
}
