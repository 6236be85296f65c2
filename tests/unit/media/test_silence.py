"""Silence against the lab's schedule: the worked examples of its definition, in ms.

I 20 (``STEP``), P 200, G 100, O 0, d 20, window 0 to 5990.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest

from harness.media.figure import Gap
from harness.media.schedule import AUDIO, FOREVER, GRACE, SECOND, VIDEO, Pace, Schedule, SentFrame, Span
from harness.media.silence import TakenFrame, longest, silences

MS = 1_000_000
STEP, P, D = 20, 200, 20
VIDEO_EVEN = Pace(90_000, 90_000 // 25)
"""25 frames a second: whole milliseconds."""


class Flow:
    """Frames of one flow: when each departed and with which place in mind, and when it was taken; all ms."""

    def __init__(self, spans: Sequence[tuple[int, int | None]] = ((0, None),), pace: Pace = AUDIO) -> None:
        asked = [
            Span(opened * MS, opened * MS + (0 if opened == 0 else GRACE), FOREVER if closed is None else closed * MS)
            for opened, closed in spans
        ]
        self.schedule = Schedule(pace, asked)
        self.frames: list[TakenFrame] = []
        self.unheard = 0

    def sent(self, stamp: int, departed: int, taken: int | None, *, ssrc: int = 1, delay: int = D) -> None:
        """One frame, stamped ``stamp`` ms on its RTP clock."""
        ticks = stamp * self.schedule.pace.clock // 1000
        due = self.schedule.place(SentFrame(ssrc, ticks, departed * MS, departed * MS))
        if taken is None:
            self.unheard += 1
            return
        frame = TakenFrame(due, departed * MS, min(departed + delay, taken) * MS, taken * MS, delay * MS)
        self.unheard += frame.late > P * MS
        self.frames.append(frame)

    def steady(self, since: int, until: int, *, delay: int = D, late: int = 0, shift: int = 0) -> None:
        """A frame every 20 ms from ``since`` to ``until``, both included; stamped ``shift`` ms less than it departs."""
        for at in range(since, until + 1, STEP):
            self.sent(at - shift, at + late, at + late + delay, delay=delay)

    def missing(self, until: int = 5990) -> int:
        """Places due before ``until`` that nothing filled."""
        return len(self.schedule.empty(until * MS))

    def gaps(self, since: int = 0, until: int = 5990, delay: int = D) -> list[Gap]:
        """The silences that end in the window."""
        return silences(
            self.frames,
            self.schedule.free(),
            interval=self.schedule.pace.interval,
            since=since * MS,
            until=until * MS,
            deadline=P * MS,
            delay=delay * MS,
        )

    def silence(self, since: int = 0, until: int = 5990) -> tuple[int, int, int]:
        """The longest one, its start and its end, ms."""
        gap = longest(self.gaps(since, until), since=since * MS)
        return gap.excess.ns // MS, gap.start // MS, gap.end // MS


def blocked(flow: Flow) -> None:
    """Example 2: frames 1020 to 1400 depart in a burst at 1401, stamped as they were due."""
    flow.steady(0, 1000)
    for at in range(1020, 1401, STEP):
        flow.sent(at, 1401, 1421)
    flow.steady(1420, 5980)


def skipped(flow: Flow) -> None:
    """Example 3: the same frames never depart; the next one's timestamp jumps."""
    flow.steady(0, 1000)
    flow.steady(1420, 5980)


def stamped_later(flow: Flow) -> None:
    """Example 4: every frame after 1000 departs 400 ms after its place, for good."""
    flow.steady(0, 1000)
    flow.steady(1020, 5580, late=400)


def lost(flow: Flow) -> None:
    """Example 5: twelve frames are lost."""
    flow.steady(0, 1000)
    for at in range(1020, 1241, STEP):
        flow.sent(at, at, None)
    flow.steady(1260, 5980)


def lost_and_overtaken(flow: Flow) -> None:
    """Example 5: the same, and frame 980 is overtaken by frame 1000: taken at 1150."""
    flow.steady(0, 960)
    flow.sent(980, 980, 1150)
    flow.sent(1000, 1000, 1020)
    for at in range(1020, 1241, STEP):
        flow.sent(at, at, None)
    flow.steady(1260, 5980)


