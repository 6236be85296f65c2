"""Every event of every source on one clock (CLOCK_MONOTONIC): a line of ``timeline.jsonl`` each, and the ones that tell the story aloud."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.report.printable import json


class Timeline:
    """Writes as it goes, so that what led to a crash is on disk.  ``say`` gets (seconds since the start, source, text) of the story."""

    def __init__(self, path: Path, say: Callable[[float, str, str], None]) -> None:
        self._file = path.open("wb", buffering=0)
        self._say = say
        self.started = time.monotonic_ns()
        self.note("lab", "began", at=self.started, utc=datetime.now(UTC).isoformat())

    def note(self, source: str, kind: str, text: str = "", *, at: int | None = None, aloud: bool = False, **detail: Any) -> None:
        """Record one event; ``at`` is ns of CLOCK_MONOTONIC, now when left out."""
        at = time.monotonic_ns() if at is None else at
        line: dict[str, Any] = {"at": at, "source": source, "kind": kind}
        if text:
            line["text"] = text
        self._file.write(json(line | detail, str) + b"\n")
        if aloud:
            self._say((at - self.started) / 1e9, source, text or kind)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
