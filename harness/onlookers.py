"""Who looks on while a scenario runs: a live view on a terminal, a line per story elsewhere, nobody in a parallel worker or unasked."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, TextIO

import pytest

from harness.lab.timeline import Unseen, View
from harness.report.live import LiveView, console_on, took_before
from harness.report.printable import printable
from harness.report.text import sayable

_TERMINAL = pytest.StashKey[TextIO]()


def prepare(config: pytest.Config) -> None:
    """Keep hold of the terminal, if there is one, before pytest's capture takes its place."""
    try:
        if os.isatty(sys.stdout.fileno()):
            copy = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding=sys.stdout.encoding, errors="replace")
            config.stash[_TERMINAL] = copy
            config.add_cleanup(copy.close)
    except (OSError, ValueError):  # no file behind it
        return


def columns(config: pytest.Config) -> int | None:
    """How wide the terminal is; None where there is none."""
    terminal = config.stash.get(_TERMINAL, None)
    return os.get_terminal_size(terminal.fileno()).columns or None if terminal is not None else None


def onlooker(config: pytest.Config, name: str, earlier: Path) -> View:
    """Who looks on at the run ``name``; earlier runs of its test are in ``earlier``."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None or capture is None or not config.getoption("--story"):
        return Unseen()
    plain = StoryLines(reporter, capture)
    terminal = config.stash.get(_TERMINAL, None)
    if terminal is None or _logs_live(config) or not terminal.encoding.lower().startswith("utf"):
        return plain
    console = console_on(terminal, colour=config.getoption("color") != "no")
    if not console.is_terminal or console.is_dumb_terminal:
        return plain
    return LiveView(console, name, expected=took_before(earlier), first=plain.on_a_new_line, redirect=config.getoption("capture") == "no")


def _logs_live(config: pytest.Config) -> bool:
    """Whether pytest itself writes log lines while a test runs, which knows nothing of what is drawn there."""
    return bool(config.getini("log_cli")) or config.getoption("log_cli_level") is not None


class StoryLines:
    """A line for whatever tells the story, on pytest's own terminal past its capturing."""

    def __init__(self, reporter: Any, capture: Any) -> None:
        self._reporter = reporter
        self._capture = capture
        self._began = 0

    def on_a_new_line(self) -> None:
        """End a line that pytest has begun."""
        with self._capture.global_and_fixture_disabled():
            self._reporter.ensure_newline()
            self._reporter.flush()

    def note(self, line: dict[str, Any], *, aloud: bool) -> None:
        """Write the line, if it is told ``aloud``."""
        self._began = self._began or line["at"]
        if not aloud:
            return
        told = " ".join(printable(line.get("text") or line["kind"]).split("\n"))
        with self._capture.global_and_fixture_disabled():
            what = sayable(told, sys.stdout.encoding)
            self._reporter.ensure_newline()
            self._reporter.write(f"{(line['at'] - self._began) / 1e9:7.3f}  ")
            self._reporter.write(f"{printable(line['source']):<8}", cyan=True)
            self._reporter.write(f"  {what}\n", red="NOT SEEN" in what)
            self._reporter.flush()

    def close(self) -> None:
        """Nothing: what is written stays."""
