"""Packets that come faster than the relay takes them are lost, and this is known: the run says so and proves nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from harness.fabric.relay_ends import tun_lacking

COUNT = 400


@pytest.mark.parametrize("form", ["tap", "packet"])
def test_what_nobody_reads_is_counted_by_the_kernel(form: str) -> None:
    lacking = tun_lacking() if form == "tap" else None
    if lacking is not None:
        pytest.skip(f"platform: {lacking}")  # docs/platforms.md
    command = [sys.executable, "-m", "tests.conformance.unread", form, str(COUNT)]
    seen = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    assert (seen["form"], seen["at rest"]) == (form, 0)
    assert COUNT / 2 <= seen["unread"] < COUNT, "some found room, most did not"
    assert seen["again"] == seen["unread"], "a total, not what came since it was last asked for"