def three_a_second(flow: Flow) -> None:
    """Example 6: every 17th place is filled."""
    for at in range(0, 5981, 17 * STEP):
        flow.sent(at, at, at + D)


def half_speed(flow: Flow) -> None:
    """Example 7: from 1000 on each frame in turn, 25 a second."""
    flow.steady(0, 980)
    for number, at in enumerate(range(1000, 5981, STEP)):
        departed = 1000 + 2 * STEP * number
        if departed <= 5990:
            flow.sent(at, departed, departed + D)


def deaf(flow: Flow) -> None:
    """Example 8: the listener reads nothing from 1001 to 1401."""
    flow.steady(0, 980)
    for at in range(1000, 1381, STEP):
        arrived = at + D
        flow.sent(at, at, arrived if arrived <= 1001 else max(arrived, 1402))
    flow.steady(1400, 5980)


@pytest.mark.parametrize(
    ("play", "silence", "unheard", "missing"),
    [
        pytest.param(lambda flow: flow.steady(0, 5980), 0, 0, 0, id="1 steady"),
        pytest.param(lambda flow: flow.steady(0, 5980, delay=300), 0, 0, 0, id="1 steady at 300 ms"),
        pytest.param(blocked, 381, 10, 0, id="2 sender blocked"),
        pytest.param(skipped, 400, 0, 20, id="3 sender skipped"),
        pytest.param(stamped_later, 400, 229, 20, id="4 late for ever"),
        pytest.param(lost, 240, 12, 0, id="5 twelve lost"),
        pytest.param(three_a_second, 320, 0, 282, id="6 three a second"),
        pytest.param(deaf, 382, 10, 0, id="8 listener reads nothing"),
    ],
)
def test_worked_examples(play: Callable[[Flow], None], silence: int, unheard: int, missing: int) -> None:
    flow = Flow()
    play(flow)
    assert flow.silence()[0] == silence
    assert (flow.unheard, flow.missing()) == (unheard, missing)


def test_the_gap_of_a_blocked_sender_ends_with_the_burst() -> None:
    flow = Flow()
    blocked(flow)
    assert flow.silence() == (381, 1020, 1421)


def test_an_overtaken_frame_does_not_split_a_silence() -> None:
    flow = Flow()
    lost_and_overtaken(flow)
    assert flow.silence() == (240, 1020, 1280)
    assert flow.unheard == 12


def test_half_speed_is_silent_once_frames_are_late() -> None:
    flow = Flow()
    half_speed(flow)
    excess, start, end = flow.silence()
    assert end == 5990
    assert excess == pytest.approx(4550, abs=40)
    assert start == pytest.approx(1420, abs=40)


MUTE_EXAMPLES = [
    pytest.param(3005, 0, 0, id="10 goes on 5 ms after the request"),
    pytest.param(3400, 280, 15, id="11 goes on 400 ms after the request"),
]


@pytest.mark.parametrize(("on", "silence", "missing"), MUTE_EXAMPLES)
def test_a_mute_is_free_and_what_follows_its_end_is_not(on: int, silence: int, missing: int) -> None:
    flow = Flow([(0, 1010), (3000, None)])
    flow.steady(0, 1040)
    for at in range(on, 5990, STEP):
        flow.sent(at, at, at + D)
    assert flow.silence()[0] == silence
    assert flow.missing() == missing


def test_two_mutes_in_one_gap_are_two() -> None:
    flow = Flow([(0, 1000), (2000, 2100), (3100, None)])  # example 12: the five frames between the mutes are lost
    flow.steady(0, 980)
    for at in range(2000, 2100, STEP):
        flow.sent(at, at, None)
    for at in range(3100, 5981, STEP):
        flow.sent(at, at, at + D)
    assert flow.silence()[0] == 100
    assert flow.unheard == 5


def test_a_move_to_a_slower_path_is_silence_of_the_difference() -> None:
    flow = Flow()  # example 13: from d 5 to d 300
    flow.steady(0, 980, delay=5)
    flow.steady(1000, 5680, delay=300)
    assert flow.silence() == (295, 985, 1300)
    assert flow.unheard == 0


def test_the_first_frame_after_a_fault_may_come_by_the_old_path() -> None:
    flow = Flow()  # example 14
    flow.steady(0, 1080)
    for at in range(1100, 1381, STEP):
        flow.sent(at, at, None)
    flow.steady(1400, 5980)
    assert flow.silence(since=1000)[0] == 300


