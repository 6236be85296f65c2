"""A report as JUnit properties: flat names and values that CI systems show beside the test case and can plot over time.

Figures are numbers in a fixed unit that their name tells (``_ms``, ``_percent``, ``_kbit``, none for counts): a chart needs no parser.
A name is given once: what flattens to one that is taken gets ``_2``, ``_3`` …, in the order of the report, so that nothing is overwritten
where a reader keeps properties in a map.  What the identifiers lose of a name stands in full in ``.name``.

pytest writes every run that is no PASS as ``<failure>``.  ``retype`` makes those that came to ERROR or NOT RUN ``<error type="…">``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path, PurePath
from xml.etree import ElementTree

from harness import whole
from harness.report import page
from harness.report.model import Report
from harness.report.printable import printable
from harness.units import Duration, Quantity, Rate, Ratio
from harness.verdict import Receipt, Result, Verdict


def properties(report: Report, folder: PurePath | None = None, prefix: str = "") -> list[tuple[str, str]]:
    """(name, value) pairs in a stable order, for pytest's ``user_properties``; values are fit for XML, and for a terminal.

    ``folder``: where the run is kept.  ``prefix``: of every name; ``followed_1.`` for a run that another one was made to follow.
    """
    taken: set[str] = set()
    return [
        (prefix + stem + suffix, printable(value))
        for wanted, members in _groups(report, folder)
        for stem in [_untaken(wanted, taken)]
        for suffix, value in members
    ]


def retype(path: Path) -> None:
    """Rewrite the JUnit file at ``path``, which pytest has written: ``<error type="ERROR">`` and ``<error type="NOT RUN">`` where due.

    A test case is known by its property ``harness.result``, so that it does not matter which process ran it.
    """
    tree = ElementTree.parse(path)
    changed = False
    for suite in tree.iter("testsuite"):
        for case in suite.iter("testcase"):
            given = [one.get("value") for one in case.iter("property") if one.get("name") == "harness.result"]
            failure = case.find("failure")
            if failure is not None and given and given[-1] in (Result.ERROR, Result.NOT_RUN):
                failure.tag = "error"
                failure.set("type", str(given[-1]))
                for counter, change in (("failures", -1), ("errors", 1)):
                    suite.set(counter, str(int(suite.get(counter, "0")) + change))
                changed = True
    if changed:
        whole.write(path, ElementTree.tostring(tree.getroot(), encoding="utf-8", xml_declaration=True))


_Group = tuple[str, list[tuple[str, str]]]
"""Properties that keep together: the stem of their names, and for each the rest of its name and its value."""


def _untaken(stem: str, taken: set[str]) -> str:
    """``stem``, numbered if it is ``taken``; what comes out is taken from then on."""
    own, number = stem, 1
    while own in taken:
        number += 1
        own = f"{stem}_{number}"
    taken.add(own)
    return own


def _groups(report: Report, folder: PurePath | None) -> Iterator[_Group]:
    single = {
        "result": str(report.result),
        "blame": str(report.blame or ""),
        "scenario": report.scenario,
        "seed": str(report.seed),
        "executor": report.executor,
        "kernel": report.kernel,
        "command": report.command,
    }
    single |= {f"stack.{stack.agent}": f"{stack.name} {stack.version}" for stack in report.stacks}
    if report.sabotage is not None:
        single["sabotage"] = report.sabotage
    if folder is not None:
        single |= {"artifacts": str(folder), "page": str(folder / page.FILE)}
    yield from ((f"harness.{name}", [("", value)]) for name, value in single.items())
    yield from (("harness.reason", [("", reason)]) for reason in report.reasons)
    yield from (_of_verdict(verdict) for verdict in report.verdicts)
    yield from (_of_receipt(receipt) for receipt in report.receipts)


def _of_verdict(verdict: Verdict) -> _Group:
    unit = _unit(verdict.bound)
    return "verdict." + _identifier(f"{verdict.name} {verdict.direction}" if verdict.direction else verdict.name), [
        (".result", str(verdict.result)),
        (".blame", str(verdict.blame or "")),
        (".value" + unit, _number(verdict.value)),
        (".bound" + unit, _number(verdict.bound)),
        (".margin" + unit, _number(verdict.margin)),
        (".relation", str(verdict.relation)),
        (".name", verdict.name),
        (".direction", verdict.direction),
        (".note", verdict.note),
    ]


def _of_receipt(receipt: Receipt) -> _Group:
    return f"receipt.{_identifier(receipt.fault)}.{_identifier(receipt.kind)}", [
        ("", "taken" if receipt.taken else "not taken"),
        (".fault", receipt.fault),
        (".kind", receipt.kind),
        (".seen_by", receipt.source),
        (".observed", json.dumps(receipt.observed, ensure_ascii=False, default=str)),
    ]


_UNITS: dict[type[Quantity], tuple[str, int]] = {Duration: ("_ms", 6), Ratio: ("_percent", 10), Rate: ("_kbit", 3)}
"""What is put behind a name, and how many of a count's digits stand behind the point."""


def _unit(value: Quantity) -> str:
    return _UNITS.get(type(value), ("", 0))[0]


def _number(value: Quantity | None) -> str:
    """Exact, in the unit of its kind; "" for what was not measured."""
    if value is None:
        return ""
    digits = _UNITS.get(type(value), ("", 0))[1]
    return f"{Decimal(value.count).scaleb(-digits):f}".rstrip("0").rstrip(".") if digits else str(value.count)


def _identifier(text: str) -> str:
    return re.sub(r"[^0-9a-z]+", "_", text.lower().replace("→", " to ")).strip("_") or "unnamed"
