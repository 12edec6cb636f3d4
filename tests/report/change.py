#!/usr/bin/env python3
"""What `volseal check` keeps, compares and hides, as people run it.

    change.py VOLSEAL SOURCE
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

VOLSEAL, SOURCE = sys.argv[1], Path(sys.argv[2])
REFUSED, WORSE = 4, 8


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def volseal(status, *arguments):
    result = subprocess.run([VOLSEAL, "check", *map(str, arguments)], capture_output=True, text=True, check=False)
    check(result.returncode == status, f"{arguments}: status {result.returncode}: {result.stdout}{result.stderr}")
    return result.stdout, result.stderr


def since_says_better_and_worse(folder, good, bad):
    before = folder / "before.json"
    volseal(0, "--graph", good, "--json", "--output", before)
    told, _ = volseal(0, "--graph", good, "--since", before)
    check("no change" in told, told)
    volseal(REFUSED, "--graph", good, "--since", "")
    told, _ = volseal(WORSE, "--graph", bad, "--since", before)
    check("worse: /dev/vda3 was covered, is covered-weak" in told, told)
    volseal(2, "--graph", bad, "--since", before, "--format", "icinga")  # a plugin knows 0 to 3

    after = folder / "after.json"
    volseal(1, "--graph", bad, "--json", "--output", after)
    told, _ = volseal(0, "--graph", good, "--since", after)
    check("better: /dev/vda3 was covered-weak, is covered" in told, told)
    _, why = volseal(REFUSED, "--graph", SOURCE / "tests/data/mixed.json", "--since", before)
    check("this one is of" in why, why)


def keep_compares_with_the_newest(folder, good, bad):
    shelf = folder / "shelf"
    kept = ("--keep", shelf, "--keep-most", 2)
    for graph, status, word in ((good, 0, None), (bad, WORSE, "worse:"), (bad, 1, "no change"), (good, 0, "better:")):
        told, _ = volseal(status, "--graph", graph, *kept)
        check(word is None or word in told, told)
    names = sorted(shelf.iterdir())
    check(len(names) == 2, names)
    # One that a full disk cut off is told of, and the one before it serves.
    names[-1].write_text('{"schema": ')
    told, why = volseal(0, "--graph", good, *kept)
    check("better:" in told and names[-1].name in why, told + why)


def same_key_same_pseudonyms(folder, good):
    keys = []
    for name in ("one", "two"):
        keys.append(folder / name)
        keys[-1].touch(mode=0o600)
        keys[-1].write_text(f"a key of more than 16 bytes, {name}\n")

    def hidden(key):
        text, _ = volseal(0, "--graph", good, "--json", "--pseudonymize", key)
        report = json.loads(text)
        del report["made_at"]
        return report

    graph = json.loads(good.read_text())
    first = hidden(keys[0])
    check(first == hidden(keys[0]), "the same key gives the same")
    other = hidden(keys[1])
    check(first["host"] != graph["host"] and first["host"] != other["host"], first["host"])
    for volume, elsewhere in zip(first["volumes"], other["volumes"]):
        check(not volume["luks_uuid"] or volume["luks_uuid"] != elsewhere["luks_uuid"], volume["luks_uuid"])
    text = json.dumps(first)
    for device in graph["devices"]:
        for secret in (device.get("serial"), device.get("partition_uuid"), device.get("luks", {}).get("uuid")):
            check(not secret or secret not in text, secret)
    volseal(REFUSED, "--graph", good, "--pseudonymize", "")
    short = folder / "short"
    short.touch(mode=0o600)
    short.write_text("short")
    volseal(64, "--graph", good, "--pseudonymize", short)


def main():
    good = SOURCE / "tests/data/done.json"
    graph = json.loads(good.read_text())
    for device in graph["devices"]:
        if device["path"] == "/dev/vda3":
            device["luks"]["tokens"] = [token for token in device["luks"]["tokens"] if token["type"] != "volseal-tpm2"]
    with tempfile.TemporaryDirectory(prefix="volseal-change.") as name:
        folder = Path(name)
        bad = folder / "bad.json"
        bad.write_text(json.dumps(graph))
        since_says_better_and_worse(folder, good, bad)
        keep_compares_with_the_newest(folder, good, bad)
        same_key_same_pseudonyms(folder, good)


main()
