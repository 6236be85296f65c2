from __future__ import annotations

import msgspec

from harness.spec.link import CLEAR, Impairment, Schedule, Step
from harness.spec.rate_trace import rate_trace
from harness.units import ms, s
from harness.wire import timetable
from harness.wire.timetable import Timetable

S = 1_000_000_000
TRACE = rate_trace([10], "slow")
NEAR, FAR = Impairment(delay=20 * ms), Impairment(delay=60 * ms)
TWICE = Impairment(delay=40 * ms, schedule=Schedule((Step(1 * s, NEAR), Step(3 * s, FAR)), every=5 * s))


def run(table: Timetable, until: int) -> list[tuple[int, int, int]]:
    """Its steps until then: (time in s, round, step)."""
    while table.next is not None and table.next <= until:
        table.step(table.next, 0)
    return [(one.at // S, one.round, one.step) for one in table.rulings]


def test_it_is_held_until_it_goes_live() -> None:
    table = Timetable(msgspec.structs.replace(TWICE, rate_trace=TRACE))
    assert table.in_force == Impairment(delay=40 * ms), "nor is there a rate yet"
    assert table.next is None
    assert table.rulings == []
    assert table.go_live(10 * S, 3) == Impairment(delay=40 * ms, rate_trace=TRACE)
    assert table.next == 11 * S
    assert table.step(11 * S + 5, 4) == Impairment(delay=20 * ms, rate_trace=TRACE)
    first, second = table.rulings
    assert (first.at, first.due, first.round, first.step, first.received) == (10 * S, 10 * S, 0, 0, 3)
    assert (second.at, second.due, second.round, second.step, second.received) == (11 * S + 5, 11 * S, 0, 1, 4)
    assert second.impairment == table.in_force
    assert table.hold() == Impairment(delay=40 * ms)
    assert table.next is None


def test_it_begins_again_with_what_ruled_at_first() -> None:
    table = Timetable(TWICE)
    table.go_live(10 * S, 0)
    assert run(table, 19 * S) == [(10, 0, 0), (11, 0, 1), (13, 0, 2), (15, 1, 0), (16, 1, 1), (18, 1, 2)]
    assert [one.impairment for one in table.rulings[:4]] == [TWICE.at_start, NEAR, FAR, TWICE.at_start]


def test_a_late_step_shifts_no_other() -> None:
    table = Timetable(TWICE)
    table.go_live(0, 0)
    table.step(2 * S, 0)
    assert table.next == 3 * S


def test_without_every_the_last_step_stays() -> None:
    table = Timetable(Impairment(schedule=Schedule((Step(1 * s, FAR),))))
    table.go_live(0, 0)
    assert run(table, 100 * S) == [(0, 0, 0), (1, 0, 1)]
    assert table.in_force == FAR


def test_a_change_replaces_a_running_schedule_and_another_begins_with_it() -> None:
    table = Timetable(TWICE)
    table.go_live(0, 0)
    run(table, 1 * S)
    assert table.change(CLEAR, 2 * S, 9) == CLEAR
    assert table.next is None
    table.change(TWICE, 3 * S, 9)
    assert table.next == 4 * S
    assert table.asked == TWICE
    table.go_live(20 * S, 0)
    assert (table.next, len(table.rulings)) == (21 * S, 1), "from the beginning"


def test_of_too_many_rulings_the_first_are_kept() -> None:
    table = Timetable(TWICE)
    table.go_live(0, 0)
    kept = timetable.KEPT
    for _ in range(kept + 4):
        assert table.next is not None
        table.step(table.next, 0)
    assert (len(table.rulings), table.unlisted) == (kept, 5)
