"""What falls to packets by chance: bursts, the spread of their delays, duplicates, corruption, being let ahead.

Statistics are of one seed each, so they always come out the same; the bounds are those that one seed in a thousand would break.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import groupby, pairwise
from random import Random

import pytest

from harness.spec.link import CLEAR, Distribution, GilbertElliott, Impairment, Pick
from harness.spec.spread import SCALE, table
from harness.units import Duration, kbit, mbit, ms, percent
from harness.wire.shaper import Drop, Shaper

MS = 1_000_000
FAR = 1000 * MS


def shaper(impairment: Impairment, seed: int = 7) -> Shaper[int]:
    return Shaper(impairment, Random(seed))


def lost(impairment: Impairment, count: int, seed: int = 7) -> list[bool]:
    link = shaper(impairment, seed)
    found = []
    for n in range(count):
        found.append(link.push(n, 200, n) is Drop.LOST)
        link.release(n)
    return found


def bursts(losses: list[bool]) -> list[int]:
    return [len(list(run)) for is_lost, run in groupby(losses) if is_lost]


class TestBurst:
    MODEL = GilbertElliott(p=2 * percent, r=25 * percent)

    def test_the_lengths_of_bursts_are_geometric(self) -> None:
        # With all lost in the bad state a burst is a stay there: P(n) = r (1-r)^(n-1).
        found = bursts(lost(Impairment(burst=self.MODEL), 100_000))
        r, chi, classes = 0.25, 0.0, 16
        for n in range(1, classes + 1):
            share = (1 - r) ** (n - 1) * (r if n < classes else 1)  # the last: so many or more
            got = sum(1 for length in found if (length == n if n < classes else length >= n))
            chi += (got - share * len(found)) ** 2 / (share * len(found))
        assert chi <= 37.7, "chi-square of 15 degrees of freedom, 0.1 %"

    def test_the_spells_without_loss_are_geometric_in_the_mean(self) -> None:
        losses = lost(Impairment(burst=self.MODEL), 100_000)
        spells = [len(list(run)) for is_lost, run in groupby(losses) if not is_lost]
        assert sum(spells) / len(spells) == pytest.approx(50, abs=3.29 * 50 / math.sqrt(len(spells)))

    @pytest.mark.parametrize(
        "model",
        [
            MODEL,
            GilbertElliott(p=1 * percent, r=10 * percent, bad=50 * percent),
            GilbertElliott(p=1 * percent, r=10 * percent, bad=50 * percent, good=2 * percent),
            GilbertElliott(p=100 * percent, r=100 * percent),
        ],
    )
    def test_the_share_lost_is_that_of_the_model(self, model: GilbertElliott) -> None:
        count, share, memory = 100_000, model.mean_loss, 1 - model.p.fraction - model.r.fraction
        deviation = math.sqrt(
            share * (1 - share) / count * max((1 + memory) / (1 - memory), 1)
        )  # at most: of a chain that loses all when bad
        assert abs(sum(lost(Impairment(burst=model), count)) / count - share) <= 3.29 * deviation + 1 / count

    def test_it_starts_in_the_good_state_and_loses_before_it_steps(self) -> None:
        always = GilbertElliott(p=100 * percent, r=100 * percent)
        assert lost(Impairment(burst=always), 6) == [False, True] * 3
        stuck = GilbertElliott(p=100 * percent, r=0 * percent)
        assert lost(Impairment(burst=stuck), 4) == [False, True, True, True]

    def test_bursts_come_on_top_of_independent_loss_and_shift_it_not(self) -> None:
        both = lost(Impairment(loss=5 * percent, burst=self.MODEL), 2000)
        one, other = lost(Impairment(loss=5 * percent), 2000), lost(Impairment(burst=self.MODEL), 2000)
        assert both == [a or b for a, b in zip(one, other, strict=True)]

    def test_chatter_takes_no_step_but_meets_the_state(self) -> None:
        link = shaper(Impairment(burst=GilbertElliott(p=100 * percent, r=0 * percent)))
        assert [link.push(0, 60, 0, chatter=True) for _ in range(3)] == [0, 0, 0]
        assert link.push(0, 200, 0) == 0
        assert [link.push(0, 60, 0, chatter=True) for _ in range(3)] == [Drop.LOST] * 3

    def test_a_cut_does_not_stop_the_chain(self) -> None:
        impairment = Impairment(burst=self.MODEL)
        plain = lost(impairment, 1000)
        link = shaper(impairment)
        link.cut(0)
        for n in range(500):
            link.push(n, 200, 0)
        link.uncut()
        assert [link.push(n, 200, 0) is Drop.LOST for n in range(500, 1000)] == plain[500:]

    def test_a_change_ends_no_bad_spell_unless_it_takes_the_burst_away(self) -> None:
        stuck = Impairment(burst=GilbertElliott(p=100 * percent, r=0 * percent))
        link = shaper(stuck)
        assert link.push(0, 200, 0) == 0
        link.change(Impairment(delay=1 * ms, burst=GilbertElliott(p=0 * percent, r=1 * percent)), 0)
        assert link.push(1, 200, 0) is Drop.LOST
        link.change(CLEAR, 0)
        link.change(stuck, 0)
        assert link.push(2, 200, 0) == 0
        link.restart(Random(7))
        assert link.push(3, 200, 0) == 0


class TestSpread:
    @pytest.mark.parametrize("distribution", ["normal", "pareto", "paretonormal"])
    def test_delays_are_spread_as_the_table_has_it(self, distribution: Distribution) -> None:
        link = shaper(Impairment(delay=100 * ms, jitter=10 * ms, distribution=distribution))
        count = 20_000
        delays = sorted(
            int(fate) - n * FAR for n in range(count) if (fate := link.push(n, 200, n * FAR)) and link.release(n * FAR) is not None
        )
        entries = table(distribution)
        assert entries is not None
        # Kolmogorov and Smirnov: the greatest distance between the two shares below a value; 1.95 / sqrt(n) is 0.1 %.
        reached = [100 * MS + entry * 10 * MS // SCALE for entry in entries]
        distance = max(abs(bisect_right(delays, at) / count - bisect_right(reached, at) / len(reached)) for at in reached)
        assert distance <= 1.95 / math.sqrt(count)
        assert set(delays) <= set(reached)
        mean = sum(delays) / count
        assert mean == pytest.approx(100 * MS, abs=3.29 * 10 * MS / math.sqrt(count))

    @pytest.mark.parametrize("distribution", ["uniform", "normal", "pareto", "paretonormal"])
    def test_truncated_whoever_would_leave_before_it_came_leaves_at_once(self, distribution: Distribution) -> None:
        truncated = shaper(Impairment(delay=10 * ms, jitter=20 * ms, distribution=distribution, truncate=True))
        roomy = shaper(Impairment(delay=100 * ms, jitter=20 * ms, distribution=distribution))
        for n in range(1000):
            one, other = truncated.push(n, 200, n * FAR), roomy.push(n, 200, n * FAR)
            assert isinstance(one, int)
            assert isinstance(other, int)
            assert one == max(other - 90 * MS, n * FAR)

    def test_changing_the_distribution_changes_nobodys_rank(self) -> None:
        delays = []
        for distribution in ("uniform", "pareto"):
            link = shaper(Impairment(delay=100 * ms, jitter=10 * ms, distribution=distribution))  # type: ignore[arg-type]
            delays.append([int(fate) - n * FAR for n in range(200) if isinstance(fate := link.push(n, 200, n * FAR), int)])
        by_first = sorted(range(200), key=delays[0].__getitem__)
        assert all(delays[1][a] <= delays[1][b] for a, b in pairwise(by_first))


class TestReorder:
    def test_the_share_skips_the_delay_and_nobody_else_changes_place(self) -> None:
        link = shaper(Impairment(delay=50 * ms, reorder=25 * percent))
        fates = [link.push(n, 200, n * MS) for n in range(4000)]
        early = [n for n, fate in enumerate(fates) if fate == n * MS]
        assert all(fate == (n if n in set(early) else n + 50) * MS for n, fate in enumerate(fates))
        assert abs(len(early) / 4000 - 0.25) <= 3.29 * math.sqrt(0.25 * 0.75 / 4000)
        assert link.counters.reordered == len(early)

    def test_who_is_let_ahead_takes_no_rate(self) -> None:
        link = shaper(Impairment(delay=1 * ms, rate=1 * mbit, reorder=50 * percent))
        fates = [link.push(n, 1250, 0) for n in range(20)]
        rest = [fate for fate in fates if fate != 0]
        assert rest == [(1 + 10 * (n + 1)) * MS for n in range(len(rest))]
        assert 0 < len(rest) < 20

    def test_nobody_is_let_ahead_of_those_who_came_under_an_impairment_in_order(self) -> None:
        link = shaper(Impairment(delay=500 * ms))
        link.push(0, 200, 0)
        link.change(Impairment(delay=500 * ms, reorder=100 * percent), 1)
        assert link.push(1, 200, 1) == 500 * MS
        assert link.push(2, 200, 500 * MS) == 500 * MS
        assert link.release(500 * MS) == [0, 1, 2]


class TestDuplicate:
    def test_the_copy_leaves_right_behind(self) -> None:
        link = shaper(Impairment(delay=5 * ms, duplicate=100 * percent))
        assert [link.push(n, 200, n) for n in range(3)] == [5 * MS, 5 * MS + 1, 5 * MS + 2]
        assert link.release(6 * MS) == [0, 0, 1, 1, 2, 2]
        counters = link.counters
        assert (counters.received, counters.duplicated, counters.delivered) == (3, 3, 6)

    def test_the_share(self) -> None:
        link = shaper(Impairment(duplicate=10 * percent))
        for n in range(4000):
            link.push(n, 200, n)
        assert abs(link.counters.duplicated / 4000 - 0.1) <= 3.29 * math.sqrt(0.1 * 0.9 / 4000)

    def test_a_copy_takes_rate_and_room(self) -> None:
        link = shaper(Impairment(rate=1 * mbit, queue=3, duplicate=100 * percent))
        assert [link.push(n, 1250, 0) for n in range(2)] == [10 * MS, 30 * MS]
        assert link.counters.queue_dropped == 1
        assert link.release(30 * MS) == [0, 0, 1]

    def test_packet_and_copy_are_lost_each_on_its_own(self) -> None:
        link = shaper(Impairment(loss=30 * percent, duplicate=100 * percent))
        for n in range(4000):
            link.push(n, 200, n)
        out = link.release(4000)
        once = sum(1 for n in set(out) if out.count(n) == 1) / 4000
        assert abs(once - 2 * 0.3 * 0.7) <= 3.29 * math.sqrt(0.42 * 0.58 / 4000)
        assert link.counters.lost == 8000 - len(out)

    def test_what_a_pick_takes_has_no_copy_and_a_copy_is_not_counted(self) -> None:
        link = shaper(Impairment(duplicate=100 * percent, drop=(Pick(2),)))
        assert [link.push(n, 200, n) for n in range(3)] == [0, Drop.PICKED, 2]
        assert link.release(2) == [0, 0, 2, 2]

    def test_a_copy_whose_packet_is_lost_still_departs(self) -> None:
        link = shaper(Impairment(delay=1 * ms, loss=50 * percent, duplicate=100 * percent))
        for n in range(100):
            if link.push(n, 200, n * FAR) is Drop.LOST and link.counters.in_flight:
                assert link.next_departure == n * FAR + MS
                return
            link.release(n * FAR + MS)
        raise AssertionError("no such copy")


class TestCorrupt:
    def test_the_share_is_harmed_at_places_all_over(self) -> None:
        places: list[float] = []

        def harmed(packet: int, share: float) -> int:
            places.append(share)
            return -packet

        link: Shaper[int] = Shaper(Impairment(corrupt=20 * percent), Random(7), harmed=harmed)
        for n in range(1, 4001):
            link.push(n, 200, n)
        out = link.release(4000)
        assert [abs(packet) for packet in out] == list(range(1, 4001))
        count = sum(1 for packet in out if packet < 0)
        assert count == len(places) == link.counters.corrupted
        assert abs(count / 4000 - 0.2) <= 3.29 * math.sqrt(0.2 * 0.8 / 4000)
        tenths = [sum(1 for share in places if int(share * 10) == tenth) for tenth in range(10)]
        assert sum((got - count / 10) ** 2 / (count / 10) for got in tenths) <= 27.9, "chi-square of 9 degrees of freedom, 0.1 %"

    def test_copies_are_harmed_on_their_own(self) -> None:
        link: Shaper[int] = Shaper(
            Impairment(corrupt=50 * percent, duplicate=100 * percent), Random(7), harmed=lambda packet, share: -packet
        )
        for n in range(1, 201):
            link.push(n, 200, n)
        out = link.release(200)
        kinds = {(out[2 * n] < 0, out[2 * n + 1] < 0) for n in range(200)}
        assert len(kinds) == 4


class TestQueueTime:
    def test_who_would_wait_longer_is_dropped(self) -> None:
        link = shaper(Impairment(rate=1 * mbit, delay=100 * ms, queue_time=25 * ms))  # 10 ms a packet
        assert [link.push(n, 1250, 0) for n in range(5)] == [110 * MS, 120 * MS, 130 * MS, Drop.QUEUE_FULL, Drop.QUEUE_FULL]
        assert link.push(5, 1250, 5 * MS) == 140 * MS
        assert link.push(6, 1250, 5 * MS) is Drop.QUEUE_FULL
        assert link.counters.queue_dropped == 3

    def test_none_may_wait(self) -> None:
        link = shaper(Impairment(rate=1 * mbit, queue_time=Duration(0)))
        assert [link.push(n, 1250, 0) for n in range(2)] == [10 * MS, Drop.QUEUE_FULL]
        assert link.push(2, 1250, 10 * MS) == 20 * MS

    def test_jitter_is_not_a_wait_for_the_rate(self) -> None:
        link = shaper(Impairment(rate=1000 * mbit, delay=50 * ms, jitter=50 * ms, queue_time=1 * ms))
        for n in range(500):
            assert isinstance(link.push(n, 200, n * MS), int)

    def test_what_waits_when_it_comes_into_force_counts(self) -> None:
        link = shaper(Impairment(rate=1 * mbit))
        for n in range(10):
            link.push(n, 1250, 0)
        link.change(Impairment(rate=1 * mbit, queue_time=50 * ms), 0)
        assert link.push(10, 1250, 0) is Drop.QUEUE_FULL
        assert link.push(11, 1250, 50 * MS) == 110 * MS

    def test_a_change_of_the_delay_makes_nobody_wait_for_the_rate(self) -> None:
        link = shaper(Impairment(rate=1000 * mbit, delay=500 * ms, queue_time=1 * ms))
        link.push(0, 200, 0)
        link.change(Impairment(rate=1000 * mbit, delay=5 * ms, queue_time=1 * ms), MS)
        assert isinstance(link.push(1, 200, MS), int)

    def test_what_was_taken_from_the_link_by_a_cut_waits_no_more(self) -> None:
        link = shaper(Impairment(rate=8 * kbit, queue_time=10 * ms))
        link.push(0, 1000, 0)
        link.cut(MS)
        link.uncut()
        assert link.push(1, 1000, MS) == 1001 * MS


class TestMtu:
    def test_larger_packets_are_too_big_and_no_pick_counts_them(self) -> None:
        link = shaper(Impairment(mtu=1280, drop=(Pick(2),)))
        assert [link.push(n, size, n) for n, size in enumerate((1280, 1281, 1500, 1280, 60))] == [
            0,
            Drop.TOO_BIG,
            Drop.TOO_BIG,
            Drop.PICKED,
            4,
        ]
        assert (link.counters.too_big, link.counters.picked, link.counters.delivered) == (2, 1, 0)

    def test_without_one_everything_passes(self) -> None:
        assert shaper(CLEAR).push(0, 65_535, 0) == 0

    def test_it_shifts_nobodys_luck(self) -> None:
        plain = lost(Impairment(loss=10 * percent), 500)
        link = shaper(Impairment(loss=10 * percent, mtu=100))
        found = [link.push(n, 200 if n % 3 else 100, n) for n in range(500)]
        assert all((fate is Drop.LOST) == plain[n] for n, fate in enumerate(found) if n % 3 == 0)
