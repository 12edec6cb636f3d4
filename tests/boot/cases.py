"""The cases of run-case: each a function that gets a Server."""

import hashlib
import json
import re
import shutil
import struct

import tpm_thief
from run_case import expect

# What every boot that gets so far leaves to look at.
KEEP_REPORT = "cp /run/volseal/boot.json /run/window/boot.json\n"
# The TPM releases nothing any more: not to our own program, and not to other people's tools.
NOTHING_IS_RELEASED = """
for disk in /dev/ubda /dev/ubdb /dev/ubdc /dev/ubdd; do
  status=0
  volseal --state /nowhere unlock --test "$disk" || status=$?
  [ "$status" = 7 ] || { echo "volseal unlock --test $disk: exit status $status"; exit 1; }
done
tpm2_pcrread sha256:15 | grep -q '0x0*[1-9A-F]' || { echo "the latch is open"; exit 1; }
"""
# Nor to somebody who goes through the TPM's commands by hand: see can_steal.
NOTHING_IS_STOLEN = """
if /run/window/steal/steal >/run/window/steal.log 2>&1; then echo "tpm2-tools unseal it"; exit 1; fi
grep -q 'Esys_Unseal(0x99D)' /run/window/steal.log # TPM_RC_POLICY_FAIL, session 1
"""
CONTENTS = """
for n in 1 2 3; do
  mount -o ro /dev/mapper/data$n /srv/data$n
  [ "$(cat /srv/data$n/content)" = "this is data$n" ]
done
"""
# The boot script's last word before the shell, which is not on this console.
STOPPED = "volseal: the encrypted root stays locked"
CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


def opened(report):
    return {attempt["mapping"]: attempt["protector"] for attempt in report["attempts"] if attempt["outcome"] == "opened"}


def outcome(report, mapping):
    return [attempt["outcome"] for attempt in report["attempts"] if attempt["mapping"] == mapping]


@case
def unattended(server):
    """An encrypted root and three data volumes open with nobody there; afterwards the TPM is closed."""
    server.boot(KEEP_REPORT + CONTENTS + NOTHING_IS_RELEASED)
    report = server.report()
    expect(opened(report) == dict.fromkeys(("root", "data1", "data2", "data3"), "tpm"), f"opened: {opened(report)}")
    expect(report["latch"] == "closed", f"the latch: {report['latch']}")
    server.not_shown("Please unlock|Recovery key or passphrase")
    server.shown(r"4 volumes opened by tpm in \d+ ms")


@case
def refused(server):
    """PCR 7 is another one: refused in a line, the recovery key is typed, the real root's late copy opens the data."""
    server.boot(KEEP_REPORT + NOTHING_IS_RELEASED + "volseal unlock --all\n" + CONTENTS,
                answers=[("Recovery key or passphrase of root", server.recovery_key.upper().replace("-", "") + "\n")],
                PCR7="another")
    server.shown(r"the TPM did not open the root: PCR 7 is not as approved")
    report = server.report()
    expect(opened(report) == {"root": "recovery-key"}, f"opened: {opened(report)}")
    expect(report["latch"] == "closed", f"the latch: {report['latch']}")


def certificate(server, name):
    """A holder of recovery keys: NAME.pem and NAME.key in the window."""
    (server.work / "request").write_text("[req]\ndistinguished_name=name\nx509_extensions=usage\nprompt=no\n"
                                         f"[name]\nCN={name}\n[usage]\nkeyUsage=critical,keyEncipherment\n"
                                         "basicConstraints=critical,CA:FALSE\n")
    server.run("openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-sha256", "-days", "100", "-config",
               server.work / "request", "-keyout", server.work / f"{name}.key", "-out", server.work / f"{name}.pem")


