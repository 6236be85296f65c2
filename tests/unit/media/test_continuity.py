"""The definition of metrics.md §6, and the instrument against flows whose silence is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.media.continuity import first_fresh, interruptions, longest, longest_gap, recovery, silences, source_pauses
from harness.media.figure import Gap
from harness.units import Duration
from tests.unit.media.flows import MS, S, again, audio, packet


def gap_ms(packets: list, since: int = 0, until: int = 10 * S, deadline: int | None = None) -> float:
    return longest_gap(packets, since=since, until=until, deadline=deadline).excess.ms


def test_a_perfect_flow_has_no_silence() -> None:
    assert silences(audio(500), since=0, until=10 * S, deadline=150 * MS) == []
    assert longest_gap(audio(500), since=0, until=10 * S, deadline=None) == Gap(Duration(0), 0, 0)


def test_ten_lost_packets_of_20_ms_are_200_ms_with_start_and_end() -> None:
    gap = longest_gap(audio(500, lost=range(100, 110)), since=0, until=10 * S, deadline=None)
    assert gap == Gap(Duration(200 * MS), 99 * 20 * MS + 30 * MS, 110 * 20 * MS + 30 * MS)


@given(count=st.integers(1, 90), at=st.integers(0, 400), delay=st.integers(0, 300))
def test_a_cut_of_n_packets_is_n_intervals_whatever_the_delay_and_place(count: int, at: int, delay: int) -> None:
    """Also when the first packets of all are cut: those before the first heard count as lost ones do."""
    packets = audio(500, lost=range(at, at + count), delay=delay * MS)
    assert gap_ms(packets) == 20 * count


@given(delay=st.integers(0, 400))
def test_a_perfectly_hidden_rebind_is_0_whatever_the_delay(delay: int) -> None:
    """Packets in flight at the fault are heard: they are no silence (the trap: 40, 60, 120 ms at 20, 50, 100 ms of delay)."""
    packets = audio(500, delay=delay * MS)
    fault = 5 * S + 7 * MS
    assert longest(interruptions(packets, at=fault, until=10 * S, deadline=None), since=fault).excess.ns == 0


def test_a_slower_new_path_shows_as_its_extra_delay() -> None:
    packets = audio(500, delay=lambda index: 20 * MS if index < 250 else 80 * MS)
    assert gap_ms(packets) == 60


def test_a_faster_new_path_is_no_silence() -> None:
    assert gap_ms(audio(500, delay=lambda index: 80 * MS if index < 250 else 20 * MS)) == 0


def test_a_pause_of_the_source_is_not_silence() -> None:
    assert gap_ms(audio(300, pauses={100: 3 * S}), until=9 * S) == 0


def test_packets_lost_around_a_pause_are() -> None:
    """Three before the pause and two after it."""
    assert gap_ms(audio(300, pauses={100: 3 * S}, lost=[97, 98, 99, 100, 101]), until=9 * S) == 5 * 20


def test_what_the_stack_let_expire_in_its_queue_is_the_stack_s_silence_not_an_excuse() -> None:
    """Offered every 20 ms, none of them sent for one second: a pause by ``sent``, silence by ``offered``."""
    assert gap_ms(audio(500, expired=range(100, 150))) == 1000


def test_held_back_by_the_stack_and_sent_in_a_burst_is_silence_too() -> None:
    packets = [
        packet(
            index,
            offered=index * 20 * MS,
            sent=max(index * 20 * MS, 2 * S if index >= 50 else 0),
            arrived=max(index * 20 * MS, 2 * S if index >= 50 else 0) + 30 * MS,
        )
        for index in range(200)
    ]
    assert gap_ms(packets, until=4 * S) == 1000


def test_late_packets_are_not_heard() -> None:
    packets = audio(500, delay=lambda index: 200 * MS if 100 <= index < 110 else 30 * MS)
    # The late ones are silence; without a deadline the flow only stretches by the extra delay at their start.
    assert gap_ms(packets, deadline=150 * MS) == 200
    assert gap_ms(packets, deadline=None) < 200


def test_the_deadline_itself_is_still_in_time() -> None:
    assert gap_ms(audio(500, delay=150 * MS), deadline=150 * MS) == 0
    assert gap_ms(audio(500, delay=150 * MS + 1), deadline=150 * MS) == 10_000


@pytest.mark.parametrize("delay", [0, 20, 50, 100])
def test_a_flow_that_never_recovers_counts_to_the_end_of_the_window(delay: int) -> None:
    packets = audio(500, lost=range(250, 500), delay=delay * MS)
    gap = longest_gap(packets, since=0, until=10 * S, deadline=None)
    assert gap.excess.ns == 10 * S - (249 * 20 + delay) * MS - 20 * MS
    assert (gap.start, gap.end, gap.recovered) == ((249 * 20 + delay) * MS, 10 * S, False)


def test_it_counts_to_the_end_of_the_window_although_the_flow_came_back_later() -> None:
    packets = audio(500, lost=range(100, 300))
    assert gap_ms(packets, until=4 * S) == 4000 - (99 * 20 + 30) - 20
    assert gap_ms(packets, until=10 * S) == 200 * 20


def test_what_arrives_after_the_end_of_the_window_was_not_heard_in_it() -> None:
    packets = audio(500, delay=lambda index: 6 * S - index * 20 * MS if 100 <= index < 200 else 30 * MS)  # held back until 6 s
    gap = longest_gap(packets, since=0, until=4 * S, deadline=None)
    assert (gap.excess.ns, gap.recovered) == (4 * S - (99 * 20 + 30) * MS - 20 * MS, False)


def test_packets_in_flight_at_the_end_of_the_window_are_no_silence() -> None:
    assert gap_ms(audio(500, delay=400 * MS), until=5 * S) == 0


def test_the_source_ending_before_the_window_is_its_own_pause() -> None:
    assert gap_ms(audio(100), until=10 * S) == 0
    assert gap_ms(audio(100, delay=100 * MS, lost=range(95, 100)), until=10 * S) == 100


def test_reordering_and_duplicates_are_no_silence() -> None:
    packets = audio(500, delay=lambda index: 75 * MS if index % 10 == 0 else 30 * MS)
    packets[250] = again(packets[250], 9 * S)
    assert gap_ms(packets) <= 20  # a hole of at most one packet until the late one of the ten arrives


def test_a_reordered_last_packet_is_no_silence() -> None:
    assert gap_ms(audio(100, delay=lambda index: 90 * MS if index == 98 else 30 * MS), until=4 * S) <= 20


def test_a_duplicate_does_not_shorten_a_silence() -> None:
    """A replayed old packet in the middle of an outage is nothing new to hear."""
    packets = audio(500, lost=range(100, 150))
    packets[99] = again(packets[99], 2500 * MS)
    assert gap_ms(packets) == 1000


class TestNothingAtAll:
    def test_no_packets_are_total_silence(self) -> None:
        assert longest_gap([], since=2 * S, until=5 * S, deadline=None) == Gap(Duration(3 * S), 2 * S, 5 * S, recovered=False)

    def test_nothing_heard_is_total_silence(self) -> None:
        assert gap_ms(audio(500, lost=range(500))) == 10_000
        assert gap_ms(audio(500, delay=200 * MS), deadline=150 * MS) == 10_000
        assert gap_ms(audio(3, lost=range(3))) == 10_000

    def test_a_window_in_which_nothing_was_offered_or_heard_is_total_silence(self) -> None:
        """An agent that stops its source at the fault must not read as a perfect flow."""
        packets = audio(100)
        assert gap_ms(packets, since=4 * S, until=9 * S) == 5000
        assert gap_ms(packets, since=1 * S, until=9 * S) == 0  # here the source was heard, and then paused

    def test_it_ends_in_recovery_to_the_end_of_the_window_too(self) -> None:
        assert recovery([], after=S, until=4 * S, deadline=None) == Gap(Duration(3 * S), S, 4 * S, recovered=False)
        assert longest(interruptions([], at=S, until=4 * S, deadline=None), since=S).excess.ns == 3 * S


def test_a_gap_belongs_to_the_window_it_ends_in() -> None:
    packets = audio(500, lost=range(100, 200))  # silent from 2.01 s to 4.03 s
    assert gap_ms(packets, since=3 * S) == 2000
    assert gap_ms(packets, since=4 * S + 31 * MS) == 0
    assert gap_ms(packets, since=0, until=2 * S) == 0
    late_start = audio(500, lost=range(50))
    assert gap_ms(late_start, since=0) == 1000
    assert gap_ms(late_start, since=5 * S) == 0


def test_every_silence_is_listed_not_only_the_longest() -> None:
    gaps = silences(audio(500, lost=[*range(50, 55), *range(200, 230)]), since=0, until=10 * S, deadline=None)
    assert [gap.excess.ms for gap in gaps] == [100, 600]


def test_the_interruption_ends_at_the_first_packet_offered_after_the_fault() -> None:
    """A later outage belongs to the window, not to the fault."""
    packets = audio(500, lost=[*range(100, 105), *range(300, 350)])
    fault = 1995 * MS
    assert longest(interruptions(packets, at=fault, until=10 * S, deadline=None), since=fault).excess.ms == 100
    assert gap_ms(packets, since=fault) == 1000


def test_recovery_is_from_the_moment_to_the_first_fresh_arrival() -> None:
    packets = audio(500, lost=range(100, 110), delay=50 * MS)
    fault = 1999 * MS
    assert first_fresh(packets, after=fault, until=10 * S, deadline=None) == 2250 * MS
    gap = recovery(packets, after=fault, until=10 * S, deadline=None)
    assert gap == Gap(Duration(251 * MS), fault, 2250 * MS)


def test_a_stale_packet_out_of_an_old_queue_is_no_recovery() -> None:
    packets = audio(500, lost=range(100, 500), delay=lambda index: 900 * MS if index == 99 else 30 * MS)
    assert not recovery(packets, after=1990 * MS, until=10 * S, deadline=None).recovered


def test_the_source_s_own_pauses_are_a_figure_of_their_own() -> None:
    pauses = source_pauses(audio(100, pauses={50: 2 * S}), since=0, until=6 * S)
    assert max(pauses, key=lambda gap: gap.excess.ns).excess.ms == 2020
    assert pauses[-1].recovered is False
    assert [gap.excess.ms for gap in source_pauses([], since=0, until=6 * S)] == [6000]


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="ends 1000000 ns before it begins"):
        longest_gap([], since=2 * MS, until=1 * MS, deadline=None)


def test_video_frames_of_several_packets() -> None:
    """Three packets a frame at 30 fps; ten frames lost."""
    packets = [
        packet(
            3 * frame + part,
            offered=frame * 33 * MS,
            arrived=None if 40 <= frame < 50 else frame * 33 * MS + 25 * MS,
            frame=frame,
            marker=part == 2,
        )
        for frame in range(100)
        for part in range(3)
    ]
    assert gap_ms(packets, until=3 * S) == 330
    first_missing = [p for p in packets if p.frame >= 40]
    assert gap_ms(first_missing, since=40 * 33 * MS, until=3 * S) == 330
