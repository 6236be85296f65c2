"""A run on a terminal while it happens: its story scrolls by, and under it stands how things are now, drawn anew five times a second.

The cursor is never hidden and nothing is left switched on: however this process ends, the terminal is as it was.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import msgspec
from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live
from rich.text import Text

from harness.report.printable import printable
from harness.report.situation import CallNow, FaultNow, Situation, Way
from harness.units import Duration, ms

PER_SECOND = 5
SILENT = 200 * ms
"""A silence above this is coloured: the reference stack's audio has a packet every 20 ms."""
_BAR = 20


class SteadyConsole(Console):
    """A console on the terminal behind its file, whatever stands at the process's own descriptors, and whose cursor can always be seen."""

    @property  # type: ignore[misc]  # rich's can be set, too, which nobody does here
    def size(self) -> ConsoleDimensions:
        """As large as that terminal is now."""
        try:
            found = os.get_terminal_size(self.file.fileno())
        except (OSError, ValueError):
            return super().size
        return ConsoleDimensions(found.columns or 80, found.lines or 25)

    def show_cursor(self, show: bool = True) -> bool:
        """Nothing: the cursor is always shown."""
        return False


def console_on(file: TextIO, *, colour: bool = True) -> SteadyConsole:
    """A console on a terminal, in which no text is markup.  Without ``colour``, or with NO_COLOR set, no colour is used."""
    return SteadyConsole(file=file, highlight=False, markup=False, emoji=False, no_color=None if colour else True)


class LiveView:
    """Looks on at one run.  ``expected``: how long it took last time.  ``clock``: ns of CLOCK_MONOTONIC.

    ``first``: called before anything is drawn.  ``redirect``: what is printed meanwhile goes above, too (when nobody else captures it).
    """

    def __init__(
        self,
        console: Console,
        name: str,
        *,
        expected: Duration | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        first: Callable[[], None] = lambda: None,
        redirect: bool = False,
    ) -> None:
        self._name = name
        self._expected = expected
        self._clock = clock
        self._first = first
        self._console = console
        self._situation = Situation()
        self._lock = threading.Lock()
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=PER_SECOND,
            transient=True,
            redirect_stdout=redirect,
            redirect_stderr=redirect,
        )

    def note(self, line: dict[str, Any], *, aloud: bool) -> None:
        """Take a line of the timeline; if it is told ``aloud``, put it above."""
        plain = msgspec.to_builtins(line, enc_hook=str)
        with self._lock:
            self._situation.take(plain)
            began = self._situation.began or 0
        if not self._live.is_started and plain["kind"] != "began":
            self._first()
            self._live.start()
        if aloud:
            # Not under our lock: rich draws under its own, and asks for ours then.  No soft_wrap: it would hold for the view as well.
            self._console.print(story((plain["at"] - began) / 1e9, plain["source"], plain.get("text") or plain["kind"]))

    def close(self) -> None:
        """Take the view away; the story stays."""
        self._live.stop()

    def _render(self) -> Group:
        with self._lock:
            return self._lines(self._clock())

    def _lines(self, now: int) -> Group:
        situation = self._situation
        lines = [Text(), self._headline(now)]
        for call in situation.going_on():
            lines.append(_states(call))
            ways = situation.ways(call, now)
            widest = max((len(way.name) for way in ways), default=0)
            lines += [_way(way, widest) for way in ways]
        lines += [_fault(fault) for fault in situation.faults]
        return Group(*lines)

    def _headline(self, now: int) -> Text:
        elapsed = (now - (self._situation.began or now)) / 1e9
        line = _line()
        line.append(printable(self._name), style="bold")
        if self._expected is None:
            return line.append(f"  {elapsed:.1f} s, how long it takes is not known")
        share = min(1.0, elapsed / max(self._expected.s, 0.001))
        line.append(f"  {elapsed:.1f} s of about {self._expected.s:.1f} s  ")
        line.append("━" * round(_BAR * share), style="cyan")
        return line.append("━" * (_BAR - round(_BAR * share)), style="dim")


def story(seconds: float, source: str, what: str) -> Text:
    """A line of the story: when, who, what."""
    shown = " ".join(printable(what).split("\n"))
    line = Text(f"{seconds:7.3f}  ", overflow="fold")
    line.append(f"{printable(source):<8}", style="cyan")
    return line.append(f"  {shown}", style="red" if "NOT SEEN" in what else "")


def _line() -> Text:
    """One line of the view: what does not fit is cut off, so that the view keeps its height."""
    return Text(no_wrap=True, overflow="ellipsis")


def _states(call: CallNow) -> Text:
    line = _line()
    for number, (name, state) in enumerate(call.states.items()):
        line.append(", " if number else "")
        line.append(f"{printable(name)} ")
        line.append(printable(state), style="green" if state == "Connected" else "yellow")
    return line


def _way(way: Way, widest: int) -> Text:
    line = _line()
    line.append(f"  {printable(way.name):<{widest}}  ")
    if way.silence is None:
        line.append(f"{'not sending':>17}", style="dim")
    else:
        line.append(f"silent {way.silence.ns // 1_000_000:>7} ms", style="bold red" if way.silence > SILENT else "green")
    return line.append(f"  sent {way.sent:>6}  heard {way.heard:>6}")


def _fault(fault: FaultNow) -> Text:
    line = _line()
    line.append("fault " if fault.going_on else "fault over ", style="magenta")
    line.append(printable(fault.name))
    line.append(": ")
    if not fault.receipts:
        return line.append("no receipt yet", style="dim")
    for number, (kind, taken) in enumerate(fault.receipts):
        line.append(", " if number else "")
        line.append(f"{printable(kind)} ")
        line.append("seen" if taken else "NOT SEEN", style="green" if taken else "bold red")
    return line


class _Took(msgspec.Struct):
    started: datetime
    ended: datetime


def took_before(tests: Path) -> Duration | None:
    """How long the newest finished run among those kept in ``tests`` took; None if there is none that can be read."""
    for path in sorted(tests.glob("*/report.json"), key=lambda path: path.parent.name, reverse=True):
        try:
            took = msgspec.json.decode(path.read_bytes(), type=_Took)
            return Duration(round((took.ended - took.started).total_seconds() * 1e9))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, TypeError):
            continue
    return None
