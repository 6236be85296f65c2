from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.media.timing import delay, jitter, jitter_after_each, nearest_rank
from harness.rtp.reception import Reception, fraction_lost
from harness.units import Duration, ms, us
from tests.unit.media.flows import MS, S, again, audio, packet


def test_the_worked_jitter_of_metrics_md() -> None:
    """§1: arrivals 0, 20, 45, 60, 80 ms -> 0, 0, 15, 29.0625, 27.2461 units of 48 kHz; 0.5676 ms at the end."""
    values = jitter_after_each([(at * MS, 960 * number) for number, at in enumerate([0, 20, 45, 60, 80])], 48_000)
    assert values == pytest.approx([0, 0, 15, 29.0625, 27.24609375])
    assert values[-1] / 48 == pytest.approx(0.5676, abs=5e-5)


def test_alternating_5_ms_converges_to_5_ms() -> None:
    values = jitter_after_each([((20 * number + 5 * (number % 2)) * MS, 960 * number) for number in range(500)], 48_000)
    assert values[-1] / 48 == pytest.approx(5.0)


def test_timestamps_wrap() -> None:
    arrivals = [(number * 20 * MS, (2**32 - 1920 + 960 * number) & 0xFFFFFFFF) for number in range(5)]
    assert jitter_after_each(arrivals, 48_000) == [0.0] * 5


def test_jitter_of_a_flow() -> None:
    arrivals = [0, 20, 45, 60, 80]
    packets = [packet(number, offered=number * 20 * MS, arrived=at * MS) for number, at in enumerate(arrivals)]
    both = jitter(packets, since=0, until=S, clock_rate=48_000)
    assert both is not None
    assert both[0].ms == pytest.approx(27.24609375 / 48)
    assert both[1].ms == pytest.approx(29.0625 / 48)


def test_a_duplicate_is_no_jitter_and_a_new_ssrc_starts_anew() -> None:
    packets = audio(50)
    packets[10] = again(packets[10], 800 * MS)
    packets += [
        packet(number, offered=S + number * 20 * MS, arrived=S + (number * 20 + 90) * MS, ssrc=2, rtp=555 + 960 * number)
        for number in range(50)
    ]
    assert jitter(packets, since=0, until=3 * S, clock_rate=48_000) == (0 * ms, 0 * ms)


def test_jitter_needs_two_arrivals() -> None:
    assert jitter(audio(2, lost=[0]), since=0, until=S, clock_rate=48_000) is None


def test_delay_is_from_sendmsg_and_media_delay_holds_the_stack_s_queue() -> None:
    packets = [
        packet(number, offered=number * 20 * MS, sent=number * 20 * MS + 7 * MS, arrived=(number * 20 + 30 + number) * MS)
        for number in range(100)
    ]
    network = delay(packets, since=0, until=10 * S)
    assert network is not None
    assert (network.least, network.p50, network.p99, network.most) == (23 * ms, 72 * ms, 121 * ms, 122 * ms)
    assert network.spread == 99 * ms
    media = delay(packets, since=0, until=10 * S, of="media")
    assert media is not None
    assert media.least == 30 * ms


def test_delay_of_nothing_is_not_0() -> None:
    assert delay([], since=0, until=S) is None
    assert delay(audio(10, lost=range(10)), since=0, until=S) is None


def test_delay_of_first_copies_only() -> None:
    packets = audio(10)
    packets[3] = again(packets[3], 5 * S)
    summary = delay(packets, since=0, until=S)
    assert summary is not None
    assert summary.most == 30 * ms - 10 * us
    assert summary.packets == 10


def test_nearest_rank() -> None:
    assert [nearest_rank([15, 20, 35, 40, 50], percent) for percent in (5, 30, 40, 50, 100)] == [15, 20, 20, 35, 50]
    assert nearest_rank([7], 99) == 7
    assert Duration(7) == Duration(nearest_rank([7], 50))


class TestAgainstTheStackSReceptionStatistics:
    """Two implementations of RFC 3550, written apart: the judge's on exact nanoseconds, and the stack's that goes out in RTCP."""

    def test_the_worked_values_of_metrics_md(self) -> None:
        reception = Reception(ssrc=1, clock_rate=48_000)
        for number, at in enumerate([0, 20, 45, 60, 80]):
            reception.receive(number, 960 * number, at * MS)
        assert reception.jitter == pytest.approx(27.24609375)
        assert (reception.jitter_scaled, reception.jitter_scaled >> 4) == (436, 27)
        wrapped = Reception(ssrc=1, clock_rate=48_000)
        for number, seq in enumerate([*range(65530, 65536), *range(10)]):
            wrapped.receive(seq, 960 * number, number * 20 * MS)
        assert (wrapped.extended_max, wrapped.expected) == (65545, 16)
        assert fraction_lost(50, 48) == 10

    @given(st.lists(st.integers(0, 400), min_size=2, max_size=60))
    def test_the_two_agree_within_the_stack_s_whole_clock_units(self, delays: list[int]) -> None:
        packets = audio(len(delays), delay=lambda index: delays[index] * 100_000)
        reception = Reception(ssrc=1, clock_rate=48_000)
        for one in sorted(packets, key=lambda one: one.arrivals[0].at):
            reception.receive(one.seq, one.rtp, one.arrivals[0].at)
        both = jitter(packets, since=0, until=10 * S, clock_rate=48_000)
        assert both is not None
        assert both[0].ns == pytest.approx(reception.jitter_ns, abs=1e9 / 48_000)
