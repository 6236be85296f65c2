"""What the bench withheld from netem, which keeps no record of its own: the spans in which this process, or its core's timer, ran late.

The kernel runs netem's timers on the core that sent.  So the process stays on one core, never sleeps while it measures, and keeps a kernel
timer running: whenever it did nothing for more than 1 ms, or its timer came more than 1 ms late, neither could netem do better.  It gives
way to everybody: the kernel's own thread for network work (ksoftirqd) would else wait for it, for milliseconds that no one saw.
"""

from __future__ import annotations

import os
import select
import socket
import time

from harness.fabric.relay_process import LATE
from harness.timer import Timer

WATCH = 1_000_000  # ns
UNWATCHED = 300_000  # ns


class Witness:
    """Watches from ``begin`` on; ``stalls`` are (start, end) ns of CLOCK_MONOTONIC, in order, merged where they touch."""

    def __init__(self) -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        os.nice(19)
        self._timer = Timer()
        self.begin()

    def begin(self) -> None:
        """Forget what was, and watch."""
        self.stalls: list[tuple[int, int]] = []
        self._seen = time.monotonic_ns()
        self._set(self._seen)

    def _set(self, alarm: int) -> None:
        self._alarm = alarm
        self._timer.arm(alarm)

    def look(self) -> int:
        """The time; between any two looks no more than 1 ms may pass, and whoever does something that may take long looks behind it."""
        now = time.monotonic_ns()
        if now - self._seen > LATE:
            self._note(self._seen, now)
        self._seen = now
        return now

    def wait(self, sock: socket.socket, until: int) -> bool:
        """Whether ``sock`` can be read before ``until``."""
        now = self.look()
        if now - self._alarm > UNWATCHED and select.select([self._timer], [], [], 0)[0]:
            self._set(now + WATCH)  # it went off while nobody looked, and who knows when
        while True:
            ready = select.select([sock, self._timer], [], [], 0)[0]
            now = self.look()
            if self._timer in ready:
                if now - self._alarm > LATE:
                    self._note(self._alarm - WATCH, now)
                self._set(now + WATCH)
            if sock in ready:
                return True
            if now >= until:
                return False

    def _note(self, start: int, end: int) -> None:
        if self.stalls and start <= self.stalls[-1][1] + LATE:
            start = min(start, self.stalls.pop()[0])
        self.stalls.append((start, end))
