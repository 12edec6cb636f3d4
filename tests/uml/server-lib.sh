# shellcheck shell=bash
# A server of three volumes, as tests/uml/server.py makes its disks: a partition with ext4 and files, a
# blank disk, a partition with swap. What a case can ask of it after its power was cut; nothing here
# relies on volseal, but where it says so.

readonly keys=${KEYS:-/window/recovery-keys}
readonly state=/var/lib/volseal

# udev need not know of what only looks.
without_udev() {
  local status=0
  DM_DISABLE_UDEV=1 "$@" 2>/run/said || status=$?
  grep -v '^Udev is running' /run/said || true
  return $status
}

volume() {
  case $1 in
    data) echo "$(disk data)1" ;;
    blank) disk blank ;;
    swap) echo "$(disk swap)1" ;;
  esac
}

# The tables and the policy of the first boot, durably.
set_up_server() {
  if [[ -e /etc/volseal/policy.toml ]]; then return 0; fi
  cat >/etc/fstab <<-TABLE
	UUID=$(blkid -p -s UUID -o value "$(volume data)") /srv/data ext4 defaults 0 2
	UUID=$(blkid -p -s UUID -o value "$(volume swap)") none swap sw 0 0
	TABLE
  cat >/etc/volseal/policy.toml <<-POLICY
	[volumes]
	free_space = "${FREE_SPACE:-encrypt}"
	[[rule]]
	name = "root"
	match = { path = "/dev/ubdp" }
	action = "leave"
	reason = "what the guest runs from"
	[[rule]]
	name = "new"
	match = { path = "$(volume blank)" }
	mount = "/srv/new"
	POLICY
  sync
}

# As a boot does it, as far as the disks allow: what a half-done step hides stays away.
bring_up() {
  mkdir -p /srv/data /srv/new
  volseal unlock --all || true
  mount -a || true
  swapon -a || true
  if mountpoint -q /srv/data; then use_data; fi
}

# One file comes, another changes: who goes on must take the volume as it is by now.
use_data() {
  local file
  for file in "new $EPOCHSECONDS" changed; do
    head -c 300K /dev/urandom >"/srv/data/$file"
    sync
    grep -v " $file\$" /window/files.sha256 >/run/sums
    (cd /srv/data && sha256sum "$file") >>/run/sums
    cp /run/sums /window/files.sha256
  done
}

# Writes while the volume is in use half-encrypted, until /run/enough is there. What is written is not looked at again:
# it must only do no harm.
write_meanwhile() {
  until [[ -e /run/enough ]]; do
    if grep -q '^/dev/mapper/data /srv/data ' /proc/mounts; then
      head -c 3M /dev/urandom >/srv/data/scratch
      sync /srv/data/scratch
    fi
    sleep 0.05
  done
}

enroll_server() { volseal enroll --unmount --yes --recovery-key-dir "$keys" "$@"; }

# --- where it stands -----------------------------------------------------------------------------

journal_of() {
  local journal
  for journal in "$state"/enroll/*.json; do
    if [[ -e $journal ]] && grep -qF "\"path\": \"$(volume "$1")\"" "$journal"; then
      echo "${journal%.json}"
      return
    fi
  done
}

phase_of() {
  local journal
  journal=$(journal_of "$1")
  if [[ -n $journal ]]; then sed -n 's/.*"phase": "\(.*\)".*/\1/p' "$journal.json"; fi
}

is_luks() { [[ $(head -c 6 "$1" | od -An -tx1) == " 4c 55 4b 53 ba be" ]]; }

# One line: "data encrypting", or "between: 1 encrypted".
where_it_stands() {
  local name encrypted=0 line=
  for name in data blank swap; do
    if is_luks "$(volume "$name")"; then encrypted=$((encrypted + 1)); fi
    if [[ -n $(phase_of "$name") ]]; then line+="${line:+, }$name $(phase_of "$name")"; fi
  done
  echo "${line:-between: $encrypted encrypted}"
}

# What is over and done with: one line "VOLUME IMAGE" for each image of the host that nothing may be left on
# of what was on that volume.
where_plaintext_is_gone() {
  case $(phase_of data) in
    moving | installing | tables | encrypting | growing | binding) echo data root-disk ;;
    '') if is_luks "$(volume data)"; then printf 'data %s\n' root-disk data; fi ;;
  esac
  case $(phase_of swap) in
    tables | binding) echo swap swap ;;
    '') if is_luks "$(volume swap)"; then echo swap swap; fi ;;
  esac
}

# --- the ways that open a volume -------------------------------------------------------------------

