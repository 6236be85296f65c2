"""Files that a reader finds whole or not at all, however many write them at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path


def write(path: Path, what: str | bytes) -> None:
    """Write ``path`` in one step: what was there before stays until all of it is written, and when writing fails."""
    part = path.with_name(f".{path.name}-{os.getpid()}-{time.monotonic_ns()}.part")
    try:
        part.write_bytes(what.encode() if isinstance(what, str) else what)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is at work ``alone`` in this folder.  The kernel lets go when a process dies; no file is left behind."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
