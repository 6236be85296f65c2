"""A run without a report: its page tells what its timeline tells, and that it did not end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.lab.timeline import Timeline, Unseen
from harness.report import broken_off, model, page
from harness.verdict import Blame, Result
from tests.unit.report.folders import place
from tests.unit.report.runs import RECEIPT, made

LINES: list[dict[str, Any]] = [
    {"at": 1_000_000_000, "source": "lab", "kind": "began", "utc": "2026-01-02T03:04:05+00:00"},
    {"at": 2_000_000_000, "source": "lab", "kind": "fault", "text": "first"},
    {"at": 2_500_000_000, "source": "lab", "kind": "fault over", "text": "first"},
    {"at": 3_000_000_000, "source": "lab", "kind": "fault", "text": "second"},
    {
        "at": 3_250_000_000,
        "source": "fabric",
        "kind": "receipt",
        "text": "seen",
        "receipt": json.loads(model.encode(made()))["receipts"][0],
    },
]


def told(folder: Path, lines: list[dict[str, Any]], rest: bytes = b"") -> Path:
    (folder / "timeline.jsonl").write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines) + rest)
    return folder


def test_it_is_told_as_far_as_its_timeline_goes(tmp_path: Path) -> None:
    folder = told(place(tmp_path, 1), LINES, b'{"at": 4, "torn')
    report = broken_off.report(folder)
    assert (report.result, report.blame) == (Result.INCONCLUSIVE, Blame.HARNESS)
    assert report.reasons == ("the run did not end: it left no report.json; the last that it told was 'seen', after 2.250 s",)
    assert [(fault.name, fault.ended is None) for fault in report.faults] == [("first", False), ("second", True)]
    assert [receipt.fault for receipt in report.receipts] == [RECEIPT.fault]
    assert (report.started.isoformat(), report.took.s) == ("2026-01-02T03:04:05+00:00", 2.25)
    assert "the run did not end" in page.write(folder).read_text()


@pytest.mark.parametrize(
    "lines", [[], [{"at": "noon"}], [{"at": 5, "utc": "never"}], [{"at": 5, "receipt": 7}, {"at": 6, "kind": "fault over"}]]
)
def test_whatever_its_timeline_holds_it_has_a_page(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    folder = told(place(tmp_path, 1), lines)
    assert "the run did not end" in page.write(folder).read_text()


def test_one_that_goes_on_is_said_to(tmp_path: Path) -> None:
    folder = place(tmp_path, 1)
    timeline = Timeline(folder / "timeline.jsonl", Unseen())
    try:
        assert broken_off.report(folder).reasons[0].startswith("the run goes on still: ")
    finally:
        timeline.close()
    assert broken_off.report(folder).reasons[0].startswith("the run did not end: ")


def test_its_own_report_is_what_counts_and_a_folder_of_anything_is_no_run(tmp_path: Path) -> None:
    folder = told(place(tmp_path, 1), LINES)
    model.write(made(), folder / "report.json")
    assert broken_off.report(folder) == made()
    with pytest.raises(HarnessError, match=r"there is no report\.json in it; give the folder of one run"):
        broken_off.report(tmp_path)
