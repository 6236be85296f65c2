"""A report as JUnit properties: flat names and values that CI systems show beside the test case and can plot over time.

Figures are numbers in a fixed unit that their name tells (``_ms``, ``_percent``, ``_kbit``, none for counts): a chart needs no parser.
"""

from __future__ import annotations

import re

from harness.report.model import Report
from harness.report.printable import printable
from harness.units import Duration, Quantity, Rate, Ratio


def properties(report: Report) -> list[tuple[str, str]]:
    """(name, value) pairs in a stable order, for pytest's ``user_properties``."""
    pairs = [
        ("harness.result", str(report.result)),
        ("harness.blame", str(report.blame or "")),
        ("harness.scenario", report.scenario),
        ("harness.seed", str(report.seed)),
        ("harness.executor", report.executor),
        ("harness.kernel", report.kernel),
        ("harness.command", report.command),
    ]
    if report.sabotage is not None:
        pairs.append(("harness.sabotage", report.sabotage))
    pairs += [("harness.reason", printable(reason)) for reason in report.reasons]
    for verdict in report.verdicts:
        name = "verdict." + _identifier(f"{verdict.name} {verdict.direction}" if verdict.direction else verdict.name)
        unit, value = _number(verdict.value) if verdict.value is not None else (_number(verdict.bound)[0], "")
        pairs.append((name + ".result", str(verdict.result)))
        pairs.append((name + ".value" + unit, value))
        pairs.append((name + ".bound" + unit, _number(verdict.bound)[1]))
    pairs += [
        (f"receipt.{_identifier(receipt.fault)}.{_identifier(receipt.kind)}", "taken" if receipt.taken else "not taken")
        for receipt in report.receipts
    ]
    return pairs


def _number(value: Quantity) -> tuple[str, str]:
    if isinstance(value, Duration):
        return "_ms", f"{value.ms:.6f}".rstrip("0").rstrip(".")
    if isinstance(value, Ratio):
        return "_percent", f"{value.percent:.6f}".rstrip("0").rstrip(".")
    if isinstance(value, Rate):
        return "_kbit", f"{value.bits_per_second / 1000:.3f}".rstrip("0").rstrip(".")
    return "", str(value.count)


def _identifier(text: str) -> str:
    return re.sub(r"[^0-9a-z]+", "_", text.lower().replace("→", " to ")).strip("_")
