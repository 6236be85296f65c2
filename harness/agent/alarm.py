"""A kernel timer (timerfd) to wait for: set for an absolute time of the records' clock, and exact to some 50 µs.

trio's own deadlines would do, but each one reached is a cancellation, which takes as long as sending a packet, and epoll rounds its timeout
up to whole milliseconds, so that media would go out late by up to one.
"""

from __future__ import annotations

import ctypes
import os
import time

import trio

_CLOEXEC_NONBLOCK, _ABSTIME = os.O_CLOEXEC | os.O_NONBLOCK, 1  # linux/timerfd.h
_libc = ctypes.CDLL(None, use_errno=True)  # os.timerfd_create came with Python 3.13


class _Times(ctypes.Structure):
    """struct itimerspec: interval, then first expiry."""

    _fields_ = (("interval_s", ctypes.c_long), ("interval_ns", ctypes.c_long), ("s", ctypes.c_long), ("ns", ctypes.c_long))


class Alarm:
    """One timer on CLOCK_MONOTONIC, at first not set."""

    def __init__(self) -> None:
        self._times = _Times()
        self._pointer = ctypes.byref(self._times)
        self._fd = _checked(_libc.timerfd_create(time.CLOCK_MONOTONIC, _CLOEXEC_NONBLOCK), "timerfd_create")

    def set(self, at: int) -> None:
        """Go off at ``at`` (ns), at once if that has passed.  What it was set for before is forgotten."""
        self._times.s, self._times.ns = divmod(max(at, 1), 1_000_000_000)  # 0 would be never
        _checked(_libc.timerfd_settime(self._fd, _ABSTIME, self._pointer, None), "timerfd_settime")

    async def wait(self) -> None:
        """Until it goes off; at once if it has not been set since.  trio.ClosedResourceError once it is closed."""
        if self._fd < 0:
            raise trio.ClosedResourceError("the alarm is closed")
        await trio.lowlevel.wait_readable(self._fd)

    def close(self) -> None:
        """Give the descriptor back, and wake whoever waits (trio.ClosedResourceError).  Harmless the second time."""
        if self._fd >= 0:
            trio.lowlevel.notify_closing(self._fd)
            os.close(self._fd)
            self._fd = -1


def _checked(result: int, call: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{call}: {os.strerror(ctypes.get_errno())}")
    return result
