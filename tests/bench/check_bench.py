#!/usr/bin/env python3
"""volseal scan and check beside lsblk -J -O, over the same machine of 1,000 and of 10,000 block devices.

The machine is a folder as `lsblk --sysroot` reads one: sysfs, mountinfo and, for each node, what udev knows of it. A third are
disks, a third partitions, and of the last third each is dm-crypt over a partition or a logical volume over such a mapping.
lsblk reads sysfs and those notes; volseal reads sysfs and device-mapper tables, probes what stands for the nodes, and judges
every path down. Commands take turns in one run; shown are medians, and the peak of the resident memory. Last, the same over real
disks of a real kernel, as far as a small guest's memory goes; there volseal reads the disks, too, and lsblk does not.
Called by ./dev bench check [--rounds N] [--devices N ...] [--folder DIR] [--no-guest].
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECTORS = 2 * 1024 * 1024 * 1024


class Machine:
    def __init__(self, root):
        self.root = root
        self.minor = {}
        for folder in ("sys/block", "sys/class/block", "sys/dev/block", "dev/mapper", "tables", "etc",
                       "proc/self", "proc/sys/kernel"):
            (root / folder).mkdir(parents=True)
        self.mounts = []

    def write(self, path, text):
        with open(self.root / path, "w", encoding="utf-8") as file:
            file.write(text)

    def block(self, name, place, sectors, major, properties):
        number = f"{major}:{self.minor.setdefault(major, 0)}"
        self.minor[major] += 1
        folder = self.root / "sys/devices" / place / name
        for part in ("queue", "holders", "slaves", "power"):
            (folder / part).mkdir(parents=True)
        for attribute, value in {"size": sectors, "dev": number, "ro": 0, "removable": 0, "diskseq": self.minor[major],
                                 "range": 256, "ext_range": 256, "alignment_offset": 0, "discard_alignment": 0,
                                 "stat": "0 " * 17, "queue/rotational": 0, "queue/logical_block_size": 512,
                                 "queue/physical_block_size": 4096, "queue/optimal_io_size": 0,
                                 "queue/minimum_io_size": 4096, "queue/discard_granularity": 512,
                                 "queue/discard_max_bytes": 0, "queue/read_ahead_kb": 128, "queue/nr_requests": 64,
                                 "queue/scheduler": "none", "queue/write_same_max_bytes": 0, "queue/zoned": "none",
                                 "queue/dax": 0, "queue/nr_zones": 0}.items():
            (folder / attribute).write_text(f"{value}\n")
        target = os.path.relpath(folder, self.root / "sys/class/block")
        os.symlink(target, self.root / "sys/class/block" / name)
        os.symlink(target, self.root / "sys/dev/block" / number)
        if "partition" not in properties:
            os.symlink(os.path.relpath(folder, self.root / "sys/block"), self.root / "sys/block" / name)
        self.write(f"dev/{name}", "".join(f"{key}={value}\n" for key, value in properties.items() if key != "partition"))
        return folder, number

    def disk(self, name, index):
        folder, number = self.block(name, f"pci0000:00/ata{index}/host{index}/target{index}/block", SECTORS, 8,
                                    {"ID_PART_TABLE_TYPE": "gpt", "ID_MODEL": "DISK", "ID_SERIAL_SHORT": f"S{index}"})
        (folder / "device").mkdir()
        for attribute, value in {"vendor": "ATA", "model": f"DISK {index}", "rev": "1", "type": 0, "state": "running"}.items():
            (folder / "device" / attribute).write_text(f"{value}\n")
        return folder, number

    def partition(self, disk, name):
        place = disk.relative_to(self.root / "sys/devices")
        folder, number = self.block(name, place, SECTORS - 4096, 259, {"ID_FS_TYPE": "crypto_LUKS", "partition": 1})
        (folder / "partition").write_text("1\n")
        (folder / "start").write_text("2048\n")
        return folder, number

    def mapping(self, name, dm_name, uuid, lower, table):
        folder, number = self.block(name, "virtual/block", SECTORS - 40960, 253, {"ID_FS_TYPE": "ext4", "DM_NAME": dm_name})
        (folder / "dm").mkdir()
        for attribute, value in {"name": dm_name, "uuid": uuid, "suspended": 0}.items():
            (folder / "dm" / attribute).write_text(f"{value}\n")
        os.symlink(os.path.relpath(lower, folder / "slaves"), folder / "slaves" / lower.name)
        os.symlink(os.path.relpath(folder, lower / "holders"), lower / "holders" / name)
        self.write(f"tables/{dm_name}", table + "\n")
        os.symlink(f"../{name}", self.root / "dev/mapper" / dm_name)
        # Few: for each device lsblk goes through all of them.
        if len(self.mounts) < 20:
            self.mounts.append((number, f"/srv/{dm_name}", f"/dev/mapper/{dm_name}"))
        return folder, number

    def done(self):
        lines = "".join(f"{20 + at} 1 {number} / {target} rw - ext4 {source} rw\n"
                        for at, (number, target, source) in enumerate(self.mounts))
        self.write("proc/self/mountinfo", lines)
        self.write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")
        self.write("proc/sys/kernel/hostname", "bench\n")


def build(root, devices):
    machine = Machine(root)
    made = 0
    index = 0
    while made < devices:
        name = f"sd{index}x"
        disk, _ = machine.disk(name, index)
        made += 1
        if made < devices:
            partition, number = machine.partition(disk, f"{name}1")
            made += 1
        if made < devices:
            length = SECTORS - 40960
            vault, vault_number = machine.mapping(
                f"dm-{index}", f"vault{index}", f"CRYPT-LUKS2-{index:032x}-vault{index}", partition,
                f"0 {length} crypt aes-xts-plain64 :64:logon:cryptsetup:{index} 0 {number} 32768 1 sector_size:4096")
            made += 1
        index += 1
    machine.done()


def measure(command):
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - begun
    if process.returncode not in (0, 1, 2, 3):
        sys.exit(f"check_bench: {' '.join(map(str, command))}: {error.decode(errors='replace')}")
    return took * 1000, usage.ru_maxrss / 1024


def in_guest(volseal, folder):
    case = Path(__file__).with_name("check_disks.sh")
    done = subprocess.run([case.parents[1] / "uml/run-case", case, "--build", volseal.parents[1], "--work", folder / "guest", "--live"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    took = re.search(r"^TOOK (\d+) (\d+) (\d+) (\d+)", done.stdout, re.M)
    if done.returncode != 0 or not took:
        sys.exit(f"check_bench: the guest failed: {done.stdout[-2000:]}")
    count, lsblk, *ours = (int(number) for number in took.groups())
    for name, ms in zip(("lsblk -J -O", "volseal scan --json", "volseal check --json"), (lsblk, *ours)):
        print(f"{count:>8}  {name:<22} {ms:>9.1f} {ms * 1000 / count:>10.1f} {'':>7} {ms / lsblk:>8.2f}x  in a guest, real disks")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volseal", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--devices", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--guest", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    print(f"{'devices':>8}  {'command':<22} {'ms':>9} {'us/device':>10} {'MiB':>7} {'of lsblk':>9}")
    for count in options.devices:
        folder = Path(tempfile.mkdtemp(prefix="volseal-check-bench-", dir=options.folder))
        try:
            build(folder, count)
            commands = {"lsblk -J -O": ["lsblk", "-J", "-O", "--sysroot", folder],
                        "volseal scan --json": [options.volseal, "scan", "--json", "--sysroot", folder],
                        "volseal check --json": [options.volseal, "check", "--json", "--sysroot", folder]}
            seen = json.loads(subprocess.run(commands["volseal scan --json"], check=True, stdout=subprocess.PIPE).stdout)
            if len(seen["devices"]) != count:
                sys.exit(f"check_bench: volseal saw {len(seen['devices'])} devices of {count}")
            results = {name: [] for name in commands}
            for _ in range(options.rounds):
                for name, command in commands.items():
                    results[name].append(measure(command))
            lsblk = statistics.median(took for took, _ in results["lsblk -J -O"])
            for name, values in results.items():
                took = statistics.median(took for took, _ in values)
                memory = statistics.median(memory for _, memory in values)
                print(f"{count:>8}  {name:<22} {took:>9.1f} {took * 1000 / count:>10.1f} {memory:>7.1f} {took / lsblk:>8.2f}x",
                      flush=True)
        finally:
            shutil.rmtree(folder)
    if options.guest:
        # The guest has a /dev of its own, and with it another /dev/shm.
        with tempfile.TemporaryDirectory(prefix="volseal-check-bench-", dir="/var/tmp") as folder:
            in_guest(options.volseal.resolve(), Path(folder))
    print("goal: volseal at 1,000 devices in half of lsblk's time, and as much a device at 10,000")


main()