@case
def used_key(server):
    """The recovery key that let a person in is replaced after the boot, with nobody there: the new one is in escrow before the
    old one opens nothing any more. Once, however often that is asked."""
    certificate(server, "alice")
    (server.work / "old").write_text(server.recovery_key)
    server.boot(KEEP_REPORT + """
mkdir -p /etc/volseal/escrow /srv/escrow
cp /run/window/alice.pem /etc/volseal/escrow/
old_opens() { cryptsetup open --test-passphrase --key-file /run/window/old /dev/ubda; }
old_opens
(volseal status || true) | grep 'recover --replace /dev/ubda'
status=0
volseal recover --used || status=$?
[ "$status" = 1 ] # there is no escrow yet, and nobody to show it to
old_opens
cat >>/etc/volseal/policy.toml <<'END'
[group.default.escrow]
certificates = ["/etc/volseal/escrow/alice.pem"]
directory = "/srv/escrow"
END
volseal recover --used
volseal recover --used
ls /srv/escrow
[ "$(ls /srv/escrow | wc -l)" = 1 ]
if old_opens; then exit 1; fi
volseal escrow verify /srv/escrow/* --key /run/window/alice.key --volume /dev/ubda
volseal protector list /dev/ubda
grep -q '"action":"recovery-key.replace","outcome":"ok"' /var/lib/volseal/audit.log
""", answers=[("Recovery key or passphrase of root", server.recovery_key + "\n")], PCR7="another")
    expect(opened(server.report()) == {"root": "recovery-key"}, f"opened: {opened(server.report())}")


@case
def stops(server):
    """Nobody knows the recovery key: the tries are limited, the delays grow, and the machine stops behind a closed latch."""
    server.boot(PCR7="another", answers=[("Recovery key or passphrase of root", f"guess {n}\n") for n in range(5)],
                until=r"root stays locked: 5 tries[\s\S]*" + STOPPED)
    server.not_shown("Please unlock disk")


def setting(name, value):
    def change(folder):
        path = folder / "etc/volseal/boot.conf"
        path.write_text(re.sub(rf"^{name}=.*$", f"{name}={value}", path.read_text(), flags=re.MULTILINE))

    return change


def stops_by(server, policy, last_words):
    server.change_initrd(setting("ON_REFUSAL", policy))
    server.change_initrd(setting("TRIES", 1))
    server.boot(PCR7="another", answers=[("Recovery key or passphrase of root", "guess\n")],
                until=r"root stays locked: 1 tries[\s\S]*" + last_words)
    server.not_shown("Please unlock disk|Spawning shell")


@case
def stop_poweroff(server):
    """The policy says poweroff: nobody gets a shell."""
    stops_by(server, "poweroff", "reboot: (Power down|System halted)")


@case
def stop_reboot(server):
    """The policy says reboot: nobody gets a shell."""
    stops_by(server, "reboot", "reboot: Restarting system")


# What comes after our script on the way to a shell, or to the root: it tells what the latch reads.
TELL_LATCH = """#!/bin/sh
case "$1" in prereqs) exit 0 ;; esac
value=$(TPM2TOOLS_TCTI=swtpm:path=/run/swtpm/socket tpm2 pcrread sha256:15)
# In one line: unquoted.
echo $value >/dev/kmsg
"""
LATCH_CLOSED = r"15: 0x(?!0{64})[0-9A-F]{64}"


def add_script(folder, where, name, text):
    """One more script of an unpacked initramfs, the last of those in `where`."""
    script = folder / "scripts" / where / name
    script.parent.mkdir(exist_ok=True)
    script.write_text(text)
    script.chmod(0o755)
    order = script.parent / "ORDER"
    before = order.read_text() if order.exists() else ""
    order.write_text(before + f'/scripts/{where}/{name} "$@"\n')


@case
def break_shell(server):
    """A shell asked for on the kernel's command line, before any volume is opened: the latch is closed first."""
    server.change_initrd(lambda folder: add_script(folder, "panic", "tell-latch", TELL_LATCH))
    server.boot(until=LATCH_CLOSED, **{"break": "mount"})
    server.not_shown("opened by tpm")


