"""What a session of pytest tells when it is over: tables on the terminal, and on GitHub a summary and annotations.

A hooked object of the process that a person started; parallel workers send it their runs on pytest's own reports.  The summary goes to the
file that ``$GITHUB_STEP_SUMMARY`` names, once a session; annotations are printed where ``$GITHUB_ACTIONS`` is "true".  Both variables are
taken out of the environment for as long as the session goes on: a session inside this one (a soak's, a test's) speaks for itself, and an
agent has no business with them.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import pytest

from harness.errors import HarnessError
from harness.report import github, junit, markdown, model
from harness.report.repetition import TOLERATED, Tally, sentence
from harness.report.session import Case, Run
from harness.report.text import sayable
from harness.verdict import Result

Environment = MutableMapping[str, str]
SUMMARY, ACTIONS = "GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS"


class _Place(TypedDict):
    file: str
    line: int | None


class Told(msgspec.Struct, frozen=True):
    """What a run leaves on pytest's report of its test: its result, its table, and the folder with all the rest."""

    result: str
    table: str
    folder: str


def attach(report: pytest.TestReport, told: list[Told]) -> None:
    """Put a test's runs on pytest's report, in a form that travels from a parallel worker."""
    report.harness_runs = [msgspec.to_builtins(one) for one in told]  # type: ignore[attr-defined]


def attached(report: pytest.TestReport | pytest.CollectReport) -> list[Told]:
    """The runs on a report; none on a report of another kind of test."""
    return msgspec.convert(getattr(report, "harness_runs", []), list[Told])


@dataclass
class _Heard:
    """What pytest has reported of one test so far."""

    told: list[Told] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    skipped: str = ""
    ran: bool = False


class Telling:
    """The plugin object.  GitHub's variables are taken from ``environment`` when it is made."""

    def __init__(self, config: pytest.Config, environment: Environment) -> None:
        self._config = config
        self._heard: dict[str, _Heard] = {}
        self._environment = environment
        self._taken = take(environment)
        self._token = secrets.token_hex(16) if self._taken.get(ACTIONS) == "true" else ""
        self._print(github.stop(self._token))

    def _print(self, *lines: str) -> None:
        """On GitHub, each on a line of its own, past pytest's capture, which is not at work when these hooks run."""
        if self._token:
            print("", *lines, sep="\n", file=sys.stdout, flush=True)

    # -- hearing ---------------------------------------------------------------------------------------------------------------------------

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test came to."""
        heard = self._heard.setdefault(report.nodeid, _Heard())
        told = attached(report)
        heard.told += told
        heard.ran = heard.ran or report.when == "call" or not report.passed
        if report.failed and not told:
            heard.trouble.append(f"{report.when}: {report.longreprtext}")
        if report.skipped:
            heard.skipped = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what could not be collected."""
        if report.failed:
            self._heard.setdefault(report.nodeid, _Heard()).trouble.append(f"collection: {report.longreprtext}")

    # -- telling ---------------------------------------------------------------------------------------------------------------------------

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The table of every run with ``--story``, else of every run that was inconclusive or not run (pytest shows the others)."""
        for nodeid, heard in self._heard.items():
            for number, one in enumerate(heard.told, 1):
                last = number == len(heard.told)
                if heard.skipped:
                    terminalreporter.write_line(f"{nodeid}: {heard.skipped.removeprefix('Skipped: ')}")
                    continue
                if self._config.getoption("--story"):
                    terminalreporter.section(nodeid)
                    terminalreporter.write(sayable(one.table, sys.stdout.encoding))
                elif one.result in (Result.INCONCLUSIVE, Result.NOT_RUN):
                    terminalreporter.section(f"{nodeid}: {one.result}" + ("" if last else ", followed by another seed"))
                    terminalreporter.write(sayable(one.table, sys.stdout.encoding))
        followed, runs = self._followed()
        if followed:
            terminalreporter.write_line(f"{followed} of {runs} runs were inconclusive and followed by another seed")

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """A run without a result is no pass (pytest counts only what it calls failed), and a machine that spoils many proves nothing."""
        decided = (Result.PASS, Result.FAIL)
        undecided = any(one.told and one.told[-1].result not in decided and not one.skipped for one in self._heard.values())
        followed, runs = self._followed()
        if exitstatus == pytest.ExitCode.OK and (undecided or followed > TOLERATED.fraction * runs):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        not_run = session.testscollected - sum(bool(one.ran) for one in self._heard.values())
        if not_run > 0 and not self._config.getoption("collectonly"):
            trouble = f"{not_run} of {session.testscollected} tests did not run to their end: {_why(session, exitstatus)}"
            self._heard["the session"] = _Heard(trouble=[trouble])

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """The summary and the annotations, after everything that others print."""
        cases = self.cases() if self._taken else []
        self._print(github.resume(self._token), *github.remarks(cases))
        if (
            (written := getattr(self._config.option, "xmlpath", None))
            and Path(written).is_file()
            and any(h.told for h in self._heard.values())
        ):
            junit.retype(Path(written))
        summarise(self._taken, lambda room: markdown.summary(cases, room))
        self._environment.update(self._taken)

    def _retype(self) -> None:
        """Give ERROR and NOT RUN their place in the JUnit file, if pytest has written one for this session's runs."""
        written = getattr(self._config.option, "xmlpath", None)
        if written and Path(written).is_file() and any(heard.told for heard in self._heard.values()):
            junit.retype(Path(written))

    def _followed(self) -> tuple[int, int]:
        """How many runs were followed by another, and how many runs there were."""
        return sum(len(one.told[:-1]) for one in self._heard.values()), sum(len(one.told) for one in self._heard.values())

    def cases(self) -> list[Case]:
        """What was heard, with the runs' own reports; tests that are no scenarios only where something was wrong with them."""
        return [self._case(nodeid, heard) for nodeid, heard in self._heard.items() if heard.told or heard.trouble]

    def _case(self, nodeid: str, heard: _Heard) -> Case:
        runs, trouble = [], list(heard.trouble)
        for one in heard.told:
            try:
                runs.append(Run(model.read(Path(one.folder) / "report.json"), str(near(Path(one.folder), Path.cwd()))))
            except (OSError, HarnessError) as error:
                trouble.append(f"its report cannot be read: {error}")
        place = _place(self._config.rootpath, nodeid)
        return Case(nodeid=nodeid, runs=tuple(runs), trouble="\n".join(trouble), skipped=heard.skipped, **place)


