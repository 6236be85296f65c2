"""Packet processes (relay, capture) as forks of the keeper: what they need is imported already, so they run at once.

Only for a single-threaded parent with no event loop running.  Agents are never started so: they are commands of any language.
"""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
from collections.abc import Callable, Iterable

from harness.fabric.scheduling import be_nice

EXIT_BUG = 70


STARTED: dict[int, str] = {}
"""What was started here, by PID: its name."""


def start(name: str, main: Callable[[list[str]], int], control_fd: int, keep: Iterable[int]) -> int:
    """Fork a child that runs ``main([control_fd])`` with the standard streams, ``control_fd`` and ``keep`` as its only descriptors.

    Returns its PID; the child exits with what ``main`` returns, or 70 and a traceback on standard error.
    """
    pid = os.fork()
    if pid:
        STARTED[pid] = name
        return pid
    code = EXIT_BUG
    try:
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        be_nice(0)  # not the keeper's, but what ``main`` asks for
        _take_name(main.__module__.rpartition(".")[2])
        _close_all_but({0, 1, 2, control_fd, *keep})
        code = main([str(control_fd)])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _take_name(name: str) -> None:
    """What ``ps`` and whoever measures this process shall call it."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as file:
        file.write(name)


def _close_all_but(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))
