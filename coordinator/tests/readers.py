"""Reads a report in JUnit, Markdown and CSV with readers that are not ours; their counts must be those of the JSON.

Usage: readers.py FOLDER, with the report as `json`, `junit`, `markdown`, `markdown-short` and `csv` in it.
"""

import collections
import csv
import json
import pathlib
import sys

import junitparser
import markdown_it

folder = pathlib.Path(sys.argv[1])
report = json.loads((folder / "json").read_text("utf-8"))
states = collections.Counter(one["state"] for one in report["expectations"])
contradictions = [one for one in report["findings"] if one["kind"].startswith("contradiction_")]


def same(what, found, expected):
    print(f"{what}: {found}")
    if found != expected:
        sys.exit(f"{what}: {found}, the JSON has {expected}")


suites = {suite.name: suite for suite in junitparser.JUnitXml.fromfile(str(folder / "junit"))}
expectations = suites["expectations"]
same("junit: expectations", len(list(expectations)), len(report["expectations"]))
same("junit: broken", expectations.failures, states["broken"])
failed = [case for case in suites["contradictions"] if case.result]
same("junit: contradictions", len(failed), len(contradictions))
same("junit: counted", suites["contradictions"].failures, len(contradictions))

reader = markdown_it.MarkdownIt("commonmark").enable("table")
for name, rows_max, items_max in [("markdown", 2000, 50), ("markdown-short", 20, 10)]:
    tokens = reader.parse((folder / name).read_text("utf-8"))
    rows = sum(token.type == "tr_open" for token in tokens)
    # One row is the heading.
    same(f"{name}: rows", rows, min(len(report["expectations"]), rows_max) + 1)
    headings = [after.content for token, after in zip(tokens, tokens[1:]) if token.type == "heading_open"]
    items = 0
    inside = False
    for token, after in zip(tokens, tokens[1:]):
        if token.type == "heading_open":
            inside = after.content == "Contradictions"
        items += inside and token.type == "list_item_open"
    same(f"{name}: contradictions", items, min(len(contradictions), items_max))
    same(f"{name}: is text", [token.type for token in tokens if token.type == "html_block"], [])
    if not headings[0].startswith(("PASS", "FAIL", "UNSURE")):
        sys.exit(f"{name}: begins with {headings[0]}")

with (folder / "csv").open(newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
same("csv: rows", len(rows), len(report["findings"]))
kinds = collections.Counter(row["kind"] for row in rows)
same("csv: kinds", dict(kinds), {kind: count for kind, count in report["summary"].items() if count})
