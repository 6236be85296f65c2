"""What is shown of a run while it happens, at chosen times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.report.live import took_before
from harness.report.model import write
from harness.report.situation import Situation, Way
from harness.units import ms
from tests.unit.report.runs import made

MS = 1_000_000


def line(at_ms: int, source: str, kind: str, **rest: Any) -> dict[str, Any]:
    return {"at": at_ms * MS, "source": source, "kind": kind, **rest}


def event(at_ms: int, agent: str, name: str, call: str = "c", **fields: Any) -> dict[str, Any]:
    return line(at_ms, agent, "event", message={"event": name, "call": call, **fields})


def media(at_ms: int, agent: str, sent: int, heard: int, last_ms: int | None, call: str = "c") -> dict[str, Any]:
    last = None if last_ms is None else last_ms * MS
    return event(at_ms, agent, "media", call, at=at_ms * MS, flow="audio", sent=sent, heard=heard, last_heard=last)


def after(*lines: dict[str, Any]) -> Situation:
    situation = Situation()
    for one in lines:
        situation.take(one)
    return situation


CONNECTED = [event(0, agent, "state_changed", old="Connecting", new="Connected") for agent in ("alice", "bob")]


def ways(situation: Situation, now_ms: int) -> list[Way]:
    return [way for call in situation.going_on() for way in situation.ways(call, now_ms * MS)]


def test_silence_is_as_it_was_told_a_moment_ago() -> None:
    told = after(*CONNECTED, media(1000, "alice", 50, 49, 985), media(1000, "bob", 50, 40, 800))
    assert ways(told, 1099) == [Way("alice → bob audio", 50, 40, 200 * ms), Way("bob → alice audio", 50, 49, 15 * ms)]


def test_it_goes_on_when_nothing_is_told_any_more() -> None:
    told = after(*CONNECTED, media(1000, "alice", 50, 49, 985), media(1000, "bob", 50, 40, 800), media(1900, "alice", 95, 94, 1885))
    assert ways(told, 1950)[0] == Way("alice → bob audio", 95, 40, 1150 * ms)


def test_what_was_never_heard_is_silent_since_it_was_first_sent() -> None:
    told = after(*CONNECTED, media(1000, "alice", 5, 0, None), media(1000, "bob", 0, 0, None), media(1100, "alice", 10, 0, None))
    assert ways(told, 1400) == [Way("alice → bob audio", 10, 0, 400 * ms)]


def test_nobody_is_silent_who_does_not_send() -> None:
    told = after(*CONNECTED, *(media(at, "alice", 50, 0, None) for at in range(1000, 2200, 100)), media(2100, "bob", 0, 50, 1000))
    assert ways(told, 2150) == [Way("alice → bob audio", 50, 50, None)]


def test_calls_are_apart_and_those_that_are_over_are_left_out() -> None:
    told = after(
        *CONNECTED,
        event(0, "carol", "state_changed", "d", old="Idle", new="Calling"),
        event(0, "alice", "incoming_call", "d"),
        *(event(9, agent, "state_changed", new="Idle") for agent in ("alice", "bob")),
    )
    assert [call.states for call in told.going_on()] == [{"carol": "Calling", "alice": "Idle"}]


def test_faults_and_their_receipts() -> None:
    told = after(
        line(0, "lab", "fault", text="the router reboots"),
        line(1, "fabric", "receipt", receipt={"fault": "the router reboots", "kind": "reboot", "taken": True}),
        line(2, "lab", "fault over", text="the router reboots"),
        line(3, "fabric", "receipt", receipt={"fault": "a schedule", "kind": "ruling", "taken": False}),
        line(4, "lab", "fault", text="and again"),
    )
    assert [(fault.name, fault.going_on, fault.receipts) for fault in told.faults] == [
        ("the router reboots", False, [("reboot", True)]),
        ("a schedule", False, [("ruling", False)]),
        ("and again", True, []),
    ]


@pytest.mark.parametrize(
    "message",
    [
        None,
        "x",
        {},
        {"event": "media"},
        {"event": "media", "call": "c", "flow": "audio", "sent": "5", "heard": 1, "at": 1},
        {"event": "media", "call": 7, "flow": "audio", "sent": 5, "heard": 1, "at": 1},
        {"event": "state_changed", "call": "c"},
        {"event": 3, "call": "c"},
    ],
)
def test_an_agents_nonsense_breaks_nothing(message: Any) -> None:
    told = after(line(0, "mallory", "event", message=message), line(0, "fabric", "receipt", receipt=message))
    assert ways(told, 10) == []
    assert told.faults == []


def test_how_long_it_took_before_is_the_newest_run_that_left_a_report(tmp_path: Path) -> None:
    assert took_before(tmp_path / "x") is None
    for name, text in (("20260101-000000-seed1", None), ("20260102-000000-seed1", b"{"), ("20260103-000000-seed1", b'{"started":1}')):
        (tmp_path / name).mkdir()
        if text is None:
            write(made(), tmp_path / name / "report.json")
        else:
            (tmp_path / name / "report.json").write_bytes(text)
    (tmp_path / "20260104-000000-seed1").mkdir()
    assert took_before(tmp_path) == 12_500 * ms
