"""Log files are seen to grow, and nothing else of them is touched."""

from __future__ import annotations

import json
from pathlib import Path

from harness.lab.log_times import FILE, LogTimes


def noted(folder: Path) -> list[tuple[str, int]]:
    return [(one["file"], one["size"]) for one in map(json.loads, (folder / FILE).read_text().splitlines())]


def test_each_growth_is_noted_once_with_the_size_by_then(tmp_path: Path) -> None:
    log = tmp_path / "alice.log"
    log.write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"no log")
    (tmp_path / "link.log").symlink_to(log)
    times = LogTimes(tmp_path)
    times.look()
    assert noted(tmp_path) == []
    log.write_bytes(b"one\n")
    times.look()
    times.look()
    log.write_bytes(b"one\ntwo\n")
    times.close()
    assert noted(tmp_path) == [("alice.log", 4), ("alice.log", 8)]


def test_times_go_forward(tmp_path: Path) -> None:
    times = LogTimes(tmp_path)
    for size in range(1, 4):
        (tmp_path / "a.log").write_bytes(b"x" * size)
        times.look()
    times.close()
    at = [json.loads(one)["at"] for one in (tmp_path / FILE).read_text().splitlines()]
    assert len(at) == 3 and at == sorted(at)
