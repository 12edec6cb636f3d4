"""A machine that lies: devices whose labels, serials, names and host are meant for somebody's terminal, browser or spreadsheet."""

TEXTS = [
    "\x1b]0;owned\x07\x1b[2J",
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "two\nlines\r\nand\ttab",
    "=cmd|' /C calc'!A0",
    "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\uff1d1+1",
    "\u202egnp.exe", "\u009b31mred", "zero\u200bwidth", "\u2028next",
    "a|b=1;2;3 'c'=4",
    "back\\slash \"quoted\" 'single'",
    "]]>&amp;&#0;&bogus;",
    "{% raw %}${x}`id`$(id)",
    "  ", "# EOF",
    "x" * 300,
]


def graph():
    devices = []
    for number, text in enumerate(TEXTS):
        devices.append({
            "name": f"sd{number}", "path": f"/dev/{text}" if number % 2 else f"/dev/sd{number}", "kind": "disk",
            "size": 1 << 30, "logical_sector": 512, "physical_sector": 512, "vendor": text, "model": text, "serial": text,
            "wwn": text if number % 3 == 0 else "", "partition_label": text, "links": [f"/dev/disk/by-label/{text}"],
            "content": {"kind": "filesystem", "type": text if number % 4 == 0 else "ext4", "label": text, "uuid": text},
            "mounts": [f"/srv/{text}"]})
    return {"schema": "volseal-graph/1", "host": TEXTS[number % 3], "taken_at": TEXTS[0], "kernel": TEXTS[1],
            "boot_id": TEXTS[4], "root": True, "devices": devices, "crypttab": [], "fstab": []}
