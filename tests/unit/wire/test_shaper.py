from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from harness.spec.link import CLEAR, Impairment, Pick
from harness.units import Ratio, kbit, mbit, ms, percent
from harness.wire.shaper import QUEUE, Drop, Shaper

MS = 1_000_000


def shaper(impairment: Impairment, seed: int = 7) -> Shaper[int]:
    return Shaper(impairment, Random(seed))


def fates(impairment: Impairment, count: int, seed: int = 7, step: int = MS) -> list[int | Drop]:
    link = shaper(impairment, seed)
    return [link.push(n, 200, n * step) for n in range(count)]


def lost(found: list[int | Drop]) -> list[int]:
    return [n for n, fate in enumerate(found) if fate is Drop.LOST]


class TestDelay:
    def test_a_clear_link_lets_a_packet_out_at_once(self) -> None:
        link = shaper(CLEAR)
        assert link.push(1, 200, 5) == 5
        assert link.next_departure == 5
        assert link.release(5) == [1]
        assert link.next_departure is None

    def test_nothing_leaves_before_its_time(self) -> None:
        link = shaper(Impairment(delay=20 * ms))
        assert link.push(1, 200, 0) == 20 * MS
        assert link.release(20 * MS - 1) == []
        assert link.counters.in_flight == 1
        assert link.release(20 * MS) == [1]
        assert link.counters.delivered == 1

    def test_jitter_is_uniform_around_the_delay_when_packets_are_far_apart(self) -> None:
        found = fates(Impairment(delay=20 * ms, jitter=5 * ms), 4000, step=100 * MS)
        delays = sorted(int(fate) - n * 100 * MS for n, fate in enumerate(found) if isinstance(fate, int))
        assert delays[0] >= 15 * MS
        assert delays[-1] <= 25 * MS
        for part in (0.1, 0.5, 0.9):
            assert delays[int(part * 4000)] == pytest.approx((15 + 10 * part) * MS, rel=0.02)

    def test_jitter_keeps_the_order(self) -> None:
        found = [int(f) for f in fates(Impairment(delay=20 * ms, jitter=20 * ms), 500) if isinstance(f, int)]
        assert found == sorted(found)

    def test_with_reordering_the_later_may_leave_first_and_release_goes_by_departure(self) -> None:
        link = shaper(Impairment(delay=20 * ms, jitter=20 * ms, reordering=True))
        departures = {n: link.push(n, 200, n * MS) for n in range(500)}
        out = link.release(1000 * MS)
        assert out != sorted(out)
        assert sorted(out) == list(range(500))
        assert [departures[n] for n in out] == sorted(departures[n] for n in out)


class TestSeed:
    def test_the_same_seed_loses_the_same_indexes_whatever_the_timing(self) -> None:
        impairment = Impairment(loss=10 * percent)
        assert lost(fates(impairment, 1000, step=MS)) == lost(fates(impairment, 1000, step=37))
        assert lost(fates(impairment, 1000, seed=7)) != lost(fates(impairment, 1000, seed=8))

    def test_loss_and_jitter_do_not_shift_each_other(self) -> None:
        far = 100 * MS
        plain = fates(Impairment(delay=20 * ms, jitter=5 * ms), 500, step=far)
        lossy = fates(Impairment(delay=20 * ms, jitter=5 * ms, loss=10 * percent), 500, step=far)
        assert lost(lossy) == lost(fates(Impairment(loss=10 * percent), 500, step=far))
        assert all(a == b for a, b in zip(plain, lossy, strict=True) if b is not Drop.LOST)

    def test_more_loss_only_adds_losses(self) -> None:
        assert set(lost(fates(Impairment(loss=5 * percent), 2000))) < set(lost(fates(Impairment(loss=20 * percent), 2000)))

    def test_chatter_shifts_nobody(self) -> None:
        impairment = Impairment(loss=10 * percent)
        link = shaper(impairment)
        found = []
        for n in range(1000):
            if n % 3 == 0:
                link.push(-1, 60, n * MS, chatter=True)
            found.append(link.push(n, 200, n * MS))
        assert lost(found) == lost(fates(impairment, 1000))
        assert link.counters.received == 1334

    def test_a_cut_and_a_change_shift_nobody(self) -> None:
        impairment = Impairment(loss=10 * percent)
        link = shaper(impairment)
        found = []
        for n in range(1000):
            if n == 200:
                link.cut(n)
            if n == 300:
                link.uncut()
            if n == 500:
                link.change(CLEAR, n)
            if n == 600:
                link.change(impairment, n)
            found.append(link.push(n, 200, n))
        asked = lost(fates(impairment, 1000))
        assert lost(found) == [n for n in asked if n not in range(200, 300) and n not in range(500, 600)]

    def test_a_restart_begins_the_luck_anew_and_spares_what_is_inside(self) -> None:
        impairment = Impairment(delay=5 * ms, loss=10 * percent)
        link = shaper(impairment)
        first = [link.push(n, 200, 0) for n in range(500)]
        inside = link.counters.in_flight
        link.restart(Random(7))
        again = [link.push(n, 200, 0) for n in range(500)]
        assert lost(again) == lost(first)
        counters = link.counters
        assert (counters.received, counters.lost) == (inside + 500, len(lost(first)))
        assert len(link.release(5 * MS)) == 2 * inside

    @pytest.mark.parametrize(("loss", "expected"), [(0 * percent, 0), (100 * percent, 500)])
    def test_never_and_always(self, loss: Ratio, expected: int) -> None:
        assert len(lost(fates(Impairment(loss=loss), 500))) == expected

    def test_the_share_lost_is_the_share_asked_for(self) -> None:
        # 20,000 draws at 5 %: a standard deviation is 30.8 packets; 3.3 of them is 99.9 %.
        assert abs(len(lost(fates(Impairment(loss=5 * percent), 20_000))) - 1000) <= 102


