"""A timeline does not grow for ever: from a size on agents' running figures are left out, and nothing else."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.agent.messages import Media
from harness.lab import timeline
from harness.lab.timeline import Timeline, Unseen


def test_from_a_size_on_running_figures_are_left_out_and_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MOST", 10_000)
    made = Timeline(tmp_path / "t.jsonl", Unseen())
    for number in range(200):
        made.note("bob", "event", message=Media(at=number, call="c", flow="audio", sent=number, heard=0, last_heard=None))
        made.note("lab", "fault", f"rebind {number}")
    made.close()
    lines = [msgspec.json.decode(line) for line in (tmp_path / "t.jsonl").read_bytes().splitlines()]
    kinds = [line["kind"] for line in lines]
    brief = kinds.index("brief")
    assert "event" not in kinds[brief + 1 :]
    assert 10 < kinds[:brief].count("event") < 100
    assert kinds.count("fault") == 200
    assert kinds.count("brief") == 1
    assert "left out" in lines[brief]["text"]
