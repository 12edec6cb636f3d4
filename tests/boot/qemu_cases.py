"""The cases of run-case that want firmware, Secure Boot's variables, or Debian's kernel: each gets a QemuServer."""

import shutil
from pathlib import Path

from cases import CONTENTS, KEEP_REPORT, case, opened, outcome
from qemu_server import OVMF
from run_case import expect

HERE = Path(__file__).resolve().parent
TWO_CONTENTS = CONTENTS.replace("1 2 3", "1 2")
# To our own program and to other people's tools, whatever device they take.
NOTHING_IS_RELEASED = """
for disk in /dev/vda /dev/vdb /dev/vdc; do
  status=0
  volseal --state /nowhere unlock --test "$disk" || status=$?
  [ "$status" = 7 ] || { echo "volseal unlock --test $disk: exit status $status"; exit 1; }
done
tpm2_pcrread sha256:15 | grep -q '0x0*[1-9A-F]' || { echo "the latch is open"; exit 1; }
"""
RECOVERY_PROMPT = "Recovery key or passphrase of root"


def all_opened(server, protector="tpm"):
    expect(opened(server.report()) == dict.fromkeys(("root", "data1", "data2"), protector), f"opened: {opened(server.report())}")


@case
def qemu_enroll(server):
    """Not a test: the prepared server's first boot, in which it enrolls itself."""
    server.initrd = server.image / "initrd.first"
    server.boot((HERE / "guest/qemu-enroll.sh").read_text(), [("Please unlock disk root", server.passphrase + "\n")], timeout=900)
    print(server.inside())
    shutil.copy(server.work / "recovery-key", server.image)
    for initrd in server.work.glob("initrd.img-*"):
        shutil.copy(initrd, server.image)
    server.keep()


@case
def qemu_unattended(server):
    """Firmware that measures, tpm_crb and /dev/tpm0: root and data open with nobody there, and the TPM is closed then."""
    server.boot("ls -l /dev/tpm0\n" + KEEP_REPORT + TWO_CONTENTS + NOTHING_IS_RELEASED)
    all_opened(server)
    expect(server.report()["latch"] == "closed", f"the latch: {server.report()['latch']}")
    server.not_shown("Please unlock|Recovery key or passphrase")


@case
def qemu_secure_boot_changed(server):
    """Other Secure Boot variables, so another PCR 7: refused with the reason, the recovery key typed on the serial console
    boots, the data opens late; approved, the next boot is unattended again."""
    server.variables = OVMF / "OVMF_VARS_4M.ms.fd"
    server.boot(KEEP_REPORT + NOTHING_IS_RELEASED + "volseal unlock --all\n" + TWO_CONTENTS + "volseal tpm approve\n",
                [(RECOVERY_PROMPT, server.recovery_key + "\n")])
    server.shown("the TPM did not open the root: PCR 7 is not as approved")
    expect(opened(server.report()) == {"root": "recovery-key"}, f"opened: {opened(server.report())}")
    expect(outcome(server.report(), "data1") == ["policy-mismatch"], f"data1: {outcome(server.report(), 'data1')}")
    server.boot(KEEP_REPORT + TWO_CONTENTS)
    all_opened(server)


@case
def qemu_kernel_upgrade(server):
    """Another kernel is installed: its initramfs is built and checked by the packages' hooks, and opens everything."""
    kernels = sorted(server.image.glob("vmlinuz-*"))
    older = kernels[0].name.removeprefix("vmlinuz-")
    server.boot(f"""
mkdir -p /boot
rm -f /boot/initrd.img-{older}
DEB_MAINT_PARAMS=configure run-parts --verbose --arg={older} --arg=/boot/vmlinuz-{older} /etc/kernel/postinst.d
volseal verify-next-boot /boot/initrd.img-{older}
cp /boot/initrd.img-{older} /run/window/
""", timeout=900)
    said = server.inside()
    expect(f"/boot/initrd.img-{older}: opens every volume" in said, f"verify-next-boot said: {said}")
    server.kernel = kernels[0]
    server.initrd = server.work / f"initrd.img-{older}"
    server.boot(f'[ "$(uname -r)" = {older} ]\n' + KEEP_REPORT + TWO_CONTENTS + NOTHING_IS_RELEASED)
    all_opened(server)


@case
def qemu_no_tpm(server):
    """The TPM is gone: that is said, and the recovery key boots."""
    server.tpm = False
    server.boot(KEEP_REPORT, [(RECOVERY_PROMPT, server.recovery_key + "\n")])
    server.shown("the TPM did not open the root: open the TPM /dev/tpm0")
    expect(opened(server.report()) == {"root": "recovery-key"}, f"opened: {opened(server.report())}")