@case
def crashed_program(server):
    """Our program crashes while it opens, and again when it is to close the latch: that is done before the root takes over."""
    def crash(folder):
        program = folder / "usr/lib/volseal/volseal-unlock"
        program.rename(folder / "usr/lib/volseal/real")
        program.write_text("#!/bin/sh\nif [ ! -e /run/twice ]; then\n  [ ! -e /run/once ] || : >/run/twice\n  : >/run/once\n"
                           'kill -SEGV $$\nfi\nexec /usr/lib/volseal/real "$@"\n')
        program.chmod(0o755)

    server.change_initrd(crash)
    server.boot("test -e /run/twice\n" + NOTHING_IS_RELEASED, answers=[("Please unlock disk root", server.passphrase + "\n")])
    server.shown("volseal: it failed with status 139")


def without(*patterns):
    def change(folder):
        for pattern in patterns:
            found = list(folder.glob(pattern))
            expect(found, f"the initramfs has no {pattern}")
            for path in found:
                path.unlink()

    return change


def without_line(path, start):
    def change(folder):
        lines = (folder / path).read_text().splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith(start)]
        expect(len(kept) < len(lines), f"{path} has no line {start}")
        (folder / path).write_text("".join(kept))

    return change


# What is broken in an initramfs → what is said of it.
VERDICTS = {
    "program": (without("usr/lib/volseal/volseal-unlock"), "/usr/lib/volseal/volseal-unlock is not in it"),
    "library": (without("usr/lib/*/libtss2-esys.so.0"), "/usr/lib/volseal/volseal-unlock does not run"),
    "script": (without("scripts/local-top/volseal"), "its boot script local-top/volseal is not in it"),
    "module": (without("usr/lib/modules/*/kernel/drivers/md/dm-crypt.ko"), "the module dm-crypt is not in it"),
    "cipher": (without("usr/lib/modules/*/kernel/crypto/xts.ko"), "nothing for 'xts' of its cipher is in it"),
    "driver": (setting("TCTI", ""), "no driver for a TPM is in it"),
    "crypttab": (without_line("cryptroot/crypttab", "root "), "the initramfs's crypttab has no line for it"),
    "askpass": (without("usr/lib/cryptsetup/askpass"), "askpass is not in it"),
    "list": (without_line("etc/volseal/boot.list", "volume data2"), "it is not in the initramfs's list of volumes"),
    "latch": (without_line("etc/volseal/boot.list", "latch"), "it would not close the latch"),
}
VERIFY = """
verify() {
  status=0
  volseal verify-next-boot "/run/window/initrd-$1" >/tmp/said || status=$?
  cat /tmp/said
  [ "$status" = "$2" ] || { echo "$1: exit status $status"; exit 1; }
  grep -F "$3" /tmp/said >/dev/null || { echo "$1: not said: $3"; exit 1; }
}
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /var/tmp
"""


@case
def next_boot(server):
    """verify-next-boot says of an initramfs that opens everything that it does, and of each that lacks something what it lacks."""
    whole = server.initrd
    # The guest unpacks each: without what it is not asked about.
    server.change_initrd(lambda folder: [shutil.rmtree(path, ignore_errors=True) for pattern in ("fs", "net", "drivers/net")
                                         for path in folder.glob(f"usr/lib/modules/*/kernel/{pattern}")])
    small = server.initrd.rename(server.work / "initrd-whole")
    inside = VERIFY + 'verify whole 0 "opens every volume"\n'
    for name, (change, said) in VERDICTS.items():
        server.initrd = small
        server.change_initrd(change)
        server.initrd.rename(server.work / f"initrd-{name}")
        inside += f'verify {name} 4 "{said}"\n'
    # Last, since what they change stays: the approval, and the root's token.
    inside += """tpm2_pcrextend 7:sha256=$(printf 0%.0s $(seq 64))
verify whole 4 "group default: this boot's PCRs are not approved"
token=$(cryptsetup luksDump --dump-json-metadata /dev/ubda | tr -d ' \n\t' | grep -o '"[0-9]*":{"type":"volseal-tpm2"' | grep -o '[0-9]*' | head -1)
cryptsetup token remove --token-id "$token" /dev/ubda
verify whole 4 "it has no volseal-tpm2 token"
"""
    server.initrd = whole
    server.boot(inside, timeout=400)


def set_pin(server):
    server.boot("printf 1234-abcd >/run/pin && volseal tpm pin set --new-pin-file /run/pin\n")


