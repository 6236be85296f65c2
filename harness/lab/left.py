"""What agents leave in their own folders, taken by the harness, which has rights that they do not: regular files, and nothing else.

An agent may make what it likes in its folder: a link to a file that it cannot read itself, a pipe that nobody writes to.  Nothing of it is
followed or waited for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from harness import whole
from harness.errors import AgentError

KEYS = "keys.log"
_MOST_KEYS = 64 << 20
"""Bytes of one agent's key log that are taken: those of 100,000 connections."""


def open_left(path: Path, agent: str) -> BinaryIO:
    """The regular file at ``path``, for reading; FileNotFoundError when there is none, AgentError when it is something else."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise AgentError(agent, f"it left {path.name}, which cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise AgentError(agent, f"it left {path.name}, which is no regular file")
    return os.fdopen(fd, "rb")


def gather_keys(folder: Path, owners: dict[str, Path]) -> Path:
    """The run's key log: those of all agents (``owners``: their folders by name), one after the other; not written if there are none."""
    found = []
    for name, own in owners.items():
        with contextlib.suppress(FileNotFoundError), open_left(own / KEYS, name) as file:
            found.append(file.read(_MOST_KEYS))
    log = folder / KEYS
    if found:
        with whole.fresh(log, 0o600) as file:
            file.writelines(keys if keys.endswith(b"\n") or not keys else keys + b"\n" for keys in found)
    return log


def take_over(folder: Path, name: str, own: Path) -> None:
    """Move the records and qlogs of agent ``name``, which has ended, from its folder ``own`` into the run's; what else it left stays.

    Nothing that is there already is replaced.
    """
    shutil.rmtree(own / "tmp", ignore_errors=True)
    _move(own, folder, f"{name}.")
    if (own / "qlog").is_dir() and not (own / "qlog").is_symlink():
        _move(own / "qlog", folder / "qlog", f"{name}-")
    (own / KEYS).unlink(missing_ok=True)
    for emptied in (own / "qlog", own):
        with contextlib.suppress(OSError):
            emptied.rmdir()


def _move(source: Path, target: Path, prefix: str) -> None:
    for entry in _regular(source):
        if entry.name.startswith(prefix) and not (target / entry.name).exists():
            Path(entry.path).rename(target / entry.name)


def _regular(folder: Path) -> Iterable[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if entry.is_file(follow_symlinks=False)]
