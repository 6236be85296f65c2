"""Landlock: a process takes file rights away from itself and its children, for good, without needing any privilege (Linux 5.13).

Numbers and their versions are linux/landlock.h's.  What a kernel does not know cannot be taken away there: ``version`` tells how much.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterable

from harness.syscalls import syscall

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
_ALL = {1: (1 << 13) - 1, 2: 1 << 13, 3: TRUNCATE, 5: IOCTL_DEV, 9: 1 << 16}
"""File rights by the version that brought them: everything up to making symlinks, moving between folders, truncation, devices' ioctl,
and (untried here) connecting to unix sockets."""
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_SCOPES = 0b11
"""Abstract unix sockets of, and signals to, processes outside (version 6)."""

READ = EXECUTE | READ_FILE | READ_DIR
USE_DEVICE = READ_FILE | WRITE_FILE | IOCTL_DEV
_SCOPES_SINCE = 6


def version() -> int:
    """The kernel's version of Landlock; 0 where there is none, or it is switched off or not allowed."""
    try:
        return syscall("Landlock", _CREATE_RULESET, 0, 0, _VERSION_FLAG)
    except OSError:
        return 0


def every_right(of: int) -> int:
    """All file rights that version ``of`` knows."""
    return sum(rights for since, rights in _ALL.items() if since <= of)


class Ruleset:
    """Everything is forbidden but what is allowed by ``allow``; in force from ``restrict`` on.  OSError where there is no Landlock."""

    def __init__(self) -> None:
        self.version = version()
        self._handled = every_right(self.version)
        fields = [self._handled, 0, _SCOPES] if self.version >= _SCOPES_SINCE else [self._handled]
        attributes = struct.pack(f"={len(fields)}Q", *fields)
        self._fd = syscall("Landlock", _CREATE_RULESET, attributes, len(attributes), 0)

    def allow(self, path: str | int, rights: int) -> None:
        """Allow ``rights`` on a file, or on a folder and all in it; what is not there is passed over."""
        try:
            fd = path if isinstance(path, int) else os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        try:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                rights &= _OF_FILES
            if rights & self._handled:
                syscall(f"Landlock, {path}", _ADD_RULE, self._fd, _PATH_BENEATH, struct.pack("=Qi", rights & self._handled, fd), 0)
        except OSError as error:
            if error.errno != errno.EBADFD:  # a pipe or socket, to which no rule applies
                raise
        finally:
            if fd != path:
                os.close(fd)

    def allow_all(self, path: str) -> None:
        """Allow everything in a folder."""
        self.allow(path, self._handled)

    def restrict(self) -> None:
        """Put it into force; no_new_privs must be set."""
        syscall("Landlock", _RESTRICT_SELF, self._fd, 0)
        os.close(self._fd)


def allow_reading(rules: Ruleset, hidden: Iterable[str], shown: Iterable[str]) -> None:
    """Allow everything to be read but what is ``hidden`` (absolute paths, without symlinks), and of that yet what is ``shown``.

    A rule holds for all that is in a folder, so a folder that has something hidden in it gets none, and those of its children that have
    nothing do.  Names can be listed everywhere.
    """
    closed = set(hidden)
    above = {parent for path in closed for parent in _parents(path)}
    rules.allow("/", READ_DIR)

    def show(path: str) -> None:
        if path not in above:
            rules.allow(path, READ)
            return
        try:
            entries = list(os.scandir(path))
        except OSError:
            return
        for entry in entries:
            if entry.path not in closed and not entry.is_symlink():
                show(entry.path)

    for path in ("/", *shown):
        show(path)


def _parents(path: str) -> Iterable[str]:
    while path != "/":
        path = os.path.dirname(path)
        yield path