@case
def pin(server):
    """A PIN: the wrong one is told so, the right one opens all; and too many wrong ones lead to the recovery key."""
    set_pin(server)
    prompt = "PIN of group default"
    server.boot(KEEP_REPORT + CONTENTS + NOTHING_IS_RELEASED, answers=[(prompt, "wrong\n"), (prompt, "1234-abcd\n")])
    server.shown(r"wrong PIN; \d+ tries left")
    report = server.report()
    expect(outcome(report, "root") == ["wrong-pin", "opened"], f"root: {outcome(report, 'root')}")
    expect(len(opened(report)) == 4, f"opened: {opened(report)}")


@case
def pin_locked(server):
    """Wrong PINs until the TPM locks: that is said with its time, and the recovery key still opens."""
    set_pin(server)
    server.with_tpm(lambda environment: server.run("tpm2_dictionarylockout", "-s", "-n", "2", "-t", "600", "-l", "600",
                                                   env=environment))
    prompt = "PIN of group default"
    server.boot(KEEP_REPORT, answers=[(prompt, "wrong\n"), (prompt, "wrong again\n"),
                                      ("Recovery key or passphrase of root", server.recovery_key + "\n")])
    server.shown(r"the TPM is locked out after \d+ wrong PINs: the next try is possible in")
    expect(opened(server.report()) == {"root": "recovery-key"}, f"opened: {opened(server.report())}")


def can_steal(server, disk):
    """Gives what is run in the guest the parts of that disk's secret, and shows that in an approved boot, before the latch
    closes, they suffice."""
    folder = tpm_thief.prepare(server, disk)
    server.with_tpm(lambda environment: server.run(folder / "steal", env=environment))


def plant_root(server):
    """A root of the attacker's: same UUID, own passphrase. It holds the same files, so that it boots in this test."""
    disk = server.own_disk("root")
    uuid = server.run("cryptsetup", "luksUUID", disk).decode().strip()
    passphrase, key = server.image / "passphrase", server.work / "volume-key"
    server.run("cryptsetup", "luksDump", "-q", "--dump-volume-key", "--volume-key-file", key, "--key-file", passphrase, disk)
    dump = json.loads(server.run("cryptsetup", "luksDump", "--dump-json-metadata", disk))
    token = next(token for token in dump["tokens"].values() if token["type"] == "volseal-tpm2")
    (server.work / "evil").write_text("evil passphrase")
    server.run("cryptsetup", "luksFormat", "-q", "--uuid", uuid, "--volume-key-file", key, "--luks2-metadata-size", "64k",
               "--sector-size", "512", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
               "--key-file", server.work / "evil", disk)
    return disk, token


@case
def planted_root(server):
    """The root is the attacker's: he may boot it, but no data volume is open in it and the TPM gives nothing away."""
    can_steal(server, server.disks["data1"])
    plant_root(server)
    server.boot(KEEP_REPORT + NOTHING_IS_RELEASED + NOTHING_IS_STOLEN,
                answers=[("Recovery key or passphrase of root", "evil passphrase\n")])
    server.shown("the TPM did not open the root: the volume has no volseal-tpm2 token")
    expect(opened(server.report()) == {"root": "passphrase"}, f"opened: {opened(server.report())}")
    expect(server.report()["latch"] == "closed", f"the latch: {server.report()['latch']}")


@case
def planted_root_with_token(server):
    """The same with our token in it: the header is not the one that was bound. Nothing is asked, the machine stops."""
    disk, token = plant_root(server)
    token["keyslots"] = ["0"]  # his own
    server.run("cryptsetup", "token", "import", disk, input=json.dumps(token).encode())
    server.boot(until=STOPPED)
    server.shown("the header is not the one that was enrolled")
    server.shown("no passphrase is asked for it")
    server.not_shown("Recovery key or passphrase|Please unlock disk")


