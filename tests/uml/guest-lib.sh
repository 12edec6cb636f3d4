# shellcheck shell=bash
# What a script in the guest can call. Sourced by guest-main.sh; see README.md beside it.

export PATH=$BUILD/cli:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LC_ALL=C.UTF-8 TERM=${TERM:-linux}
export VOLSEAL_TCTI=swtpm:path=/run/swtpm/socket
export TPM2TOOLS_TCTI=$VOLSEAL_TCTI
readonly tpm_state=/window/tpm

# --- the machine: kernel modules, udev, TPM --------------------------------------------------

guest_start() {
  # cbc and hmac before dm-crypt: its dependency encrypted-keys asks for both when it is loaded.
  modprobe -a cbc hmac xts algif_skcipher dm-crypt loop
  if [[ ! -e /etc/volseal-guest ]]; then first_boot; fi
  ln -sfn /proc/self/mounts /etc/mtab
  start_udev
  start_tpm
}

# The host's own tables say nothing about this server.
first_boot() {
  rm -rf /etc/volseal
  install -d -m 755 /etc/volseal
  install -d -m 700 /var/lib/volseal
  find /var/lib/volseal -mindepth 1 -delete
  : >/etc/fstab
  : >/etc/crypttab
  chmod 600 /etc/crypttab
  mkdir -p /etc/lvm/archive /etc/lvm/backup
  echo guest >/etc/hostname
  : >/etc/volseal-guest
}

start_udev() {
  if [[ ! -e /run/udev/control ]]; then /lib/systemd/systemd-udevd --daemon; fi
  # Only what matters here: the rest is several hundred terminals.
  udevadm trigger --action=add --subsystem-match=block --subsystem-match=misc
  udevadm settle
}

# The TPM, and what firmware does with it: its state is that of the boots before, its PCRs are not.
start_tpm() {
  mkdir -p /run/swtpm "$tpm_state"
  swtpm socket --tpm2 --daemon --tpmstate dir="$tpm_state" \
    --server type=unixio,path=/run/swtpm/socket --ctrl type=unixio,path=/run/swtpm/socket.ctrl \
    --flags not-need-init,startup-clear --pid file=/run/swtpm/pid
  measure 0 firmware 4 "boot loader" 7 "secure boot policy"
}

# measure PCR TEXT [PCR TEXT]...: as a changed firmware, boot loader or key database would.
measure() {
  local extensions=()
  while (($#)); do
    extensions+=("$1:sha256=$(printf %s "$2" | sha256sum | cut -d' ' -f1)")
    shift 2
  done
  tpm2_pcrextend "${extensions[@]}"
}

# An orderly stop, as the kernel's TPM driver does it: without it the TPM counts a sudden one.
stop_tpm() {
  if [[ ! -e /run/swtpm/pid ]]; then return 0; fi
  tpm2_shutdown || true
  kill "$(cat /run/swtpm/pid)"
}

# As a machine that goes down: everything is put away, so that the next boot begins from the disks.
guest_stop() {
  swapoff -a || true
  # Only what stands on a disk; the root stays.
  local target
  awk '$1 ~ "^/dev/" { print $2 }' /proc/self/mounts | tac | while read -r target; do
    umount "$(printf '%b' "$target")" || true
  done
  stop_tpm
}

# --- devices ----------------------------------------------------------------------------------

# disk NAME: the node of the disk that the case named so.
disk() {
  local pair
  for pair in $DISKS; do
    if [[ ${pair%%:*} == "$1" ]]; then
      echo "/dev/${pair##*:}"
      return
    fi
  done
  fail "no disk is called $1"
}

# hotplug_load [scsi_debug options]: the bus, with no disk on it yet.
hotplug_load() {
  modprobe sd_mod
  modprobe scsi_debug add_host=0 dev_size_mb=16 "$@"
}
# hotplug [COUNT]: plugs disks in; a negative number pulls them out. Returns at once, as a hand does.
hotplug() { echo "${1:-1}" >/sys/bus/pseudo/drivers/scsi_debug/add_host; }

# --- assertions -------------------------------------------------------------------------------

fail() {
  echo "FAILED: $*"
  exit 1
}

# expect_status N COMMAND...: runs it, shows what it said, and wants exactly that exit status.
expect_status() {
  local wanted=$1 status=0
  shift
  echo "# $*"
  "$@" || status=$?
  if [[ $status != "$wanted" ]]; then fail "exit status $status, not $wanted: $*"; fi
}

# expect_output PATTERN COMMAND...: its standard output has a line that matches (grep -E).
expect_output() {
  local pattern=$1 output
  shift
  echo "# $*"
  output=$("$@") || true
  echo "$output"
  grep -Eq -e "$pattern" <<<"$output" || fail "no line matches '$pattern': $*"
}

expect_equal() {
  if [[ $1 != "$2" ]]; then fail "'$1' is not '$2'${3:+: $3}"; fi
}

# shows TEXT DEVICE: it can be read there. Without zeros, which to grep would be one line as long as the disk.
shows() { test "$(tr -d '\0' <"$2" | grep -acF -- "$1")" != 0; }

# wait_for SECONDS COMMAND...: until it succeeds. For what no event announces.
wait_for() {
  local seconds=$1
  shift
  local -i end=$((${EPOCHREALTIME//[.,]/} / 1000 + seconds * 1000))
  until "$@"; do
    if ((${EPOCHREALTIME//[.,]/} / 1000 > end)); then fail "not within $seconds s: $*"; fi
    sleep 0.05
  done
}

# --- files worth keeping ------------------------------------------------------------------------

# make_files FOLDER KIB: text and noise, in folders, of about that size together.
make_files() {
  local folder=$1 kib=$2 i
  for i in 1 2 3 4; do
    mkdir -p "$folder/folder $i"
    head -c $((kib * 128)) /dev/urandom >"$folder/folder $i/noise"
    seq 1 $((kib * 4)) >"$folder/folder $i/text"
  done
  ln -sf "folder 1/text" "$folder/link"
}

# checksums FOLDER: one line a file, the same for the same names, contents, modes and owners.
checksums() {
  (cd "$1" && find . -path ./lost+found -prune -o -type f -print0 | sort -z | xargs -0r sha256sum &&
    find . -path ./lost+found -prune -o -printf '%M %U %G %l %P\n' | sort)
}

# remember NAME TEXT, recall NAME: from one boot to the next, outside of what a power cut may take.
remember() { printf '%s\n' "$2" >"/window/note.$1"; }
recall() { cat "/window/note.$1"; }
