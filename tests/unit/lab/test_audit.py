"""What the audit makes of captures that are not whole."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.lab.evidence import Evidence

WHOLE = {"dropped": 0, "unwritten": 0, "failure": None}


def audited(folder: Path, **captures: dict[str, Any]) -> list[BaseException]:
    lab: Any = SimpleNamespace(folder=folder, peers={}, final={"captures": {f"{host}/eth": counts for host, counts in captures.items()}})
    evidence = Evidence(lab)
    evidence.audit()
    return evidence.errors


def test_whole_captures_are_no_error(tmp_path: Path) -> None:
    assert audited(tmp_path, alice=WHOLE, bob=WHOLE) == []


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({**WHOLE, "dropped": 3}, "3 frames dropped, 0 not written"),
        ({**WHOLE, "unwritten": 7}, "0 frames dropped, 7 not written"),
        ({**WHOLE, "failure": "No space left on device"}, "0 frames dropped, 0 not written, No space left on device"),
    ],
)
def test_one_that_is_not_is_the_harness_s_fault_and_names_its_host(tmp_path: Path, counts: dict[str, Any], says: str) -> None:
    (error,) = audited(tmp_path, alice=WHOLE, bob=counts)
    assert isinstance(error, HarnessError)
    assert error.blame == "harness"
    assert str(error) == f"the capture of bob is not whole: {says}"
