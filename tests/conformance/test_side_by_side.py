"""Runs at the same time never meet: eight of them, equal ones among them, which have the same addresses and ports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pytest

from harness.cli import PYTEST
from harness.fabric.pcapng import Reader
from harness.fabric.udp_packets import udp_packets
from harness.report import model
from harness.verdict import Result

ROOT = Path(__file__).parents[2]
FOUR_TIMES = (  # calls of audio, so that eight fit on two cores, of ten seconds and more, so that all are under way at one time
    "scenarios/rebinding.py::test_rebind_every_second",
    "scenarios/reconnect.py::test_outage_long",
)
SECRET = 24
"""Bytes of a payload that no two runs have in common: a connection id and ciphertext begin before."""


@dataclass(frozen=True)
class Ran:
    """What a run left: what it came to, the datagrams in its captures, and when (ns of CLOCK_MONOTONIC) the first and last of them came."""

    name: str
    result: Result
    datagrams: frozenset[bytes]
    first: int
    last: int


def ran(folder: Path) -> Ran:
    report = model.read(folder / "report.json")
    datagrams, times = set(), []
    for file in (folder / "capture").glob("*.pcapng"):
        for packet in udp_packets(Reader(file)):
            if len(packet.payload) >= SECRET:
                datagrams.add(packet.payload)
                times.append(packet.monotonic or 0)
    what = f"{report.test} {folder.name}: {report.result} {report.reasons[:1]}"
    return Ran(what, report.result, frozenset(datagrams), min(times, default=0), max(times, default=0))


@pytest.mark.long
def test_eight_runs_at_once_never_meet(tmp_path: Path) -> None:
    """None fails, and no datagram of one is in another's captures; a machine too small for eight makes some inconclusive, and no more."""
    line = tmp_path / "ready"
    line.mkdir()
    argv = [sys.executable, "-m", "pytest", *PYTEST, "-q", "-n", "8", "--repeat=4", "-p", "tests.conformance.starting_line"]
    argv += [f"--artifacts={tmp_path}", *FOUR_TIMES]
    environment = {name: value for name, value in os.environ.items() if not re.match("PYTEST_|GITHUB_", name)}
    environment["STARTING_LINE"] = f"8:{line}"
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    runs = [ran(report.parent) for report in tmp_path.glob("*/*/2*/report.json")]
    assert len(runs) == 8, done.stdout + done.stderr
    assert Result.FAIL not in {run.result for run in runs}, done.stdout
    assert not [run.name for run in runs if len(run.datagrams) <= 100], "no call was made in these"
    assert max(run.first for run in runs) < min(run.last for run in runs), "they were not all under way at one time"
    for one, other in combinations(runs, 2):
        assert not one.datagrams & other.datagrams, f"{one.name} and {other.name} have met"
