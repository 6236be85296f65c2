"""Every scenario with the agent that it must catch: red, on the named verdict, with its faults proven, and for no other reason."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.cli import PYTEST, find
from harness.report import model
from harness.verdict import Result

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Control:
    """``agent`` runs the ``sabotage`` in ``scenario``; of its verdicts ``verdict`` must fail, and besides only those in ``also``."""

    scenario: str
    agent: str
    sabotage: str
    verdict: str
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.scenario}-{self.sabotage}"


GOES_SILENT = (
    "audio heard for",
    "video heard for",
    "clean hang-up",
    "sources stop",
    "audio packets lost",
    "longest silence",
    "first fresh",
)
"""What a call that went silent for good misses besides, whichever scenario it was in: the lab's own waits, and the losses."""

CONTROLS = [
    Control(
        "migration.py::test_wifi_to_lte_and_back[ipv4-video]",
        "bob",
        "never-follows",
        "longest silence, Alice walks out of the door",
        GOES_SILENT,
    ),
    Control(
        "migration.py::test_wifi_to_lte_and_back[ipv6-audio]",
        "bob",
        "never-follows",
        "longest silence, Alice walks out of the door",
        GOES_SILENT,
    ),
    Control("migration.py::test_wifi_dies_first", "alice", "redials", "QUIC handshakes", (*GOES_SILENT, "alice migrates to lte")),
    Control("rebinding.py::test_rebind_port[ipv4]", "bob", "never-follows", "longest silence", GOES_SILENT),
    Control("rebinding.py::test_rebind_port[ipv6]", "bob", "never-follows", "longest silence", GOES_SILENT),
    Control("rebinding.py::test_rebind_address", "bob", "never-follows", "longest silence", GOES_SILENT),
    Control("rebinding.py::test_rebind_while_muted", "alice", "no-keepalive", "longest silence", GOES_SILENT),
    Control("call_flow.py::test_lifecycle", "alice", "leaks-sockets", "left behind at alice"),
]


@pytest.mark.parametrize("control", CONTROLS, ids=str)
def test_control_is_red_for_its_reason(control: Control, tmp_path: Path) -> None:
    command = f"{sys.executable} -m tests.controls.sabotage {control.sabotage}"
    argv = [sys.executable, "-m", "pytest", *PYTEST, "-q", f"scenarios/{control.scenario}", f"--artifacts={tmp_path}"]
    environment = {**os.environ, "HARNESS_SABOTAGE": control.sabotage}
    done = subprocess.run(
        [*argv, f"--agent={control.agent}={command}"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    reports = list(tmp_path.rglob("report.json"))
    assert len(reports) == 1, done.stdout + done.stderr
    report = model.read(reports[0])
    failed = [verdict.name for verdict in report.verdicts if verdict.result is Result.FAIL]
    assert done.returncode == 1, done.stdout
    assert report.result is Result.FAIL, done.stdout
    assert control.verdict in failed, done.stdout
    others = [name for name in failed if name != control.verdict and not name.startswith(control.also or ("nothing else",))]
    assert not others, f"red for another reason too: {others}\n{done.stdout}"
    assert report.sabotage == control.sabotage


def test_every_scenario_has_a_control() -> None:
    controlled = {control.scenario.partition("[")[0].replace("::test_", " ") for control in CONTROLS}
    scenarios = {f"{scenario.file.name} {scenario.name}" for scenario in find(ROOT / "scenarios")}
    assert scenarios == controlled