@case
def planted_root_with_group(server):
    """The same, sealed by the attacker to this very TPM: it opens, but vouches for no volume of another secret."""
    can_steal(server, server.disks["data1"])
    disk, _ = plant_root(server)
    state = server.work / "evil-state"
    server.with_tpm(lambda environment: server.run(server.build / "cli/volseal", "--state", state, "protector", "add", "tpm",
                                                   disk, "--key-file", server.work / "evil", env=environment))
    server.boot(KEEP_REPORT + NOTHING_IS_RELEASED + NOTHING_IS_STOLEN)
    expect(opened(server.report()) == {"root": "tpm"}, f"opened: {opened(server.report())}")
    expect(outcome(server.report(), "data1") == ["unavailable"], f"data1: {outcome(server.report(), 'data1')}")


def rewrite_header(path, change):
    """Both LUKS2 header copies with other JSON and right checksums (LUKS2 on-disk format, section 2)."""
    with open(path, "r+b") as image:
        size = 0
        for offset in (0, None):
            image.seek(size if offset is None else 0)
            start = image.tell()
            binary = bytearray(image.read(4096))
            size = struct.unpack(">Q", binary[8:16])[0]
            area = image.read(size - 4096)
            metadata = json.loads(area.split(b"\0", 1)[0])
            change(metadata)
            area = json.dumps(metadata).encode().ljust(size - 4096, b"\0")
            binary[448:512] = bytes(64)
            binary[448:480] = hashlib.sha256(bytes(binary) + area).digest()
            image.seek(start)
            image.write(binary + area)


def without_encryption(metadata):
    for segment in metadata["segments"].values():
        segment["encryption"] = "cipher_null-ecb"


@case
def null_cipher(server):
    """A data volume whose header says that nothing is encrypted is not opened; a root like that stops the machine."""
    rewrite_header(server.own_disk("data2"), without_encryption)
    server.boot(KEEP_REPORT + "test ! -e /dev/mapper/data2\n")
    expect(sorted(opened(server.report())) == ["data1", "data3", "root"], f"opened: {opened(server.report())}")
    expect(outcome(server.report(), "data2") == ["tampered"], f"data2: {outcome(server.report(), 'data2')}")


@case
def null_cipher_root(server):
    """A root whose header says that nothing is encrypted: no passphrase is asked for it, the machine stops."""
    rewrite_header(server.own_disk("root"), without_encryption)
    server.boot(until=STOPPED)
    server.shown("the cipher of segment 0 is null")
    server.not_shown("Recovery key or passphrase|Please unlock disk")


@case
def added_keyslot(server):
    """Somebody with root added a keyslot: the volume opens, and it is told."""
    disk = server.own_disk("data1")
    (server.work / "more").write_text("one more")
    server.run("cryptsetup", "luksAddKey", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file",
               server.image / "passphrase", disk, server.work / "more")
    server.boot(KEEP_REPORT + CONTENTS)
    server.shown("data1: keyslot 2 was added since the enrollment")
    expect(len(opened(server.report())) == 4, f"opened: {opened(server.report())}")


@case
def missing_disk(server):
    """A data disk is gone: the wait for it is bounded, the others open."""
    server.disks["data3"] = None
    server.boot(KEEP_REPORT)
    report = server.report()
    expect(sorted(opened(report)) == ["data1", "data2", "root"], f"opened: {opened(report)}")
    expect(report["missing"] == ["data3"], f"missing: {report['missing']}")
    expect(3000 <= report["parts_ms"]["devices"] < 6000, f"waited: {report['parts_ms']['devices']} ms")


@case
def no_tpm(server):
    """No TPM: the recovery key is asked for, and boots."""
    server.boot(KEEP_REPORT, TPM="none", answers=[("Recovery key or passphrase of root", server.recovery_key + "\n")])
    server.shown("the TPM did not open the root: connect to the TPM")
    expect(opened(server.report()) == {"root": "recovery-key"}, f"opened: {opened(server.report())}")


@case
def no_program(server):
    """Our program is gone from the initramfs: Debian's own prompt opens the root."""
    server.change_initrd(lambda folder: next(folder.glob("usr/lib/volseal/volseal-unlock")).unlink())
    server.boot("test ! -e /run/volseal/boot.json\n", answers=[("Please unlock disk root", server.passphrase + "\n")])
    server.shown("volseal-unlock is missing")


