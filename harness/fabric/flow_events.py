"""The kernel's word of what NATs map, taken in as it comes, so that it is known when; but a flood of it costs no more than its share.

Above ``LOOKS`` in ``WINDOW`` nothing is looked at until that is over: what has come meanwhile is then taken in at once, and is as late.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable

from harness.fabric.conntrack import Conntrack
from harness.units import ms

LOOKS, WINDOW = 20, 100 * ms


class FlowEvents:
    """The events of all ``follow``ed tables behind one descriptor, which is made before anything else is built and so is a low one."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._tables: dict[int, Conntrack] = {}
        self._began = self._looks = 0

    def follow(self, tables: Iterable[Conntrack]) -> None:
        """These, and none before."""
        for fd in self._tables:
            self._poll.unregister(fd)
        self._tables = {table.fileno(): table for table in tables}
        for fd in self._tables:
            self._poll.register(fd, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when a table has something to tell."""
        return self._poll.fileno()

    @property
    def rests_until(self) -> int:
        """Until when nothing is to be looked at, ns; 0: look when there is something."""
        until = self._began + WINDOW.ns
        return until if self._looks >= LOOKS and time.monotonic_ns() < until else 0

    def look(self) -> None:
        """Take in what there is."""
        now = time.monotonic_ns()
        if now - self._began >= WINDOW.ns:
            self._began, self._looks = now, 0
        self._looks += 1
        for fd, _ in self._poll.poll(0):
            self._tables[fd].look()
