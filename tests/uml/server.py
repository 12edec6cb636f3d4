"""The disks of a server of three volumes, made without mounting anything, and what must never be found on them."""

import hashlib
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys

MIB = 1 << 20
CANARIES = {"data": b"canary of data: ", "swap": b"canary of swap: "}
PARTITION = MIB  # where the first one begins


def run(*command, check=True, **options):
    return subprocess.run(command, check=check, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)


def run_to_its_end(command):
    """Its exit status. Who terminates us terminates it too, so that no kernel is left behind."""
    child = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    return child.wait()


def fail(text):
    print(f"{sys.argv[0].rsplit('/')[-1]}: {text}")
    sys.exit(1)


def canary_lines(name, rng, size):
    lines = b"".join(CANARIES[name] + b"%016x\n" % rng.getrandbits(64) for _ in range(1024))
    return lines * (size // len(lines))


def make_filesystem(mebibytes, folder, rng):
    """An ext4 whose files lie where it will be shrunk, FOLDER/filesystem; returns their checksums."""
    filesystem = folder / "filesystem"
    run("mkfs.ext4", "-q", "-F", "-L", "data", filesystem, f"{mebibytes}M")
    # Not zeros: debugfs would leave holes.
    (folder / "filler").write_bytes(b"-" * (mebibytes - 54) * MIB)
    commands, sums = ["write filler filler"], []
    for number in range(8):
        content = canary_lines("data", rng, 2 * MIB) + rng.randbytes(MIB)
        (folder / f"file{number}").write_bytes(content)
        commands.append(f"write file{number} file{number}")
        sums.append(f"{hashlib.sha256(content).hexdigest()}  file{number}\n")
    commands.append("rm filler")
    (folder / "commands").write_text("\n".join(commands) + "\n")
    run("debugfs", "-w", "-f", "commands", "filesystem", cwd=folder)
    subprocess.run(["e2fsck", "-fy", filesystem], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return "".join(sums)


def make_data(image, size, folder, rng):
    """A partition with that file system; returns the checksums of its files."""
    sums = make_filesystem(size // MIB - 2, folder, rng)
    partition(image, size, "")
    copy_into(image, folder / "filesystem", PARTITION)
    return sums


def make_swap(image, size, rng):
    """A swap area with what was swapped out: here all but its head."""
    partition(image, size, ", type=swap")
    area = image.with_suffix(".area")
    area.write_bytes(b"\0" * (size - 2 * MIB))
    run("mkswap", "-L", "swap", area)
    with open(area, "r+b") as file:
        file.seek(MIB)
        file.write(canary_lines("swap", rng, size - 4 * MIB))
    copy_into(image, area, PARTITION)
    area.unlink()


def partition(image, size, kind):
    with open(image, "wb") as file:
        file.truncate(size)
    run("sfdisk", "-q", image, input=f"label: gpt\nstart=2048, size={size // 512 - 4096}{kind}\n".encode())


def copy_into(image, source, offset):
    run("dd", f"if={source}", f"of={image}", "bs=1M", f"seek={offset // MIB}", "conv=notrunc,sparse")


class Server:
    """Fresh disks in a window of run-guest, as often as wanted."""

    IMAGES = ("data", "blank", "swap")

    ENDED_BEFORE_CUT = 120  # of run-guest

    def __init__(self, window, guest, seed, data=128 * MIB):
        """`guest`: the command that boots it, without its phase. `data`: bytes of that disk."""
        self.window, self.pristine, self.guest = window, window / "pristine", guest
        rng = random.Random(seed)
        folder = window / "making"
        for path in (self.pristine, folder):
            path.mkdir(parents=True)
        self.sums = make_data(self.pristine / "data.img", data, folder, rng)
        make_swap(self.pristine / "swap.img", 96 * MIB, rng)
        with open(self.pristine / "blank.img", "wb") as file:
            file.truncate(96 * MIB)
        shutil.rmtree(folder)
        self.renew()
        if len(self.old_plaintext("data data\nswap swap")) != 2:
            fail("there is no plaintext to begin with")

    def renew(self):
        """As it came, with another TPM and an empty root."""
        for name in ("recovery-keys", "volume-keys", "tpm"):
            shutil.rmtree(self.window / name, ignore_errors=True)
        (self.window / "root-disk.img").unlink(missing_ok=True)
        (self.window / "files.sha256").write_text(self.sums)
        for name in self.IMAGES:
            run("cp", "--sparse=always", self.pristine / f"{name}.img", self.window / f"{name}.img")

    def images(self):
        return [self.window / f"{name}.img" for name in (*self.IMAGES, "root-disk")]

    def boot(self, *arguments):
        """Whether the power was cut. Where that could not be, or the boot fails, all fails; what the disks were
        before it is kept then."""
        before = self.window / "before"
        shutil.rmtree(before, ignore_errors=True)
        before.mkdir()
        run("cp", "-a", "--sparse=always", *self.images(), before, check=False)
        if (self.window / "tpm").exists():
            run("cp", "-a", self.window / "tpm", before)
        status = run_to_its_end([*self.guest, "--phase=cut", *arguments])
        if status not in (0, self.ENDED_BEFORE_CUT):
            fail(f"that boot failed; the disks as they were before it are in {before}")
        if found := self.find(self.keys()) + self.old_plaintext((self.window / "gone").read_text()):
            fail("on a disk in the clear: " + "; ".join(found))
        return status == 0

    def stood(self):
        """Where the enrollment stood when the last boot began."""
        return (self.window / "stands").read_text().strip()

    def console(self):
        return (self.window / "console.cut").read_text(errors="replace")

    def keys(self):
        """Every key that was handed over or is in use, as it would be found: name → bytes."""
        found = {}
        for file in sorted((self.window / "recovery-keys").glob("*.recovery-key")):
            text = file.read_bytes().strip()
            digits = text.replace(b"-", b"").decode()
            binary = bytes("cbdefghijklnrtuv".index(high) << 4 | "cbdefghijklnrtuv".index(low)
                           for high, low in zip(digits[::2], digits[1::2]))
            # Half of it is enough to be found: as text, without its dashes, in binary.
            found |= {f"{file.name} as text": text[:35], f"{file.name} without dashes": digits[:32].encode(),
                      f"{file.name} in binary": binary[:16]}
        for file in sorted((self.window / "volume-keys").glob("*")):
            key = file.read_bytes()
            found |= {f"volume key of {file.name}": key[:32], f"second half of it, {file.name}": key[32:],
                      f"volume key of {file.name} as hexadecimal": key[:32].hex().encode()}
        return found

    def find(self, patterns, images=None):
        """Where on the disks something of {name: bytes} lies, one line each."""
        lines = []
        for image in images or self.images():
            with open(image, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as disk:
                for begin, end in data_extents(file.fileno()):
                    for name, pattern in patterns.items():
                        at = disk.find(pattern, max(0, begin - len(pattern)), min(len(disk), end + len(pattern)))
                        if at >= 0:
                            lines.append(f"{name}: {image.name}, byte {at}")
        return lines

    def old_plaintext(self, gone):
        """`gone`: lines "VOLUME IMAGE", where nothing may be left of what was on VOLUME."""
        lines = []
        for volume, image in (line.split() for line in gone.splitlines()):
            lines += self.find({f"what was on {volume}": CANARIES[volume]}, [self.window / f"{image}.img"])
        return lines


def data_extents(fd):
    end = 0
    while True:
        try:
            begin = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(fd, begin, os.SEEK_HOLE)
        yield begin, end
