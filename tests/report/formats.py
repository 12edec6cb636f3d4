#!/usr/bin/env python3
"""What `volseal check --format FORM` writes, read by strict parsers that are not ours.

    formats.py VOLSEAL SOURCE

Each form of each saved graph of tests/data, and of a machine whose labels, serials, names and host are hostile.
"""

import base64
import csv
import hashlib
import html.parser
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import hostile
import jsonschema

VOLSEAL, SOURCE = sys.argv[1], Path(sys.argv[2])
DATA = SOURCE / "tests/data"

UUID = re.compile(r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[45][0-9A-Fa-f]{3}-[89ABab][0-9A-Fa-f]{3}-[0-9A-Fa-f]{12}$")
TOKEN = re.compile(r"^[A-Za-z_][A-Za-z0-9._-]*$")
STRING = re.compile(r"^\S(.*\S)?$")
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


def check(condition, what):
    if not condition:
        raise AssertionError(what)


WORSE = 8


def render(graph, form, *options):
    result = subprocess.run([VOLSEAL, "check", "--graph", str(graph), "--format", form, *options],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    check(result.returncode in ((0, 1, 2, 3, WORSE) if "--since" in options else (0, 1, 2, 3)), f"{form}: status {result.returncode}: {result.stderr.decode()}")
    text = result.stdout.decode("utf-8")  # strictly
    for c in text.replace("\r\n", "\n") if form == "csv" else text:
        hidden = c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")
        check(not hidden, f"{form}: U+{ord(c):04X} is in it")
    return text, result.returncode


# What is written must be in the schema, although readers are to pass over what they do not know.
def closed(schema):
    if isinstance(schema, dict):
        schema = {key: closed(value) for key, value in schema.items()}
        if "properties" in schema:
            schema["additionalProperties"] = False
    elif isinstance(schema, list):
        schema = [closed(value) for value in schema]
    return schema


def check_json(text, status):
    report = json.loads(text)
    schema = json.loads((SOURCE / "docs/coverage-1.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(closed(schema)).validate(report)
    check(status == (WORSE if report["since"] and report["since"]["worse"] else report["exit_status"]), "exit status")
    check(text.isascii(), "json is ASCII")
    ids = [volume["id"] for volume in report["volumes"]]
    check(len(ids) == len(set(ids)), "ids are unique")
    known = {control["id"] for control in report["controls"]}
    for volume in report["volumes"]:
        check(set(volume["controls"]) <= known and set(volume["controls_against"]) <= known, "controls are known")
    return report


def check_csv(text, report):
    check(text.endswith("\r\n"), "CRLF")
    check("\n" not in text.replace("\r\n", ""), "no other line ends")
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    check(len(rows) == len(report["volumes"]) + 1, "a record a volume")
    for row in rows:
        check(len(row) == len(rows[0]), "fields")
        for cell in row:
            check(cell.strip()[:1] not in ("=", "+", "-", "@", "|", "\uff1d", "\uff0b", "\uff0d", "\uff20"),
                  f"a formula: {cell!r}")
    verdict = rows[0].index("verdict")
    check([row[verdict] for row in rows[1:]] == [volume["verdict"] for volume in report["volumes"]], "verdicts")
    for row, volume in zip(rows[1:], report["volumes"]):
        record = dict(zip(rows[0], row))
        for state in ("encrypted", "converting", "plaintext", "unknown"):
            check(record[f"{state}_bytes"] == str(volume["bytes"][state]), f"{state} bytes")
        for key in ("subject", "integrity", "opened", "header_backup", "recovery_proven", "until"):
            check(record[key] == volume[key], f"{key}: {record[key]!r}")
        check(record["controls_against"].split() == volume["controls_against"], "controls")


# The grammar of OpenMetrics 1.0, as far as gauges go; promtool's parser is Prometheus' own.
SAMPLE = re.compile(r'^(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)'
                    r'(\{(?P<labels>[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
                    r'(?:,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*")*)\})? (?P<value>-?[0-9]+(\.[0-9]+)?)$')


def check_openmetrics(text, report):
    lines = text.split("\n")
    check(lines[-1] == "" and lines[-2] == "# EOF" and lines.count("# EOF") == 1, "it ends with EOF")
    family, seen, done = None, set(), set()
    for line in lines[:-2]:
        if line.startswith("# "):
            word, name, rest = line[2:].split(" ", 2)
            check(word in ("TYPE", "UNIT", "HELP"), line)
            if word == "TYPE":
                check(rest == "gauge" and name not in done, line)
                done.add(name)
                family = name
            check(name == family, line)
            check(word != "UNIT" or name.endswith("_" + rest), line)
            continue
        sample = SAMPLE.match(line)
        check(sample is not None and sample["name"] == family, f"not a sample: {line!r}")
        check((family, sample["labels"]) not in seen, f"twice: {line!r}")
        seen.add((family, sample["labels"]))
    verdicts = sum(1 for name, _ in seen if name == "volseal_volume_verdict")
    check(verdicts == len(report["volumes"]), "a verdict a volume")
    if shutil.which("promtool"):
        told = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        check(told.returncode == 0, "promtool: " + told.stdout.decode())


JUNIT = {"testsuites": ({"name", "tests", "failures", "errors", "time"}, {"testsuite"}),
         "testsuite": ({"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname"}, {"testcase"}),
         "testcase": ({"classname", "name", "time"}, {"failure", "error", "skipped", "system-out"}),
         "failure": ({"type", "message"}, set()), "error": ({"type", "message"}, set()),
         "skipped": ({"message"}, set()), "system-out": (set(), set())}


def check_junit(text, report):
    def walk(element):
        attributes, children = JUNIT[element.tag]
        check(set(element.keys()) == attributes, f"{element.tag}: {element.keys()}")
        for child in element:
            check(child.tag in children, f"{child.tag} in {element.tag}")
            walk(child)

    root = ElementTree.fromstring(text)
    check(root.tag == "testsuites", "root")
    walk(root)
    suite = root[0]
    check(re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$", suite.get("timestamp")), "timestamp")
    cases = suite.findall("testcase")
    check(len(cases) == len(report["volumes"]) == int(suite.get("tests")), "a case a volume")
    for tag, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        check(len(suite.findall(f"testcase/{tag}")) == int(suite.get(attribute)), attribute)
    bad = [volume for volume in report["volumes"] if volume["verdict"] in ("not-covered", "converting")]
    check(len(bad) == int(suite.get("failures")), "failures")


def check_icinga(text, status):
    check(text.count("\n") == 1 and text.endswith("\n"), "one line")
    words, bar, performance = text[:-1].partition("|")
    check(bar == "|" and "|" not in performance, "one bar")
    check(words.startswith(f"VOLSEAL {('OK', 'WARNING', 'CRITICAL', 'UNKNOWN')[status]} - "), words)
    for one in performance.split():
        check(re.match(r"^[a-z-]+=\d+;;;0;\d+$", one), one)


def check_oscal(text, report):
    """The rules of OSCAL 1.1's JSON schema for what is used of it: members, types, and that nothing else is there."""

    def members(value, required, optional, where):
        check(isinstance(value, dict), where)
        check(set(required) <= set(value) <= set(required) | set(optional), f"{where}: {sorted(value)}")
        for key, one in value.items():
            if isinstance(one, list):
                check(one, f"{where}.{key} is empty")
            if key in ("uuid", "subject-uuid", "observation-uuid"):
                check(UUID.match(one), f"{where}.{key}: {one}")
            elif key in ("last-modified", "start", "collected"):
                check(TIME.match(one), f"{where}.{key}: {one}")
            elif key in ("name", "control-id", "target-id", "type", "state", "reason"):
                check(TOKEN.match(one), f"{where}.{key}: {one}")
            elif isinstance(one, str):
                check(STRING.match(one), f"{where}.{key}: {one!r}")

    def props(value):
        for prop in value.get("props", []):
            members(prop, ["name", "value"], ["ns"], "prop")

    document = json.loads(text)
    members(document, ["assessment-results"], [], "document")
    results = document["assessment-results"]
    members(results, ["uuid", "metadata", "import-ap", "results"], ["back-matter"], "assessment-results")
    members(results["metadata"], ["title", "last-modified", "version", "oscal-version"], [], "metadata")
    members(results["import-ap"], ["href"], [], "import-ap")
    resources = results["back-matter"]["resources"]
    for resource in resources:
        members(resource, ["uuid"], ["title", "description"], "resource")
    check(results["import-ap"]["href"] in ["#" + resource["uuid"] for resource in resources], "import-ap names a resource")
    for result in results["results"]:
        members(result, ["uuid", "title", "description", "start", "reviewed-controls"],
                ["local-definitions", "observations", "findings"], "result")
        members(result["reviewed-controls"], ["control-selections"], [], "reviewed-controls")
        for selection in result["reviewed-controls"]["control-selections"]:
            members(selection, [], ["description", "include-controls"], "selection")
            for control in selection.get("include-controls", []):
                members(control, ["control-id"], [], "include-controls")
        items = result.get("local-definitions", {}).get("inventory-items", [])
        for item in items:
            members(item, ["uuid", "description"], ["props"], "inventory-item")
            props(item)
        observations = result.get("observations", [])
        for observation in observations:
            members(observation, ["uuid", "description", "methods", "collected"], ["title", "props", "types", "subjects"],
                    "observation")
            props(observation)
            check(observation["methods"] == ["TEST"], "methods")
            for subject in observation["subjects"]:
                members(subject, ["subject-uuid", "type"], [], "subject")
                check(subject["subject-uuid"] in [item["uuid"] for item in items], "subject is an item")
        known = {observation["uuid"] for observation in observations}
        check(len(known) == len(observations) == len(report["volumes"]), "an observation a volume")
        for finding in result.get("findings", []):
            members(finding, ["uuid", "title", "description", "target"], ["related-observations", "remarks"], "finding")
            members(finding["target"], ["type", "target-id", "status"], [], "target")
            check(finding["target"]["type"] in ("statement-id", "objective-id"), "target type")
            members(finding["target"]["status"], ["state"], ["reason", "remarks"], "status")
            check(finding["target"]["status"]["state"] in ("satisfied", "not-satisfied"), "state")
            for related in finding["related-observations"]:
                members(related, ["observation-uuid"], [], "related")
                check(related["observation-uuid"] in known, "related observation")
        # Whatever a machine is like, disk encryption alone does not meet PCI DSS.
        states = {finding["target"]["target-id"]: finding["target"]["status"]["state"]
                  for finding in result.get("findings", [])}
        check(states.get("pci-dss-3.5.1.2_obj", "not-satisfied") == "not-satisfied", "PCI DSS")
        sc_28_1 = states.get("sc-28.1_obj")
        against = [volume for volume in report["volumes"] if "sc-28.1" in volume["controls_against"]]
        check(sc_28_1 != "satisfied" or not against, "SC-28(1)")


class Page(html.parser.HTMLParser):
    """Every tag is closed where it should be, none can load or run anything, and what refers refers to the page itself."""

    VOID = {"meta", "br"}
    TAGS = VOID | {"html", "head", "title", "style", "body", "header", "footer", "h1", "h2", "h3", "p", "span", "b", "ul", "li",
                   "table", "thead", "tbody", "tr", "th", "td", "code", "details", "summary", "div", "dl", "dt", "dd", "svg",
                   "defs", "symbol", "use", "circle", "path", "rect", "g", "text", "title"}
    ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "width", "height", "aria-hidden", "aria-label",
                  "role", "id", "viewbox", "d", "cx", "cy", "r", "rx", "x", "y", "href", "data-label", "xmlns",
                  "preserveaspectratio"}

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.references, self.policy, self.style, self.rows = [], [], [], None, "", 0
        self.feed(text)
        self.close()
        check(not self.open, f"not closed: {self.open}")

    def handle_starttag(self, tag, attributes):
        check(tag in self.TAGS, f"<{tag}>")
        names = [name for name, _ in attributes]
        check(set(names) <= self.ATTRIBUTES and len(names) == len(set(names)), f"<{tag} {names}>")
        values = dict(attributes)
        if "id" in values:
            self.ids.append(values["id"])
        if "href" in values:
            self.references.append(values["href"])
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        self.rows += tag == "td" and values.get("class") == "verdict"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        check(self.open and self.open.pop() == tag, f"</{tag}>")

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.style += data


def check_html(text, report):
    page = Page(text)
    check(page.rows == len(report["volumes"]), "a row a volume")
    check(len(page.ids) == len(set(page.ids)), "ids are unique")
    check({"#" + name for name in page.ids} >= set(page.references), "references lead into the page")
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    check(page.policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';"), page.policy)
    check("url(" not in page.style and "@import" not in page.style, "the style loads nothing")


def check_graph(graph, *options):
    text, status = render(graph, "json", *options)
    report = check_json(text, status)
    check_csv(render(graph, "csv", *options)[0], report)
    check_openmetrics(render(graph, "openmetrics", *options)[0], report)
    check_junit(render(graph, "junit", *options)[0], report)
    check_icinga(*render(graph, "icinga", *options))
    check_oscal(render(graph, "oscal", *options)[0], report)
    check_html(render(graph, "html", *options)[0], report)
    render(graph, "table", *options)
    render(graph, "table", "--controls", *options)
    return report


def check_change(folder, graph, report):
    """Since a report that a stranger may have written: all was covered then, and a volume is gone."""
    earlier = json.loads(json.dumps(report))
    for volume in earlier["volumes"]:
        volume["verdict"] = "covered"
    earlier["taken_at"] = hostile.TEXTS[0]
    earlier["volumes"] += [{**earlier["volumes"][0], "id": text, "path": text, "luks_uuid": ""} for text in hostile.TEXTS]
    since = folder / "since.json"
    since.write_text(json.dumps(earlier))
    changes = check_graph(graph, "--since", str(since))["since"]["changes"]
    courses = [change["course"] for change in changes]
    check(courses.count("worse") == len(report["volumes"]) and courses.count("other") == len(hostile.TEXTS), courses)


def main():
    with tempfile.TemporaryDirectory(prefix="volseal-formats.") as folder:
        lying = Path(folder) / "lying.json"
        lying.write_text(json.dumps(hostile.graph()))
        report = check_graph(lying)
        check(len(report["volumes"]) == len(hostile.TEXTS), "every hostile device is reported")
        check_change(Path(folder), lying, report)
        check(report["devices"][1]["serial"] == hostile.TEXTS[1], "json keeps what the device said")
        empty = Path(folder) / "empty.json"
        empty.write_text(json.dumps({**hostile.graph(), "devices": []}))
        check(check_graph(empty)["exit_status"] == 3, "nothing seen is nothing proven")
        # To monitoring a failure is UNKNOWN on standard output, and status 3.
        broken = subprocess.run([VOLSEAL, "check", "--graph", "/nonexistent", "--format", "icinga"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        check(broken.returncode == 3 and broken.stdout.startswith(b"VOLSEAL UNKNOWN - "), broken.stdout)
    graphs = [graph for graph in sorted(DATA.glob("*.json"))]
    check(graphs, "saved graphs")
    for graph in graphs:
        check_graph(graph)
    print(f"{len(graphs) + 2} graphs, 9 forms each" + ("" if shutil.which("promtool") else "; promtool is not installed"))


main()
