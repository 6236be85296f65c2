"""Whether one core runs: a process that is pinned to it wakes every few ms, and notes when it woke late and had not waited for another.

A core that a hypervisor has taken away is not seen by run delay: a sleeper whose timer fires late has waited for nothing.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import struct
import time

from harness.fabric.scheduling import prefer_this_process
from harness.parent import die_with_parent

EVENT = struct.Struct("=5q")
"""Core, when it should have woken and when it did, of that its own wait for the core, and what was stolen of the core; ns."""
SHORTEST = 3_000_000
"""Lateness that is told, ns."""
_SMALL = 500_000
_EVERY = 20
_RARELY = 200
_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class CoreClock:
    """Takes the wake-ups of this process, which is pinned to ``core``.

    Its own wait (/proc/thread-self/schedstat, field 2) is read where a wake-up is late, and now and then: what it waited in the few ticks
    between counts for the next late one, so theft is measured a little too short and never too long.
    """

    def __init__(self, core: int) -> None:
        self.core = core
        self._own = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        self._stat = os.open("/proc/stat", os.O_RDONLY | os.O_CLOEXEC)
        self._prefix = f"cpu{core} ".encode()
        self._waited = self._read_own()
        self._stolen = self._read_steal()
        self._ticks = 0

    def look(self, due: int, at: int) -> tuple[int, int, int, int, int] | None:
        """A wake-up that was ``due`` and came ``at`` (ns): an ``EVENT`` if it was late by ``SHORTEST`` or more."""
        late = at - due
        self._ticks += 1
        if late <= _SMALL and self._ticks % _EVERY:
            return None
        waited = self._read_own()
        own, self._waited = min(late, waited - self._waited), waited
        if late < SHORTEST and self._ticks % _RARELY:
            return None
        stolen = self._read_steal()
        steal, self._stolen = stolen - self._stolen, stolen
        return (self.core, due, at, own, steal) if late >= SHORTEST else None

    def _read_own(self) -> int:
        return int(os.pread(self._own, 64, 0).split()[1])

    def _read_steal(self) -> int:
        """How much was stolen of this core, ns, by the kernel's count (proc_stat(5), the eighth figure)."""
        for line in os.pread(self._stat, 1 << 16, 0).splitlines():
            if line.startswith(self._prefix):
                return int(line.split()[8]) * _TICK
        return 0


def tick_forever(core: int, period: int, writing: int) -> None:
    """Be the ticker of ``core`` until the parent ends; ``writing``: where events go."""
    die_with_parent(signal.SIGKILL)
    os.sched_setaffinity(0, {core})
    prefer_this_process()
    gc.disable()
    clock = CoreClock(core)
    sleep, now = time.sleep, time.monotonic_ns
    due = now() + period
    while True:
        sleep(max(0, due - now()) / 1e9)
        at = now()
        event = clock.look(due, at)
        if event is not None:
            with contextlib.suppress(BlockingIOError):
                os.write(writing, EVENT.pack(*event))
        due += period
        if due <= at:
            due += (at - due) // period * period + period
