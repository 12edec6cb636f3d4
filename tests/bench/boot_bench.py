#!/usr/bin/env python3
"""How long a boot is held up until its encrypted volumes are open: volseal, clevis-initramfs, systemd-cryptsetup.

One server in User-Mode Linux, whose volumes are bound to one TPM (swtpm in the guest) by all three; a boot each, in turn in one
run. volseal and clevis open the root and seven data volumes in the initramfs: from the first line of their script in local-top
(for clevis, of cryptroot's, which clevis answers) to its last. systemd-cryptsetup cannot do that on Debian: it opens
eight data volumes after boot, here without systemd's own work around it, where the kernel has its ciphers already.
"mapped" is when the kernel has every volume; the whole includes udev, which each of them waits for.
Called by ./dev bench boot [--rounds N] [--peers NAME,NAME].
"""

import argparse
import importlib.machinery
import importlib.util
import re
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
BOOT = SOURCE / "tests/boot"


def load_run_case():
    loader = importlib.machinery.SourceFileLoader("run_case", str(BOOT / "run-case"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("run_case", loader))
    sys.modules["run_case"] = module
    loader.exec_module(module)
    return module


run_case = load_run_case()
run_case.DISKS = ("root", *(f"data{number}" for number in range(1, 9)))

# Where: the clock, the processes started since the kernel did, and the commands that the TPM had.
STAMP = """
stamp() {
  echo "STAMP $1 $(sed 's/ .*//' /proc/uptime) $(sed -n 's/^processes //p' /proc/stat) $(grep -c SWTPM_IO_Read /run/window/tpm.log)"
}
"""
KEEP_REPORT = "cp /run/volseal/boot.json /run/window/boot.json\n"
# One after the other: here is no resource manager, so the TPM has no room for several at once, and the session that each
# leaves behind has to be flushed, outside of what is timed. On one processor, most of it udev's work, that is no slower.
SYSTEMD = STAMP + """
letters=bcdefghi
for n in 1 2 3 4 5 6 7 8; do
  stamp begin$n
  /lib/systemd/systemd-cryptsetup attach "s$n" "/dev/ubd${letters:n-1:1}" none "luks,tpm2-device=$TPM2TOOLS_TCTI,headless"
  stamp end$n
  [ -b "/dev/mapper/s$n" ]
  tpm2_flushcontext --loaded-session
  tpm2_flushcontext --transient-object
  udevadm settle
done
"""


def stamp(console, name):
    found = re.search(rf"STAMP {name} ([0-9.]+) (\d+) (\d+)", console)
    if not found:
        raise run_case.Failure(f"no stamp {name}\n{console[-2500:]}")
    return float(found[1]), int(found[2]), int(found[3])


def between(console, begin, end):
    """Seconds, processes, TPM commands. The stamps' own four processes are not counted."""
    first, last = stamp(console, begin), stamp(console, end)
    return last[0] - first[0], last[1] - first[1] - 4, last[2] - first[2]


class Bench:
    def __init__(self, image, work, build):
        self.image, self.work, self.build = image, work, build
        self.initrds = {}

    def server(self):
        return run_case.Server(self.image, self.work, self.build)

    def initrd(self, name, script, volumes):
        """With stamps around a script of local-top, for the root alone or for eight volumes."""
        key = f"{name}-{volumes}"
        if key in self.initrds:
            return self.initrds[key]

        def change(folder):
            log = folder / "scripts/init-premount/swtpm"
            log.write_text(log.read_text().replace("socket --tpm2", "socket --tpm2 --log file=/run/window/tpm.log,level=20"))
            path = folder / "scripts/local-top" / script
            path.rename(folder / "stamped")
            path.write_text(f"#!/bin/sh\ncase \"$1\" in prereqs) exec /stamped prereqs ;; esac\n{STAMP}stamp begin\n"
                            "/stamped\nstatus=$?\nstamp end\nexit $status\n")
            path.chmod(0o755)
            for table, wanted in (("etc/volseal/boot.list", r"volume \w+"), ("cryptroot/crypttab", r"\w+ UUID=")):
                keep_some(folder / table, volumes)

        def keep_some(path, volumes):
            if not path.exists():
                return
            lines = path.read_text().splitlines(keepends=True)
            unwanted = ["data8"] if volumes == 8 else [f"data{number}" for number in range(1, 9)]
            path.write_text("".join(line for line in lines if not any(word in unwanted for word in line.split()[:2])))

        server = self.server()
        server.initrd = self.image / name
        server.change_initrd(change)
        kept = self.work.parent / f"initrd-{key}"
        server.initrd.rename(kept)
        self.initrds[key] = kept
        return kept

    def boot(self, initrd, inside="", timeout=600):
        server = self.server()
        server.initrd = initrd
        server.boot(inside, timeout=timeout, TPM2TOOLS_TCTI="swtpm:path=/run/swtpm/socket")
        return server

    def volseal(self, volumes):
        server = self.boot(self.initrd("initrd", "volseal", volumes), KEEP_REPORT)
        report = server.report()
        opened = [attempt for attempt in report["attempts"] if attempt["outcome"] == "opened"]
        if len(opened) != volumes:
            raise run_case.Failure(f"{len(opened)} of {volumes} volumes open")
        whole, processes, commands = between(server.console, "begin", "end")
        # The script's own time and the program's; udev's is the last part.
        return {"mapped": whole - report["parts_ms"]["udev"] / 1000, "whole": whole, "processes": processes,
                "commands": commands, "parts": report["parts_ms"]}

    def clevis(self, volumes):
        mapped = "\n".join(f"[ -b /dev/mapper/{name} ]" for name in ("root", *(f"data{n}" for n in range(1, volumes))))
        server = self.boot(self.initrd("initrd-clevis", "cryptroot", volumes), mapped)
        whole, processes, commands = between(server.console, "begin", "end")
        return {"whole": whole, "processes": processes, "commands": commands}

    def systemd(self):
        server = self.boot(self.initrd("initrd", "volseal", 1), SYSTEMD)
        said = server.inside()
        each = [between(said, f"begin{n}", f"end{n}") for n in range(1, 9)]
        return [dict(zip(("whole", "processes", "commands"), (sum(column) for column in zip(*each[:count])))) for count in (1, 8)]

    def sizes(self):
        """Of initramfs without the TPM in software, whose libraries would hide those that each brings."""
        def packed(name):
            pipe = f"zcat {self.image / f'{name}.bare'} | zstd -19 -T0 -q | wc -c"
            return int(subprocess.run(["sh", "-c", pipe], check=True, stdout=subprocess.PIPE).stdout)
        none = packed("initrd-none")
        for name, what in (("initrd", "volseal"), ("initrd-clevis", "clevis")):
            print(f"{what:10} adds {(packed(name) - none) / 2**20:5.2f} MiB to the initramfs (zstd -19)", flush=True)


def median(rows, key):
    return statistics.median(row[key] for row in rows)


def run(bench, rounds, peers):
    results = {}
    for number in range(rounds):
        for peer in peers if number % 2 == 0 else reversed(peers):
            if peer == "systemd":
                rows = dict(zip((1, 8), bench.systemd()))
            else:
                rows = {volumes: getattr(bench, peer)(volumes) for volumes in (1, 8)}
            for volumes, row in rows.items():
                results.setdefault((peer, volumes), []).append(row)
            said = ", ".join(f"{volumes}: {row['whole']:.2f} s" + (f" (mapped {row['mapped']:.2f})" if "mapped" in row else "")
                             for volumes, row in rows.items())
            print(f"round {number + 1}: {peer} {said}", flush=True)
    return results


def show(results, rounds, peers):
    print(f"\n{rounds} rounds, medians\n{'':22}  {'mapped':>8}  {'with udev':>9}  {'processes':>9}  {'TPM commands':>12}")
    for peer in peers:
        for volumes in (1, 8):
            rows = results[peer, volumes]
            mapped = f"{median(rows, 'mapped'):6.2f} s" if "mapped" in rows[0] else ""
            print(f"{peer:10} {volumes} volume{'s' if volumes > 1 else ' '}   {mapped:>8}  {median(rows, 'whole'):7.2f} s  "
                  f"{median(rows, 'processes'):9.0f}  {median(rows, 'commands'):12.0f}")
    ours = results["volseal", 8]
    print("\nparts of volseal's, ms: " + "; ".join(
        f"{volumes}: " + ", ".join(f"{part} {statistics.median(row['parts'][part] for row in results['volseal', volumes]):.0f}"
                                   for part in results["volseal", volumes][0]["parts"]) for volumes in (1, 8)))
    for key in ("mapped", "whole"):
        print(f"volseal, {key}: 8 volumes take {median(ours, key) / median(results['volseal', 1], key):.2f} times the time of 1"
              + "".join(f"; {median(ours, key) / median(results[peer, 8], 'whole'):.3f} of {peer}'s for 8"
                        for peer in peers if peer != "volseal"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volseal", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--peers", default="volseal,systemd,clevis", metavar="NAMES")
    parser.add_argument("--image", type=Path, help="where the server is kept (default: beside the build)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    build = options.volseal.resolve().parents[1]
    image = (options.image or build / "boot-image").resolve()
    subprocess.run([BOOT / "prepare", "--bench", build, image], check=True)
    peers = options.peers.split(",")
    with tempfile.TemporaryDirectory(prefix="volseal-bench.", dir="/var/tmp") as name:
        bench = Bench(image, Path(name) / "work", build)
        try:
            bench.sizes()
            show(run(bench, options.rounds, peers), options.rounds, peers)
        except run_case.Failure as failure:
            sys.exit(f"boot_bench: {failure}")


main()
