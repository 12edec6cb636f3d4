#!/usr/bin/env python3
"""How long a boot is held up until its encrypted volumes are open: volseal, clevis-initramfs, systemd-cryptsetup.

One server in User-Mode Linux, whose volumes are bound to one TPM (swtpm in the guest) by all three; a boot each, in turn in one
run. volseal and clevis open the root and seven data volumes in the initramfs: from the first line of their script in local-top
(for clevis, of cryptroot's, which clevis answers) to its last. systemd-cryptsetup cannot do that on Debian: it opens eight
data volumes after boot, where the kernel has its ciphers already, without systemd's own work around it; in the same boot
`volseal unlock` opens the same ones. "mapped" is when the kernel has every volume; the whole includes udev, which each of
them waits for. Called by ./dev bench boot [--rounds N] [--no-sizes].
"""

import argparse
import importlib.machinery
import importlib.util
import platform
import re
import shutil
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
# In one boot, in turn. systemd's one after the other: here is no resource manager, so the TPM has no room for several at once,
# and the session that each leaves behind has to be flushed, outside of what is timed. On one processor that is no slower.
AFTER_BOOT = STAMP + """
letters=bcdefghi
systemd() {
  for n in 1 2 3 4 5 6 7 8; do
    stamp systemd-begin$n
    /lib/systemd/systemd-cryptsetup attach "data$n" "/dev/ubd${letters:n-1:1}" none "luks,tpm2-device=$TPM2TOOLS_TCTI,headless"
    stamp systemd-end$n
    [ -b "/dev/mapper/data$n" ]
    tpm2_flushcontext --loaded-session
    tpm2_flushcontext --transient-object
    udevadm settle
  done
}
volseal() {
  stamp volseal-begin1
  command volseal unlock /dev/ubdb
  stamp volseal-end1
  close_all
  stamp volseal-begin8
  command volseal unlock --all
  stamp volseal-end8
  for n in 1 2 3 4 5 6 7 8; do [ -b /dev/mapper/data$n ]; done
}
close_all() {
  udevadm settle
  for n in 1 2 3 4 5 6 7 8; do
    if [ -e /dev/mapper/data$n ]; then cryptsetup close data$n; fi
  done
  udevadm settle
}
# Read once, as what has just booted is.
volseal >/dev/null
close_all
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

    def after_boot(self, order):
        """{peer: {volumes: row}} of one boot. The mapping's nodes are there at the end, so udev is in it."""
        script = AFTER_BOOT + "\nclose_all\n".join(order)
        server = self.boot(self.initrd("initrd", "volseal", 1), script)
        said = server.inside()

        def row(*spans):
            return dict(zip(("whole", "processes", "commands"), map(sum, zip(*(between(said, *span) for span in spans)))))

        each = [(f"systemd-begin{n}", f"systemd-end{n}") for n in range(1, 9)]
        return {"systemd": {1: row(each[0]), 8: row(*each)},
                "volseal": {n: row((f"volseal-begin{n}", f"volseal-end{n}")) for n in (1, 8)}}

    def sizes(self):
        """Of initramfs without the TPM in software, whose libraries would hide those that each brings."""
        none = packed(f"zcat {self.image / 'initrd-none.bare'}")
        added = {what: packed(f"zcat {self.image / f'{name}.bare'}") - none
                 for name, what in (("initrd", "volseal"), ("initrd-clevis", "clevis"))}
        with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
            subprocess.run(["sh", "-c", f"zcat {self.image / 'initrd-none.bare'} | cpio -idm --quiet --no-absolute-filenames"],
                           cwd=name, check=True)
            for file in systemd_files():
                target = Path(name) / file.relative_to("/")
                if not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, target)
            added["systemd"] = packed(f"cd {name} && find . | LC_ALL=C sort | cpio -o -H newc --quiet") - none
        for what, size in added.items():
            print(f"{what:10} adds {size / 2**20:5.2f} MiB to the initramfs (zstd -19)", flush=True)


def packed(command):
    return int(subprocess.run(["sh", "-c", f"{command} | zstd -19 -T0 -q | wc -c"], check=True, stdout=subprocess.PIPE).stdout)


