"""Files that a reader finds whole or not at all, however many write them at once, and of which a killed writer leaves nothing.

While it is written a file has no name (O_TMPFILE), so the kernel takes it back when its writer dies.  It gets its name in one step; to take
the place of an older one it stands beside it as ``.<name>-….part`` for the length of one system call.  Where the file system knows no files
without names (overlayfs before Linux 6.1, NFS), it is written under that name, and a killed writer leaves it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_NO_NAMELESS = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT}
"""What the kernel says where it cannot make a file without a name; ENOENT also where there is no such folder, as the second try finds."""


def write(path: Path, content: str | bytes) -> None:
    """Write ``path`` in one step: what was there before stays until the new content is whole, and when writing fails."""
    with fresh(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def fresh(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to write to, which is ``path`` once the block has ended, and was never there when the block raises."""
    part = path.with_name(f".{path.name}-{os.getpid()}-{time.monotonic_ns()}.part")
    nameless = True
    try:
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno not in _NO_NAMELESS:
            raise
        nameless = False
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if nameless and not _name(descriptor, path):
                _name(descriptor, part)
        if part.exists():
            part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _name(descriptor: int, path: Path) -> bool:
    """Give a file without a name one; False when there is such a file."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:  # with a folder's descriptor Python calls linkat, which can follow the link that /proc shows
        os.link(f"/proc/self/fd/{descriptor}", path.name, dst_dir_fd=folder, follow_symlinks=True)
    except FileExistsError:
        return False
    finally:
        os.close(folder)
    return True
