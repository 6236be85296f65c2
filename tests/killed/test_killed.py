"""Runs that are killed leave nothing: the short form, and (long) one of every kind.  ``make killed N=200`` does it at random moments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.killed import little_host

ROOT = Path(__file__).parents[2]


def killed(*options: str) -> str:
    """What a series printed; it must have found nothing."""
    done = subprocess.run([sys.executable, "-m", "tests.killed", *options], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == little_host.CANNOT:
        pytest.skip(f"platform: {done.stderr.strip()}")  # see docs/platforms.md
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_session_with_workers_and_one_on_a_terminal_leave_nothing() -> None:
    told = killed("--deaths=2", "--only=workers: SIGKILL", "--only=terminal: Ctrl-C twice", "--phase=connected", "--length=5")
    assert told.count("; nothing left") == 2
    assert "phases hit: connected" in told or "phases hit: fault" in told or "connected 1" in told


@pytest.mark.long
def test_one_of_every_kind_leaves_nothing() -> None:
    killed("--deaths=22", "--seed=1", "--batch=30")
