"""Reads a capture that is being written, in parts, from where it was read last: for judging a long call while it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.errors import HarnessError
from harness.fabric.pcapng import Packet, Reader
from harness.rotation import numbers, part


class CaptureTail:
    """One interface's capture at ``path``.  Flush the captures before ``fresh``, or the newest packets have no clock yet.

    ``newest``: begin with the newest part that is there, not with the first.
    """

    def __init__(self, path: Path, *, newest: bool = False) -> None:
        self._path = path
        self._number = max(numbers(path), default=1) if newest else 1
        self._reader: Reader | None = None

    def fresh(self) -> Iterator[Packet]:
        """The packets since the last call, in the order of the file; HarnessError when a part went away before it was read."""
        while True:
            later = [number for number in numbers(self._path) if number > self._number]
            try:
                self._reader = self._reader or Reader(part(self._path, self._number))
                yield from self._reader.fresh()
            except FileNotFoundError:
                raise HarnessError(f"{part(self._path, self._number).name} was let go before it was read") from None
            if not later:
                return
            if later[0] != self._number + 1:
                raise HarnessError(f"{part(self._path, self._number + 1).name} was let go before it was read")
            self._number, self._reader = later[0], None