@case
def broken_program(server):
    """Our program crashes: Debian's own prompt opens the root."""
    def break_it(folder):
        program = folder / "usr/lib/volseal/volseal-unlock"
        program.write_text("#!/bin/sh\nkill -SEGV $$\n")

    server.change_initrd(break_it)
    server.boot(answers=[("Please unlock disk root", server.passphrase + "\n")])


# Of the running server: its own list for an initramfs, and what Debian's hook would put into its crypttab.
TAKE_LIST = """
grep -E "^($WANTED) " /etc/crypttab >/run/window/crypttab
volseal verify-next-boot --list --cryptroot /run/window/crypttab >/run/window/list
"""


def use_list(server):
    """As update-initramfs does after a change of crypttab; returns what the list says each volume is wanted for."""
    def change(folder):
        shutil.copy(server.work / "list", folder / "etc/volseal/boot.list")
        shutil.copy(server.work / "crypttab", folder / "cryptroot/crypttab")

    server.change_initrd(change)
    words = [line.split() for line in (server.work / "list").read_text().splitlines()]
    return {line[1]: line[3] for line in words if line[0] == "volume"}


@case
def hibernated(server):
    """The swap area to resume from is an encrypted volume: it opens before anything is resumed. Where a suspended system lies in
    it, the data volumes stay shut, for that system has them open; with noresume they open."""
    server.boot("WANTED='root|data3'\n" + """
mkswap /dev/mapper/data3
sed -i '/data3/d' /etc/fstab
sed -i 's/^data3 .*/&,swap,initramfs/' /etc/crypttab
""" + TAKE_LIST + r"""
printf 'S1SUSPEND\0' >/run/suspended
dd if=/run/suspended of=/dev/mapper/data3 bs=1 seek=$(($(getconf PAGESIZE) - 10)) conv=notrunc status=none
""")
    wanted = use_list(server)
    expect(wanted == {"root": "root", "data1": "data", "data2": "data", "data3": "boot"}, f"the list: {wanted}")
    server.boot(KEEP_REPORT + "test -e /dev/mapper/data3\ntest ! -e /dev/mapper/data1\ntest ! -e /dev/mapper/data2\n")
    expect(sorted(opened(server.report())) == ["data3", "root"], f"opened: {opened(server.report())}")
    server.boot(KEEP_REPORT, noresume="")
    expect(len(opened(server.report())) == 4, f"opened: {opened(server.report())}")


@case
def usr(server):
    """/usr on a volume of its own: opened with the root, asked for with the root, and mounted before init runs."""
    with open(server.work / "usr.img", "wb") as image:
        image.truncate(600 << 20)
    server.disks["usr"] = server.work / "usr.img"
    (server.work / "key").write_text(server.passphrase)
    server.boot("WANTED='root|usr'\n" + """
key=/run/window/key
cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --luks2-metadata-size 64k --key-file $key /dev/ubde
cryptsetup open --key-file $key /dev/ubde usr
mkfs.ext4 -q -O ^has_journal /dev/mapper/usr
mkdir /target
mount /dev/mapper/usr /target
cp -a /usr/. /target/
touch /target/of-the-volume
umount /target
volseal protector add tpm /dev/ubde --key-file $key
echo "usr UUID=$(cryptsetup luksUUID /dev/ubde) none luks,initramfs" >>/etc/crypttab
echo "/dev/mapper/usr /usr ext4 defaults 0 2" >>/etc/fstab
""" + TAKE_LIST, timeout=300)
    wanted = use_list(server)
    expect(wanted["usr"] == "usr", f"the list: {wanted}")
    mounted = KEEP_REPORT + '[ "$(findmnt -no SOURCE /usr)" = /dev/mapper/usr ]\ntest -e /usr/of-the-volume\n'
    server.boot(mounted + CONTENTS)
    expect(opened(server.report()) == dict.fromkeys(("root", "usr", "data1", "data2", "data3"), "tpm"),
           f"opened: {opened(server.report())}")
    server.boot(mounted, PCR7="another", answers=[("Recovery key or passphrase of root", server.recovery_key + "\n"),
                                                  ("Recovery key or passphrase of usr", server.passphrase + "\n")])
    expect(opened(server.report()) == {"root": "recovery-key", "usr": "passphrase"}, f"opened: {opened(server.report())}")


