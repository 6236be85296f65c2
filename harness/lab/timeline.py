"""Every event of every source on one clock (CLOCK_MONOTONIC): a line of ``timeline.jsonl`` each, and the ones that tell the story aloud."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from harness.agent.messages import Media
from harness.report.printable import json

FILE = "timeline.jsonl"
MOST = 32 << 20
"""Bytes of a timeline from which on agents' running figures (``media``, ten times a second) are left out: most of an hour."""


class View(Protocol):
    """Somebody who looks on while a run happens."""

    def note(self, line: dict[str, Any], *, aloud: bool) -> None:
        """A line of the timeline as it is written, details as the objects that they are; ``aloud``: it tells the story."""

    def close(self) -> None:
        """The run is over."""


class Unseen:
    """Nobody looks on."""

    def note(self, line: dict[str, Any], *, aloud: bool) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Timeline:
    """Writes as it goes, so that what led to a crash is on disk; ``view`` is shown every line."""

    def __init__(self, path: Path, view: View) -> None:
        self._file = path.open("wb", buffering=0)
        with contextlib.suppress(OSError):  # what says that this run is going on; a file system without locks cannot say so
            fcntl.flock(self._file, fcntl.LOCK_EX)
        self._view = view
        self._size = 0
        self._brief = False
        self.failure: str | None = None
        """Why not every line is in the file; None when all are."""
        self.started = time.monotonic_ns()
        self.note("lab", "began", at=self.started, utc=datetime.now(UTC).isoformat())

    def note(self, source: str, kind: str, text: str = "", *, at: int | None = None, aloud: bool = False, **detail: Any) -> None:
        """Record one event; ``at`` is ns of CLOCK_MONOTONIC, now when left out."""
        at = time.monotonic_ns() if at is None else at
        line: dict[str, Any] = {"at": at, "source": source, "kind": kind}
        if text:
            line["text"] = text
        line |= detail
        if not (self._brief and isinstance(detail.get("message"), Media)):
            self._write(line)
        self._view.note(line, aloud=aloud)

    def lines(self, lines: Iterable[dict[str, Any]]) -> None:
        """Record events that are lines already, with ``at``, ``source`` and ``kind``."""
        for line in lines:
            self._write(line)
            self._view.note(line, aloud=False)

    def _write(self, line: dict[str, Any]) -> None:
        """Each line in one write.  Once one is not whole nothing follows it; whoever noted it goes on, and learns of it by ``failure``."""
        if self.failure is not None:
            return
        encoded = json(line, str) + b"\n"
        try:
            written = self._file.write(encoded)
        except OSError as error:
            self.failure = f"{FILE}: {error.strerror}"
            return
        if written != len(encoded):
            self.failure = f"{FILE}: no room for more"
        self._size += len(encoded)
        if self._size > MOST and not self._brief:
            self._brief = True
            self.note("lab", "brief", f"from here on agents' running figures are left out: the timeline has {MOST >> 20} MiB", aloud=True)

    def close(self) -> None:
        """Close the file, and send the onlooker away; safe to call twice."""
        if not self._file.closed:
            self._file.close()
            self._view.close()
