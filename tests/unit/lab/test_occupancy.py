"""Whose the cores were: what this run's processes use is its own, also when they have ended; what others use is taken."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from harness.lab import occupancy
from harness.lab.occupancy import Occupancy
from harness.units import percent

S = 1_000_000_000
CORES = len(os.sched_getaffinity(0))
BURN = "import time\nwhile time.process_time() < 0.5: pass"


@pytest.mark.parametrize(
    ("busy", "own", "throttled", "share"),
    [(0, 0, 0, 0), (5, 5, 0, 0), (5, 2, 0, 30), (5, 2, 1, 40), (2, 5, 0, 0), (0, 0, 3, 30), (30, 2, 0, 100)],
)
def test_what_is_not_ours_is_taken(busy: int, own: int, throttled: int, share: int) -> None:
    before = Occupancy(7, 11, 13, 17)
    after = Occupancy(7 + 10 * S, 11 + busy * CORES * S, 13 + own * CORES * S, 17 + throttled * CORES * S)
    assert occupancy.taken(before, after) == share * percent


def test_a_child_that_has_ended_is_ours() -> None:
    before = occupancy.read()
    subprocess.run([sys.executable, "-c", BURN], check=True)
    after = occupancy.read()
    assert before.at < after.at < time.monotonic_ns()
    assert after.throttled >= before.throttled
    assert 0.45 * S <= after.own - before.own <= after.busy - before.busy + 0.1 * S


@contextlib.contextmanager
def burning() -> Iterator[subprocess.Popen[bytes]]:
    """A child that goes on, whose own child has just used half a second."""
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}]); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child


def test_a_child_that_runs_is_ours_and_so_are_its_children() -> None:
    before = occupancy.read()
    with burning() as child:
        assert (occupancy.read().own - before.own) / S >= 0.45
        child.communicate(b"\n")


def test_a_process_of_another_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not known to stem from this: a real orphan would be, where pytest is PID 1."""
    monkeypatch.setattr(occupancy, "descendants", lambda pid: iter(()))
    before = occupancy.read()
    with burning() as child:
        after = occupancy.read()
        child.communicate(b"\n")
    assert (after.own - before.own) / S < 0.3
    assert (after.busy - before.busy) / S >= 0.45
    assert occupancy.taken(before, after) > 0 * percent
