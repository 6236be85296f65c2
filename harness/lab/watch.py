"""The runner's own stalls: when this process, which drives the scenario, did not run although it wanted to."""

from __future__ import annotations

import time
from array import array

import trio

from harness.verdict import Stall

_PERIOD_NS = 5_000_000
LATE_NS = 10_000_000
"""A wake-up later than this is recorded (on an idle machine of this kind it happens in 5 of 12 ten-second windows)."""


async def watch_runner(late: array[int]) -> None:
    """Append to ``late`` (int64) when a wake-up was due and when it came, ns, whenever it came more than ``LATE_NS`` late."""
    due = time.monotonic_ns() + _PERIOD_NS
    while True:
        await trio.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        now = time.monotonic_ns()
        if now - due > LATE_NS:
            late.extend((due, now))
        due = now + _PERIOD_NS


def runner_stalls(late: array[int]) -> list[Stall]:
    """What ``watch_runner`` has noted."""
    return [Stall(start, end, "runner") for start, end in zip(late[::2], late[1::2], strict=True)]
