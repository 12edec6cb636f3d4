"""A server in QEMU: firmware (OVMF) that measures, swtpm behind tpm-crb, Debian's kernel on the kernel's own driver."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from run_case import PATIENCE, Failure, Server, converse

OVMF = Path("/usr/share/OVMF")
DISKS = ("root", "data1", "data2")
# Where the data of a LUKS2 volume begins, if nobody wants it elsewhere.
HEADER_BYTES = 16 << 20


class QemuServer(Server):
    """Disks are qcow2 layers over the prepared ones. `variables`: OVMF's, which decide what PCR 7 says."""

    def __init__(self, image, work, build):
        super().__init__(image, work, build, DISKS)
        self.kernel = self.newest("vmlinuz-*")
        self.initrd = self.newest("initrd.img-*")
        self.variables = OVMF / "OVMF_VARS_4M.fd"
        self.tpm = True
        self.headers = []
        for name in DISKS:
            layer = work / f"{name}.qcow2"
            self.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image / f"{name}.img", layer)

    def own_disk(self, name):
        """Its header, in a file of the disk's size; what becomes of it is on the disk at the next boot."""
        header = self.work / f"{name}.img"
        if header not in self.headers:
            with open(self.image / f"{name}.img", "rb") as disk, open(header, "wb") as copy:
                copy.write(disk.read(HEADER_BYTES))
                copy.truncate(os.fstat(disk.fileno()).st_size)
            self.headers.append(header)
        return header

    def write_headers(self):
        for header in self.headers:
            self.run("qemu-io", "-f", "qcow2", "-c", f"write -q -s {header} 0 {HEADER_BYTES}", header.with_suffix(".qcow2"))
            header.unlink()
        self.headers = []

    def newest(self, pattern):
        found = sorted(self.image.glob(pattern))
        return found[-1] if found else None

    def use_secrets(self):
        super().use_secrets()
        shutil.copy(self.image / "passphrase", self.work / "passphrase")

    def change_initrd(self, change):
        """As Server's. There is no microcode in front, and Debian packs with zstd."""
        with tempfile.TemporaryDirectory(dir=self.work) as name:
            folder = Path(name)
            unpack = f"zstd -dcq {self.initrd} | cpio -idm --quiet --no-absolute-filenames"
            subprocess.run(["sh", "-c", unpack], cwd=folder, check=True)
            change(folder)
            target = self.work / "initrd"
            subprocess.run(["sh", "-c", f"find . | cpio -o -H newc --quiet | gzip -1 >{target}"], cwd=folder, check=True)
            self.initrd = target

    def boot(self, inside="", answers=(), until=None, timeout=300, **words):
        self.boots += 1
        self.write_headers()
        (self.work / "inside.sh").write_text(inside)
        for left in ("status", "inside.log"):
            (self.work / left).unlink(missing_ok=True)
        variables = self.work / "variables.fd"
        shutil.copy(self.variables, variables)
        with tempfile.TemporaryDirectory(prefix="volseal-qemu-") as sockets:
            self.sockets, started = sockets, []
            try:
                if self.tpm:
                    started.append(self.start_tpm(sockets))
                guest = subprocess.Popen(self.command(sockets, variables, words), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, start_new_session=True)
                started.append(guest)
                begun = time.monotonic()
                self.console = converse(self, guest, list(answers), until, begun + timeout * PATIENCE)
            finally:
                for process in reversed(started):
                    process.send_signal(signal.SIGTERM)
                    process.wait()
                (self.work / f"console.{self.boots}").write_text(self.console)
        if until is None and not (self.work / "status").exists():
            raise Failure(f"the root's init did not end\n{self.console[-2500:]}")
        if inside and until is None and self.status() != 0:
            raise Failure(f"inside: exit status {self.status()}\n{self.inside()}")
        return self.console

    def touch(self):
        """The finger on the security key: a line on the second serial port, which the guest's softkey takes for it."""
        with socket.socket(socket.AF_UNIX) as hand:
            hand.connect(f"{self.sockets}/hand")
            hand.sendall(b"\n")

    def start_tpm(self, sockets):
        control = f"{sockets}/tpm.ctrl"
        tpm = subprocess.Popen(["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.work / 'tpm'}", "--ctrl",
                                f"type=unixio,path={control}"])
        while not os.path.exists(control):
            if tpm.poll() is not None:
                raise Failure("swtpm does not start")
            time.sleep(0.01)
        return tpm

    def command(self, sockets, variables, words):
        line = {"root": "/dev/mapper/root", "init": "/sbin/test-init", "console": "ttyS0", "fsck.mode": "skip"} | words
        command = ["qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "1536", "-display", "none",
                   "-monitor", "none", "-serial", "stdio", "-no-reboot", "-nic", "none",
                   "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF / 'OVMF_CODE_4M.fd'}",
                   "-drive", f"if=pflash,format=raw,unit=1,file={variables}",
                   "-kernel", self.kernel, "-initrd", self.initrd,
                   "-serial", f"unix:{sockets}/hand,server=on,wait=off",
                   "-append", "ro quiet " + " ".join(f"{key}={value}" if value else key for key, value in line.items()),
                   "-virtfs", f"local,path={self.work},mount_tag=window,security_model=none"]
        for name in DISKS:
            command += ["-drive", f"if=none,id={name},format=qcow2,file={self.work / name}.qcow2,discard=unmap",
                        "-device", f"virtio-blk-pci,drive={name}"]
        if self.tpm:
            command += ["-chardev", f"socket,id=tpm,path={sockets}/tpm.ctrl", "-tpmdev", "emulator,id=tpm0,chardev=tpm",
                        "-device", "tpm-crb,tpmdev=tpm0"]
        return [str(word) for word in command]

    def keep(self):
        """What the boots have made of disks and TPM becomes the prepared server."""
        for name in DISKS:
            self.run("qemu-img", "commit", "-q", self.work / f"{name}.qcow2")
        shutil.rmtree(self.image / "tpm")
        shutil.copytree(self.work / "tpm", self.image / "tpm")
