"""The runner's own stalls: when this process, which drives the scenario, did not run although it wanted to."""

from __future__ import annotations

import time

import trio

from harness.verdict import Stall

_PERIOD_NS = 5_000_000
LATE_NS = 10_000_000
"""A wake-up later than this is recorded (on an idle machine of this kind it happens in 5 of 12 ten-second windows)."""


async def watch_runner(stalls: list[Stall]) -> None:
    """Append a Stall whenever a wake-up came more than ``LATE_NS`` late."""
    due = time.monotonic_ns() + _PERIOD_NS
    while True:
        await trio.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        now = time.monotonic_ns()
        if now - due > LATE_NS:
            stalls.append(Stall(due, now, "runner"))
        due = now + _PERIOD_NS
