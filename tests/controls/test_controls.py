"""Every scenario with the agent that it must catch: red, on the named verdict, with its faults proven, and for no other reason.

Which agent, and which verdict, each scenario says itself (``harness.lab.control``).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

from harness.cli import PYTEST
from harness.lab.control import Control, Controls
from harness.lab.evidence import MOVED
from harness.report import model
from harness.verdict import Result

ROOT = Path(__file__).resolve().parents[2]


def read_controls() -> Controls:
    """What the scenarios say, collected by pytest as for a run."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "controls.json"
        argv = [
            sys.executable,
            "-m",
            "pytest",
            *PYTEST,
            "-q",
            *sorted(map(str, (ROOT / "scenarios").glob("*.py"))),
            f"--controls-to={file}",
        ]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert file.exists(), done.stdout + done.stderr
        return msgspec.json.decode(file.read_bytes(), type=Controls)


CONTROLS = read_controls()
PATIENCE = "--patience=1.5"
"""Seconds: media that a broken stack has silenced is not waited for longer than shows it."""


def _id(control: Control) -> str:
    return f"{control.scenario.removeprefix('scenarios/')}-{control.sabotage}"


@pytest.mark.parametrize("control", CONTROLS.controls, ids=_id)
def test_control_is_red_for_its_reason(control: Control, tmp_path: Path, record_property: pytest.FixtureRequest) -> None:
    command = f"{sys.executable} -m tests.controls.sabotage {control.sabotage}"
    argv = [sys.executable, "-m", "pytest", *PYTEST, "-q", control.scenario, f"--artifacts={tmp_path}", PATIENCE]
    environment = {**os.environ, "HARNESS_SABOTAGE": control.sabotage}
    done = subprocess.run(
        [*argv, f"--agent={control.agent}={command}"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    reports = list(tmp_path.rglob("report.json"))
    assert len(reports) == 1, done.stdout + done.stderr
    report = model.read(reports[0])
    failed = [verdict for verdict in report.verdicts if verdict.result is Result.FAIL]
    hits = [
        f"{verdict.name}: {verdict.value}, wanted {verdict.relation.sign} {verdict.bound}"
        for verdict in failed
        if verdict.name == control.caught_by
    ]
    record_property(
        "control", [control.scenario, f"{control.agent}: {control.sabotage}", hits[0] if hits else f"MISSED {control.caught_by}"]
    )
    assert done.returncode == 1, done.stdout
    assert report.result is Result.FAIL, done.stdout
    assert hits, f"{control.caught_by!r} did not fail; what did: {[verdict.name for verdict in failed]}\n{done.stdout}"
    others = [v.name for v in failed if v.name != control.caught_by and not v.name.startswith(control.also or ("nothing else",))]
    assert not others, f"red for another reason too: {others}\n{done.stdout}"
    # A move is the stack's own doing, and may be what it was broken in; everything else was done to it, and must have been.
    unproven = [receipt.fault for receipt in report.receipts if not receipt.taken and receipt.kind != MOVED]
    assert not unproven, f"a fault was not proven: {unproven}\n{done.stdout}"
    assert report.sabotage == control.sabotage


def test_every_scenario_has_a_control() -> None:
    assert CONTROLS.controls
    assert not CONTROLS.without
