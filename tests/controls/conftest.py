"""Prints the table of the controls: which scenario caught which broken agent, by which verdict; on GitHub also into the job's summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.report import markdown
from tests.conftest import GITHUB


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--keep-runs", action="store_true", help="leave every control's run in artifacts/controls, not only those that went wrong"
    )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows = [
        (*map(str, dict(report.user_properties)["control"]), "red" if outcome == "passed" else "WRONG")
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if getattr(report, "when", "") == "call" and "control" in dict(report.user_properties)
    ]
    if rows:
        terminalreporter.section("scenario × sabotage × the verdict that caught it")
        widths = [max(len(row[column]) for row in rows) for column in range(2)]
        for scenario, sabotage, verdict, came_out in sorted(rows):
            terminalreporter.write_line(f"{came_out:<5}  {scenario:<{widths[0]}}  {sabotage:<{widths[1]}}  {verdict}")
        if summary := GITHUB.get("GITHUB_STEP_SUMMARY"):
            markdown.append(Path(summary), markdown.controls(rows, markdown.room(Path(summary))))