@pytest.mark.parametrize(("step", "late"), [(1.00005, 2), (1.005, 200)], ids=["23 a slow clock", "24 a slow source"])
def test_a_source_may_differ_by_its_clock_and_no_more(step: float, late: int) -> None:
    flow = Flow()
    frames = 60 * 50
    for number in range(frames):
        at = round(number * STEP * step * MS)
        due = flow.schedule.place(SentFrame(1, number * 960, at, at))
        flow.frames.append(TakenFrame(due, at, at + D * MS, at + D * MS, D * MS))
    worst = max(frame.late for frame in flow.frames)
    assert (worst > P * MS) is (step > 1.001)
    assert worst <= late * MS or step > 1.001


def test_a_source_that_stops_is_silent_to_the_end() -> None:
    flow = Flow()  # example 29
    flow.steady(0, 5480)
    assert flow.silence() == (470, 5500, 5990)
    assert flow.missing() == 25


def test_two_paths_give_each_frame_once() -> None:
    flow = Flow()  # example 27: frames come over the fast path until it dies
    flow.steady(0, 980, delay=5)
    flow.steady(1000, 5660, delay=305)
    assert flow.silence()[0] == 300


def test_video_has_its_own_interval() -> None:
    flow = Flow(pace=VIDEO_EVEN)
    for at in range(0, 5961, 40):
        flow.sent(at, at, at + D)
    assert flow.silence()[0] == 0
    halved = Flow(pace=VIDEO_EVEN)
    for at in range(0, 5961, 80):
        halved.sent(at, at, at + D)
    assert halved.silence()[0] == 40


def test_pictures_on_time_are_not_silent_although_a_thirtieth_is_no_whole_number_of_ns() -> None:
    frames = [TakenFrame(at, at, at + D * MS, at + D * MS, D * MS) for at in map(VIDEO.after, range(180))]
    assert silences(frames, [(-FOREVER, 0)], interval=VIDEO.interval, since=0, until=6 * SECOND, deadline=P * MS) == []
    assert (VIDEO.interval, AUDIO.interval) == (33_333_334, 20_000_000)


def test_nothing_heard_at_all_is_silence_from_the_first_place_on() -> None:
    flow = Flow()
    assert flow.silence() == (5970, 0, 5990)


def test_a_frame_from_the_future_takes_the_last_place_due() -> None:
    flow = Flow()
    flow.steady(0, 980)
    flow.sent(5000, 1000, 1020)
    assert flow.schedule.early == [SentFrame(1, 240_000, 1000 * MS, 1000 * MS)]
    assert flow.frames[-1].due == 1000 * MS


def test_a_new_ssrc_takes_the_last_place_due() -> None:
    flow = Flow()
    flow.steady(0, 980)
    flow.sent(77_000, 1009, 1029, ssrc=2)
    assert flow.frames[-1].due == 1000 * MS


def test_a_second_frame_in_a_place_fills_nothing() -> None:
    flow = Flow()
    flow.steady(0, 980)
    for _ in range(3):
        flow.sent(980, 985, 1005)
    assert flow.schedule.empty(1040 * MS) == [1000 * MS, 1020 * MS]


def places(flow: Flow, stamps: Iterable[int]) -> list[int]:
    """Where frames that depart when they are stamped are due, ms."""
    return [flow.schedule.place(SentFrame(1, stamp * 48, stamp * MS, stamp * MS)) // MS for stamp in stamps]


def test_timestamps_wrap() -> None:
    schedule = Schedule(AUDIO, [Span(0, 0)])
    wrap = 1 << 32
    due = [schedule.place(SentFrame(1, (wrap - 960 + number * 960) % wrap, number * STEP * MS, number * STEP * MS)) for number in range(4)]
    assert due == [0, 20 * MS, 40 * MS, 60 * MS]


def test_what_departed_before_anything_was_asked_for_has_no_place() -> None:
    schedule = Schedule(AUDIO, [Span(1000 * MS, 1100 * MS)])
    assert schedule.place(SentFrame(1, 0, 500 * MS, 500 * MS)) == 500 * MS
    assert schedule.empty(1200 * MS) == [1100 * MS + n * STEP * MS for n in range(5)]
