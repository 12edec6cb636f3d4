#!/usr/bin/env python3
"""documented.py VOLSEAL PAGE...: every volseal command in a code span or block of the pages is one that there is.

Its verb, its subcommand and each option must be in that verb's --help. What a command needs is not tried here.
"""

import re
import subprocess
import sys

GLOBAL = {"--policy", "--state", "--tcti", "--quiet", "--verbose"}


def commands(text):
    for span in re.findall(r"`(volseal [^`]+)`", text):
        yield span
    for block in re.findall(r"(?m)^    (.*\bvolseal .*)$", text):
        for part in re.split(r"&&|;", block.split("#")[0]):
            if part.strip().startswith("volseal "):
                yield part.strip()


def help_of(volseal, verbs):
    result = subprocess.run([volseal, *verbs, "--help"], text=True, capture_output=True, check=False)
    return result.stdout if result.returncode == 0 else None


def problem(volseal, command):
    words = command.split()[1:]
    if not words or words[0].startswith("-"):
        return None
    verbs = words[:1]
    text = help_of(volseal, verbs)
    if text is None:
        return "no such verb"
    if "Subcommands:" in text:
        if len(words) < 2 or not re.search(rf"(?m)^  {re.escape(words[1])}\b", text.split("Subcommands:")[1]):
            return "no such subcommand"
        verbs = words[:2]
        text = help_of(volseal, verbs) or ""
    for option in (word.split("=")[0] for word in words if word.startswith("--")):
        if option not in GLOBAL and not re.search(rf"(^|[\s,]){re.escape(option)}\b", text):
            return f"{' '.join(verbs)} has no {option}"
    return None


def main():
    volseal, *pages = sys.argv[1:]
    bad = 0
    found = 0
    for page in pages:
        with open(page, encoding="utf-8") as file:
            text = file.read()
        for command in commands(text):
            found += 1
            if why := problem(volseal, command):
                bad += 1
                print(f"{page}: {command}: {why}")
    if found == 0:
        print("no command was found: the pages are not read as they are written")
    sys.exit(1 if bad or found == 0 else 0)


main()
