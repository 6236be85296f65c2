"""A kernel timer that epoll can wait on, exact to some 50 µs; epoll's own timeout is rounded up to whole milliseconds."""

from __future__ import annotations

import ctypes
import os
import sys
import time

if sys.version_info >= (3, 13):

    class Timer:
        """One timerfd on CLOCK_MONOTONIC, armed for an absolute time."""

        def __init__(self) -> None:
            self._fd = os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

        def fileno(self) -> int:
            """The descriptor to wait on: readable once the time has come, until armed anew."""
            return self._fd

        def arm(self, at: int) -> None:
            """Fire at ``at`` (ns, CLOCK_MONOTONIC), at once when that has passed; a firing not yet seen is forgotten.  0 disarms."""
            os.timerfd_settime_ns(self._fd, flags=os.TFD_TIMER_ABSTIME, initial=at, interval=0)

        def close(self) -> None:
            """Give the descriptor back."""
            os.close(self._fd)

else:

    class _Times(ctypes.Structure):
        """struct itimerspec: interval, then first expiry."""

        _fields_ = (("interval_s", ctypes.c_long), ("interval_ns", ctypes.c_long), ("s", ctypes.c_long), ("ns", ctypes.c_long))

    _CLOEXEC_NONBLOCK, _ABSTIME = 0o2004000, 1
    _libc = ctypes.CDLL(None, use_errno=True)

    class Timer:
        """One timerfd on CLOCK_MONOTONIC, armed for an absolute time.  Python before 3.13 has none, so this asks the C library."""

        def __init__(self) -> None:
            self._fd: int = _libc.timerfd_create(time.CLOCK_MONOTONIC, _CLOEXEC_NONBLOCK)
            if self._fd < 0:
                raise OSError(ctypes.get_errno(), f"timerfd_create: {os.strerror(ctypes.get_errno())}")
            self._times = _Times()
            self._pointer = ctypes.byref(self._times)

        def fileno(self) -> int:
            """The descriptor to wait on: readable once the time has come, until armed anew."""
            return self._fd

        def arm(self, at: int) -> None:
            """Fire at ``at`` (ns, CLOCK_MONOTONIC), at once when that has passed; a firing not yet seen is forgotten.  0 disarms."""
            self._times.s, self._times.ns = divmod(at, 1_000_000_000)
            if _libc.timerfd_settime(self._fd, _ABSTIME, self._pointer, None) != 0:
                raise OSError(ctypes.get_errno(), f"timerfd_settime: {os.strerror(ctypes.get_errno())}")

        def close(self) -> None:
            """Give the descriptor back."""
            os.close(self._fd)
