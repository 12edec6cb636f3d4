"""The cases of run-case that want firmware, Secure Boot's variables, or Debian's kernel: each gets a QemuServer."""

import shutil
from pathlib import Path

import tpm_thief
from cases import (CONTENTS, KEEP_REPORT, NOTHING_IS_STOLEN, STOPPED, add_script, case, opened, outcome, plant_root,
                   without_line)
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


def by_each_device(script):
    return f"for device in /dev/tpm0 /dev/tpmrm0; do\nexport VOLSEAL_TCTI=device:$device TPM2TOOLS_TCTI=device:$device\n{script}done\n"


@case
def qemu_planted_root(server):
    """The root is the attacker's, on firmware that measures: it boots, and neither our program nor tpm2-tools get anything out of
    the TPM there, through /dev/tpm0 or /dev/tpmrm0. With the latch left open they would."""
    tpm_thief.prepare(server, server.image / "data1.img")
    whole = server.initrd
    server.change_initrd(without_line("etc/volseal/boot.list", "latch"))
    server.boot(by_each_device("volseal --state /nowhere unlock --test /dev/vdb\n/run/window/steal/steal\n"))
    server.initrd = whole
    plant_root(server)
    server.boot(KEEP_REPORT + by_each_device(NOTHING_IS_RELEASED + NOTHING_IS_STOLEN), [(RECOVERY_PROMPT, "evil passphrase\n")])
    server.shown("the TPM did not open the root: the volume has no volseal-tpm2 token")
    expect(opened(server.report()) == {"root": "passphrase"}, f"opened: {opened(server.report())}")
    expect(server.report()["latch"] == "closed", f"the latch: {server.report()['latch']}")


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
    """Another kernel is installed: its initramfs is built and checked by the packages' hooks and by apt's, and opens
    everything."""
    kernels = sorted(server.image.glob("vmlinuz-*"))
    older = kernels[0].name.removeprefix("vmlinuz-")
    server.boot(f"""
mkdir -p /boot
rm -f /boot/initrd.img-{older}
DEB_MAINT_PARAMS=configure run-parts --verbose --arg={older} --arg=/boot/vmlinuz-{older} /etc/kernel/postinst.d
volseal verify-next-boot /boot/initrd.img-{older}
after_apt() {{ apt-config dump --format '%v%n' DPkg::Post-Invoke | sh; }}
after_apt >/tmp/said 2>&1
cat /tmp/said
grep 'opens every volume' /tmp/said
[ -z "$(after_apt 2>&1)" ] # nothing has changed since
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


# Debian's kernel has the driver built in: it is taken from the TPM, which is there for the firmware only then.
NO_DRIVER = """#!/bin/sh
case "$1" in prereqs) exit 0 ;; esac
driver=/sys/bus/acpi/drivers/tpm_crb
device=$(basename "$driver"/MSFT0101:*)
echo "$device" >"$driver/unbind"
while [ -e /dev/tpm0 ]; do sleep 0.1; done
"""
# And given back after our program has begun to wait.
LATE_DRIVER = NO_DRIVER + """(
  until pidof volseal-unlock; do sleep 0.1; done
  sleep 4
  echo "$device" >"$driver/bind"
) </dev/null >/dev/null 2>&1 &
"""


@case
def qemu_slow_tpm(server):
    """The TPM appears seconds after the boot has begun to look for it: it is waited for, and everything opens unattended."""
    server.change_initrd(lambda folder: add_script(folder, "init-premount", "late-driver", LATE_DRIVER))
    server.boot(KEEP_REPORT + TWO_CONTENTS + NOTHING_IS_RELEASED)
    all_opened(server)
    expect(server.report()["latch"] == "closed", f"the latch: {server.report()['latch']}")
    expect(3500 <= server.report()["parts_ms"]["check"] < 15000, f"waited: {server.report()['parts_ms']['check']} ms")
    server.not_shown(RECOVERY_PROMPT)


@case
def qemu_hidden_tpm(server):
    """The firmware has a TPM, and no driver ever shows it: it could open once another root runs. So the wait is bounded, and
    then nothing is asked and the machine stops."""
    server.change_initrd(lambda folder: add_script(folder, "init-premount", "no-driver", NO_DRIVER))
    server.boot(until=STOPPED, timeout=180)
    server.shown("the TPM cannot be closed to what runs from here on: open the TPM /dev/tpm0")
    server.not_shown(RECOVERY_PROMPT + "|Please unlock")


@case
def qemu_fido2(server):
    """PCR 7 changed, and a security key is plugged in: its PIN is asked for, a wrong one costs a try and is told so, the right
    one and a touch open the root; the data opens by the late copy."""
    for file in ("hook-softkey", "start-softkey"):
        shutil.copy(HERE / "guest" / file, server.work)
    shutil.copy(server.build / "tests/support/softkey/volseal-softkey", server.work)
    server.boot((HERE / "guest/qemu-enroll-key.sh").read_text(), timeout=900)
    server.initrd = server.work / server.initrd.name
    server.variables = OVMF / "OVMF_VARS_4M.ms.fd"
    pin = "PIN of the FIDO2 key volseal softkey"
    server.boot(KEEP_REPORT + NOTHING_IS_RELEASED + "volseal unlock --all\n" + TWO_CONTENTS,
                [(pin + r" \(8 tries left\)", "0000\n"),
                 (r"wrong PIN of volseal softkey; 7 tries left[\s\S]*" + pin + r" \(7 tries left\)", "1234\n"),
                 ("touch the FIDO2 key volseal softkey", server.touch)])
    server.shown("the TPM did not open the root: PCR 7 is not as approved")
    server.not_shown(RECOVERY_PROMPT)
    report = server.report()
    expect(opened(report) == {"root": "fido2"}, f"opened: {opened(report)}")
    expect(outcome(report, "root") == ["policy-mismatch", "opened"], f"root: {outcome(report, 'root')}")
    expect(report["latch"] == "closed", f"the latch: {report['latch']}")
