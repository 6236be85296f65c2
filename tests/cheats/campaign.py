"""Runs that are many and must each come to one result: ordered, done two at a time, written down one by one, so that a rerun goes on.

What is done stands in a file of JSON lines, one file for each commit.  A run that this machine has spoiled is followed by another seed
alone (``--conclusive``); the last one counts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import trio

from harness.cli import PYTEST
from harness.lab.folder import plain
from harness.report import model
from harness.report.model import Report
from tests.cheats import outside

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 2
RUN_S = 600
"""A scenario ends itself after 180 s; that is three of them."""
PARTS = 8
BY_COMMIT = "commit"


class Order(msgspec.Struct, frozen=True):
    """One run: what is tried (``name``) in which ``scenario`` (node id below scenarios/), for what (``why``), with which options."""

    name: str
    scenario: str
    why: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    stopped: bool = False
    """By a process outside the run, when the agent asks for it."""
    environment: dict[str, str] = {}

    @property
    def key(self) -> str:
        return f"{self.name} {self.scenario}"


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What an order has come to.  ``wrong``: in what it is not as wanted; ``told``: the verdict or reason; ``runs``: how many it took."""

    key: str
    result: str
    blame: str | None
    told: str
    wrong: str
    runs: int
    seconds: float


Judge = Callable[[Order, Report], tuple[str, str]]
"""What is wrong with a run ("" when nothing is), and what to tell of it."""


def commit() -> str:
    """The commit's hash; zeros where there is no repository, as in an image."""
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.strip() if asked.returncode == 0 else "0" * 40


def part_of(text: str, commit: str) -> tuple[int, int]:
    """(which, of how many) for "3/8", or the eighth that ``commit`` names for "commit".  ValueError for anything else."""
    if text == BY_COMMIT:
        return int(commit[:8], 16) % PARTS + 1, PARTS
    which, _, parts = text.partition("/")
    if not (which.isdigit() and parts.isdigit() and 1 <= int(which) <= int(parts)):
        raise ValueError(f"part {text!r}; wanted is for example 3/8, or {BY_COMMIT}")
    return int(which), int(parts)


class Campaign:
    """``orders``, judged by ``judge``; ``folder`` keeps the state and the runs that went wrong."""

    def __init__(self, orders: Sequence[Order], judge: Judge, folder: Path, *, state: str, fresh: bool = False) -> None:
        self.orders = orders
        self.folder = folder
        self.file = folder / f"{state}.jsonl"
        self._judge = judge
        if fresh:
            self.file.unlink(missing_ok=True)
        lines = self.file.read_bytes().splitlines() if self.file.exists() else []
        self.done = {one.key: one for one in (msgspec.json.decode(line, type=Done) for line in lines)}

    def run(self) -> list[Done]:
        """Run what is not done yet; what all orders have come to, in their order."""
        trio.run(self._run)
        return [self.done[order.key] for order in self.orders]

    async def _run(self) -> None:
        waiting = iter([order for order in self.orders if order.key not in self.done])
        self.folder.mkdir(parents=True, exist_ok=True)

        async def work() -> None:
            for order in waiting:
                self._take(await self.once(order))

        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(work)

    def _take(self, done: Done) -> None:
        self.done[done.key] = done
        with self.file.open("ab") as file:
            file.write(msgspec.json.encode(done) + b"\n")
        count = sum(order.key in self.done for order in self.orders)
        word = f"WRONG: {done.wrong}" if done.wrong else done.result
        print(f"{count:4d}/{len(self.orders)}  {done.key}: {word}; {done.told}, {done.seconds:.0f} s", flush=True)

    async def once(self, order: Order) -> Done:
        """Run it until it is conclusive, three times at most."""
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="campaign-") as place:
            folder = Path(place)
            reports, printed = await perform(order, folder)
            seconds = time.monotonic() - began
            if not reports:
                return Done(key=order.key, result="no report", blame=None, told=printed[-300:], wrong="no report", runs=0, seconds=seconds)
            last = reports[-1]
            wrong, told = self._judge(order, last)
            if wrong:
                there = self.folder / plain(order.key)
                shutil.rmtree(there, ignore_errors=True)
                shutil.copytree(folder, there, symlinks=True)
            blame = None if last.blame is None else str(last.blame)
            result = str(last.result)
            return Done(key=order.key, result=result, blame=blame, told=told, wrong=wrong, runs=len(reports), seconds=seconds)


async def perform(order: Order, folder: Path) -> tuple[list[Report], str]:
    """Run ``order`` into ``folder``: its reports, the last one counts, and what pytest printed.

    A run that this machine has spoiled is followed by others, but for one that is stopped from outside, which must come to that.
    """
    argv = [sys.executable, "-m", "pytest", *PYTEST, "-q", f"scenarios/{order.scenario}", f"--artifacts={folder}", *order.options]
    argv += [] if order.stopped else ["--conclusive"]
    environment = {**os.environ, **order.environment, "HARNESS_SABOTAGE": order.name}
    log = folder / "printed"
    with log.open("wb") as out:
        process = await trio.lowlevel.open_process(argv, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    async with trio.open_nursery() as nursery:
        if order.stopped:
            nursery.start_soon(outside.stop_when_asked, folder, process.pid)
        with trio.move_on_after(RUN_S) as limit:
            await process.wait()
        if limit.cancelled_caught:
            process.terminate()
            await process.wait()
        nursery.cancel_scope.cancel()
    reports = sorted((model.read(path) for path in reports_in(folder)), key=lambda report: report.seed)
    return reports, log.read_text(errors="replace")


def reports_in(folder: Path) -> set[Path]:
    """The reports of the runs below ``folder``, each once."""
    return {path.resolve() for path in folder.rglob("report.json")}


def sliced(orders: Sequence[Order], part: tuple[int, int] | None) -> list[Order]:
    """The orders of a part; all when there is none.  Neighbours go to different parts, so that each part has something of everything."""
    return list(orders) if part is None else list(orders[part[0] - 1 :: part[1]])


def written(page: Path, name: str, lines: Iterable[str]) -> None:
    """Put ``lines`` between the two marks ``name`` of ``page``.  ValueError when it has no such marks."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page} has no {begin.strip()} … {end}")
    page.write_text(before + begin + "".join(f"{line}\n" for line in lines) + end + after)
