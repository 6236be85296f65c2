"""By the text of W3C webrtc-stats; thresholds and traps of metrics.md §4."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from harness.media.freezes import is_freeze, video_report
from harness.media.records import MediaPacket
from harness.units import Duration, ms, s
from tests.unit.media.flows import MS, S, again, packet

FRAME = 33_333_333


def video(times: Sequence[int], *, parts: int = 1, without: Collection[tuple[int, int]] = (), delay: int = 25 * MS) -> list[MediaPacket]:
    """A frame of ``parts`` packets offered at each of ``times``; ``without``: (frame, part) lost."""
    return [
        packet(
            frame * parts + part,
            offered=at,
            arrived=None if (frame, part) in without else at + delay + part * MS,
            frame=frame,
            marker=part == parts - 1,
        )
        for frame, at in enumerate(times)
        for part in range(parts)
    ]


def after_30_frames(gap: int, interval: int = FRAME) -> list[MediaPacket]:
    times = [number * interval for number in range(31)]
    return video([*times, times[-1] + gap, times[-1] + gap + interval])


@pytest.mark.parametrize(("fps", "threshold"), [(60, 166.7), (30, 183.3), (15, 216.7), (10, 300.0)])
def test_the_thresholds(fps: int, threshold: float) -> None:
    before = [S // fps] * 30
    assert not is_freeze(round((threshold - 0.1) * MS), before)
    assert is_freeze(round((threshold + 0.1) * MS), before)


def test_the_threshold_itself_is_a_freeze() -> None:
    assert is_freeze(300 * MS, [100 * MS] * 30)
    assert not is_freeze(300 * MS - 1, [100 * MS] * 30)
    assert is_freeze(190 * MS, [40 * MS] * 30)
    assert not is_freeze(190 * MS - 1, [40 * MS] * 30)


def test_below_13_33_fps_three_times_the_average_takes_over() -> None:
    assert not is_freeze(299 * MS, [100 * MS] * 30)
    assert is_freeze(220 * MS, [70 * MS] * 30)


@pytest.mark.parametrize(("gap_us", "frozen"), [(183_300, 0), (183_400, 1), (187_000, 1), (188_000, 1)])
def test_the_spec_text_not_libwebrtc(gap_us: int, frozen: int) -> None:
    """From 183.4 to 187 ms libwebrtc, which puts the interval itself into the average, sees none."""
    assert video_report(after_30_frames(gap_us * 1000), since=0, until=5 * S).freeze_count == frozen


def test_the_whole_interval_is_frozen_not_its_excess() -> None:
    report = video_report(after_30_frames(500 * MS), since=0, until=2 * S)
    assert (report.freeze_count, report.total_freezes_duration) == (1, 500 * ms)
    assert (report.pause_count, report.total_pauses_duration) == (0, 0 * ms)
    assert report.longest.excess == 500 * ms


def test_more_than_5_s_are_a_pause_too() -> None:
    assert video_report(after_30_frames(5 * S), since=0, until=9 * S).pause_count == 0
    report = video_report(after_30_frames(5 * S + 1), since=0, until=9 * S)
    assert (report.pause_count, report.total_pauses_duration) == (1, Duration(5 * S + 1))
    assert report.freeze_count == 1


def test_an_outage_that_never_ends_is_no_freeze_but_time_since_the_last_frame() -> None:
    times = [number * FRAME for number in range(60)]
    packets = video(times, without=[(frame, 0) for frame in range(30, 60)])
    report = video_report(packets, since=0, until=10 * S)
    assert report.freeze_count == 0
    assert len(report.intervals) == 30
    assert [gap.recovered for gap in report.intervals] == [True] * 29 + [False]
    last = 29 * FRAME + 25 * MS
    assert report.since_last == Duration(10 * S - last)
    assert (report.longest.start, report.longest.end, report.longest.recovered) == (last, 10 * S, False)


def test_no_frame_at_all_is_a_standstill_of_the_whole_window() -> None:
    report = video_report([], since=2 * S, until=5 * S)
    assert report.since_last == 3 * s
    assert report.longest.excess == 3 * s
    assert (report.frames_rendered, report.inter_frame_delay_variance) == (0, None)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_frame_is_complete_when_all_its_packets_came_the_marker_among_them(part: int) -> None:
    report = video_report(video([number * FRAME for number in range(40)], parts=3, without=[(20, part)]), since=0, until=2 * S)
    assert (report.frames_offered, report.frames_rendered) == (40, 39)


def test_a_frame_without_a_marker_is_never_complete() -> None:
    packets = [packet(number, offered=0, arrived=30 * MS, frame=0, marker=False) for number in range(3)]
    assert video_report(packets, since=0, until=S).frames_rendered == 0


def test_a_frame_is_rendered_when_its_last_packet_arrives_and_copies_do_not_matter() -> None:
    packets = video([0, FRAME], parts=3)
    packets[0] = again(packets[0], 900 * MS)
    report = video_report(packets, since=0, until=S)
    assert report.since_last == Duration(S - (FRAME + 27 * MS))


def test_a_frame_overtaken_by_a_later_one_is_dropped() -> None:
    packets = video([0, FRAME, 2 * FRAME])
    packets[1] = packet(1, offered=FRAME, arrived=800 * MS, frame=1)
    report = video_report(packets, since=0, until=S)
    assert (report.frames_rendered, report.frames_dropped) == (2, 1)


def test_a_source_started_anew_may_count_its_frames_from_0_again() -> None:
    packets = [
        *video([0, FRAME]),
        *(packet(10 + number, offered=S + number * FRAME, arrived=S + number * FRAME + MS, frame=number) for number in range(2)),
    ]
    assert video_report(packets, since=0, until=2 * S).frames_rendered == 4


def test_the_window_takes_what_ends_in_it_and_the_average_from_before_it() -> None:
    packets = after_30_frames(500 * MS)
    end = 30 * FRAME + 500 * MS + 25 * MS
    assert video_report(packets, since=end, until=2 * S).freeze_count == 1
    assert video_report(packets, since=end + 1, until=2 * S).freeze_count == 0
    assert video_report(packets, since=0, until=end - 1).freeze_count == 0


def test_the_average_is_of_the_last_30_with_a_freeze_in_it() -> None:
    """A freeze of 2 s lifts the average to 98.9 ms, so the next threshold is 296.7 ms, not 183.3."""
    before = [FRAME] * 29 + [2 * S]
    assert not is_freeze(296 * MS, before)
    assert is_freeze(297 * MS, before)
    assert is_freeze(184 * MS, [2 * S] + [FRAME] * 30)


def test_inter_frame_delay_variance() -> None:
    steady = video_report(video([number * 40 * MS for number in range(26)]), since=0, until=2 * S)
    assert steady.total_inter_frame_delay == pytest.approx(1.0)
    assert steady.total_squared_inter_frame_delay == pytest.approx(25 * 0.04**2)
    assert steady.inter_frame_delay_variance == pytest.approx((25 * 0.0016 - 1 / 26) / 26)