def systemd_files():
    """systemd-cryptsetup, what it loads for TPM and FIDO2, and the libraries of all that: those of this Debian."""
    libraries = Path("/usr/lib") / f"{platform.machine()}-linux-gnu"
    loaded = [libraries / f"lib{name}" for name in ("tss2-esys.so.0", "tss2-mu.so.0", "tss2-rc.so.0", "tss2-tcti-device.so.0",
                                                    "fido2.so.1")]
    files = [Path("/usr/lib/systemd/systemd-cryptsetup"), *loaded]
    said = subprocess.run(["ldd", *map(str, files)], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {*files, *(Path(found).resolve().parent / Path(found).name for found in re.findall(r"=> (/\S+)", said))}


def median(rows, key):
    return statistics.median(row[key] for row in rows)


def run(bench, rounds):
    """(where, peer, volumes) → rows."""
    results = {}

    def note(where, peer, rows, number):
        for volumes, row in rows.items():
            results.setdefault((where, peer, volumes), []).append(row)
        said = ", ".join(f"{volumes}: {row['whole']:.2f} s" + (f" (mapped {row['mapped']:.2f})" if "mapped" in row else "")
                         for volumes, row in rows.items())
        print(f"round {number + 1}: {where}: {peer} {said}", flush=True)

    for number in range(rounds):
        turn = (lambda peers: peers) if number % 2 == 0 else (lambda peers: peers[::-1])
        for peer in turn(("volseal", "clevis")):
            note("at boot", peer, {volumes: getattr(bench, peer)(volumes) for volumes in (1, 8)}, number)
        for peer, rows in bench.after_boot(turn(("volseal", "systemd"))).items():
            note("after boot", peer, rows, number)
    return results


def show(results, rounds):
    print(f"\n{rounds} rounds, medians\n{'':33}  {'mapped':>8}  {'with udev':>9}  {'processes':>9}  {'TPM commands':>12}")
    for (where, peer, volumes), rows in sorted(results.items(), key=lambda item: (item[0][0] != "at boot", *item[0][1:])):
        mapped = f"{median(rows, 'mapped'):6.2f} s" if "mapped" in rows[0] else ""
        print(f"{where:10} {peer:10} {volumes} volume{'s' if volumes > 1 else ' '}   {mapped:>8}  {median(rows, 'whole'):7.2f} s  "
              f"{median(rows, 'processes'):9.0f}  {median(rows, 'commands'):12.0f}")
    for volumes in (1, 8):
        parts = [row["parts"] for row in results["at boot", "volseal", volumes]]
        print(f"\nparts of volseal's at boot, {volumes}, ms: "
              + ", ".join(f"{part} {statistics.median(row[part] for row in parts):.0f}" for part in parts[0]), end="")
    print("\n\nratios (goals)")
    # Of each round's two, since the machine's pace changes between rounds.
    def ratio(key, one, other, what, goal):
        of_rounds = [a[key] / b[key if key in b else "whole"] for a, b in zip(results[one], results[other])]
        print(f"{what:60} {statistics.median(of_rounds):.3f} ({goal})")

    for key in ("mapped", "whole"):
        ratio(key, ("at boot", "volseal", 8), ("at boot", "volseal", 1), f"at boot, {key}: 8 volumes to 1", "1.5")
        ratio(key, ("at boot", "volseal", 8), ("at boot", "clevis", 8), f"at boot, {key}: 8 volumes to clevis's", "0.05")
    ratio("whole", ("after boot", "volseal", 8), ("after boot", "volseal", 1), "after boot: 8 volumes to 1", "1.5")
    ratio("whole", ("after boot", "volseal", 8), ("after boot", "systemd", 8), "after boot: 8 volumes to systemd-cryptsetup's", "0.25")
    ratio("mapped", ("at boot", "volseal", 8), ("after boot", "systemd", 8), "at boot, mapped, to systemd-cryptsetup's after boot", "0.25")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volseal", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--no-sizes", action="store_true", help="times only")
    parser.add_argument("--image", type=Path, help="where the server is kept (default: beside the build)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    build = options.volseal.resolve().parents[1]
    image = (options.image or build / "boot-image").resolve()
    subprocess.run([BOOT / "prepare", "--bench", build, image], check=True)
    with tempfile.TemporaryDirectory(prefix="volseal-bench.", dir="/var/tmp") as name:
        bench = Bench(image, Path(name) / "work", build)
        try:
            if not options.no_sizes:
                bench.sizes()
            show(run(bench, options.rounds), options.rounds)
        except run_case.Failure as failure:
            sys.exit(f"boot_bench: {failure}")


main()
