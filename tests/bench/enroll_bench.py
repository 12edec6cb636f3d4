#!/usr/bin/env python3
"""In-place encryption by volseal and by cryptsetup, in turn in one run; all of a volume or its used space only; then the
memory that many volumes take.

Both get equal images with an ext4 and files, the same cipher, sector size, key derivation and resilience (data shift),
and both shrink the file system first. What only volseal does is counted for it: two protectors, each proven, the TPM,
header backup, journal. The data phase alone is cryptsetup's --resume-only and volseal's step "encrypting".
Called by ./dev bench enroll [--size MIB] [--rounds N] [--no-guest] [--volumes N] [--folder DIR].
"""

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIB = 1 << 20
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def run(*command, statuses=(0,)):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode not in statuses:
        sys.exit(f"enroll_bench: {' '.join(map(str, command))}: {done.stdout.decode(errors='replace')}")


class Bench:
    def __init__(self, folder, volseal):
        self.folder, self.build = folder, volseal.parents[1]
        (folder / "policy.toml").write_text(f'[volumes]\nheader_backups = "{folder}/headers"\n'
                                            "[group.default]\ntpm.allow_unmeasured = true\n")
        (folder / "key").write_bytes(os.urandom(32).hex().encode())
        self.enroll = [volseal, "--tcti", f"swtpm:path={folder}/tpm/socket", "--policy", folder / "policy.toml",
                       "--state", folder / "state", "enroll", "--yes", "--recovery-key-dir", folder / "keys"]

    def start_tpm(self):
        (self.folder / "tpm").mkdir()
        socket = self.folder / "tpm/socket"
        self.tpm = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}/tpm", "--server",
             f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl", "--flags",
             "not-need-init,startup-clear"], **QUIET)
        while not socket.exists():
            if self.tpm.poll() is not None:
                sys.exit("enroll_bench: swtpm does not start")
            time.sleep(0.01)

    def ext4(self, name, mebibytes, used):
        image = self.folder / name
        files = self.folder / "files"
        files.mkdir()
        (files / "noise").write_bytes(os.urandom(used * MIB))
        run("mkfs.ext4", "-q", "-F", "-b", "4096", "-d", files, image, f"{mebibytes}M")
        shutil.rmtree(files)
        return image

    def copy_of(self, image, name):
        """Written out, so that neither has to fill holes, and nobody's write-back disturbs the other."""
        copy = self.folder / name
        run("cp", "--sparse=never", image, copy)
        # Nor does what the other has left to write: its image is gone, but not its journal and its discards.
        run("sync", "--file-system", copy)
        return copy

    def by_volseal(self, image):
        """Seconds: all, and the data phase."""
        begun = time.monotonic()
        process = subprocess.Popen([*self.enroll, image], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        steps, said = {}, ""
        for line in process.stderr:
            said += line
            steps.setdefault(line.rpartition(": ")[2].strip(), time.monotonic())
        if process.wait() != 0:
            sys.exit(f"enroll_bench: volseal failed: {said}")
        return time.monotonic() - begun, steps["binding and backing up the header"] - steps["encrypting"]

    def by_cryptsetup(self, image):
        mebibytes = image.stat().st_size // MIB
        begun = time.monotonic()
        run("e2fsck", "-f", "-p", image, statuses=(0, 1))
        run("resize2fs", image, f"{mebibytes - 32}M")
        os.truncate(image, mebibytes * MIB)
        common = ["--batch-mode", "--force-offline-reencrypt", "--key-file", self.folder / "key"]
        run("cryptsetup", "reencrypt", "--encrypt", "--init-only", "--type", "luks2", "--reduce-device-size", "32M",
            "--cipher", "aes-xts-plain64", "--key-size", "512", "--sector-size", "4096", "--pbkdf", "pbkdf2",
            "--pbkdf-force-iterations", "1000", *common, image)
        prepared = time.monotonic()
        run("cryptsetup", "reencrypt", "--resume-only", *common, image)
        return time.monotonic() - begun, time.monotonic() - prepared

    def throughput(self, mebibytes, rounds):
        original = self.ext4("original", mebibytes, mebibytes // 4)
        rows = []
        for number in range(rounds):
            tools = [("volseal", self.by_volseal), ("cryptsetup", self.by_cryptsetup)]
            taken = {}
            # Who is first has the colder machine: turn and turn about.
            for name, tool in tools if number % 2 == 0 else reversed(tools):
                image = self.copy_of(original, name)
                taken[name] = tool(image)
                image.unlink()
            rows.append(taken)
            print(f"round {number + 1}: " + ", ".join(
                f"{name} {taken[name][0]:.2f} s, data {taken[name][1]:.2f} s" for name in sorted(taken)), flush=True)
        print(f"\n{mebibytes} MiB, ext4, {rounds} rounds, medians")
        print(f"{'':10}  {'volseal':>10}  {'cryptsetup':>10}  {'ratio of throughput':>19}")
        for index, what in ((0, "whole job"), (1, "data phase")):
            ours, theirs = ([row[name][index] for row in rows] for name in ("volseal", "cryptsetup"))
            ratio = statistics.median(b / a for a, b in zip(ours, theirs))
            speeds = [f"{mebibytes / statistics.median(seconds):4.0f} MiB/s" for seconds in (ours, theirs)]
            print(f"{what:10}  {speeds[0]:>10}  {speeds[1]:>10}  {ratio:19.2f}")

    def used_space(self):
        """A tenth is used: all of it encrypted, and only what is used."""
        case = Path(__file__).with_name("used_space.sh")
        done = subprocess.run([case.parents[1] / "uml/run-case", case, "--build", self.build, "--work",
                               self.folder / "guest", "--live"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        took = {way: [int(number) for number in numbers.split()]
                for way, numbers in re.findall(r"^TOOK (\w+) ([\d ]+)", done.stdout, re.M)}
        if done.returncode != 0 or len(took) != 2:
            sys.exit(f"enroll_bench: the guest failed: {done.stdout}")
        print("\n8 GiB, ext4, a tenth used, in a User-Mode Linux guest: all of it, or only what is used")
        for index, what in enumerate(("whole job, ms", "from shrinking to growing, ms", "read from the disk, MiB")):
            whole, used = (took[way][index] for way in ("encrypt", "zero"))
            print(f"{what:29}  {whole:6}  {used:6}  {used / whole:5.2f}", flush=True)

    def memory(self, volumes):
        images = [self.ext4("small", 64, 8)]
        images[0].rename(self.folder / "volume0")
        images = [self.folder / f"volume{number}" for number in range(volumes)]
        for image in images[1:]:
            # Half of them blank.
            if int(image.name.removeprefix("volume")) % 2:
                image.touch()
                os.truncate(image, 64 * MIB)
            else:
                shutil.copyfile(images[0], image)
                run("tune2fs", "-U", "random", image)
        with open(self.folder / "said", "wb") as said:
            process = subprocess.Popen([*self.enroll, *images], stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"enroll_bench: {(self.folder / 'said').read_text()}")
        # The largest of volseal and all programs that it ran.
        peak = usage.ru_maxrss / 1024
        print(f"\n{volumes} volumes of 64 MiB in one run: {peak:.0f} MiB of memory at the most")
        return peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volseal", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=512, metavar="MIB")
    parser.add_argument("--rounds", type=int, default=9, metavar="N")
    parser.add_argument("--guest", action=argparse.BooleanOptionalAction, default=True, help="encrypt the used space only")
    parser.add_argument("--volumes", type=int, default=64, metavar="N")
    # Not /tmp, which may be memory.
    parser.add_argument("--folder", default="/var/tmp", metavar="DIR", help="where the images lie; /dev/shm is a disk that costs nothing")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="volseal-bench.", dir=options.folder) as name:
        bench = Bench(Path(name), options.volseal)
        bench.start_tpm()
        try:
            if options.rounds:
                bench.throughput(options.size, options.rounds)
            if options.guest:
                bench.used_space()
            if options.volumes and bench.memory(options.volumes) >= 256:
                sys.exit("enroll_bench: that is 256 MiB or more")
        finally:
            bench.tpm.terminate()
            bench.tpm.wait()


main()
