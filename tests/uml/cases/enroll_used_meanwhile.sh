# shellcheck shell=bash
# An enrollment is cut off, the machine comes up, and people use the volume for days before somebody goes on: what they
# wrote, changed and grew meanwhile is there in the end. What has become something else is left alone.
# disk: prepared 288M
# disk: masking 288M
# disk: merging 288M
# disk: wiping 288M
# disk: moving 288M
# disk: installing 288M
# disk: grown 288M
# disk: blank 96M
# disk: room 160M
# mem: 768M
# timeout: 850

enroll() { volseal enroll --unmount --yes --recovery-key-dir /var/lib/volseal/keys "$@" 2>&1; }

# cut_off PHASE DEVICE: just after the journal says that the phase begins.
cut_off() {
  local status=0
  VOLSEAL_DIE_AT=$1 LD_PRELOAD=$BUILD/tests/support/libvolseal_cut_here.so enroll "$2" || status=$?
  expect_equal $status 137 "killed in the phase $1"
  if dmsetup ls | grep volseal-; then fail "a mapping is left"; fi
}

# used NAME: mounted as at every boot; files go, come and change, in front and far behind.
used() {
  mount "LABEL=$1" "/srv/$1"
  rm -r "/srv/$1/folder 1"
  head -c 12M /dev/urandom >"/srv/$1/new"
  echo "a line of today" >>"/srv/$1/folder 2/text"
  remember "sums.$1" "$(checksums "/srv/$1")"
  sync
}

# What a boot finds after a cut in the phase, and what is there in the end.
through() {
  local name=$1 phase=$2
  cut_off "$phase" "$(disk "$name")"
  used "$name"
  if [[ $name == grown ]]; then resize2fs "$(disk grown)"; fi
  enroll "$(disk "$name")"
  mountpoint "/srv/$name"
  expect_equal "$(checksums "/srv/$name")" "$(recall "sums.$name")" "cut in the phase $phase, the files differ"
  umount "/srv/$name"
  e2fsck -fn "/dev/mapper/$name"
  expect_status 0 volseal unlock --test "$(disk "$name")"
  cryptsetup close "$name"
}

phase_1() {
  modprobe dm-snapshot
  local name
  mkdir -p /etc/volseal
  printf '[volumes]\nfree_space = "zero"\n' >/etc/volseal/policy.toml
  for name in prepared masking merging wiping moving installing grown; do
    mkfs.ext4 -q -L "$name" "$(disk "$name")"
    mkdir -p "/srv/$name"
    mount "$(disk "$name")" "/srv/$name"
    # The files lie far behind, and must move.
    head -c 170M /dev/urandom >/srv/$name/filler
    make_files "/srv/$name" 4096
    rm "/srv/$name/filler"
    umount "/srv/$name"
    echo "LABEL=$name /srv/$name ext4 defaults 0 2" >>/etc/fstab
  done
  udevadm trigger --settle --subsystem-match=block

  through prepared shrinking
  through masking masking
  through wiping wiping
  through moving moving
  through installing installing
  through grown moving

  # Half merged, it can be mounted by nobody.
  cut_off merging "$(disk merging)"
  expect_equal "$(blkid -p "$(disk merging)")" "" "it has a superblock while it is merged"
  enroll "$(disk merging)"

  # A blank disk that somebody took for his files meanwhile.
  cut_off installing "$(disk blank)"
  mkfs.ext4 -q "$(disk blank)"
  expect_status 5 enroll "$(disk blank)"
  expect_output "it was blank and is ext4 now" enroll "$(disk blank)"
  e2fsck -fn "$(disk blank)"
  rm /var/lib/volseal/enroll/*.json
  test -z "$(volseal plan --json "$(disk blank)" | grep '"format"')" || fail "it would be formatted"

  # One that was made and filled before the tables were written.
  printf '[[rule]]\nname = "new"\nmatch = { path = "%s" }\nmount = "/srv/room"\n' "$(disk room)" >>/etc/volseal/policy.toml
  cut_off tables "$(disk room)"
  sed -i 's/"phase": "tables"/"phase": "filling"/' /var/lib/volseal/enroll/*.json
  mount /dev/mapper/srv-room /mnt
  make_files /mnt 4096
  remember sums.room "$(checksums /mnt)"
  umount /mnt
  enroll "$(disk room)"
  expect_equal "$(checksums /srv/room)" "$(recall sums.room)" "the files differ"
}
