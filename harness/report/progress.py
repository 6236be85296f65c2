"""How far a repetition has come: bars on a terminal, with a line per run above them; elsewhere the lines alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TextIO

from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from harness.report.live import SteadyConsole, console_on
from harness.report.printable import printable
from harness.report.text import sayable


class Counts(Protocol):
    """What one test of a repetition has come to so far, in runs."""

    @property
    def passed(self) -> int:
        """That came to PASS."""

    @property
    def failed(self) -> int:
        """That came to FAIL."""

    @property
    def inconclusive(self) -> int:
        """That came to nothing, broken ones included."""


class View(Protocol):
    """Somebody who looks on at a repetition."""

    def say(self, line: str) -> None:
        """A run is over, or something else is to be said."""

    def update(self, counts: Sequence[Counts]) -> None:
        """How far all tests have come, in their order."""


class Lines:
    """A line per run, on any stream."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def say(self, line: str) -> None:
        """Write the line at once."""
        print(sayable(printable(line), self._file.encoding), file=self._file, flush=True)

    def update(self, counts: Sequence[Counts]) -> None:
        """Nothing: the lines count for themselves."""

    def close(self) -> None:
        """Nothing."""


class Bars:
    """A bar for each test of ``names`` towards ``wanted`` conclusive runs, and for all of them when there are several; what is left of it.

    ``clock``: seconds.
    """

    def __init__(self, console: SteadyConsole, names: Sequence[str], wanted: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._wanted = wanted
        self._clock = clock
        self._began = clock()
        columns = [TextColumn("{task.description}", markup=False), BarColumn(20), TextColumn("{task.fields[told]}", markup=False)]
        self._progress = Progress(*columns, console=console, transient=True, refresh_per_second=2)
        self._all = [self._bar("all", wanted * len(names))] if len(names) > 1 else []
        self._each = [self._bar(printable(name), wanted) for name in names]
        self._progress.start()

    def _bar(self, name: str, total: int) -> TaskID:
        return self._progress.add_task(name, total=total, told=f"0/{total}")

    def say(self, line: str) -> None:
        """Put the line above the bars."""
        self._progress.console.print(Text(printable(line), overflow="fold"))

    def update(self, counts: Sequence[Counts]) -> None:
        """Move the bars; ``counts`` in the order of the names."""
        done = [min(self._wanted, one.passed + one.failed) for one in counts]
        due = self._due(sum(done), self._wanted * len(counts))
        for bar, one, conclusive in zip(self._each, counts, done, strict=True):
            told = f"{conclusive}/{self._wanted}  passed {one.passed}, failed {one.failed}, inconclusive {one.inconclusive}"
            self._progress.update(bar, completed=conclusive, told=told + ("" if self._all else due))
        for bar in self._all:
            self._progress.update(bar, completed=sum(done), told=f"{sum(done)}/{self._wanted * len(counts)}{due}")

    def _due(self, done: int, wanted: int) -> str:
        """How long what is left takes at the pace so far; nothing before the first run."""
        if not done:
            return ""
        seconds = round((self._clock() - self._began) / done * (wanted - done))
        return f"  {seconds // 60}:{seconds % 60:02} left"

    def close(self) -> None:
        """Take the bars away."""
        self._progress.stop()


def progress(file: TextIO, names: Sequence[str], wanted: int) -> Bars | Lines:
    """Bars if ``file`` is a terminal that can draw them, else lines."""
    console = console_on(file)
    drawable = file.isatty() and console.is_terminal and not console.is_dumb_terminal and (file.encoding or "").lower().startswith("utf")
    return Bars(console, names, wanted) if drawable else Lines(file)
