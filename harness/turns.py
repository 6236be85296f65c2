"""Who goes on beside whom.  Runs that measure go side by side; what this machine has spoiled so is made again with no other beside it.

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
        with contextlib.suppress(OSError), locked(room.parent):  # a file system that knows no locks: then all go side by side
            inside.enter_context(locked(room, shared=not alone))
        yield


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Wait until no other process has ``path``, a file or a folder, ``locked`` (``shared``: but shared), and have it while the block lasts.

    The kernel lets go when a process dies; no file is left behind.  OSError where the file system knows no locks.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
