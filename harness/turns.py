"""Runs that measure go side by side; what this machine has spoiled so is made again with no other run beside it.

Two locks (flock(2)) on what every process of one checkout has: this file is the room, its folder the door.  Who goes in stands in the door
until the room is his, shared or not, so that whoever waits to be alone is not passed by for ever.  Both end with their process, however it
ends, and leave nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def turn(*, alone: bool, room: Path = Path(__file__)) -> Iterator[None]:
    """Wait for a place in ``room`` (a file; its folder is the door), beside others or ``alone``, and keep it while the block lasts."""
    with contextlib.ExitStack() as inside:
        with _locked(room.parent, fcntl.LOCK_EX):
            inside.enter_context(_locked(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        yield


@contextlib.contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a file system that knows no locks: then all go side by side
            fcntl.flock(fd, how)
        yield
    finally:
        os.close(fd)
