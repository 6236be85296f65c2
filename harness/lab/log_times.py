"""When the lines of the agents' logs were written, as nearly as one can tell without standing in their way.

An agent writes to its log file itself: nothing it writes passes through the harness, which could hold it up or lose its last words.  So
the harness looks at the sizes of the files instead, and notes each time what has grown: ``agents/times.jsonl`` has a line ``{"at": ns of
CLOCK_MONOTONIC, "file": name, "size": bytes by then}``.  What stands in a file below that size was written by then, and after the look
before, ``PERIOD`` earlier (later when the harness itself did not get to run).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import trio

FILE = "times.jsonl"
PERIOD_S = 0.05
MOST = 20_000
"""Looks that are noted: an agent that writes without end is not followed for ever."""


class LogTimes:
    """Follows the ``*.log`` files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: dict[str, int] = {}
        self._left = MOST
        self._file = (folder / FILE).open("wb", buffering=0)

    def look(self) -> None:
        """Note every file that has grown since the last look."""
        at = time.monotonic_ns()
        for entry in os.scandir(self._folder):
            if entry.name.endswith(".log") and entry.is_file(follow_symlinks=False):
                size = entry.stat(follow_symlinks=False).st_size
                if size > self._sizes.get(entry.name, 0) and self._left:
                    self._left -= 1
                    self._sizes[entry.name] = size
                    self._file.write(msgspec.json.encode({"at": at, "file": entry.name, "size": size}) + b"\n")

    async def follow(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self.look()
            await trio.sleep(PERIOD_S)

    def close(self) -> None:
        """One last look."""
        self.look()
        self._file.close()
