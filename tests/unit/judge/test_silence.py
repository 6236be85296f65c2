"""The judge's formulas on the worked examples of silence that need no stall of the machine.

I 20, P 200, G 100, O 0, d 20 ms, window 0–5990; the number of the example stands behind each test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from tests.judge.silence import MS, Flow, Frame, Source, Span, Unheard, flow

AUDIO = Source(48_000, 960)
VIDEO = Source(90_000, 3_000)
DELAY = 20
END = 5990


def frame(place: int, *, departed: int | None = None, delay: int = DELAY, taken: int | None = -1, stamp: int | None = None) -> Frame:
    """One frame, times in ms: due, stamped and departed at ``place``, taken a path's ``delay`` later; ``taken`` None: lost."""
    left = place if departed is None else departed
    came = left + delay if taken == -1 else taken
    return Frame(left * MS, None if came is None else came * MS, 1, 48 * (place if stamp is None else stamp), delay * MS)


def every(first: int, last: int, make: Callable[[int], Frame] = frame) -> list[Frame]:
    return [make(place) for place in range(first, last, 20)]


def made(frames: Iterable[Frame], *spans: Span) -> Flow:
    return flow(list(frames), spans or (Span(0),), AUDIO, DELAY * MS)


def silent(one: Flow, since: int = 0, until: int = END) -> tuple[float, float, float]:
    """The longest silence, and from when to when, ms."""
    gap = one.longest(since * MS, until * MS)
    return gap.excess / MS, gap.start / MS, gap.end / MS


def unheard(one: Flow, since: int = 0, until: int = END) -> Unheard:
    return one.unheard(since * MS, until * MS)


def test_steady() -> None:  # 1
    one = made(every(0, 6000))
    assert one.gaps(0, END * MS) == []
    assert unheard(one) == Unheard(289)


def test_steady_over_a_slow_path() -> None:  # 1
    one = flow(every(0, 6000, lambda at: frame(at, delay=300)), (Span(0),), AUDIO, 300 * MS)
    assert one.gaps(0, END * MS) == []
    assert unheard(one).total == 0


def test_a_blocked_sender_that_stamps_as_due() -> None:  # 2
    late = every(1020, 1420, lambda at: frame(at, departed=1401))
    one = made([*every(0, 1020), *late, *every(1420, 6000)])
    assert silent(one) == (381, 1020, 1421)
    assert unheard(one) == Unheard(289, late=10)


def test_a_blocked_sender_that_skips() -> None:  # 3
    one = made([*every(0, 1020), *every(1420, 6000)])
    assert silent(one) == (400, 1020, 1440)
    assert unheard(one) == Unheard(289, never_departed=20)


def test_a_blocked_sender_whose_source_stood_still() -> None:  # 4; of 249 late places 238 are due by until − d − P
    one = made([*every(0, 1020), *every(1020, 5600, lambda at: frame(at, departed=at + 400))])
    assert silent(one) == (400, 1020, 1440)
    assert unheard(one) == Unheard(289, late=229, never_departed=9)
    assert one.placed[-1].lateness == 400 * MS


def test_lost_frames() -> None:  # 5
    lost = every(1000, 1240, lambda at: frame(at, taken=None))
    one = made([*every(0, 1000), *lost, *every(1240, 6000)])
    assert silent(one) == (240, 1000, 1260)
    assert unheard(one) == Unheard(289, lost=12)


def test_an_overtaken_frame_does_not_split_a_silence() -> None:  # 5
    lost = every(1020, 1260, lambda at: frame(at, taken=None))
    one = made([*every(0, 980), frame(980, taken=1150), frame(1000), *lost, *every(1260, 6000)])
    assert silent(one) == (240, 1020, 1280)
    assert unheard(one) == Unheard(289, lost=12)


def test_three_packets_a_second() -> None:  # 6
    one = made(frame(at) for at in range(0, 6000, 340))
    assert silent(one)[0] == 320
    assert unheard(one).total / unheard(one).due > 0.93


def test_half_the_frames_each_in_turn() -> None:  # 7; by until − d − P 228 are late or not come
    one = made([*every(0, 1000), *(frame(1000 + 20 * n, departed=1000 + 40 * n) for n in range(125))])
    assert silent(one) == (4550, 1420, 5990)
    assert unheard(one).total == 228


def test_a_mute_that_takes_effect_a_little_late() -> None:  # 10
    one = made([*every(0, 1060), *(frame(at) for at in range(3005, 6000, 20))], Span(0, 1010 * MS), Span(3000 * MS))
    assert silent(one)[0] == 0
    assert unheard(one).total == 0
    assert one.origins[1] == 3005 * MS


def test_a_source_that_comes_back_late() -> None:  # 11
    one = made([*every(0, 1060), *every(3400, 6000)], Span(0, 1010 * MS), Span(3000 * MS))
    assert silent(one) == (280, 1060, 3420)
    assert unheard(one).never_departed == 15


def test_two_mutes_in_one_gap() -> None:  # 12
    lost = every(2000, 2100, lambda at: frame(at, taken=None))
    spans = Span(0, 1000 * MS), Span(2000 * MS, 2100 * MS), Span(3100 * MS)
    one = made([*every(0, 1000), *lost, *every(3100, 6000)], *spans)
    assert silent(one)[0] == 100
    assert unheard(one).lost == 5


def test_a_move_to_a_slower_path() -> None:  # 13
    one = flow([*every(0, 1000, lambda at: frame(at, delay=5)), *every(1000, 6000, lambda at: frame(at, delay=300))], (Span(0),), AUDIO, 0)
    assert silent(one) == (295, 985, 1300)
    assert unheard(one).total == 0


