"""Logs on one clock: bounded, fit to show, and honest about what they leave out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.report import logs
from harness.report.artifacts import Artifacts


def since_zero(ns: int) -> int:
    return (ns - 1_000_000) // 1000


def read(folder: Path, *events: dict[str, Any]) -> tuple[list[tuple[int | None, str, str, str]], list[str]]:
    lines, notes = logs.read(Artifacts(folder), list(events), since_zero)
    return [(line.at, line.source, line.kind, line.text) for line in lines], notes


def said(kind: str, **message: Any) -> dict[str, Any]:
    return {"at": 3_000_000, "source": "alice", "kind": kind, "message": message}


def test_requests_and_answers_in_words(tmp_path: Path) -> None:
    lines, _ = read(
        tmp_path,
        said("request", op="migrate", id=6, call="85b2cccc-f1e0-4b2d", path="lte"),
        said("answer", id=6, ok={}),
        said("request", op="dial", id=7, ip="192.0.2.1", audio=True, video=False, optional={"audio": False}),
        said("answer", id=7, error={"kind": "InvalidState", "message": "no"}),
    )
    assert lines == [
        (2000, "alice", "asked", "migrate call 85b2cccc, path lte"),
        (2000, "alice", "answered", "migrate: done"),
        (2000, "alice", "asked", "dial ip 192.0.2.1, audio"),
        (2000, "alice", "refused", "dial: InvalidState: no"),
    ]


def test_the_many_counts_of_media_are_left_to_the_flows(tmp_path: Path) -> None:
    assert read(tmp_path, said("event", event="media", at=1, sent=5)) == ([], [])


def test_an_event_without_words_is_told_by_its_fields(tmp_path: Path) -> None:
    lines, _ = read(tmp_path, said("event", event="quality_changed", at=1, call="x", rtt_ms=41.8, word="good"))
    assert lines == [(2000, "alice", "quality_changed", "rtt ms 41.8, word good")]


def test_a_log_file_takes_its_times_from_when_it_was_seen_to_grow(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "bob.log").write_bytes(b"one\ntwo\nthree\n")
    seen = [{"at": 5_000_000, "file": "bob.log", "size": 4}, {"at": 9_000_000, "file": "bob.log", "size": 8}]
    (tmp_path / "agents" / "times.jsonl").write_text("".join(json.dumps(one) + "\n" for one in seen))
    lines, notes = read(tmp_path)
    assert lines == [
        (4000, "bob stderr", "log", "one"),
        (8000, "bob stderr", "log", "two"),
        (None, "bob stderr", "log", "three"),
    ]
    assert notes == []


def test_a_line_of_ten_megabytes_is_cut_and_said_so(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "eve.log").write_bytes(b"x" * 10_000_000 + b"\nlast words\n")
    lines, notes = read(tmp_path)
    assert all(len(text) < 2 * logs.LONGEST for _, _, _, text in lines)
    assert lines[-1][3] == "last words"
    assert notes == ["agents/eve.log: 7902860 bytes in its middle are left out"]


def test_binary_junk_is_text_and_said_so(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "eve.log").write_bytes(b"\xff\xfe\x00\x1b[2J<script>\n")
    lines, notes = read(tmp_path)
    assert lines[0][3].isprintable() and "<script>" in lines[0][3]
    assert notes == ["agents/eve.log: 1 lines hold bytes that are no text"]


def test_a_file_of_many_lines_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "eve.log").write_bytes(b"".join(b"%d\n" % n for n in range(10_000)))
    lines, notes = read(tmp_path)
    assert len(lines) < 2 * logs.MOST_LINES and (lines[0][3], lines[-1][3]) == ("0", "9999")
    assert notes == [f"agents/eve.log: {10_001 - logs.MOST_LINES} of 10001 lines in its middle are left out"]


def test_the_timeline_is_bounded(tmp_path: Path) -> None:
    events = [{"at": n, "source": "lab", "kind": "note", "text": "again"} for n in range(logs.MOST_EVENTS + 5)]
    lines, notes = read(tmp_path, *events)
    assert len(lines) == logs.MOST_EVENTS
    assert notes == [f"timeline.jsonl: 5 of {logs.MOST_EVENTS + 5} events are left out, the last ones"]
