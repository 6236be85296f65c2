"""How a session ends before its time: workers end with the session that started them, and a second Ctrl-C ends everything at once.

The first Ctrl-C ends the run in order: captures are closed, its files written, the session's index made; pytest exits with 2.  From then on
SIGINT has its default action again.  Nothing needs to be done for it: whatever a run has made lives in the keeper's namespaces, which are
gone with the process.  SIGTERM and SIGHUP end a session at once from the beginning.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from harness.parent import die_with_parent


def is_worker() -> bool:
    """Whether this is a parallel worker, known before pytest is configured: execnet's command, and the variable that pytest-xdist sets."""
    return sys.argv[:1] == ["-c"] and "PYTEST_XDIST_WORKER" in os.environ


def end_with(session: int) -> None:
    """Let this process be killed when its parent ends, which is the process ``session``; end now if that has ended already."""
    die_with_parent(signal.SIGKILL)
    if os.getppid() != session:
        os._exit(1)


@contextlib.contextmanager
def second_ends_at_once() -> Iterator[None]:
    """Inside a trio run, whose own handler takes the first SIGINT: a second one ends this process, though the first be still on its way."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    taken = False

    def take(number: int, frame: FrameType | None) -> None:
        nonlocal taken
        if taken:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        taken = True
        handler(number, frame)

    signal.signal(signal.SIGINT, take)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if taken else handler)  # its own is what trio looks for when it ends


def next_ends_at_once() -> None:
    """From now on SIGINT ends this process."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def as_ever() -> None:
    """SIGINT raises KeyboardInterrupt again, if it was ours to change."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