class TestRateAndQueue:
    def test_packets_are_serialised_one_after_another(self) -> None:
        link = shaper(Impairment(rate=1 * mbit))  # 1250 bytes take 10 ms
        assert [link.push(n, 1250, 0) for n in range(3)] == [10 * MS, 20 * MS, 30 * MS]
        assert link.push(3, 125, 100 * MS) == 101 * MS

    def test_rate_and_delay_add_up(self) -> None:
        link = shaper(Impairment(rate=1 * mbit, delay=50 * ms))
        assert [link.push(n, 1250, 0) for n in range(2)] == [60 * MS, 70 * MS]

    def test_the_rate_holds_at_the_exit_under_jitter(self) -> None:
        link = shaper(Impairment(rate=1 * mbit, delay=50 * ms, jitter=50 * ms))
        found = [link.push(n, 1250, n * 10 * MS) for n in range(200)]
        departures = [f for f in found if isinstance(f, int)]
        assert min(b - a for a, b in pairwise(departures)) >= 10 * MS

    def test_with_reordering_the_rate_is_paid_on_entry(self) -> None:
        link = shaper(Impairment(rate=1 * mbit, delay=50 * ms, jitter=0 * ms, reordering=True))
        assert [link.push(n, 1250, 0) for n in range(2)] == [60 * MS, 70 * MS]

    def test_the_tail_is_dropped_when_the_queue_is_full(self) -> None:
        link = shaper(Impairment(delay=20 * ms, queue=3))
        found = [link.push(n, 200, 0) for n in range(5)]
        assert found == [20 * MS] * 3 + [Drop.QUEUE_FULL] * 2
        assert link.counters.queue_dropped == 2
        assert link.release(20 * MS) == [0, 1, 2]

    def test_who_is_due_takes_no_room_though_nobody_collected_him(self) -> None:
        link = shaper(Impairment(delay=20 * ms, queue=2))
        link.push(0, 200, 0)
        link.push(1, 200, 1)
        assert link.push(2, 200, 20 * MS) == 40 * MS
        assert link.release(20 * MS + 1) == [0, 1]

    def test_without_a_queue_it_is_the_default(self) -> None:
        found = fates(Impairment(delay=20 * ms), QUEUE + 5, step=0)
        assert found.count(Drop.QUEUE_FULL) == 5

    def test_a_lost_packet_takes_no_rate(self) -> None:
        found = fates(Impairment(rate=800 * kbit, loss=50 * percent), 100, step=0)
        departures = [f for f in found if isinstance(f, int)]
        assert departures == [2 * MS * (n + 1) for n in range(len(departures))]


class TestChange:
    def test_packets_in_the_link_keep_their_departure_and_are_not_overtaken(self) -> None:
        link = shaper(Impairment(delay=500 * ms))
        assert link.push(0, 200, 0) == 500 * MS
        link.change(Impairment(delay=10 * ms), 100 * MS)
        assert link.push(1, 200, 100 * MS) == 500 * MS
        assert link.release(500 * MS) == [0, 1]
        assert link.push(2, 200, 500 * MS) == 510 * MS

    def test_back_to_nothing(self) -> None:
        link = shaper(Impairment(delay=10 * ms, loss=100 * percent, rate=1 * kbit))
        link.push(0, 200, 0)
        link.change(CLEAR, 5)
        assert link.impairment == CLEAR
        assert link.push(1, 200, 6) == 6
        assert link.counters.lost == 1

    def test_to_nothing_with_packets_in_it(self) -> None:
        link = shaper(Impairment(delay=10 * ms))
        link.push(0, 200, 0)
        link.change(CLEAR, 1)
        assert link.push(1, 200, 1) == 10 * MS
        assert link.push(2, 200, 11 * MS) == 11 * MS

    def test_from_order_to_reordering_spares_those_inside(self) -> None:
        link = shaper(Impairment(delay=500 * ms))
        link.push(0, 200, 0)
        link.change(Impairment(delay=20 * ms, jitter=20 * ms, reordering=True), 1)
        for n in range(1, 50):
            link.push(n, 200, n)
        assert link.release(600 * MS)[0] == 0

    def test_from_reordering_to_order_nobody_passes_those_inside(self) -> None:
        link = shaper(Impairment(delay=200 * ms, jitter=200 * ms, reordering=True))
        for n in range(50):
            link.push(n, 200, n)
        link.change(CLEAR, 60)
        link.push(50, 200, 61)
        assert link.release(600 * MS)[-1] == 50

    def test_a_smaller_queue_drops_nobody_who_is_in(self) -> None:
        link = shaper(Impairment(delay=20 * ms))
        for n in range(5):
            link.push(n, 200, 0)
        link.change(Impairment(delay=20 * ms, queue=2), 1)
        assert link.push(5, 200, 2) is Drop.QUEUE_FULL
        assert link.release(20 * MS) == [0, 1, 2, 3, 4]


