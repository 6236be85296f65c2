from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from harness.media.delivery import delivery
from harness.units import Ratio, percent
from tests.unit.media.flows import MS, S, again, audio


def test_each_fate_is_counted_as_itself() -> None:
    packets = audio(100, lost=[3, 4], expired=[7], delay=lambda index: 151 * MS if index in (20, 21, 22) else 30 * MS)
    packets[50] = again(again(packets[50], 2 * S), 3 * S)
    counts = delivery(packets, since=0, until=10 * S, deadline=150 * MS)
    assert (counts.offered, counts.sent, counts.arrived) == (100, 99, 97)
    assert (counts.expired, counts.lost, counts.late, counts.unheard) == (1, 2, 3, 6)
    assert (counts.duplicates, counts.reordered) == (2, 3)
    assert counts.playout_loss == 6 * percent
    assert counts.network_loss == Ratio((2 * 10**12 + 49) // 99)


def test_a_reliable_stream_loses_nothing_and_is_late_instead() -> None:
    counts = delivery(audio(100, delay=lambda index: 500 * MS if index < 10 else 30 * MS), since=0, until=10 * S, deadline=150 * MS)
    assert counts.network_loss == 0 * percent
    assert counts.playout_loss == 10 * percent


def test_duplicates_never_hide_a_loss() -> None:
    """RFC 3550's expected - received would say -1 here, and a loss of 0 at one duplicate."""
    packets = audio(100, lost=[10])
    packets[20] = again(packets[20], 9 * S)
    packets[21] = again(packets[21], 9 * S)
    counts = delivery(packets, since=0, until=10 * S, deadline=None)
    assert counts.rfc3550_lost == -1
    assert (counts.lost, counts.duplicates) == (1, 2)


def test_a_replay_counts_as_a_duplicate_not_as_reordering() -> None:
    packets = audio(100)
    packets[5] = again(packets[5], 2 * S + 1)
    counts = delivery(packets, since=0, until=10 * S, deadline=None)
    assert (counts.duplicates, counts.reordered) == (1, 0)


def test_no_packets_have_no_loss_rate() -> None:
    counts = delivery([], since=0, until=S, deadline=None)
    assert counts.network_loss is None
    assert counts.playout_loss is None
    assert delivery(audio(10, expired=range(10)), since=0, until=S, deadline=None).network_loss is None


def test_the_window_is_of_packets_offered_and_a_later_arrival_still_counts() -> None:
    counts = delivery(audio(100, delay=500 * MS), since=100 * MS, until=200 * MS, deadline=None)
    assert (counts.offered, counts.arrived) == (6, 6)


@given(seed=st.integers(0, 2**32), count=st.integers(1, 80))
def test_known_faults_give_exactly_their_figures(seed: int, count: int) -> None:
    rng = random.Random(seed)
    fates = [rng.choice(["fine", "lost", "late", "expired", "twice"]) for _ in range(count)]
    where = {fate: [index for index, one in enumerate(fates) if one == fate] for fate in ("fine", "lost", "late", "expired", "twice")}
    packets = audio(
        count, lost=where["lost"], expired=where["expired"], delay=lambda index: 160 * MS if fates[index] == "late" else 30 * MS
    )
    for index in where["twice"]:
        packets[index] = again(packets[index], packets[index].offered + 31 * MS)
    rng.shuffle(packets)
    counts = delivery(packets, since=0, until=10 * S, deadline=150 * MS)
    assert counts.offered == count
    assert counts.lost == len(where["lost"])
    assert counts.late == len(where["late"])
    assert counts.expired == len(where["expired"])
    assert counts.duplicates == len(where["twice"])
