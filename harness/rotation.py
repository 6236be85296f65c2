"""Files that do not grow for ever: numbered parts of bounded size, of which the first and the newest are kept.

``alice.media.jsonl`` is the first part (it has the beginning: handshake, headers), ``alice.media.2.jsonl`` the second, and so on.  When a
part is full the next begins, and of the parts behind the first only the newest ``NEWEST`` stay.  So a file takes ``1 + NEWEST`` parts at
most, however long the run is.  A part ends between two records, never within one.

What is kept of one file is ``HARNESS_KEEP_MIB`` MiB (``--keep``; 64 when it is not set), which no run of a few minutes reaches: its file
is one part, or several of which none is gone.  Whoever reads parts must ask ``gone`` and say what is missing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO

VARIABLE = "HARNESS_KEEP_MIB"
NEWEST = 3
LEAST_MIB, MOST_MIB = 0.05, 65536
_DEFAULT_MIB = "64"
_BUFFER = 1 << 18


def part_size(keep: str | None = None) -> int:
    """Bytes of one part at most, by ``keep`` or the environment; ValueError that says what is allowed."""
    told = os.environ.get(VARIABLE, _DEFAULT_MIB) if keep is None else keep
    try:
        mib = float(told)
    except ValueError:
        mib = 0.0
    if not LEAST_MIB <= mib <= MOST_MIB:
        raise ValueError(f"{VARIABLE}, {told!r}: allowed is a number of MiB from {LEAST_MIB} to {MOST_MIB}")
    return int(mib * (1 << 20)) // (1 + NEWEST)


def part(path: Path, number: int) -> Path:
    """Where part ``number`` (1 and up) of ``path`` is."""
    return path if number == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")


def numbers(path: Path) -> list[int]:
    """The numbers of the parts of ``path`` that are there, rising."""
    pattern = re.compile(re.escape(path.stem) + r"\.([1-9][0-9]{0,8})" + re.escape(path.suffix))
    try:
        names = os.listdir(path.parent)
    except FileNotFoundError:
        return []
    found = [int(match[1]) for name in names if (match := pattern.fullmatch(name))]
    return sorted([number for number in found if number > 1] + [1] * (path.name in names))


def parts(path: Path) -> list[Path]:
    """The parts of ``path`` that are there, in the order in which they were written."""
    return [part(path, number) for number in numbers(path)]


def first(path: Path) -> Path:
    """The first part of what ``path`` is a part of: itself, unless its name is a later part's and the first is there."""
    match = re.fullmatch(r"(.+)\.([1-9][0-9]{0,8})", path.stem)
    before = path if match is None or int(match[2]) < 2 else path.with_name(match[1] + path.suffix)
    return before if before.is_file() else path


def gone(path: Path) -> str:
    """Which parts of ``path`` were let go, in words; "" when none was."""
    there = numbers(path)
    missing = [number for number in range(1, max(there, default=0)) if number not in there]
    if not missing:
        return ""
    which = f"part {missing[0]} of {there[-1]} was" if len(missing) == 1 else f"parts {missing[0]} to {missing[-1]} of {there[-1]} were"
    return f"{path.name}: {which} let go, which bounds what a long run leaves (--keep)"


class Parts:
    """The writer's side: where the next part goes, and which one goes away for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = 0
        self.limit = part_size()

    def begin(self) -> Path:
        """Begin the next part: where it goes.  The oldest behind the first is removed if there would be too many; OSError as it comes."""
        self._number += 1
        oldest = self._number - NEWEST
        if oldest > 1:
            part(self._path, oldest).unlink(missing_ok=True)
        return part(self._path, self._number)


class RotatedFile:
    """A binary file for appending in parts.  ``write`` takes whole records only; ``head`` is what every later part begins with."""

    def __init__(self, path: Path, buffering: int = _BUFFER) -> None:
        self._parts = Parts(path)
        self._buffering = buffering
        self._file: BinaryIO = self._open()
        self._size = 0
        self.head = b""

    def _open(self) -> BinaryIO:
        return self._parts.begin().open("wb", buffering=self._buffering)

    def write(self, records: bytes, /) -> None:
        """Append."""
        if self._size + len(records) > self._parts.limit and self._size > len(self.head):
            self._file.close()
            self._file = self._open()
            self._file.write(self.head)
            self._size = len(self.head)
        self._file.write(records)
        self._size += len(records)

    def flush(self) -> None:
        """Hand what is buffered to the kernel."""
        self._file.flush()

    def close(self) -> None:
        """No more will come."""
        self._file.close()


class LineTail:
    """Reads a file of lines that grows in parts: each ``fresh`` gives the whole lines that came since the last.

    LookupError when a part went away before it was read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = 1
        self._offset = 0

    def fresh(self) -> list[bytes]:
        """The new lines, with their newlines; none when there is no file yet."""
        found: list[bytes] = []
        while True:
            later = [number for number in numbers(self._path) if number > self._number]
            found += self._read()
            if not later:
                return found
            if later[0] != self._number + 1:
                raise LookupError(f"{part(self._path, self._number + 1).name} was let go before it was read")
            self._number, self._offset = later[0], 0

    def _read(self) -> list[bytes]:
        try:
            with open(part(self._path, self._number), "rb", opener=_plainly) as file:
                file.seek(self._offset)
                lines = file.readlines()
        except FileNotFoundError:
            if self._number > 1:
                raise LookupError(f"{part(self._path, self._number).name} was let go before it was read") from None
            return []
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
        self._offset += sum(map(len, lines))
        return lines


def _plainly(path: str, flags: int) -> int:
    """Open a file that an agent has written: a link of its making is not followed (OSError), a pipe not waited for."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
