"""The messages between peers, read from ``signals.jsonl`` (written by ``harness.lab.exchange``), brought to the page's clock."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from harness.report.artifacts import Artifacts
from harness.report.story import Signal

FILE = "signals.jsonl"


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """What the file's writer says of it, on its last line."""

    notes: list[str]


def read(artifacts: Artifacts, since_zero: Callable[[int], int]) -> tuple[list[Signal], list[str]]:
    """The messages in order, and what is to be said about them."""
    if not artifacts.names(FILE):
        return [], [f"there is no {FILE}: the run ended before its captures were read, or it was made by an earlier version"]
    signals = [
        msgspec.structs.replace(one, at=since_zero(one.at), came=None if one.came is None else since_zero(one.came))
        for one in artifacts.lines(FILE, Signal, wanted=lambda line: not line.startswith(b'{"notes"'))
    ]
    notes = [note for line in artifacts.lines(FILE, Notes, wanted=lambda line: line.startswith(b'{"notes"')) for note in line.notes]
    return signals, notes