# Whoever comes before it is time is told so, and tries again.
REMOTE = """
(until cryptroot-unlock </run/window/typed >/run/window/remote.log 2>&1; do sleep 1; done) </dev/null >/dev/null 2>&1 &
"""


@case
def remote(server):
    """Refused, and nobody at the console: Debian's cryptroot-unlock, as dropbear runs it, answers the prompt."""
    def remote_shell(folder):
        script = folder / "scripts/init-premount/swtpm"
        script.write_text(script.read_text() + REMOTE)

    (server.work / "typed").write_text(server.recovery_key)
    server.change_initrd(remote_shell)
    server.boot(KEEP_REPORT, PCR7="another")
    expect(opened(server.report()) == {"root": "recovery-key"}, f"opened: {opened(server.report())}")
    said = (server.work / "remote.log").read_text()
    expect("root set up successfully" in said, f"cryptroot-unlock said: {said}")


# Run by systemd at the end of the boot, in the real root.
SERVICE = """[Unit]
After=multi-user.target
[Service]
Type=oneshot
Environment=VOLSEAL_TCTI=swtpm:path=/run/swtpm/socket TPM2TOOLS_TCTI=swtpm:path=/run/swtpm/socket
ExecStart=/bin/sh -c 'bash -eu /run/window/inside.sh >/run/window/inside.log 2>&1; echo $$? >/run/window/status; sync'
ExecStart=/bin/sh -c 'tpm2_shutdown; exec systemctl poweroff -ff'
[Install]
WantedBy=default.target
"""
TCTI_FOR_ALL = "[Manager]\nDefaultEnvironment=VOLSEAL_TCTI=swtpm:path=/run/swtpm/socket\n"


@case
def late(server):
    """systemd takes over what is open and asks nothing; the boot is in the log; a disk that is enrolled and plugged in after
    the latch has closed opens by udev, with the late copy."""
    server.boot(f"""
cat >/etc/systemd/system/inside.service <<'EOF'
{SERVICE}EOF
mkdir -p /etc/systemd/system.conf.d /etc/systemd/system/default.target.wants
cat >/etc/systemd/system.conf.d/tcti.conf <<'EOF'
{TCTI_FOR_ALL}EOF
ln -s ../inside.service /etc/systemd/system/default.target.wants/
ln -sf /lib/systemd/system/multi-user.target /etc/systemd/system/default.target
systemctl enable volseal-unlock.service
passwd -d root
""")
    server.boot(KEEP_REPORT + NOTHING_IS_RELEASED + """
for n in 1 2 3; do [ "$(cat /srv/data$n/content)" = "this is data$n" ]; done
systemctl is-active volseal-unlock.service 'systemd-cryptsetup@data1.service'
volseal status || [ $? = 1 ]
volseal status | grep -q 'unlocked by tpm in [0-9]* ms'
[ "$(grep -c '"stage":"initramfs"' /var/lib/volseal/audit.log)" = 4 ]
grep -q '"action":"boot.unlock","outcome":"ok"' /var/lib/volseal/audit.log

modprobe sd_mod
modprobe scsi_debug add_host=0 dev_size_mb=64
plug() { echo "$1" >/sys/bus/pseudo/drivers/scsi_debug/add_host; }
plug 1
until [ -b /dev/sda ]; do udevadm settle; done
printf secret >/run/key
cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --luks2-metadata-size 64k --key-file /run/key /dev/sda
volseal protector add tpm /dev/sda --key-file /run/key
echo "late UUID=$(cryptsetup luksUUID /dev/sda) none luks,nofail" >>/etc/crypttab
plug -1
while [ -e /dev/sda ]; do udevadm settle; done
plug 1
for n in $(seq 100); do
  [ -e /dev/mapper/late ] && break
  udevadm settle
  sleep 0.1
done
systemctl status --no-pager 'volseal-unlock@sda.service' || true
test -e /dev/mapper/late
""", init="/lib/systemd/systemd", timeout=240)
    server.not_shown("Please enter passphrase")
