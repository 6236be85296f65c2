from __future__ import annotations

from harness.fabric.base import rulings_of
from harness.lab.rulings import receipts
from harness.spec.link import CLEAR, Impairment, Schedule, Step
from harness.units import ms, s
from harness.wire.timetable import Timetable

S = 1_000_000_000
STEPS = Impairment(delay=20 * ms, schedule=Schedule((Step(1 * s, Impairment(delay=60 * ms)), Step(2 * s, CLEAR)), every=5 * s))


def ran(impairment: Impairment, steps: int, late: int = 0) -> Timetable:
    table = Timetable(impairment)
    table.go_live(10 * S, 0)
    for _ in range(steps):
        assert table.next is not None
        table.step(table.next + late, 7)
    return table


def told(table: Timetable) -> dict[str, object]:
    return {"a–b": {"a_to_b": rulings_of(table), "b_to_a": rulings_of(ran(CLEAR, 0))}}


def test_a_schedule_is_a_receipt_with_its_steps() -> None:
    (receipt,) = receipts(told(ran(STEPS, 2, late=50_000)), {"a–b": "relay"}, 13 * S)
    assert (receipt.fault, receipt.kind, receipt.source, receipt.taken, receipt.at) == (
        "a–b a_to_b over time",
        "schedule",
        "relay",
        True,
        11 * S + 50_000,
    )
    assert receipt.observed == {
        "asked": "delay 20ms schedule 2 steps, the last at 2s, every 5s",
        "steps taken": 2,
        "latest": "50us after its time",
        "at 1.000 s": "delay 60ms",
        "at 2.000 s": "clear",
    }


def test_a_step_that_never_came_is_no_receipt() -> None:
    (receipt,) = receipts(told(ran(STEPS, 1)), {"a–b": "netem"}, 13 * S)
    assert not receipt.taken
    (receipt,) = receipts(told(ran(STEPS, 1)), {"a–b": "netem"}, 12 * S - 1)
    assert receipt.taken


def test_a_run_that_ends_before_the_first_step_has_missed_none() -> None:
    (receipt,) = receipts(told(ran(STEPS, 0)), {"a–b": "relay"}, 10 * S + 5)
    assert receipt.taken
    assert receipt.observed["steps taken"] == 0


def test_what_was_replaced_is_told_too() -> None:
    table = ran(STEPS, 1)
    table.change(CLEAR, 12 * S, 9)
    (receipt,) = receipts(told(table), {"a–b": "relay"}, 20 * S)
    assert receipt.taken
    assert receipt.observed["steps taken"] == 1


def test_a_link_that_stays_as_it_is_gives_none() -> None:
    quiet = {"a–b": {"a_to_b": rulings_of(ran(CLEAR, 0))}}
    assert list(receipts(quiet, {}, 20 * S)) == []