def test_the_window_of_a_fault_that_the_old_path_outlives() -> None:  # 14
    lost = every(1100, 1400, lambda at: frame(at, taken=None))
    one = made([*every(0, 1100), *lost, *every(1400, 6000)])
    assert silent(one, 1000)[0] == 300
    assert unheard(one, 1000).lost == 15


def test_a_retransmission_on_one_stream() -> None:  # 25: what follows on the stream waits for it
    waits = every(1020, 1100, lambda at: frame(at, taken=max(1100, at + DELAY)))
    one = made([*every(0, 1000), frame(1000, taken=1100), *waits, *every(1100, 6000)])
    assert silent(one) == (80, 1000, 1100)
    assert unheard(one).total == 0


def test_a_retransmission_on_a_stream_of_its_own() -> None:  # 25
    one = made([*every(0, 1000), frame(1000, taken=1100), *every(1020, 6000)])
    assert silent(one) == (20, 1000, 1040)
    assert unheard(one).total == 0


def test_an_outage_in_which_old_packets_come_again() -> None:  # 26: a copy is no first copy, so none of them is here
    lost = every(1000, 1400, lambda at: frame(at, taken=None))
    one = made([*every(0, 1000), *lost, *every(1400, 6000)])
    assert silent(one)[0] == 400
    assert unheard(one).lost == 20


def test_frames_on_two_paths_of_which_the_fast_one_dies() -> None:  # 27
    one = flow([*every(0, 1000, lambda at: frame(at, delay=5)), *every(1000, 6000, lambda at: frame(at, delay=305))], (Span(0),), AUDIO, 0)
    assert silent(one) == (300, 985, 1305)
    assert unheard(one).total == 0


def video(times: Iterable[float], source: Source) -> Flow:
    frames = [Frame(round(at * MS), round((at + DELAY) * MS), 1, round(90 * at), DELAY * MS) for at in times]
    return flow(frames, (Span(0),), source, DELAY * MS)


def test_video_at_half_its_rate() -> None:  # 28
    times = [n * 200 / 3 for n in range(90)]
    assert round(silent(video(times, VIDEO))[0]) == 33
    assert silent(video(times, Source(90_000, 9_000)))[0] == 0


def test_video_that_stops() -> None:  # 28
    times = [n * 100 / 3 for n in range(180) if not 30 < n < 75]
    assert round(silent(video(times, VIDEO))[0]) == 1467
    assert round(silent(video(times, Source(90_000, 9_000)))[0]) == 1400


def test_a_source_that_nobody_asked_to_stop() -> None:  # 29
    one = made(every(0, 5500))
    gap = one.longest(0, END * MS)
    assert (gap.excess / MS, gap.recovered) == (470, False)
    assert unheard(one) == Unheard(289, never_departed=14)


def test_a_flow_of_which_nothing_came() -> None:
    one = made([])
    assert silent(one) == (END - 100 - DELAY, 100, END)
    assert unheard(one).never_departed == unheard(one).due > 0


def test_nothing_is_owed_before_media_is_asked_for() -> None:
    one = made([], Span(7000 * MS))
    assert one.gaps(0, END * MS) == []
    assert unheard(one) == Unheard()


def test_a_frame_from_the_future_stands_where_it_departed() -> None:
    one = made([*every(0, 1000), frame(1000, stamp=3000), *every(1020, 6000)])
    assert [(item.index, item.future) for item in one.placed[49:52]] == [(49, False), (50, True), (51, False)]


def test_the_places_follow_a_slow_clock() -> None:  # 23, 50 ppm
    frames = [Frame(round(n * 20.001 * MS), round((n * 20.001 + DELAY) * MS), 1, 960 * n, DELAY * MS) for n in range(6000)]
    one = flow(frames, (Span(0),), AUDIO, DELAY * MS)
    assert max(abs(item.lateness) for item in one.placed) <= 1 * MS


def test_a_new_span_begins_with_its_first_departure_though_the_lab_stamped_its_request_late() -> None:
    one = made([*every(0, 1000), *(frame(at) for at in range(2990, 6000, 20))], Span(0, 1000 * MS), Span(3000 * MS))
    assert one.origins == (0, 2990 * MS)
    assert one.gaps(0, END * MS) == []


def test_a_frame_of_the_span_before_that_departs_behind_a_mute_is_late() -> None:
    hoarded = frame(980, departed=3001)
    one = made([*every(0, 980), hoarded, *(frame(at) for at in range(3010, 6000, 20))], Span(0, 1000 * MS), Span(3000 * MS))
    assert one.origins == (0, 3010 * MS)
    assert unheard(one) == Unheard(189, late=1)


def test_places_begin_with_the_first_packet_of_a_frame_of_many() -> None:
    first = replace(frame(0, departed=35, taken=55), began=0)
    one = flow([first, *(frame(at) for at in range(20, 6000, 20))], (Span(0),), AUDIO, DELAY * MS)
    assert one.origins == (0,)
    assert [item.lateness for item in one.placed if item.frame is first] == [35 * MS]
    assert not any(item.future for item in one.placed)


def test_a_source_whose_timestamps_begin_anew() -> None:
    one = made([*every(0, 1000), *every(1000, 6000, lambda at: frame(at, stamp=at + 90_000))])
    assert sum(item.future for item in one.placed) == 1
    assert one.gaps(0, END * MS) == []
    assert unheard(one).total == 0