key_of() { # HEADER: the file with the recovery key that was handed over for it
  local key
  key=$(echo "$keys"/*-"$(cryptsetup luksUUID "$1")".recovery-key)
  if [[ ! -s $key ]]; then fail "nobody was given the recovery key of $1"; fi
  echo "$key"
}

# looking_at DEVICE STORE|none COMMAND...: with $look, a view of the device that may be written to and takes
# nothing from it; through a snapshot's store, of which a copy is taken, where one is given.
looking_at() {
  local device=$1 store=$2 kind=P loop status=0
  shift 2
  if [[ $store == none ]]; then
    kind=N
    truncate -s 256M /run/look.store
  else
    cp --sparse=always "$store" /run/look.store
  fi
  loop=$(losetup --find --show /run/look.store)
  without_udev dmsetup create look --table "0 $(blockdev --getsz "$device") snapshot $device $loop $kind 8"
  look=/dev/mapper/look
  "$@" || status=$?
  without_udev dmsetup remove --retry look
  losetup --detach "$loop"
  rm /run/look.store
  if ((status)); then fail "$device: $* failed with status $status"; fi
}

same_files() { # DEVICE: with an ext4
  local status=0
  mkdir -p /run/look
  mount -o ro "$1" /run/look || return 1
  (cd /run/look && sha256sum --check --quiet /window/files.sha256) || status=1
  umount /run/look
  return $status
}

# With the recovery key and cryptsetup alone; HEADER may be the device itself.
same_files_by_key() {
  local header=$1 status=0
  if [[ $header == device ]]; then header=$look; fi
  without_udev cryptsetup open --key-file "$(key_of "$header")" --header "$header" "$look" opened || return 1
  same_files /dev/mapper/opened || status=1
  without_udev cryptsetup close opened
  return $status
}

opens_by_key() { # HEADER [DEVICE]
  cryptsetup open --test-passphrase --key-file "$(key_of "$1")" "$1" || fail "the recovery key does not open $1"
}

# volseal itself says it of the TPM.
opens_by_tpm() {
  volseal unlock --test "$1" >/run/unlock.out 2>&1 || {
    cat /run/unlock.out
    fail "the TPM does not open $1"
  }
}

# Either the files are there in the clear, or the recovery key that was handed over gives them back. Both
# are read to the last byte.
check_data() {
  local device journal
  device=$(volume data)
  journal=$(journal_of data)
  case $(phase_of data) in
    '')
      if ! is_luks "$device"; then
        looking_at "$device" none same_files /dev/mapper/look
        return
      fi
      ;;
    prepared | extending | shrinking | wiping | moving)
      opens_by_key "$journal.header"
      looking_at "$device" none same_files /dev/mapper/look
      return
      ;;
    masking | merging)
      opens_by_key "$journal.header"
      looking_at "$device" "$journal.cow" same_files /dev/mapper/look
      return
      ;;
    installing)
      cp --sparse=always "$journal.working" /run/look.header
      looking_at "$device" none same_files_by_key /run/look.header
      return
      ;;
  esac
  looking_at "$device" none same_files_by_key device
  opens_by_tpm "$device"
}

# Nothing can be lost of these; but once they are LUKS, both ways open them.
check_fresh() {
  local name=$1 device journal
  device=$(volume "$name")
  journal=$(journal_of "$name")
  case $(phase_of "$name") in
    '') if ! is_luks "$device"; then return; fi ;;
    prepared | installing)
      opens_by_key "$journal.header"
      opens_by_tpm "$journal.header"
      return
      ;;
  esac
  opens_by_key "$device"
  opens_by_tpm "$device"
}

check_ways() {
  check_data
  check_fresh blank
  check_fresh swap
}

# --- the end ----------------------------------------------------------------------------------------

check_end() {
  local name
  bring_up
  mountpoint /srv/data
  mountpoint /srv/new
  (cd /srv/data && sha256sum --check --quiet /window/files.sha256) || fail "the files differ"
  test "$(swapon --show=NAME --noheadings)" || fail "no swap"
  for name in data blank swap; do
    is_luks "$(volume "$name")" || fail "$name is not encrypted"
    opens_by_key "$(volume "$name")"
    opens_by_tpm "$(volume "$name")"
  done
  if [[ -n $(ls "$state/enroll") ]]; then fail "a journal is left"; fi
  expect_status 0 volseal check
}

# What must be nowhere on a disk in the clear; the host looks for it.
tell_volume_keys() {
  local name device
  for name in data blank swap; do
    device=$(volume "$name")
    if ! is_luks "$device"; then continue; fi
    cryptsetup luksDump --batch-mode --dump-volume-key --key-file "$(key_of "$device")" \
      --volume-key-file /run/volume-key "$device" >/dev/null 2>&1 || continue
    mkdir -p /window/volume-keys
    mv /run/volume-key "/window/volume-keys/$(cryptsetup luksUUID "$device")"
  done
}

# --- one boot of an enrollment that is cut again and again ------------------------------------------

# BRING_UP: yes, when the machine starts up, and is used, before somebody goes on. OFFLINE: yes, when it is not used while
# the data is encrypted. FREE_SPACE: policy. CUT_AT: before which step tests/support/cut_here.cpp asks for the cut; none.
cut_enrollment() {
  local begun at_once=()
  dmesg -n 1
  set_up_server
  where_it_stands >/window/stands
  where_plaintext_is_gone >/window/gone
  check_ways
  if [[ $BRING_UP == yes ]]; then bring_up; fi
  if [[ $CUT_AT != none ]]; then
    mkdir /run/cut
    echo "$CUT_AT" >/run/cut/at
    # Else the steps come in another order each time.
    at_once=(--jobs 1)
    echo "$BUILD/tests/support/libvolseal_cut_here.so" >/etc/ld.so.preload
  fi
  if [[ ${OFFLINE:-no} == yes ]]; then at_once+=(--offline); else write_meanwhile & fi
  begun=${EPOCHREALTIME//[.,]/}
  echo "ENROLLMENT BEGINS"
  enroll_server "${at_once[@]}" || fail "enroll ends with status $?"
  echo "ENROLLMENT took $(((${EPOCHREALTIME//[.,]/} - begun) / 1000)) ms"
  rm -rf /run/cut
  touch /run/enough
  wait
  check_end
  where_plaintext_is_gone >/window/gone
  tell_volume_keys
}
