"""What a header tells anybody of the group's secret in the TPM, in the forms that tpm2-tools take: for guest/steal.

Computed here a second time, from the specification (TPM 2.0 Part 3, chapter 23) and the token alone.
"""

import base64
import hashlib
import json
import shutil
import struct
from pathlib import Path

HERE = Path(__file__).resolve().parent
POLICY_PCR, POLICY_OR, POLICY_NV = 0x17F, 0x171, 0x149
SHA256 = 0x000B
LESS_OR_EQUAL = 9


def digest(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def approved_policy(sealed):
    """The digest that the group's owner has signed."""
    pcrs = sorted([*sealed["pcrs"], sealed["latch"]])
    bits = sum(1 << pcr for pcr in pcrs).to_bytes(3, "little")
    selection = struct.pack(">IHB", 1, SHA256, 3) + bits
    states = [digest(bytes(32), struct.pack(">I", POLICY_PCR), selection, base64.b64decode(state["composite"]))
              for state in sealed["states"]]
    policy = states[0] if len(states) == 1 else digest(bytes(32), struct.pack(">I", POLICY_OR), *states)
    # OWNERWRITE, a counter, OWNERREAD, AUTHREAD, NO_DA, WRITTEN
    public = struct.pack(">IHIHH", sealed["counter"], SHA256, 0x22060012, 0, 8)
    name = struct.pack(">H", SHA256) + digest(public)
    arguments = digest(struct.pack(">QHH", sealed["sequence"], 0, LESS_OR_EQUAL))
    return digest(policy, struct.pack(">I", POLICY_NV), arguments, name)


def public_key(point):
    """TPM2B_PUBLIC: P-256, may sign and be used, by ECDSA with SHA-256 only."""
    area = struct.pack(">HHIHHHHHH", 0x23, SHA256, 0x40040, 0, 0x10, 0x18, SHA256, 3, 0x10)
    area += struct.pack(">H", 32) + point[:32] + struct.pack(">H", 32) + point[32:]
    return struct.pack(">H", len(area)) + area


def der_signature(plain):
    numbers = b""
    for half in (plain[:32], plain[32:]):
        value = half.lstrip(b"\0") or b"\0"
        value = b"\0" + value if value[0] & 0x80 else value
        numbers += b"\2" + bytes([len(value)]) + value
    return b"\x30" + bytes([len(numbers)]) + numbers


def prepare(server, disk):
    """Puts guest/steal and its parts, out of the header of `disk`, into the window."""
    dump = json.loads(server.run("cryptsetup", "luksDump", "--dump-json-metadata", disk))
    token = next(token for token in dump["tokens"].values() if token["type"] == "volseal-tpm2")
    sealed = token["sealed"] if isinstance(token["sealed"], dict) else json.loads(token["sealed"])
    folder = server.work / "steal"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(HERE / "guest/steal", folder)
    private = base64.b64decode(sealed["private"])
    policy, ref = approved_policy(sealed), digest(b"volseal/pcr-policy/1", sealed["group"].encode())
    for name, content in (("public", base64.b64decode(sealed["public"])),
                          ("private", struct.pack(">H", len(private)) + private),
                          ("policy-key", public_key(base64.b64decode(sealed["policy_key"]))), ("policy", policy), ("ref", ref),
                          ("message", policy + ref), ("signature", der_signature(base64.b64decode(sealed["signature"]))),
                          ("sequence", struct.pack(">Q", sealed["sequence"]))):
        (folder / name).write_bytes(content)
    pcrs = ",".join(map(str, sorted([*sealed["pcrs"], sealed["latch"]])))
    (folder / "words").write_text(f"{sealed['counter']:#x} {sealed['bank']}:{pcrs}\n")
    return folder
