# shellcheck shell=bash
# The disk below loses, at a power cut, what was written and not yet flushed, in whatever order it likes. An
# enrollment is recorded write by write (dm-log-writes); from states that a cut could have left, the volume has
# a proven way to open it, and the same command goes on to the end with the files as they were.
# disk: disk 352M
# disk: log 1536M
# root: disk
# timeout: 120
# driver: lose-writes --states 4 --phases 2
# long: lose-writes --states 120 --phases 10

# On the recorded disk, so that a state holds the journal, the keys and the tables that belong to it.
KEYS=/run/rest/keys
# shellcheck source=tests/uml/server-lib.sh
. "$SOURCE/tests/uml/server-lib.sh"

volume() { echo /dev/mapper/volume; }
enroll() { volseal enroll --yes --recovery-key-dir "$keys" "$(volume data)"; }

# bring_disk DEVICE: the volume at its head, and behind it what volseal writes beside the volume: its state,
# the recovery keys, /etc. On DEVICE they are the same mappings, whatever records or does not record below.
bring_disk() {
  local sectors all
  sectors=$((VOLUME_MIB * 2048))
  all=$(blockdev --getsz "$1")
  dmsetup create volume --table "0 $sectors linear $1 0"
  dmsetup create rest --table "0 $((all - sectors)) linear $1 $sectors"
  mkdir -p /run/rest /srv/data
  mount /dev/mapper/rest /run/rest
  mkdir -p /run/rest/{etc,work,state}
  chmod 700 /run/rest/state
  mount -t overlay etc -o lowerdir=/etc,upperdir=/run/rest/etc,workdir=/run/rest/work /etc
  mount --bind /run/rest/state "$state"
}

check_enrolled() {
  volseal unlock --all
  mount -a
  mountpoint /srv/data
  (cd /srv/data && sha256sum --check --quiet /window/files.sha256) || fail "the files differ"
  is_luks "$(volume data)" || fail "it is not encrypted"
  opens_by_key "$(volume data)"
  opens_by_tpm "$(volume data)"
  if [[ -n $(ls "$state/enroll") ]]; then fail "a journal is left"; fi
}

# The log is written behind the writes' backs.
log_rests() {
  local before
  before=$(dmsetup status logged)
  sleep 0.5
  [[ $(dmsetup status logged) == "$before" ]]
}

phase_record() {
  dmesg -n 1
  modprobe dm-log-writes
  dmsetup create logged --table "0 $(blockdev --getsz "$(disk disk)") log-writes $(disk disk) $(disk log)"
  bring_disk /dev/mapper/logged
  echo "UUID=$(blkid -p -s UUID -o value "$(volume data)") /srv/data ext4 defaults 0 2" >/etc/fstab
  sync
  dmsetup message logged 0 mark begins
  enroll
  sync
  dmsetup message logged 0 mark ends
  wait_for 20 log_rests
  check_enrolled
}

phase_state() {
  local phase
  dmesg -n 1
  bring_disk "$(disk disk)"
  phase=$(phase_of data)
  if [[ -z $phase ]]; then
    phase="before it begins"
    if is_luks "$(volume data)"; then phase="after its end"; fi
  fi
  echo "$phase" >/window/stands
  check_data
  enroll || fail "enroll ends with status $?"
  check_enrolled
}