class TestPick:
    def test_exactly_the_packets_that_were_picked_are_dropped(self) -> None:
        link = shaper(Impairment(delay=1 * ms, drop=(Pick(3), Pick(1))))
        found = [link.push(n, 200, 10 * n) for n in range(5)]
        assert found == [Drop.PICKED, MS + 10, Drop.PICKED, MS + 30, MS + 40]
        assert [(one.pick, one.number, one.at, one.packet) for one in link.picked] == [(Pick(1), 1, 0, 0), (Pick(3), 3, 20, 2)]
        assert (link.awaited, link.counters.picked, link.counters.lost) == (0, 2, 0)
        assert link.release(2 * MS) == [1, 3, 4]

    def test_a_pick_by_size_counts_only_datagrams_of_that_size(self) -> None:
        sizes = {0: 100, 1: None, 2: 1200, 3: 100, 4: 1200, 5: 1000}
        pick = Pick(2, min_bytes=1000)
        link: Shaper[int] = Shaper(Impairment(drop=(pick, Pick(1, max_bytes=99))), Random(7), sizes.__getitem__)
        found = [link.push(n, 1500, n) for n in range(6)]
        assert [n for n, fate in enumerate(found) if fate is Drop.PICKED] == [4]
        assert [(one.pick, one.number) for one in link.picked] == [(pick, 5)]
        assert link.awaited == 1

    def test_a_packet_that_two_picks_meet_in_is_dropped_once(self) -> None:
        link: Shaper[int] = Shaper(Impairment(drop=(Pick(1), Pick(1, min_bytes=1))), Random(7), lambda packet: 10)
        assert [link.push(n, 200, n) for n in range(2)] == [Drop.PICKED, 1]
        assert (len(link.picked), link.counters.picked) == (2, 1)

    def test_housekeeping_and_what_a_cut_takes_do_not_count(self) -> None:
        link = shaper(Impairment(drop=(Pick(2),)))
        assert link.push(0, 60, 0, chatter=True) == 0
        assert link.push(1, 200, 1) == 1
        link.cut(2)
        assert link.push(2, 200, 2) is Drop.CUT
        link.uncut()
        assert link.push(3, 200, 3) is Drop.PICKED

    def test_a_change_counts_anew_and_forgets_what_was_awaited(self) -> None:
        link = shaper(Impairment(drop=(Pick(1), Pick(9))))
        link.push(0, 200, 0)
        link.change(Impairment(drop=(Pick(2),)), 1)
        assert (link.picked, link.awaited) == ([], 1)
        assert [link.push(n, 200, n) for n in (1, 2, 3)] == [1, Drop.PICKED, 3]
        link.change(CLEAR, 4)
        assert (link.picked, link.awaited, link.counters.picked) == ([], 0, 2)

    def test_a_restart_counts_anew(self) -> None:
        link = shaper(Impairment(drop=(Pick(1),)))
        assert link.push(0, 200, 0) is Drop.PICKED
        link.restart(Random(7))
        assert (link.picked, link.counters.picked) == ([], 0)
        assert link.push(1, 200, 1) is Drop.PICKED

    def test_a_pick_shifts_nobodys_luck(self) -> None:
        plain = fates(Impairment(loss=10 * percent), 500)
        picked = fates(Impairment(loss=10 * percent, drop=(Pick(3), Pick(200))), 500)
        assert [n for n, pair in enumerate(zip(plain, picked, strict=True)) if pair[0] != pair[1]] == [2, 199]

    def test_sizes_are_asked_for_only_while_a_pick_is_awaited(self) -> None:
        asked = []
        link: Shaper[int] = Shaper(Impairment(drop=(Pick(2),)), Random(7), asked.append)
        for n in range(5):
            link.push(n, 200, n)
        assert asked == [0, 1]


class TestCut:
    def test_drops_what_is_inside_and_what_comes(self) -> None:
        link = shaper(Impairment(delay=20 * ms))
        link.push(0, 200, 0)
        link.push(1, 200, 10 * MS)
        link.cut(20 * MS)
        assert link.is_cut
        assert link.push(2, 200, 21 * MS) is Drop.CUT
        assert link.release(100 * MS) == [0], "the first had left before the cut"
        assert link.counters.cut_dropped == 2
        link.uncut()
        assert link.push(3, 200, 100 * MS) == 120 * MS

    def test_a_change_while_cut_holds_after(self) -> None:
        link = shaper(CLEAR)
        link.cut(0)
        link.change(Impairment(delay=5 * ms), 1)
        link.uncut()
        assert link.push(0, 200, 2) == 5 * MS + 2
