"""Repetition: one scenario over many seeds, each run a process and a folder of its own, several at a time.

Every seed is run once and its first result stands.  An inconclusive run is followed by one more seed, until the wanted number of conclusive
runs is there or more runs are inconclusive than is tolerated; so a broken machine ends it and a lucky retry cannot hide anything.
SIGINT or SIGTERM stops it early: what runs is waited for, what was found is told.  A second one ends what runs as well.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import trio

from harness.errors import SpecError
from harness.lab.folder import plain
from harness.report import model, repetition
from harness.report.model import Report
from harness.report.progress import Lines, View
from harness.report.repetition import Tally
from harness.verdict import Result

RUN_LIMIT_S = 300
"""A run ends itself after 180 s; one that has not after this is ended, and counts as broken."""


@dataclass
class Tested:
    """One test of the repetition: what it has come to so far.  ``given``: seeds handed out."""

    nodeid: str
    reports: list[Report] = field(default_factory=list)
    broken: int = 0
    given: int = 0

    @property
    def passed(self) -> int:
        """Runs that came to PASS."""
        return sum(report.result is Result.PASS for report in self.reports)

    @property
    def failed(self) -> int:
        """Runs that came to FAIL."""
        return sum(report.result is Result.FAIL for report in self.reports)

    @property
    def inconclusive(self) -> int:
        """Runs that came to nothing, broken ones included."""
        return self.broken + len(self.reports) - self.passed - self.failed

    def wants(self, runs: int) -> bool:
        """Whether one more seed is to be given out for ``runs`` conclusive runs in all."""
        allowed = runs + repetition.tolerated(runs) + 1  # one beyond what is tolerated shows that it was too many
        return self.given < min(allowed, runs + self.inconclusive)

    def tally(self) -> Tally:
        """Its runs, counted."""
        return repetition.tally(self.nodeid.partition("::test_")[2], self.reports, self.broken)


class Soak:
    """Runs ``nodeids``, ``runs`` conclusive times each from seed ``first`` on, ``jobs`` at a time, into ``folder``.

    ``command``: what runs a test, without node id and options.  ``until_fail``: stop at the first FAIL.
    ``view``: is told a line per run, and how far all tests have come.
    """

    def __init__(
        self,
        nodeids: list[str],
        *,
        runs: int,
        jobs: int,
        first: int,
        folder: Path,
        command: list[str],
        until_fail: bool = False,
        view: View | None = None,
    ) -> None:
        for name, value in (("runs", runs), ("jobs", jobs)):
            if value < 1:
                raise SpecError(f"--{name}", f"{value} is not enough; allowed is 1 or more")
        self.tests = [Tested(nodeid) for nodeid in nodeids]
        self.stopped = ""
        self._runs = runs
        self._jobs = jobs
        self._first = first
        self._folder = folder
        self._command = command
        self._until_fail = until_fail
        self._view: View = view or Lines(sys.stdout)
        self._done = 0

    async def run(self) -> list[Tally]:
        """Run until done or stopped; what every test has come to, also written to ``soak.json``."""
        self._folder.mkdir(parents=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, nursery.cancel_scope)
            async with trio.open_nursery() as workers:
                for _ in range(self._jobs):
                    workers.start_soon(self._work)
            nursery.cancel_scope.cancel()
        tallies = [test.tally() for test in self.tests]
        (self._folder / "soak.json").write_bytes(msgspec.json.encode(tallies, enc_hook=str))
        return tallies

    async def _work(self) -> None:
        while not self.stopped:
            wanting = [test for test in self.tests if test.wants(self._runs)]
            if not wanting:  # another worker may still get an inconclusive run, and will go on then
                return
            test = min(wanting, key=lambda one: one.given)
            test.given += 1
            await self._once(test, self._first + test.given - 1)

    async def _once(self, test: Tested, seed: int) -> None:
        began = time.monotonic()
        argv = [*self._command, test.nodeid, f"--seed={seed}", f"--artifacts={self._folder}"]
        done = None
        with trio.move_on_after(RUN_LIMIT_S):
            # A session of its own: Ctrl-C is for this process, which waits for what runs.
            done = await trio.run_process(argv, capture_stdout=True, stderr=subprocess.STDOUT, check=False, start_new_session=True)
        file, name = test.nodeid.split("::test_")
        reports = list((self._folder / plain(Path(file).stem) / plain(name)).glob(f"*-seed{seed}/report.json"))
        self._done += 1
        if len(reports) == 1:
            report = model.read(reports[0])
            test.reports.append(report)
            result = str(report.result) + ("" if report.result is Result.PASS else f" ({report.reasons[0]})")
            if report.result is Result.FAIL and self._until_fail:
                self.stopped = "a FAIL"
        else:
            test.broken += 1
            result = "no report"
            (self._folder / f"broken-{plain(name)}-seed{seed}.log").write_bytes(
                done.stdout if done is not None else b"ended after its time"
            )
        self._view.say(f"{self._done:4d}  {name} seed {seed}: {result}, {time.monotonic() - began:.1f} s")
        self._view.update(self.tests)

    async def _listen(self, everything: trio.CancelScope) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                if self.stopped:
                    everything.cancel()
                self.stopped = signal.Signals(number).name
                self._view.say(f"{self.stopped}: nothing new is started, what runs is waited for; once more to end it too")
