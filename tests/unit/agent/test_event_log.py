"""What an agent told is there for as long as the run goes on, but for old running figures."""

from __future__ import annotations

import tracemalloc
from itertools import islice

from harness.agent.event_log import EventLog, Said
from harness.agent.messages import Lag, Log, Media, PathChanged


def figures(number: int) -> Said:
    return Said(number, "bob", False, Media(at=number, call="c", flow="audio", sent=number, heard=0, last_heard=None))


def test_old_figures_are_let_go_and_nothing_else_and_places_stay() -> None:
    log = EventLog("bob")
    marks = {}
    for number in range(3 * EventLog.NEWEST):
        if number % 1000 == 7:
            marks[number] = log.end
            log.append(Said(number, "bob", False, Log(at=number, level="info", message=f'"{number}" → kept')))
        else:
            log.append(figures(number))
    assert log.end == 3 * EventLog.NEWEST
    kept = [said.at for said in log]
    assert kept == sorted({*marks, *range(2 * EventLog.NEWEST, 3 * EventLog.NEWEST)})
    for number, place in marks.items():
        said = next(iter(log.since(place)))
        assert said == Said(number, "bob", False, Log(at=number, level="info", message=f'"{number}" → kept'))
    assert [said.at for said in log.since(log.end - 3)] == [log.end - 3, log.end - 2, log.end - 1]
    assert list(log.since(log.end)) == []


def test_all_that_is_no_figure_is_there_again_as_it_was() -> None:
    log = EventLog("bob")
    said = [
        Said(number, "bob", False, event)
        for number in range(0, 5_000, 2)
        for event in (
            Lag(at=number, late_ns=number, behind="receive" if number % 3 else "timer"),
            PathChanged(at=number, call="c", kind="peer_moved", path="eth", remote="192.0.2.1:5", detail=f"from {number}"),
        )
    ]
    for one in said:
        log.append(one)
    assert list(log) == said
    assert list(log.since(777)) == said[777:]


def test_a_stall_of_no_time_is_there_again_too() -> None:
    log = EventLog("bob")
    said = [Said(at, "bob", False, Lag(at=at, late_ns=late)) for at, late in ((1, 1 << 63), (1 << 63, 2), (-(1 << 70), 3), (4, 5))]
    for one in [said[0], *said] * EventLog.NEWEST:
        log.append(one._replace(at=0))
    assert [one.message for one in islice(log, 5)] == [said[0].message, *(one.message for one in said)]


def test_an_hour_on_a_busy_machine_is_small() -> None:
    def filled(count: int) -> int:
        tracemalloc.start()
        log = EventLog("bob")
        for number in range(count):
            log.append(Said(number, "bob", False, Lag(at=number << 40, late_ns=11_000_000, behind="receive")))
        used = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert log.end == count
        return used

    assert filled(12_000) - filled(EventLog.NEWEST) < 10_000 * 50