def _why(session: pytest.Session, exitstatus: int) -> str:
    """Why a session ended before its tests did."""
    stopped = session.shouldfail or session.shouldstop
    if isinstance(stopped, str):
        return stopped
    return {pytest.ExitCode.INTERRUPTED: "it was interrupted", pytest.ExitCode.INTERNAL_ERROR: "pytest broke"}.get(
        pytest.ExitCode(exitstatus), f"exit code {exitstatus}"
    )


def _place(root: Path, nodeid: str) -> _Place:
    """Where a test is written, as GitHub names files: from the workspace on."""
    file = root / nodeid.partition("::")[0]
    if not file.is_file():
        return {"file": "", "line": None}
    workspace = Path(os.environ.get("GITHUB_WORKSPACE", root))
    return {"file": str(near(file, workspace)), "line": github.line_of(file.read_text(errors="replace"), nodeid)}


def take(environment: Environment) -> dict[str, str]:
    """What GitHub says in ``environment``, out of which it is taken."""
    return {name: environment.pop(name) for name in (SUMMARY, ACTIONS) if name in environment}


def summarise(taken: dict[str, str], text: Callable[[int], str]) -> None:
    """Add ``text``, which is given the bytes that there is room for, to the step's summary; that it cannot be written is said, no more."""
    if not taken.get(SUMMARY):
        return
    try:
        path = Path(taken[SUMMARY])
        if told := text(markdown.room(path)):
            markdown.append(path, told)
    except OSError as error:
        print(f"the summary could not be written to ${SUMMARY}: {error}", file=sys.stderr)


@contextmanager
def hushed(taken: dict[str, str]) -> Iterator[None]:
    """On GitHub: nothing that is printed inside is a command."""
    token = secrets.token_hex(16) if taken.get(ACTIONS) == "true" else ""
    if token:
        print(github.stop(token), flush=True)
    try:
        yield
    finally:
        if token:
            print(f"\n{github.resume(token)}", flush=True)


def tell_soak(taken: dict[str, str], tallies: dict[str, Tally], wanted: int) -> None:
    """On GitHub: what a repetition came to, by node id; an annotation for each test that does not hold."""
    if taken.get(ACTIONS) == "true":
        for nodeid, tally in tallies.items():
            if not tally.holds(wanted):
                message = "\n".join([sentence(tally, wanted), *tally.reasons])
                print(github.command("error", message, **_place(Path.cwd(), nodeid), title=f"SOAK {tally.test}"), flush=True)
    summarise(taken, lambda room: markdown.repetition(list(tallies.values()), wanted, room))


def near(path: Path, root: Path) -> Path:
    """``path`` from ``root`` on, if it is in there."""
    return path.relative_to(root) if path.is_relative_to(root) else path
