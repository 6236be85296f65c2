from __future__ import annotations

import os
import time

import pytest
import trio
import trio.testing

from harness.agent.alarm import Alarm
from tests.unit.agent.processes import within_deadline

MS = 1_000_000
HOUR = 3_600_000 * MS


def test_it_goes_off_never_early_and_at_once_for_the_past() -> None:
    async def main() -> None:
        alarm = Alarm()
        for at in (time.monotonic_ns() + 5 * MS, time.monotonic_ns() - HOUR, 0):
            alarm.set(at)
            await alarm.wait()
            assert time.monotonic_ns() >= at
        alarm.close()

    within_deadline(main)


def test_it_is_set_anew_while_somebody_waits_and_forgets_what_was_before() -> None:
    async def main() -> None:
        alarm = Alarm()
        alarm.set(0)
        alarm.set(time.monotonic_ns() + HOUR)
        rung = trio.Event()

        async def wait() -> None:
            await alarm.wait()
            rung.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert not rung.is_set()
            alarm.set(time.monotonic_ns())
        assert rung.is_set()
        alarm.close()

    within_deadline(main)


def test_whoever_waits_is_told_that_it_is_closed_and_so_is_who_comes_later() -> None:
    async def main() -> None:
        before = set(os.listdir("/proc/self/fd"))
        alarm = Alarm()

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await alarm.wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            alarm.close()
        await wait()
        alarm.close()
        assert set(os.listdir("/proc/self/fd")) == before

    within_deadline(main)
