"""What holds of a shaper whatever is asked of it, in whatever order, at whatever times."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.spec.link import GilbertElliott, Impairment, Pick
from harness.spec.rate_trace import rate_trace
from harness.units import Duration, Rate, Ratio
from harness.wire.shaper import Counters, Drop, Shaper
from tests.examples import examples

SHARE = st.builds(Ratio, st.integers(0, 10**12))


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


@st.composite
def impairments(draw: st.DrawFn) -> Impairment:
    """Any impairment that makes sense."""
    delay = draw(maybe(st.builds(Duration, st.integers(0, 10**9))))
    jitter = None if delay is None else draw(maybe(st.builds(lambda share: delay * share, st.floats(0, 1.5))))
    rate = draw(maybe(st.builds(Rate, st.integers(1, 10**9))))
    mtu = draw(maybe(st.integers(68, 9000)))
    trace = None if rate is not None else draw(maybe(st.lists(st.integers(0, 500), max_size=20).map(lambda times: [*sorted(times), 500])))
    impairment = Impairment(
        delay=delay,
        jitter=jitter,
        distribution="uniform" if jitter is None else draw(st.sampled_from(["uniform", "normal", "pareto", "paretonormal"])),
        truncate=jitter is not None,
        reordering=jitter is not None and draw(st.booleans()),
        reorder=None if delay is None or delay.ns == 0 else draw(maybe(SHARE)),
        loss=draw(maybe(SHARE)),
        burst=draw(maybe(st.builds(GilbertElliott, p=st.builds(Ratio, st.integers(1, 10**12)), r=SHARE, bad=SHARE, good=SHARE))),
        drop=draw(maybe(st.lists(st.builds(Pick, st.integers(1, 20), maybe(st.integers(0, 1000)), st.none()), max_size=4).map(tuple))),
        duplicate=draw(maybe(SHARE)),
        corrupt=draw(maybe(SHARE)),
        rate=rate,
        queue=draw(maybe(st.integers(1, 20))),
        queue_time=None if rate is None and trace is None else draw(maybe(st.builds(Duration, st.integers(0, 10**9)))),
        mtu=mtu,
        too_big=mtu is not None and draw(st.booleans()),
        rate_trace=None if trace is None else rate_trace(trace, "test"),
    )
    impairment.validate("test")
    return impairment


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(20, 9000), st.booleans()),
        st.tuples(st.just("push"), st.integers(20, 9000), st.just(False)),
        st.tuples(st.just("wait"), st.integers(0, 10**8)),
        st.tuples(st.just("release")),
        st.tuples(st.just("change"), impairments()),
        st.tuples(st.just("cut")),
        st.tuples(st.just("uncut")),
    ),
    max_size=100,
)


def keeps_order(impairment: Impairment) -> bool:
    return not impairment.reordering and (impairment.reorder is None or impairment.reorder.count == 0)


class Book:
    """A shaper, and beside it an account of all that went in and came out.  A packet is (number, whole), and not whole once harmed."""

    def __init__(self, first: Impairment, seed: int) -> None:
        self.link: Shaper[tuple[int, bool]] = Shaper(first, Random(seed), lambda packet: packet[0] % 7 * 200 or None, self.harmed)
        self.now = self.pushed = 0
        self.entered_at: list[int] = []
        self.promised: dict[int, int] = {}
        self.dropped: dict[Drop, int] = dict.fromkeys(Drop, 0)
        self.out: list[tuple[int, int]] = []
        self.whole: list[bool] = []
        # Packets of one class may overtake each other; a class never overtakes the one before.
        self.class_of: list[int] = []
        self.boundary = 0

    @staticmethod
    def harmed(packet: tuple[int, bool], share: float) -> tuple[int, bool]:
        assert 0 <= share < 1
        assert packet[1], "harmed twice"
        return packet[0], False

    def push(self, size: int, chatter: bool) -> None:
        before = self.link.counters
        limit = self.link.impairment.queue or 10_000
        self.class_of.append(self.pushed if keeps_order(self.link.impairment) else self.boundary)
        self.entered_at.append(self.now)
        fate = self.link.push((self.pushed, True), size, self.now, chatter)
        after = self.link.counters
        if isinstance(fate, Drop):
            self.dropped[fate] += 1
        else:
            assert fate >= self.now
            self.promised[self.pushed] = fate
        self.pushed += 1
        assert after.in_flight <= max(limit, before.in_flight), "the queue is over its limit"
        copies = after.duplicated - before.duplicated
        assert copies in (0, 1)
        if copies:
            assert not chatter
            assert fate not in (Drop.CUT, Drop.TOO_BIG, Drop.PICKED), "what never entered has no copy"
        assert after.in_flight + after.delivered - before.in_flight - before.delivered in (0, 1, 1 + copies)

    def collect(self) -> None:
        for number, whole in self.link.release(self.now):
            self.out.append((self.now, number))
            self.whole.append(whole)

    def step(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("push", size, chatter):
                self.push(size, chatter)
            case ("wait", span):
                self.now += span
            case ("release",):
                self.collect()
            case ("change", impairment):
                before = self.link.counters
                was = self.link.impairment
                self.link.change(impairment, self.now)
                after = self.link.counters
                assert after.delivered + after.in_flight == before.delivered + before.in_flight, "a change lost somebody"
                if keeps_order(was) or keeps_order(impairment):
                    self.boundary = self.pushed
            case ("cut",):
                before = self.link.counters
                self.link.cut(self.now)
                self.dropped[Drop.CUT] += self.link.counters.cut_dropped - before.cut_dropped
                assert self.link.counters.in_flight == 0
            case ("uncut",):
                self.link.uncut()


def gone(counters: Counters) -> int:
    return counters.lost + counters.picked + counters.too_big + counters.queue_dropped + counters.cut_dropped


@settings(max_examples=examples(300), deadline=None)
@given(first=impairments(), story=STEPS, seed=st.integers(0, 2**32))
def test_no_packet_is_invented_and_none_lost_without_a_reason(first: Impairment, story: list[tuple[Any, ...]], seed: int) -> None:
    book = Book(first, seed)
    for step in story:
        book.step(step)
        counters = book.link.counters
        assert counters.received == book.pushed
        assert book.pushed + counters.duplicated == counters.delivered + gone(counters) + counters.in_flight
        for drop, told in (
            (Drop.LOST, counters.lost),
            (Drop.PICKED, counters.picked),
            (Drop.TOO_BIG, counters.too_big),
            (Drop.QUEUE_FULL, counters.queue_dropped),
            (Drop.CUT, counters.cut_dropped),
        ):
            copies = counters.duplicated if drop in (Drop.LOST, Drop.QUEUE_FULL) else 0
            assert 0 <= told - book.dropped[drop] <= copies
    while (following := book.link.next_departure) is not None:
        book.now = max(book.now, following)
        before = len(book.out)
        book.collect()
        assert len(book.out) > before, "promised a departure and had none"
    counters = book.link.counters
    packets = [packet for _, packet in book.out]
    assert len(packets) == counters.delivered
    assert len(packets) - len(set(packets)) <= counters.duplicated, "somebody was doubled uncounted"
    assert all(packets.count(packet) <= 2 for packet in set(packets))
    assert book.whole.count(False) <= counters.corrupted
    assert all(at >= book.entered_at[packet] for at, packet in book.out), "somebody left before he came"
    last = {packet: at for at, packet in book.out}
    assert all(at >= book.promised[packet] for packet, at in last.items() if packet in book.promised), "somebody left early"
    classes = [book.class_of[packet] for packet in packets]
    assert classes == sorted(classes), "somebody overtook where order was promised"


@settings(max_examples=examples(100), deadline=None)
@given(impairments(), st.lists(st.integers(20, 9000), max_size=80), st.integers(0, 2**32), st.builds(Rate, st.integers(1, 10**9)))
def test_what_leaves_never_exceeds_the_rate(impairment: Impairment, sizes: list[int], seed: int, rate: Rate) -> None:
    impairment = msgspec.structs.replace(impairment, rate=rate, rate_trace=None, reordering=False, reorder=None)
    link: Shaper[tuple[int, int]] = Shaper(impairment, Random(seed))
    for n, size in enumerate(sizes):
        link.push((n, size), size, 0)
    left = []
    while (at := link.next_departure) is not None:
        left += [(at, packet[1]) for packet in link.release(at)]
    gaps = [(size, b - a) for (a, _), (b, size) in pairwise(left)]
    assert all(gap >= size * 8 * 10**9 // rate.bits_per_second for size, gap in gaps)


def fates(
    impairment: Impairment,
    seed: int,
    times: list[int],
    count: int,
    chatter: set[int] = frozenset(),  # type: ignore[assignment]
) -> tuple[list[bool], dict[int, int], dict[int, list[float]]]:
    """Per packet: lost; how many of it left (it and its copy); where each of those was harmed."""
    harmed: dict[int, list[float]] = {}

    def harm(packet: int, share: float) -> int:
        harmed.setdefault(packet, []).append(share)
        return packet

    link: Shaper[int] = Shaper(impairment, Random(seed), harmed=harm)
    lost, left, now = [], dict.fromkeys(range(count), 0), 0
    for n in range(count):
        now += times[n % len(times)]
        if n in chatter:
            link.push(-1, 60, now, chatter=True)
        lost.append(link.push(n, 200, now) is Drop.LOST)
    for packet in link.release(1 << 62):
        if packet >= 0:
            left[packet] += 1
    return lost, left, harmed


@settings(max_examples=examples(100), deadline=None)
@given(
    impairment=impairments(),
    seed=st.integers(0, 2**32),
    times=st.lists(st.integers(0, 10**9), min_size=1, max_size=20),
    others=st.lists(st.integers(0, 10**9), min_size=1, max_size=20),
    chatter=st.sets(st.integers(0, 99)),
)
def test_the_same_seed_means_the_same_fates_whatever_the_timing_and_the_chatter(
    impairment: Impairment, seed: int, times: list[int], others: list[int], chatter: set[int]
) -> None:
    # Only room in the link depends on the time, so there is room.
    roomy = {"queue": None, "queue_time": None}
    impairment = msgspec.structs.replace(impairment, **roomy)
    assert fates(impairment, seed, times, 100) == fates(impairment, seed, others, 100, chatter)


@settings(max_examples=examples(100), deadline=None)
@given(one=impairments(), other=impairments(), seed=st.integers(0, 2**32))
def test_one_impairment_does_not_shift_anothers_luck(one: Impairment, other: Impairment, seed: int) -> None:
    """Two shapers of one seed that share a loss, a burst and a share of duplicates lose the same packets, whatever else they do."""
    both = {
        "loss": one.loss,
        "burst": one.burst,
        "duplicate": one.duplicate,
        "queue": None,
        "queue_time": None,
        "drop": None,
        "mtu": None,
        "too_big": False,
    }
    found = []
    for impairment in (one, other):
        lost, left, _harmed = fates(msgspec.structs.replace(impairment, **both), seed, [1000], 60)
        found.append((lost, left))
    assert found[0] == found[1]


@settings(max_examples=examples(100), deadline=None)
@given(before=impairments(), after=impairments(), at=st.integers(1, 30), seed=st.integers(0, 2**32))
def test_what_was_in_force_before_shifts_nobodys_luck(before: Impairment, after: Impairment, at: int, seed: int) -> None:
    far = 10**11
    # All alone in the link, and without the memory of a burst, a packet's fate is that of its number.
    before, after = (
        msgspec.structs.replace(one, burst=None, rate=None, rate_trace=None, queue_time=None, drop=None) for one in (before, after)
    )
    fates_of: list[list[Any]] = []
    for first in (before, after):
        link: Shaper[int] = Shaper(first, Random(seed))
        fates_of.append([])
        for n in range(40):
            if n == at:
                link.change(after, n * far)
            fate = link.push(n, 500, n * far)
            left = []
            while (due := link.next_departure) is not None:
                left.append((due, link.release(due)))
            fates_of[-1].append((fate, left))
    assert fates_of[0][at:] == fates_of[1][at:]


@settings(max_examples=examples(60), deadline=None)
@given(
    seed=st.integers(0, 2**32), low=st.floats(0, 1), high=st.floats(0, 1), what=st.sampled_from(["loss", "duplicate", "corrupt", "reorder"])
)
def test_raising_a_share_only_adds_to_whom_it_meets(seed: int, low: float, high: float, what: str) -> None:
    met = []
    for share in sorted((low, high)):
        impairment = Impairment(delay=Duration(10**9), **{what: Ratio(int(share * 10**12))})  # type: ignore[arg-type]
        lost, left, harmed = fates(impairment, seed, [1000], 60)
        link: Shaper[int] = Shaper(impairment, Random(seed))
        early = {n for n in range(60) if link.push(n, 200, n * 1000) == n * 1000}
        meets = {"loss": {n for n in range(60) if lost[n]}, "duplicate": {n for n in left if left[n] == 2}, "corrupt": set(harmed)}
        met.append({**meets, "reorder": early}[what])
    assert met[0] <= met[1]
