"""A kernel timer to wait for under trio: set for an absolute time of the records' clock, and exact to some 50 µs.

trio's own deadlines would do, but each one reached is a cancellation, which takes as long as sending a packet, and epoll rounds its timeout
up to whole milliseconds, so that media would go out late by up to one.
"""

from __future__ import annotations

import errno

import trio

from harness.timer import Timer


class Alarm:
    """One timer on CLOCK_MONOTONIC, at first not set."""

    def __init__(self) -> None:
        self._timer: Timer | None = Timer()

    def set(self, at: int) -> None:
        """Go off at ``at`` (ns), at once if that has passed.  What it was set for before is forgotten.  OSError once it is closed."""
        if self._timer is None:
            raise OSError(errno.EBADF, "the alarm is closed")
        self._timer.arm(max(at, 1))  # 0 would be never

    async def wait(self) -> None:
        """Until it goes off; at once if it has not been set since.  trio.ClosedResourceError once it is closed."""
        if self._timer is None:
            raise trio.ClosedResourceError("the alarm is closed")
        await trio.lowlevel.wait_readable(self._timer.fileno())

    def close(self) -> None:
        """Give the descriptor back, and wake whoever waits (trio.ClosedResourceError).  Harmless the second time."""
        timer, self._timer = self._timer, None
        if timer is not None:
            trio.lowlevel.notify_closing(timer.fileno())
            timer.close()
