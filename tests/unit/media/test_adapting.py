"""Leave to adapt, which the scenario gives: worked example 28 (ms; 30 frames a second, d 20), and its edges."""

from __future__ import annotations

from typing import Any, cast

import pytest

from harness.agent.messages import MediaSet
from harness.errors import SpecError
from harness.lab.conversation import Call
from harness.media.measures import Heard
from harness.media.schedule import FOREVER, VIDEO, Leave, Schedule, SentFrame, Span
from harness.media.silence import TakenFrame, longest, silences
from harness.units import Count, ms
from tests.unit.media.flows import MS, packet

FRAMES = 180
WAY = 20 * MS
TEN = 100 * MS
CLOSED = 5990 * MS


def at(number: int) -> int:
    """When frame ``number`` is due, ns."""
    return VIDEO.after(number)


def halved(number: int) -> bool:
    """Every other frame of the seconds from 2 to 4."""
    return number % 2 == 0 or not 2000 * MS <= at(number) < 4000 * MS


def stopped(number: int) -> bool:
    """No frame for 1.5 s from 2 s on."""
    return not 2000 * MS < at(number) < 3500 * MS


def play(sent: list[int], leaves: list[Leave]) -> tuple[int, Schedule]:
    """The longest silence (ns) of a flow that has those frames."""
    schedule = Schedule(VIDEO, [Span(0, 0, FOREVER)], leaves)
    frames = []
    for number in sent:
        due = schedule.place(SentFrame(1, number * VIDEO.ticks, at(number), at(number)))
        frames.append(TakenFrame(due, at(number), at(number) + WAY, at(number) + WAY, WAY))
    gaps = silences(
        frames, schedule.free(), interval=VIDEO.interval, since=0, until=CLOSED, deadline=400 * MS, delay=WAY, leaves=schedule.leaves
    )
    return longest(gaps, since=0).excess.ns, schedule


LEAVE = Leave(1000 * MS, 5000 * MS, TEN)


@pytest.mark.parametrize(
    ("plays", "leaves", "silence_ms", "empty"),
    [
        pytest.param(halved, [], 33, 30, id="halved"),
        pytest.param(stopped, [], 1467, 44, id="stopped"),
        pytest.param(halved, [LEAVE], 0, 0, id="halved, by leave"),
        pytest.param(stopped, [LEAVE], 1400, 14, id="stopped, by leave of 10 frames a second"),
        pytest.param(stopped, [Leave(1000 * MS, 5000 * MS, None)], 0, 0, id="stopped, by leave to stop"),
    ],
)
def test_worked_example_28(plays: object, leaves: list[Leave], silence_ms: int, empty: int) -> None:
    assert callable(plays)
    silence, schedule = play([number for number in range(FRAMES) if plays(number)], leaves)
    assert round(silence / MS) == silence_ms
    assert len(schedule.empty(5950 * MS)) == empty


def test_leave_that_covers_a_gap_in_part_forgives_no_more_than_that_part() -> None:
    sent = [number for number in range(FRAMES) if number % 4 == 0 or not 2000 * MS <= at(number) < 2130 * MS]
    whole, _ = play(sent, [])
    part, _ = play(sent, [Leave(1000 * MS, 2010 * MS, TEN)])
    assert round(whole / MS) == 100
    assert whole - part == pytest.approx(10 * MS, abs=1)


def test_leave_to_stop_ends_when_it_ends() -> None:
    silence, schedule = play([number for number in range(FRAMES) if stopped(number)], [Leave(2000 * MS, 3000 * MS, None)])
    assert round(silence / MS) == 467
    assert schedule.free()[1] == (2000 * MS, 3000 * MS)
    assert len(schedule.empty(5950 * MS)) == 15


def test_leave_beside_a_mute_is_free_once() -> None:
    schedule = Schedule(VIDEO, [Span(0, 0, 2000 * MS), Span(4000 * MS, 4100 * MS)], [Leave(1500 * MS, 3000 * MS, None)])
    assert schedule.free() == [(-FOREVER, 0), (1500 * MS, 4100 * MS)]


def picture(number: int, packets: int, lost: tuple[int, ...] = ()) -> list[object]:
    """A frame of so many packets, of which those of ``lost`` never came."""
    return [
        packet(
            number * 10 + place,
            offered=at(number),
            arrived=None if place in lost else at(number) + WAY,
            frame=number,
            marker=place == packets - 1,
            rtp=number * VIDEO.ticks,
        )
        for place in range(packets)
    ]


def heard(packets: list[object], **changes: object) -> Heard:
    """What was seen of ``packets``."""
    given = {"opened": 0, "closed": CLOSED, "deadline": 200 * ms, "pace": VIDEO, "packets": packets, "direction": "a → b video"}
    return Heard(**given | changes)  # type: ignore[arg-type]


def test_a_frame_of_which_one_packet_is_missing_was_not_seen_and_counts_once() -> None:
    seen = heard([one for number in range(60) for one in picture(number, 3, lost=(0, 2) if number in (10, 20) else ())])
    assert seen.unheard().value == Count(2)
    assert seen.unheard().note == "2 lost, 0 late, 0 never sent, of 60"
    assert [moment.at for moment in seen.unheard().moments] == [at(10), at(20)]
    assert seen.lost().value == Count(4)


def test_what_the_end_of_the_window_leaves_open_does_not_count() -> None:
    frames = [one for number in range(60) for one in picture(number, 1, lost=(0,) if number > 50 else ())]
    open_ = heard(frames, closed=at(55) + 200 * MS)
    assert open_.unheard().value == Count(5)
    assert heard(frames, closed=at(55) + 200 * MS, decided=at(57)).unheard().value == Count(7)


def test_what_departed_while_nothing_was_owed_does_not_count() -> None:
    frames = [one for number in range(60) for one in picture(number, 1, lost=(0,) if number in (10, 40) else ())]
    assert heard(frames, free=((-FOREVER, 0), (at(39), at(45)))).unheard().value == Count(1)
    assert heard(frames, free=None).unheard().value is None


def test_the_longest_freeze_is_the_whole_interval() -> None:
    seen = heard([one for number in range(FRAMES) if stopped(number) for one in picture(number, 1)])
    assert round((seen.longest_freeze().value or 0 * ms).count / MS) == 1500
    assert seen.longest_freeze().gaps
    assert heard([one for number in range(FRAMES) for one in picture(number, 1)]).longest_freeze().value == 0 * ms
    assert heard([]).longest_freeze().value is None


def test_only_a_flow_that_can_do_with_less_may_adapt() -> None:
    alice, bob = cast("Any", object()), cast("Any", object())
    call = Call(cast("Any", None), alice, bob, ("audio", "video"), 4, MediaSet())
    call.may_adapt("video", floor=10, since=5, until=7, settling=1 * ms)
    call.may_adapt("video", floor=None, since=9, until=10, by=bob)
    assert call.leaves("video", alice) == [Leave(5, 7 + MS, TEN)]
    assert call.leaves("video", bob) == [Leave(5, 7 + MS, TEN), Leave(9, 10, None)]
    assert call.leaves("screen", alice) == []
    for flow, floor in (("audio", 10), ("video", 0), ("video", 30)):
        with pytest.raises(SpecError, match="may_adapt"):
            call.may_adapt(flow, floor=floor, since=0, until=1)
