"""A link under test, from a test's side: asks ``two_hosts`` to send, and knows what became of each packet.

Machines that run this stall.  The rule: a packet that entered or left the link while the relay or the bench recorded a stall, or whose
sender was slow, says nothing about the link and is left out of the *delays* (never out of what is lost, ordered or counted).  When more
than half would be left out, or the clocks moved apart, the measurement is made again, five times at most, and after that fails as
disturbed.  Of packets sent all at once only the leaving counts: they wait in the link for each other, and taking in hundreds at a time is
itself a stall of the relay.  Bounds are not widened.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from harness.fabric import netem
from harness.spec.link import Impairment
from harness.spec.topology import to_plain

MS = 1_000_000
TRIES = 5
DRIFT = 100_000  # ns; CLOCK_REALTIME, in which arrivals are stamped, was set or slewed


@dataclass(frozen=True)
class Figure:
    """What was measured of an executor: a row of docs/accuracy.md; ``value`` None: it has refused what was ``asked``."""

    asked: str
    figure: str
    executor: str
    value: float | None
    least: float
    most: float
    unit: str
    count: int


@dataclass
class Run:
    """What became of the packets of one measurement."""

    raw: dict[str, Any]
    at_once: bool = False

    @property
    def count(self) -> int:
        return len(self.raw["sent"])

    @property
    def order(self) -> list[int]:
        return [n for n, _ in self.raw["arrived"]]

    @property
    def arrived(self) -> dict[int, int]:
        return dict(self.raw["arrived"])

    @property
    def missing(self) -> list[int]:
        arrived = self.arrived
        return [n for n in range(self.count) if n not in arrived]

    def counted(self, *names: str) -> int:
        """How far these counters went up."""
        return sum(self.raw["after"].get(name, 0) - self.raw["before"].get(name, 0) for name in names)

    @property
    def chatter(self) -> int:
        """How many packets of the hosts' own (MLD) entered the link beside those sent: each may take a place in its queue."""
        entered = self.counted("received") if "received" in self.raw["after"] else self.counted("delivered", "dropped", "in_flight")
        return entered - self.count

    def clean(self) -> list[int]:
        """The packets that arrived, less those that entered or left in a recorded stall and those sent slowly."""
        slow, stalls = set(self.raw["slow"]), [*self.raw["own"]["stalls"], *self.raw["late"]]

        def stalled(at: int) -> bool:
            return any(start <= at <= end + MS // 10 for start, end in stalls)

        left = [n for n, at in self.raw["arrived"] if not stalled(at)]
        return left if self.at_once else [n for n in left if n not in slow and not stalled(self.raw["sent"][n])]

    def delays(self, among: range | None = None) -> dict[int, float]:
        """ms per clean packet."""
        arrived = self.arrived
        return {n: (arrived[n] - self.raw["sent"][n]) / MS for n in self.clean() if among is None or n in among}


class Bench:
    """A running ``two_hosts``."""

    def __init__(self, executor: str) -> None:
        self.executor = executor
        command = [sys.executable, "-m", "tests.conformance.two_hosts", executor]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.unfit: str | None = self._answer().get("unfit")
        self.figures: list[Figure] = []

    def hold(self, asked: str, figure: str, value: float, least: float, most: float, count: int, unit: str = "") -> None:
        """Hold a figure against its bounds, and put it down for docs/accuracy.md; ``count``: over how many packets."""
        self.figures.append(Figure(asked, figure, self.executor, value, least, most, unit, count))
        assert least <= value <= most, f"{asked}: {figure} {value:.4g}{unit}, allowed is {least:.4g} to {most:.4g}"

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, op: str, **fields: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"op": op, **fields}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def impair(self, impairment: Impairment) -> None:
        self.ask("impair", impairment=to_plain(impairment))

    def refuses(self, field: str, impairment: Impairment) -> bool:
        """Whether the executor cannot do it, and says so of ``field`` by name; the relay can do everything."""
        refusal = netem.can_say(impairment) if self.executor == "netem" else None
        assert refusal is None or field in refusal, refusal
        if refusal is not None:
            self.figures.append(Figure(field, "", self.executor, None, 0, 0, "", 0))
        return refusal is not None

    def send(self, count: int, *, every: int, size: int = 200, changes: tuple[tuple[int, Impairment], ...] = (), more: bool = False) -> Run:
        """``count`` packets of ``size`` bytes, one every ``every`` ns, by the module's rule measured again if too many were disturbed."""
        plain = [(n, to_plain(impairment)) for n, impairment in changes]
        restore = plain and self._current
        for _ in range(TRIES):
            if restore:
                self.ask("impair", impairment=restore)
            run = Run(self.ask("send", count=count, interval=every, size=size, changes=plain, more=more), at_once=every == 0)
            if len(run.clean()) >= 0.5 * len(run.order) and run.raw["drift"] <= DRIFT:
                return run
        own, late = len(run.raw["own"]["stalls"]), len(run.raw["late"])
        raise AssertionError(f"disturbed in each of {TRIES} measurements; in the last by {own} stalls of the relay and {late} of the bench")

    _current: Any = None

    def under(self, impairment: Impairment) -> Bench:
        self.impair(impairment)
        self._current = to_plain(impairment)
        return self

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()
