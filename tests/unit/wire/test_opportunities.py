"""Recorded rates: every packet leaves at an opportunity of the trace, as in mahimahi's own queue."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.spec.link import CLEAR, Impairment
from harness.spec.rate_trace import OPPORTUNITY, RateTrace, rate_trace
from harness.units import mbit, ms, percent
from harness.wire.opportunities import Opportunities
from harness.wire.shaper import Drop, Shaper

MS = 1_000_000
ORIGIN = 7 * MS + 3

traces = st.lists(st.integers(0, 20), min_size=1, max_size=12).filter(any).map(lambda steps: rate_trace(running(steps), "drawn"))
arrivals = st.lists(st.tuples(st.integers(0, 15 * MS), st.integers(28, 4000)), min_size=1, max_size=40)


def running(steps: list[int]) -> list[int]:
    return [sum(steps[: n + 1]) for n in range(len(steps))]


def shaped(impairment: Impairment) -> Shaper[int]:
    link: Shaper[int] = Shaper(CLEAR, Random(1))
    link.change(impairment, ORIGIN)
    return link


def mahimahi_says(trace: RateTrace, packets: list[tuple[int, int]]) -> list[int]:
    """When each packet (arrival, size) leaves: opportunity by opportunity, what waits is sent, as far as 1500 bytes go."""
    waiting, gone, at = list(range(len(packets))), [0] * len(packets), 0
    left = [size for _, size in packets]
    while waiting:
        period, number = divmod(at, trace.opportunities)
        time = ORIGIN + (period * trace.times[-1] + trace.times[number]) * MS
        at, room = at + 1, OPPORTUNITY
        while waiting and room and packets[waiting[0]][0] <= time:
            sent = min(room, left[waiting[0]])
            room -= sent
            left[waiting[0]] -= sent
            if not left[waiting[0]]:
                gone[waiting.pop(0)] = time
    return gone


@given(traces, arrivals)
def test_departures_are_mahimahis(trace: RateTrace, steps: list[tuple[int, int]]) -> None:
    packets = list(zip((ORIGIN + at for at in running([gap for gap, _ in steps])), (size for _, size in steps), strict=True))
    link = shaped(Impairment(rate_trace=trace))
    assert [link.push(n, size, at) for n, (at, size) in enumerate(packets)] == mahimahi_says(trace, packets)


@given(traces, arrivals, st.booleans())
def test_no_packet_before_its_opportunity_and_no_more_bytes_than_credit(
    trace: RateTrace, steps: list[tuple[int, int]], reordering: bool
) -> None:
    """With delay and jitter too: in order the exit is at opportunities, with reordering the entry is."""
    impairment = Impairment(delay=9 * ms, jitter=9 * ms, reordering=reordering, rate_trace=trace)
    link, now, bytes_at = shaped(impairment), ORIGIN, Counter[int]()
    plain = Shaper[int](CLEAR, Random(1))
    plain.change(Impairment(delay=9 * ms, jitter=9 * ms, reordering=reordering), ORIGIN)
    for n, (gap, size) in enumerate(steps):
        now += gap
        departure, unlimited = link.push(n, size, now), plain.push(n, size, now)
        assert isinstance(departure, int)
        assert isinstance(unlimited, int)
        exit_ = departure - (unlimited - now) if reordering else departure
        assert exit_ >= (now if reordering else unlimited)
        passed = exit_ - ORIGIN
        assert passed % MS == 0
        assert passed // MS % trace.times[-1] in {time % trace.times[-1] for time in trace.times}
        bytes_at[exit_] += size
    total = 0
    for at in sorted(bytes_at):
        total += bytes_at[at]
        period, rest = divmod((at - ORIGIN) // MS, trace.times[-1])
        until = period * trace.opportunities + sum(time <= rest for time in trace.times)
        assert total <= until * OPPORTUNITY


@pytest.mark.parametrize("size", [100, 1000, 1500])
def test_a_full_link_has_the_rate_of_the_trace(size: int) -> None:
    random = Random(3)
    trace = rate_trace([*sorted(random.randrange(1, 2001) for _ in range(1999)), 2000], "12 Mbit/s")
    assert trace.mean_rate == 12 * mbit
    link = shaped(Impairment(rate_trace=trace))
    departures = [link.push(n, size, ORIGIN) for n in range(9000)]
    last = departures[-1]
    assert isinstance(last, int)
    periods, rest = divmod((last - ORIGIN) // MS, 2000)
    used = 2000 * periods + sum(time <= rest for time in trace.times)
    assert 9000 * size <= used * OPPORTUNITY < 9000 * size + 20 * OPPORTUNITY
    assert 9000 * size * 8 / ((last - ORIGIN) / 1e9) == pytest.approx(12e6, rel=0.02 if size > 100 else 0.1)


def test_what_an_opportunity_has_left_is_no_credit() -> None:
    link = shaped(Impairment(rate_trace=rate_trace([10, 20, 30], "slow")))
    assert link.push(1, 100, ORIGIN) == ORIGIN + 10 * MS
    assert link.push(2, 1400, ORIGIN + 1) == ORIGIN + 10 * MS, "the rest of the same opportunity"
    assert link.push(3, 100, ORIGIN + 10 * MS) == ORIGIN + 20 * MS, "that one is full"
    assert link.push(4, 1500, ORIGIN + 20 * MS + 1) == ORIGIN + 30 * MS, "what 3 left is gone"
    assert link.push(5, 1501, ORIGIN + 30 * MS) == ORIGIN + 50 * MS, "the trace begins again, and this takes two"
    assert len(link.release(ORIGIN + 50 * MS)) == 5


def test_queue_and_queue_time_apply() -> None:
    slow = rate_trace([100], "slow")
    link = shaped(Impairment(rate_trace=slow, queue=2))
    assert [link.push(n, 1500, ORIGIN) for n in range(3)] == [ORIGIN + 100 * MS, ORIGIN + 200 * MS, Drop.QUEUE_FULL]
    link = shaped(Impairment(delay=5 * ms, rate_trace=slow, queue_time=150 * ms))
    assert [link.push(n, 1500, ORIGIN) for n in range(3)] == [ORIGIN + 100 * MS, Drop.QUEUE_FULL, Drop.QUEUE_FULL]
    assert link.push(3, 1500, ORIGIN + 60 * MS) == ORIGIN + 200 * MS


def test_a_change_leaves_a_trace_going_and_another_begins_with_it() -> None:
    trace = rate_trace([10, 100], "uneven")
    link = shaped(Impairment(rate_trace=trace))
    assert link.push(1, 1500, ORIGIN) == ORIGIN + 10 * MS
    link.change(Impairment(rate_trace=trace, loss=0 * percent), ORIGIN + 50 * MS)
    assert link.push(2, 1500, ORIGIN + 50 * MS) == ORIGIN + 100 * MS
    link.change(Impairment(rate_trace=rate_trace([10, 90], "another")), ORIGIN + 60 * MS)
    assert link.push(3, 1500, ORIGIN + 60 * MS) == ORIGIN + 150 * MS, "not before those that came under the old one"
    link.change(CLEAR, ORIGIN + 200 * MS)
    assert link.push(4, 1500, ORIGIN + 200 * MS) == ORIGIN + 200 * MS


def test_a_cut_gives_back_the_opportunities_that_were_promised() -> None:
    link = shaped(Impairment(rate_trace=rate_trace([10], "slow")))
    for n in range(10):
        link.push(n, 1500, ORIGIN)
    link.cut(ORIGIN + 1 * MS)
    link.uncut()
    assert link.push(10, 1500, ORIGIN + 2 * MS) == ORIGIN + 10 * MS


def test_an_end_of_a_period_is_its_last_opportunity() -> None:
    found = Opportunities(rate_trace([0, 0, 5], "edges"), 0)
    for _period in range(3):
        index = 3 * _period
        assert found.departure(1500, 5 * MS * _period + 1)[:2] == (5 * MS * (_period + 1), index + 2)
    assert found.departure(1500, 5 * MS)[:2] == (5 * MS, 2)
    assert found.departure(4500, 5 * MS)[:2] == (5 * MS, 4), "with the two at the start of the next"
