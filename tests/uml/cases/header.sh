# shellcheck shell=bash
# A header that is lost comes back from its backup, onto its own device and while that is closed; and what
# a rule says of a logical volume is how it is mapped.
# disk: data 96M
# disk: pv 160M
# timeout: 240

lose_header() {
  dd if=/dev/zero of="$1" bs=1M count=16 conv=fsync status=none
  udevadm settle
}

phase_1() {
  sfdisk -q "$(disk data)" <<<$'label: gpt\nstart=2048'
  pvcreate -q "$(disk pv)" && vgcreate -q vg-a "$(disk pv)" && lvcreate -q -L 128M -n log-files vg-a
  udevadm settle
  local data
  data=$(disk data)1
  mkfs.ext4 -q -b 4096 -L data "$data"
  mkfs.ext4 -q -b 4096 -L logs /dev/vg-a/log-files
  udevadm settle
  mkdir -p /run/data /etc/volseal
  mount "$data" /run/data
  make_files /run/data 4096
  local before
  before=$(checksums /run/data)
  umount /run/data
  cat >/etc/volseal/policy.toml <<-POLICY
	[[rule]]
	name = "logs"
	match = { vg = "vg-a", lv = "log-*" }
	key_bits = 256
	discard = true
	workqueue = "off"
	POLICY
  expect_status 0 volseal enroll --yes --recovery-key-dir /window/recovery-keys

  expect_output '^logs UUID=[^ ]+ none luks,discard,no-read-workqueue,no-write-workqueue$' cat /etc/crypttab
  expect_output '^data UUID=[^ ]+ none luks$' cat /etc/crypttab
  expect_output 'allow_discards.*no_read_workqueue no_write_workqueue' dmsetup table logs
  expect_output ' crypt aes-xts-plain64 :32:' dmsetup table logs
  dmsetup table data | grep -q allow_discards && fail "discards were not asked for"
  expect_status 0 volseal header verify

  local uuid
  uuid=$(blkid -p -s UUID -o value "$data")
  expect_output '"/dev/disk/by-partuuid/' cat "/var/lib/volseal/headers/$uuid.json"
  expect_output '"/dev/vg-a/log-files"' cat /var/lib/volseal/headers/*.json

  # Lost while it is open: only its own mapping still has the key, and writing below it is refused.
  lose_header "$data"
  expect_status 5 volseal header restore "$data" --yes
  cryptsetup close data
  # Another device that has lost its header is not taken for it, even if somebody says so.
  local backup=/var/lib/volseal/headers/$uuid.luks-header
  cryptsetup close logs
  lose_header /dev/vg-a/log-files
  expect_status 5 volseal header restore /dev/vg-a/log-files --file "$backup" --yes
  # Each finds its own, and the TPM proves it before anything is written.
  expect_status 0 volseal header restore "$data" --yes
  expect_status 0 volseal header restore /dev/vg-a/log-files --yes
  expect_status 0 volseal header verify
  expect_status 0 volseal unlock --all
  mount /dev/mapper/data /run/data
  expect_equal "$(checksums /run/data)" "$before" "the files differ"
  expect_output 'allow_discards.*no_read_workqueue no_write_workqueue' dmsetup table logs
}
