#!/usr/bin/env python3
"""The HTML report in a real browser, by WebDriver: at the widths of a phone and of a desktop, in the light and in the dark, printed.

    browser.py VOLSEAL SOURCE [SCREENSHOTS]

Wants chromium and chromium-driver. Nothing of the page may be wider than the screen but the picture in its own frame,
nothing may run or be loaded, and every volume is told by a word and a shape.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import hostile

VOLSEAL, SOURCE = sys.argv[1], Path(sys.argv[2])
PICTURES = Path(sys.argv[3]) if len(sys.argv) > 3 else None


def check(condition, what):
    if not condition:
        raise AssertionError(what)


class Browser:
    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.root = f"http://127.0.0.1:{port}"
        self.driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
        self.session = None
        for _ in range(100):
            try:
                if self.call("GET", "/status")["ready"]:
                    break
            except OSError:
                time.sleep(0.1)
        arguments = ["--headless=new", "--disable-gpu", f"--user-data-dir={folder}/profile", "--disable-dev-shm-usage"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")
        told = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": {"args": arguments}, "goog:loggingPrefs": {"browser": "ALL"}}}})
        self.session = told["sessionId"]

    def call(self, method, path, body=None):
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.root + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def __call__(self, path, body=None):
        return self.call("POST", f"/session/{self.session}{path}", body)

    def devtools(self, command, **parameters):
        return self("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def run(self, script):
        return self("/execute/sync", {"script": "return " + script, "args": []})

    def close(self):
        if self.session:
            self.call("DELETE", f"/session/{self.session}")
        self.driver.terminate()
        self.driver.wait(10)


def look(browser, page, name, volumes):
    for device, width, height in (("phone", 360, 740), ("desktop", 1280, 900)):
        for scheme in ("light", "dark"):
            browser.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                             mobile=device == "phone")
            browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            browser("/url", {"url": page.as_uri()})
            where = f"{name}, {device}, {scheme}"
            check(browser.run("document.documentElement.scrollWidth") <= width, f"{where}: wider than the screen")
            wide = browser.run("""[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, thead, svg') &&
                e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 200))""")
            check(not wide, f"{where}: sticks out: {wide}")
            wide = browser.run("""[...document.querySelectorAll('.tiles li, td, th')].filter(e => !e.closest('thead') &&
                e.scrollWidth > e.clientWidth).map(e => e.outerHTML.slice(0, 200))""")
            check(not wide, f"{where}: wider than its box: {wide}")
            wide = browser.run("""[...document.querySelectorAll('.tiles li')].filter(tile => [...tile.querySelectorAll('*')].some(
                e => e.getBoundingClientRect().right > tile.getBoundingClientRect().right - 6)).map(e => e.outerHTML)""")
            check(not wide, f"{where}: touches the edge of its tile: {wide}")
            small = browser.run("""[...document.querySelectorAll('td, p, li, dd')].filter(e => e.innerText.trim() &&
                parseFloat(getComputedStyle(e).fontSize) < 11).length""")
            check(small == 0, f"{where}: letters too small")
            shown = browser.run("[...document.querySelectorAll('.volumes tbody tr')].map(r => r.querySelectorAll('td .shape use').length"
                                " && r.querySelector('.word').innerText)")
            check(len(shown) == volumes and all(shown), f"{where}: {shown}")
            # The style was applied: its hash in the page's policy is right.
            paper = browser.run("getComputedStyle(document.body).backgroundColor")
            check(paper == {"light": "rgb(251, 250, 248)", "dark": "rgb(20, 24, 29)"}[scheme], f"{where}: {paper}")
            if PICTURES:
                whole = browser.devtools("Page.captureScreenshot", captureBeyondViewport=True, format="png")
                (PICTURES / f"{name}-{device}-{scheme}.png").write_bytes(base64.b64decode(whole["data"]))
    check(browser.run("document.scripts.length + document.querySelectorAll('img, iframe, object, link, base, form, [onerror], "
                      "[onload], [onclick], [style]').length") == 0, f"{name}: what a device said became an element")
    check(browser.run("performance.getEntriesByType('resource').length") == 0, f"{name}: something was loaded")
    told = browser.call("POST", f"/session/{browser.session}/se/log", {"type": "browser"})
    check(told == [], f"{name}: the browser complains: {told}")
    printed = base64.b64decode(browser("/print", {"page": {"width": 21, "height": 29.7}}))
    check(printed.startswith(b"%PDF-") and len(printed) > 5000, f"{name}: not printed")
    if PICTURES:
        (PICTURES / f"{name}.pdf").write_bytes(printed)


# So that there is something to tell of: an earlier report in which all was well.
def all_covered(report):
    return {**report, "volumes": [{**volume, "verdict": "covered"} for volume in report["volumes"]]}


def main():
    if not shutil.which("chromedriver") or not shutil.which("chromium"):
        print("chromium and chromium-driver are not installed")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="volseal-browser.") as folder:
        graphs = {name: SOURCE / f"tests/data/{name}.json" for name in ("mixed", "done", "cut-off")}
        graphs["hostile"] = Path(folder) / "hostile.graph.json"
        graphs["hostile"].write_text(json.dumps(hostile.graph()))
        browser = Browser(folder)
        try:
            for name, graph in graphs.items():
                page = Path(folder) / f"{name}.html"
                told = subprocess.run([VOLSEAL, "check", "--graph", graph, "--json"], stdout=subprocess.PIPE, check=False)
                report = json.loads(told.stdout)
                since = Path(folder) / f"{name}.json"
                since.write_text(json.dumps(all_covered(report)))
                subprocess.run([VOLSEAL, "check", "--graph", graph, "--format", "html", "--output", page, "--since", since],
                               check=False)
                look(browser, page, name, len(report["volumes"]))
        finally:
            browser.close()
    print(f"{len(graphs)} pages, at two widths, in light and dark, and printed")


main()
