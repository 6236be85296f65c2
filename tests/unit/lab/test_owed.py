"""When a flow is owed: from the lab's requests, and from the signalling that arrived at the sender's host; times in ms."""

from __future__ import annotations

from typing import Any

import pytest

from harness.agent.messages import End, Fail, Hold, MediaStart, MediaStop, Migrate, Request, Resume
from harness.agent.remote import AskedRequest
from harness.lab.crossings import Talk
from harness.lab.owed import spans
from harness.media.schedule import FOREVER, GRACE

MS = 1_000_000
WRITING = 2
"""From a request's stamp until its line is whole in the agent's pipe."""


def asked(at: int, request: Request) -> AskedRequest:
    return AskedRequest(at * MS, (at + WRITING) * MS, request)


def start(at: int, flow: Any = "audio", call: str = "X") -> AskedRequest:
    return asked(at, MediaStart(id=1, call=call, flow=flow))


def stop(at: int, flow: Any = "audio", call: str = "X") -> AskedRequest:
    return asked(at, MediaStop(id=1, call=call, flow=flow))


def talk(at: int, kind: str, came: int | None, speaker: str = "bob", call: str = "X") -> Talk:
    """A signalling message, which alice hears ``came`` ms after it left."""
    arrived = None if came is None else (at + came) * MS
    return Talk("c1", speaker, "server", {"type": kind, "session_id": call}, at * MS, arrived)


def owed(requests: list[AskedRequest], talks: list[Talk] | None = None, *, killed: list[int] | None = None, flow: str = "audio") -> Any:
    """The spans of alice's flow, (opens, effective by, closes) in ms; None for one that lasts."""
    found = spans("X", flow, "alice", requests, talks or [], ends=[at * MS for at in killed or []])
    assert all(span.opens <= span.effective for span in found)
    return [(one.opens // MS, one.effective // MS, None if one.closes == FOREVER else one.closes // MS) for one in found]


G = GRACE // MS


def test_a_span_opens_when_its_request_began_and_must_take_effect_a_grace_after_its_line_was_written() -> None:
    assert owed([start(10)]) == [(10, 10 + WRITING + G, None)]


def test_a_mute_closes_it_and_the_next_start_opens_another() -> None:
    assert owed([start(10), stop(1010), start(3000)]) == [(10, 112, 1010), (3000, 3102, None)]


def test_nothing_that_was_not_asked_for_is_owed() -> None:
    assert owed([]) == []
    assert owed([start(10, flow="video"), start(10, call="Y"), asked(5, Migrate(id=1, call="X", path="lte"))]) == []
    assert owed([start(10, flow="video")], flow="video") == [(10, 112, None)]


def test_the_mute_of_another_flow_or_of_another_call_closes_nothing() -> None:
    assert owed([start(10), stop(50, flow="video"), stop(60, call="Y"), asked(70, End(id=1, call="Y"))]) == [(10, 112, None)]


def test_a_source_that_is_started_twice_is_one_span() -> None:
    assert owed([start(10), start(500), stop(1000)]) == [(10, 112, 1000)]
    assert owed([start(10), stop(1000), stop(1500)]) == [(10, 112, 1000)]


@pytest.mark.parametrize("request_", [End(id=1, call="X"), Fail(id=1, call="X")], ids=["hang-up", "fail"])
def test_the_end_of_the_call_closes_it_for_good(request_: Request) -> None:
    assert owed([start(10), asked(1000, request_), start(1500)]) == [(10, 112, 1000)]


def test_the_side_that_holds_owes_nothing_from_its_request_to_the_one_that_resumes() -> None:
    requests = [start(10), asked(1000, Hold(id=1, call="X")), asked(2000, Resume(id=1, call="X"))]
    assert owed(requests) == [(10, 112, 1000), (2000, 2102, None)]


def test_the_side_that_is_told_owes_nothing_from_when_the_hold_came_to_its_host_until_the_resume_did() -> None:
    talks = [talk(1000, "hold", 30), talk(2000, "resume", 45)]
    assert owed([start(10)], talks) == [(10, 112, 1030), (2045, 2045 + G, None)]


def test_what_the_sender_itself_said_of_a_hold_is_its_own_word_and_counts_nothing() -> None:
    assert owed([start(10)], [talk(1000, "hold", 30, speaker="alice")]) == [(10, 112, None)]


def test_a_hold_that_was_lost_on_the_way_or_is_of_another_call_holds_nothing() -> None:
    assert owed([start(10)], [talk(1000, "hold", None), talk(1100, "hold", 5, call="Y"), talk(1200, "mood", 5)]) == [(10, 112, None)]


def test_while_either_side_holds_nothing_is_owed() -> None:
    requests = [start(10), asked(1200, Hold(id=1, call="X")), asked(1800, Resume(id=1, call="X"))]
    talks = [talk(1000, "hold", 10), talk(1500, "resume", 10)]
    assert owed(requests, talks) == [(10, 112, 1010), (1800, 1902, None)]
    talks = [talk(1000, "hold", 10), talk(2000, "resume", 10)]
    assert owed(requests, talks) == [(10, 112, 1010), (2010, 2010 + G, None)]


def test_a_source_that_is_muted_while_the_call_is_on_hold_is_not_owed_after_it() -> None:
    requests = [start(10), stop(1200)]
    assert owed(requests, [talk(1000, "hold", 10), talk(2000, "resume", 10)]) == [(10, 112, 1010)]


def test_a_source_that_is_started_while_the_call_is_on_hold_is_owed_from_the_resume_on() -> None:
    assert owed([start(1200)], [talk(1000, "hold", 10), talk(2000, "resume", 10)]) == [(2010, 2110, None)]


def test_the_other_side_s_goodbye_closes_it_when_it_comes() -> None:
    assert owed([start(10)], [talk(1000, "bye", 30)]) == [(10, 112, 1030)]
    assert owed([start(10)], [talk(1000, "bye", None)]) == [(10, 112, None)]


def test_an_agent_that_was_killed_owes_nothing_from_then_on() -> None:
    assert owed([start(10), start(3000)], killed=[1500]) == [(10, 112, 1500)]


def test_of_requests_of_one_moment_the_last_counts() -> None:
    assert owed([start(10), stop(10)]) == [(10, 112, 10)]
    assert owed([stop(10), start(10)]) == [(10, 112, None)]
