"""What is told of flows: events in any order, some lost, the table walked again; and how often it is looked for."""

from __future__ import annotations

import os
import select
from typing import Any

import pytest

from harness.fabric import flow_events
from harness.fabric.flow_events import LOOKS, WINDOW, FlowEvents
from harness.fabric.flow_table import Flow, FlowTable

INSIDE, REMOTE = ("10.0.0.2", 4433), ("198.51.100.2", 4433)


def flow(outside: int, inside: tuple[str, int] = INSIDE) -> Flow:
    return Flow(4, inside, REMOTE, REMOTE, ("203.0.113.2", outside))


OLD, SECOND, OTHER = flow(4433), flow(61000), flow(5000, ("10.0.0.3", 5000))


@pytest.fixture
def told() -> list[tuple[Flow, bool]]:
    return []


@pytest.fixture
def table(told: list[tuple[Flow, bool]]) -> FlowTable:
    return FlowTable(lambda flow, gone: told.append((flow, gone)), fresh=True)


BEFORE = [(OLD, False)]


@pytest.mark.parametrize(
    ("events", "wanted"),
    [
        ([(OLD, False)], BEFORE),
        ([(OLD, False), (OLD, False)], BEFORE),
        ([(OLD, False), (OLD, True)], [*BEFORE, (OLD, True)]),
        ([(OLD, False), (OLD, True), (SECOND, False)], [*BEFORE, (OLD, True), (SECOND, False)]),
        ([(OLD, False), (SECOND, False), (OLD, True)], [*BEFORE, (OLD, True), (SECOND, False)]),  # of two processors
        ([(OLD, False), (OTHER, False), (OLD, True)], [*BEFORE, (OTHER, False), (OLD, True)]),
        ([(OLD, True)], []),
    ],
)
def test_flows_are_told_once_and_in_order(table: FlowTable, told: list[Any], events: list[Any], wanted: list[Any]) -> None:
    for one, gone in events:
        table.event(one, gone=gone)
    assert told == wanted


def test_what_was_lost_is_told_when_the_table_was_walked(table: FlowTable, told: list[Any]) -> None:
    table.event(OLD, gone=False)
    table.event(OTHER, gone=False)
    table.lose()
    table.event(flow(7), gone=False)
    assert told == [(OLD, False), (OTHER, False)]
    assert table.walked([SECOND, OTHER]) == {one.key: one for one in (SECOND, OTHER)}
    assert told[2:] == [(OLD, True), (SECOND, False)]
    table.event(OTHER, gone=True)
    assert told[4:] == [(OTHER, True)]


def test_a_table_that_may_hold_something_is_walked_first() -> None:
    told: list[Any] = []
    table = FlowTable(lambda flow, gone: told.append((flow, gone)), fresh=False)
    table.event(OLD, gone=False)
    assert (table.known, told) == (None, [])
    table.walked([OLD])
    assert told == BEFORE


def test_a_flood_of_looks_rests_until_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [WINDOW.ns * 10]
    monkeypatch.setattr(flow_events.time, "monotonic_ns", lambda: now[0])
    events = FlowEvents()
    for _ in range(LOOKS):
        assert events.rests_until == 0
        events.look()
    assert events.rests_until == WINDOW.ns * 11
    now[0] += WINDOW.ns
    assert events.rests_until == 0
    events.look()
    assert events.rests_until == 0


def test_all_tables_are_behind_one_descriptor() -> None:
    class Table:
        looked = 0

        def __init__(self) -> None:
            self.read, self.write = os.pipe()

        def fileno(self) -> int:
            return self.read

        def look(self) -> None:
            self.looked += 1
            os.read(self.read, 10)

    tables, events = [Table(), Table()], FlowEvents()
    events.follow(tables)  # type: ignore[arg-type]
    os.write(tables[1].write, b"x")
    assert select.select([events], [], [], 0)[0]
    events.look()
    assert [table.looked for table in tables] == [0, 1]
    assert not select.select([events], [], [], 0)[0]
    events.follow([])
    os.write(tables[0].write, b"x")
    assert not select.select([events], [], [], 0)[0]
    for table in tables:
        os.close(table.read)
        os.close(table.write)
