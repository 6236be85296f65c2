from __future__ import annotations

import pytest
import trio

from harness.errors import SpecError
from harness.fabric.base import rulings_of
from harness.fabric.link_handle import LinkHandle, _taken, describe
from harness.spec.link import CLEAR, Impairment, Pick, Schedule, Step
from harness.spec.rate_trace import rate_trace
from harness.units import ms, percent, s
from harness.wire.timetable import Timetable

STEPS = Schedule((Step(1 * s, Impairment(delay=60 * ms)), Step(2 * s, CLEAR)), every=5 * s)


def test_a_step_is_that_of_the_schedule_asked_for_last() -> None:
    table = Timetable(Impairment(schedule=STEPS))
    table.go_live(0, 0)
    assert table.next is not None
    table.step(table.next, 3)
    assert _taken(rulings_of(table)["rulings"], 1) is not None
    assert _taken(rulings_of(table)["rulings"], 2) is None
    table.change(Impairment(delay=1 * ms, schedule=STEPS), 10, 5)
    assert _taken(rulings_of(table)["rulings"], 1) is None, "that was the one before"
    for _ in range(4):  # both steps, the next round's start, and its first step
        table.step(table.next, 6)
    found = _taken(rulings_of(table)["rulings"], 1)
    assert found is not None
    assert (found["round"], found["received"]) == (0, 6)
    assert _taken([], 1) is None


def test_an_impairment_is_described_in_few_words() -> None:
    assert describe(CLEAR) == "clear"
    assert describe(Impairment(delay=20 * ms, loss=1 * percent, drop=(Pick(3, 1000),))) == "delay 20ms loss 1% drop #3 ≥ 1000 B"
    trace = rate_trace([5, 10], "slow")
    assert describe(Impairment(rate_trace=trace, schedule=STEPS)) == (
        "rate_trace slow (2 opportunities in 10ms, 2.4mbit in the mean) schedule 2 steps, the last at 2s, every 5s"
    )


def test_a_ramp_over_a_bare_number_is_refused() -> None:
    async def main() -> None:
        await LinkHandle(None, "a/eth").impair(CLEAR, over=2)  # type: ignore[arg-type]

    with pytest.raises(SpecError, match="link a/eth, over: 2 has no unit; a duration is meant"):
        trio.run(main)
