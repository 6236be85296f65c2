"""The pages of a pytest session: each run's own, and the index of all.  None of them can take a run's verdict down with it.

A page that cannot be built leaves the run's report and its result as they are; the session says which page is missing and why, at its end
and in red, and exits as the verdicts have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import HarnessError
from harness.report import history, index, model, page
from harness.report.printable import printable

_FAILED: list[str] = []
"""Of the test that is running in this process: the pages that could not be built, each with its reason."""


def write(folder: Path, report: model.Report) -> None:
    """Write report.json, which names the page among the artifacts, and then the page; without that name again when there is no page."""
    file = folder / "report.json"
    model.write(msgspec.structs.replace(report, artifacts=(*report.artifacts, page.FILE)), file)
    try:
        page.write(folder)
    except Exception as error:
        model.write(report, file)
        _FAILED.append(_why(folder / page.FILE, error))


def _why(path: Path, error: Exception) -> str:
    return printable(f"{path}: {type(error).__name__}: {error}")


def relist(artifacts: Path) -> list[str]:
    """Write the index of ``artifacts`` anew; why that could not be done, if it could not."""
    try:
        index.write(artifacts)
    except Exception as error:
        return [_why(artifacts / index.FILE, error)]
    return []


def rebuild(paths: Iterable[Path], told: Callable[[Path], None]) -> tuple[list[Path], list[str]]:
    """Build the pages of all runs that ``paths`` name (see ``history.named``), then the indexes of the artifacts folders that they are in.

    ``told`` gets each page when it is there.  Returned: the pages, the index last where there is one, and why there are no others.
    """
    built: list[Path] = []
    failed: list[str] = []
    runs: dict[Path, None] = {}
    for path in paths:
        try:
            runs |= dict.fromkeys(history.named(path))
        except HarnessError as error:
            failed.append(printable(str(error)))
    homes = dict.fromkeys(home for run in runs if (home := history.home(run)) is not None)
    for write_page, folders in ((page.write, runs), (index.write, homes)):
        for folder in folders:
            try:
                made = write_page(folder)
            except HarnessError as error:
                failed.append(printable(str(error)))
            except Exception as error:
                failed.append(_why(folder, error))
            else:
                told(made)
                built.append(made)
    return built, failed


class Pages:
    """The plugin's part that tells of pages.  ``artifacts``: where the session's runs are kept."""

    def __init__(self, artifacts: Path) -> None:
        self.artifacts = artifacts
        self.missing: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Any:
        """Put the pages that are missing on pytest's own report, which also travels from a parallel worker."""
        report = yield
        if call.when == "call" and _FAILED:
            report.harness_pages_missing = list(_FAILED)
            _FAILED.clear()
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a report says of missing pages."""
        self.missing += getattr(report, "harness_pages_missing", [])

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """List all runs anew, once, where the session is; a session that ran nothing has nothing to list."""
        quiet = hasattr(session.config, "workerinput") or session.config.getoption("collectonly")
        if quiet or not session.testscollected or not self.artifacts.is_dir():
            return
        self.missing += relist(self.artifacts)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Every page that is missing, in red."""
        if self.missing:
            terminalreporter.section("PAGES MISSING", red=True, bold=True)
            for one in self.missing:
                terminalreporter.write_line(f"could not be built: {one}", red=True)
            terminalreporter.write_line("the verdicts stand; `harness report FOLDER` builds a page anew")
