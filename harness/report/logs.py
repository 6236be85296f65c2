"""The logs of a page: the timeline told in words, and what agents and keeper wrote to their own log files, on one clock.

All of it is bounded, and what is left out is counted and said: a hostile agent can write gigabytes, in one line.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from harness.report.artifacts import Artifacts
from harness.report.printable import printable
from harness.report.story import Line

QUIET = ("media",)
"""Events of agents that come many times a second and that the flows tell better."""
MOST_EVENTS = 12_000
MOST_LINES = 2_000
"""Of one log file: half of them from its beginning, half from its end."""
LONGEST = 1_000
"""Characters of a line."""
_READ = 1 << 20
"""Bytes read of either end of a log file."""
_TIMES = "agents/times.jsonl"
Event = dict[str, Any]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A line of ``agents/times.jsonl`` (``harness.lab.log_times``)."""

    at: int
    file: str
    size: int


def read(artifacts: Artifacts, events: list[Event], since_zero: Callable[[int], int]) -> tuple[list[Line], list[str]]:
    """Every line worth showing, and what was left out."""
    notes: list[str] = []
    found = list(_events(events, since_zero))
    if len(found) > MOST_EVENTS:
        notes.append(f"timeline.jsonl: {len(found) - MOST_EVENTS} of {len(found)} events are left out, the last ones")
    lines = found[:MOST_EVENTS]
    seen = list(artifacts.lines(_TIMES, Seen))
    for name in artifacts.names("agents/*.log"):
        lines += _log(artifacts, name, [one for one in seen if one.file == name.partition("/")[2]], since_zero, notes)
    return lines, notes


# -- the timeline --------------------------------------------------------------------------------------------------------------------------


def _events(events: list[Event], since_zero: Callable[[int], int]) -> Iterator[Line]:
    asked: dict[tuple[str, Any], str] = {}
    for event in events:
        kind, message = event["kind"], event.get("message")
        if isinstance(message, dict):
            if kind == "event" and message.get("event") in QUIET:
                continue
            if kind == "request":
                asked[event["source"], str(message.get("id"))] = str(message.get("op"))
            kind, text = _said(kind, message, event.get("text"), asked.get((event["source"], str(message.get("id"))), "request"))
        else:
            text = event.get("text") or words({name: value for name, value in event.items() if name not in ("at", "source", "kind")})
        yield Line(at=since_zero(event["at"]), source=cut(event["source"]), kind=cut(str(kind)), text=cut(str(text)))


def _said(kind: str, message: Event, text: Any, op: str) -> tuple[str, str]:
    """What an agent was asked, answered or told: as which kind of line, and in which words."""
    if kind == "request":
        rest = {name: value for name, value in message.items() if name not in ("op", "id", "options")}
        options = f"; options: {words(message['options'])}" if message.get("options") else ""
        return "asked", f"{op.replace('_', ' ')} {words(rest)}".strip() + options
    if kind == "answer":
        error = message.get("error")
        if isinstance(error, dict):
            return "refused", f"{op.replace('_', ' ')}: {error.get('kind')}: {error.get('message')}"
        return "answered", f"{op.replace('_', ' ')}: {_answer(op, message.get('ok'))}"
    event = str(message.get("event", "event"))
    if isinstance(text, str) and text:
        return event, text
    return event, words({name: value for name, value in message.items() if name not in ("event", "at", "call")})


def _answer(op: str, ok: Any) -> str:
    if not isinstance(ok, dict) or not ok:
        return "done"
    if op == "inventory":
        counts = [f"{len(value)} {name}" for name, value in ok.items() if isinstance(value, list) and value]
        stack = words(ok.get("stack") or {})
        return f"holds {', '.join(counts) or 'nothing'}" + (f"; its stack: {stack}" if stack else "")
    return words(ok)


def words(value: Any) -> str:
    """Plain data as one would say it: what is empty, null or false is left out, a call's id is cut to its first part."""
    if isinstance(value, dict):
        said = []
        for name, one in value.items():
            if one is None or one is False or one == "" or one == [] or one == {}:
                continue
            if one is True:
                said.append(name.replace("_", " "))
            elif name == "call":
                said.append(f"call {str(one)[:8]}")
            else:
                inner = words(one)
                if inner:
                    said.append(f"{name.replace('_', ' ')} ({inner})" if isinstance(one, dict) else f"{name.replace('_', ' ')} {inner}")
        return ", ".join(said)
    if isinstance(value, list):
        return "; ".join(words(one) for one in value)
    return str(value)


def cut(text: str) -> str:
    """``text`` fit to show, and no longer than ``LONGEST``."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} … cut here, {len(text) - LONGEST} characters more"
    return printable(text)


# -- log files -----------------------------------------------------------------------------------------------------------------------------


class _Raw(NamedTuple):
    start: int
    data: bytes


def _log(artifacts: Artifacts, name: str, seen: list[Seen], since_zero: Callable[[int], int], notes: list[str]) -> list[Line]:
    path = artifacts.folder / name
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            raw = list(_pieces(0, file.read(_READ)))
            skipped = max(0, size - 2 * _READ)
            if size > _READ:
                file.seek(max(_READ, size - _READ))
                raw += _pieces(file.tell(), file.read(_READ))
    except OSError as error:
        artifacts.unread.append(f"{name}: {error.strerror}")
        return []
    if skipped:
        notes.append(f"{name}: {skipped} bytes in its middle are left out")
    if len(raw) > MOST_LINES:
        notes.append(f"{name}: {len(raw) - MOST_LINES} of {len(raw)} lines in its middle are left out")
        raw = raw[: MOST_LINES // 2] + raw[-MOST_LINES // 2 :]
    sizes = [one.size for one in seen]
    source = name.partition("/")[2].removesuffix(".log") + " stderr"
    lines, torn = [], 0
    for one in raw:
        look = bisect_right(sizes, one.start)
        text = one.data[: 4 * LONGEST].decode(errors="replace")
        torn += "\N{REPLACEMENT CHARACTER}" in text
        more = len(one.data) - 4 * LONGEST
        text = cut(text.rstrip("\r")) + (f" … and {more} bytes more" if more > 0 else "")
        if text.strip():
            lines.append(Line(at=since_zero(seen[look].at) if look < len(seen) else None, source=cut(source), kind="log", text=text))
    if torn:
        notes.append(f"{name}: {torn} lines hold bytes that are no text")
    return lines


def _pieces(start: int, data: bytes) -> Iterator[_Raw]:
    """The lines in ``data``, which begins at byte ``start`` of its file."""
    for line in data.split(b"\n"):
        yield _Raw(start, line)
        start += len(line) + 1
