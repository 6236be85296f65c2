"""A machine that is too busy, made on purpose and bounded in time.

* ``crowd``: processes that compute and touch memory without end, as a build beside the tests does.
* ``theft``: every core taken away at once for a while, again and again, as a hypervisor does whose host is too small: real-time processes
  that spin, one a core.  Needs the right to real-time priority.

All of them are children of this process, end with it, and are ended by their PIDs.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator

from harness.parent import die_with_parent

MEMORY = 8 << 20
SHORTEST_S, LONGEST_S, BETWEEN_S = 0.15, 0.5, 1.5
PRIORITY = 90  # above the relay's


@contextlib.contextmanager
def crowd(processes: int, limit_s: float) -> Iterator[None]:
    """``processes`` more that want the processor, for the length of the block and ``limit_s`` at most."""
    with _running([lambda: _compute(limit_s)] * processes):
        yield


@contextlib.contextmanager
def theft(seed: int, limit_s: float) -> Iterator[None]:
    """All cores gone for 150 to 500 ms, every 1.5 s on average.  PermissionError where real-time priority may not be had."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))  # tried here, where the error can be seen
    os.sched_setscheduler(0, *before)
    begin = time.monotonic() + 0.5
    with _running([lambda core=core: _steal(core, seed, begin, limit_s) for core in sorted(os.sched_getaffinity(0))]):
        yield


@contextlib.contextmanager
def _running(works: list[Callable[[], None]]) -> Iterator[None]:
    pids = [_child(work) for work in works]
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _child(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        die_with_parent(signal.SIGKILL)
        work()
    finally:
        os._exit(0)


def _compute(limit_s: float) -> None:
    memory, end = bytearray(MEMORY), time.monotonic() + limit_s
    while time.monotonic() < end:
        for page in range(0, MEMORY, 4096):
            memory[page] = (memory[page] + 1) & 0xFF


def _steal(core: int, seed: int, begin: float, limit_s: float) -> None:
    """The same seed takes every core away at the same times."""
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    generator, at = random.Random(f"theft {seed}"), begin
    while at < begin + limit_s:
        at += generator.expovariate(1 / BETWEEN_S)
        length = generator.uniform(SHORTEST_S, LONGEST_S)
        time.sleep(max(0.0, at - time.monotonic()))
        while time.monotonic() < at + length:
            pass
        at += length
