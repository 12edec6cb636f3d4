# shellcheck shell=bash
# lsblk and volseal over real disks of a real kernel (scsi_debug): called by check_bench.py.
# mem: 1024M
# timeout: 400

# took COMMAND...: milliseconds, the median of five.
took() {
  local begun
  for _ in 1 2 3 4 5; do
    begun=${EPOCHREALTIME/./}
    "$@" >/dev/null || [[ $? -le 3 ]]
    echo $(((${EPOCHREALTIME/./} - begun) / 1000))
  done | sort -n | sed -n 3p
}

phase_1() {
  dmesg -n 3
  hotplug_load delay=0 num_tgts=8 max_luns=8 dev_size_mb=1
  while (($(lsblk -dn | wc -l) < ${DISKS:-500})); do hotplug 1; done
  udevadm settle --timeout=300
  echo "TOOK $(lsblk -n | wc -l) $(took lsblk -J -O) $(took volseal scan --json) $(took volseal check --json)"
}
