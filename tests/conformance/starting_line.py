"""A pytest plugin: the runs of a session begin when as many processes as ``STARTING_LINE`` says are ready for their first."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

WITHIN_S = 60
LOOK_EVERY_S = 0.01


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Wait for the others; ``STARTING_LINE``: "8:FOLDER", where each process leaves a file."""
    count, _, folder = os.environ["STARTING_LINE"].partition(":")
    (Path(folder) / str(os.getpid())).touch()
    end = time.monotonic() + WITHIN_S
    while len(os.listdir(folder)) < int(count):
        assert time.monotonic() < end, f"{os.listdir(folder)} of {count} processes were ready within {WITHIN_S} s"
        time.sleep(LOOK_EVERY_S)
