from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.media.bursts import LossRun, XrCounters, concealment, loss_pattern, runs, wire_density, xr_counters
from harness.units import ms
from tests.unit.media.flows import MS, S, audio


def pattern(*pieces: int) -> list[bool]:
    """Positive: so many good packets; negative: so many lost."""
    return [piece > 0 for piece in pieces for _ in range(abs(piece))]


@pytest.mark.parametrize(
    ("pieces", "counters", "density", "gap", "burst"),
    [
        ((49, -1, 49, -1, 49, -1), (147, 1, 2, 0, 0, 0), 256, 3000, 20),
        ((100, -10, 90, -1), (190, 2, 0, 0, 0, 9), 256, 1920, 110),
        ((50, -1, 15, -1, 50, -1), (100, 2, 0, 14, 1, 0), 42.67, 1020, 180),
        ((50, -1, 16, -1, 50, -1), (116, 1, 2, 0, 0, 0), 256, 2380, 20),
    ],
)
def test_the_check_values_of_metrics_md(
    pieces: tuple[int, ...], counters: tuple[int, ...], density: float, gap: float, burst: float
) -> None:
    counted = xr_counters(pattern(*pieces))
    assert counted == XrCounters(**dict(zip(("c11", "c13", "c14", "c22", "c23", "c33"), counters, strict=True)))
    assert counted.burst_density * 256 == pytest.approx(density, abs=0.005)
    assert counted.gap_length_ms(20) == pytest.approx(gap)
    assert counted.burst_length_ms(20) == pytest.approx(burst)


def test_the_wire_density_is_capped_at_255() -> None:
    assert (wire_density(1.0), wire_density(1 / 6), wire_density(0.0)) == (255, 42, 0)


def test_no_burst_has_no_lengths() -> None:
    counted = xr_counters(pattern(100))
    assert counted == XrCounters()
    assert (counted.gap_length_ms(20), counted.burst_length_ms(20), counted.burst_density, counted.gap_density) == (None, None, 0.0, 0.0)
    # All lost from the first packet on: a burst that no gap precedes is never counted as one (c13 stays 0).
    assert xr_counters(pattern(-10)).gap_length_ms(20) is None


def test_gap_density_is_the_isolated_losses() -> None:
    assert xr_counters(pattern(49, -1, 49, -1, 49, -1)).gap_density == pytest.approx(2 / 149)


def test_the_plain_list_tells_what_the_markov_means_hide() -> None:
    """One outage of 10 packets: 200 ms in the list, "110 ms" in the RFC 3611 block (with one more isolated loss)."""
    packets = audio(201, lost=[*range(100, 110), 200])
    found = loss_pattern(packets, since=0, until=10 * S, deadline=None)
    assert [(burst.first, burst.last, burst.lost, burst.isolated) for burst in found.bursts] == [(100, 109, 10, False), (200, 200, 1, True)]
    assert found.longest == LossRun(10, 2000 * MS)
    assert found.counters.burst_length_ms(20) == pytest.approx(110)


@pytest.mark.parametrize(("good", "bursts"), [(15, 1), (16, 2)])
def test_gmin_good_packets_end_a_burst(good: int, bursts: int) -> None:
    found = loss_pattern(audio(200, lost=[50, 51 + good]), since=0, until=10 * S, deadline=None)
    assert len(found.bursts) == bursts


def test_late_is_lost_here() -> None:
    packets = audio(100, delay=lambda index: 200 * MS if index in (40, 41, 42) else 30 * MS)
    assert loss_pattern(packets, since=0, until=10 * S, deadline=150 * MS).longest == LossRun(3, 800 * MS)
    assert loss_pattern(packets, since=0, until=10 * S, deadline=None).longest is None


@given(st.lists(st.booleans(), max_size=200))
def test_runs_are_exactly_the_losses(heard: list[bool]) -> None:
    missed = [position for first, count in runs(heard) for position in range(first, first + count)]
    assert missed == [position for position, ok in enumerate(heard) if not ok]
    assert all(heard[first + count] for first, count in runs(heard) if first + count < len(heard))


class TestConcealment:
    def test_the_worked_value(self) -> None:
        """metrics.md §4: 20 ms at 48 kHz are 960 samples; losing 5, 6, 7 conceals 2880 samples in one event."""
        made_up = concealment([index not in (5, 6, 7) for index in range(20)], packet=20 * ms)
        assert (made_up.concealed_samples, made_up.concealment_events, made_up.interruptions) == (2880, 1, 0)
        assert made_up.longest == 60 * ms

    def test_150_ms_are_an_interruption(self) -> None:
        assert concealment(pattern(5, -7, 5), packet=20 * ms).interruptions == 0
        assert concealment(pattern(5, -8, 5), packet=20 * ms).interruptions == 1
        assert concealment(pattern(5, -15, 5), packet=10 * ms).interruptions == 1
