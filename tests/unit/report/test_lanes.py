"""The lanes of a page: what the timeline says, no more, whatever it says."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.report import acts, lanes
from harness.report.story import Lane
from harness.verdict import Fault, Receipt
from tests.unit.report.runs import made

MS = 10**6


def since_zero(ns: int) -> int:
    return ns // 1000


def event(at: int, source: str, what: str, **fields: Any) -> dict[str, Any]:
    """What ``source`` said ``at`` ms."""
    return {"at": at * MS, "source": source, "kind": "event", "message": {"event": what, **fields}}


def state(at: int, source: str, old: str, new: str, call: str = "c1") -> dict[str, Any]:
    return event(at, source, "state_changed", call=call, old=old, new=new)


def spans(lane: Lane) -> list[tuple[int, int, str]]:
    return [(span.since // 1000, span.until // 1000, span.text) for span in lane.spans]


def test_a_call_goes_through_its_states_and_is_over() -> None:
    events = [state(10, "alice", "Idle", "Calling"), state(30, "alice", "Calling", "Connected"), state(90, "alice", "Connected", "Idle")]
    [lane] = lanes.states(events, since_zero, 200_000)
    assert (lane.group, lane.name) == ("state", "alice")
    assert spans(lane) == [(10, 30, "Calling"), (30, 90, "Connected")]
    assert [(mark.at, mark.text) for mark in lane.marks] == [(90_000, "Idle")]


def test_a_call_that_nobody_ended_lasts_to_the_end_of_the_run() -> None:
    [lane] = lanes.states([state(10, "alice", "Idle", "Calling")], since_zero, 200_000)
    assert spans(lane) == [(10, 200, "Calling")]
    assert lane.marks == []


def test_a_hold_is_part_of_a_state_and_ends_when_the_last_side_lets_go() -> None:
    events = [
        state(0, "bob", "Idle", "Connected"),
        event(10, "bob", "call_held", call="c1", by="peer"),
        event(20, "bob", "call_held", call="c1", by="here"),
        event(30, "bob", "call_resumed", call="c1", by="peer", flows=False),
        event(40, "bob", "call_resumed", call="c1", by="here", flows=True),
        state(50, "bob", "Connected", "Idle"),
    ]
    [lane] = lanes.states(events, since_zero, 100_000)
    assert spans(lane) == [
        (0, 10, "Connected"),
        (10, 20, "Connected, on hold by the other side"),
        (20, 30, "Connected, on hold by itself and the other side"),
        (30, 40, "Connected, on hold by itself"),
        (40, 50, "Connected"),
    ]
    assert [span.kind for span in lane.spans] == ["Connected", "Held", "Held", "Held", "Connected"]


def test_of_several_calls_each_is_called_by_whom_it_is_with() -> None:
    events = [
        state(n, peer, "Idle", "Calling", call)
        for n, (peer, call) in enumerate([("alice", "c1"), ("bob", "c1"), ("alice", "c2"), ("carol", "c2")])
    ]
    assert [lane.name for lane in lanes.states(events, since_zero, 10_000)] == [
        "alice, call with bob",
        "bob",
        "alice, call with carol",
        "carol",
    ]


def test_two_calls_with_the_same_peer_are_told_apart_by_their_ids() -> None:
    events = [
        state(n, peer, "Idle", "Calling", call)
        for n, (peer, call) in enumerate([("alice", "c1"), ("bob", "c1"), ("alice", "c2"), ("bob", "c2")])
    ]
    assert [lane.name for lane in lanes.states(events, since_zero, 10_000)] == [
        "alice, call c1",
        "bob, call c1",
        "alice, call c2",
        "bob, call c2",
    ]


def test_a_receipt_tells_what_changed_first_and_whether_it_was_seen() -> None:
    observed = {"at": 5, "link": "a/b–c/d", "direction": "a_to_b", "was": {"delay": "5ms"}, "now": {}, "before": {"lost": 0}}
    receipts = tuple(
        Receipt(fault="f", kind="impair", at=2 * MS, observed=observed, taken=taken, source="relay") for taken in (True, False)
    )
    report = made(faults=(Fault(name="f", began=MS, ended=None),), receipts=receipts)
    [lane] = lanes.faults(report, since_zero, 9000)
    assert spans(lane) == [(1, 9, "f")]
    assert [(mark.kind, mark.text) for mark in lane.marks] == [
        ("receipt", "impair: seen by relay"),
        ("refuted", "impair: NOT SEEN by relay"),
    ]
    assert lane.marks[0].detail == "f\na/b–c/d a to b: delay 5ms → clear\nbefore: lost 0"


def test_what_an_agent_was_asked_and_what_it_did() -> None:
    events: list[dict[str, Any]] = [
        {"at": MS, "source": "alice", "kind": "request", "message": {"op": "migrate", "id": 1, "call": "c1", "path": "lte"}},
        {"at": 2 * MS, "source": "alice", "kind": "request", "message": {"op": "inventory", "id": 2}},
        event(3, "alice", "video_adapted", call="c1", kbps=0, why="3 bad windows in a row"),
        event(4, "alice", "media_updated", call="c1", audio=True, video=False, screen_share=False, by="here"),
        event(5, "alice", "media_updated", call="c1", audio=True, video=False, screen_share=False, by="peer"),
        event(6, "bob", "send_error", path="wifi", kind="EHOSTUNREACH", count=4, message="no"),
        event(7, "bob", "quality_changed", call="c1", rtt_ms=1.0),
    ]
    alice, bob = acts.read(events, since_zero)
    assert [(mark.at, mark.kind, mark.text) for mark in alice.marks] == [
        (1000, "ask", "asked: migrate (lte)"),
        (3000, "adapt", "video stopped: 3 bad windows in a row"),
        (4000, "adapt", "sends audio"),
    ]
    assert [mark.text for mark in bob.marks] == ["cannot send over wifi: EHOSTUNREACH, 4 so far"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=2), max_leaves=3
)
names = ("state_changed", "call_held", "call_resumed", "video_adapted", "media_updated", "send_error", "overflow", "call_ended", "path")
messages = st.dictionaries(
    st.sampled_from(("event", "op", "call", "old", "new", "by", "kbps", "why", "path", "flow", "kind", "reason")),
    st.sampled_from(names) | anything,
)


@given(
    st.lists(
        st.tuples(st.integers(0, 10**9), st.sampled_from(("alice", "bob")), st.sampled_from(("event", "request")), messages), max_size=8
    )
)
def test_whatever_agents_say_becomes_text_and_every_span_has_a_length(said: list[tuple[int, str, str, dict[str, Any]]]) -> None:
    events = [
        {"at": at, "source": source, "kind": kind, "message": message} for at, source, kind, message in sorted(said, key=lambda one: one[0])
    ]
    for lane in [*lanes.states(events, since_zero, 10**6), *acts.read(events, since_zero), *lanes.paths(events, {}, since_zero)]:
        assert all(span.since <= span.until for span in lane.spans)
        assert all(isinstance(mark.text, str) and isinstance(mark.kind, str) for mark in lane.marks)
