"""One contract for whatever executes a link: the kernel's netem and the userspace relay both do what the Impairment says.

Each executor is measured between two namespaces by ``two_hosts``, with the kernel's arrival times, against its own unimpaired path.
Bounds: delay within 0.5 ms in the median and 3 ms at the 99th percentile, rate within 2 %, loss within a 99.9 % confidence interval.
Shares and distributions are held within what chance would break once in a thousand runs: the relay's fates come from a seed, so that it
does so always or never.  netem's do not (before Linux 6.6), and a suite that fails by chance is believed by nobody: its bounds are those
of once in a million, over so many more packets that they are no wider.

What ``link_bench`` says of disturbed measurements holds for all of them.  An executor that cannot do something refuses it by name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby

import pytest

from harness.fabric import netem, taps
from harness.fabric.relay_process import WAKING
from harness.spec.link import CLEAR, Distribution, GilbertElliott, Impairment, Pick
from harness.spec.spread import SCALE, table
from harness.units import Duration, kbit, mbit, ms, percent
from tests.conformance.figures import FIGURES
from tests.conformance.link_bench import MS, Bench
from tests.conformance.two_hosts import HEADERS

MEDIAN, P99 = 0.5, 3.0  # ms


PACKET = pytest.param("relay-packet", marks=[pytest.mark.long] if taps.tun_lacking() is None else [])
"""Where there is no TAP it is what carries every link."""


@pytest.fixture(scope="module", params=["relay", PACKET, "netem"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(request.param)
    if made.unfit is not None:
        made.close()
        if request.param in ("netem", "relay"):
            pytest.skip(f"platform: {made.unfit}")  # docs/platforms.md; `make test-vm` has a kernel with netem, and a /dev/net/tun
        raise RuntimeError(made.unfit)
    yield made
    made.close()
    request.config.stash[FIGURES].extend(made.figures)


@pytest.fixture(scope="module")
def base(bench: Bench) -> float:
    """The unimpaired path's median delay, ms."""
    return percentile(bench.under(CLEAR).send(100, every=3 * MS).delays(), 0.5)


def percentile(delays: dict[int, float], share: float) -> float:
    ordered = sorted(delays.values())
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


@dataclass(frozen=True)
class Chance:
    """How far from what is expected chance leads: in ``deviations`` of a normal distribution, by the Kolmogorov–Smirnov statistic times the
    root of the count, and by chi-square of 7 degrees of freedom; ``more``: how many times as many packets a test of it takes.
    """

    deviations: float
    kolmogorov: float
    chi_square: float
    more: float

    def enough(self, count: int) -> int:
        return round(self.more * count)


ONCE_IN_A_THOUSAND = Chance(3.291, 1.949, 24.3, 1)
ONCE_IN_A_MILLION = Chance(4.892, 2.693, 40.5, (4.892 / 3.291) ** 2)


def chance_of(bench: Bench) -> Chance:
    return ONCE_IN_A_MILLION if bench.executor == "netem" else ONCE_IN_A_THOUSAND


def hold_share(bench: Bench, asked: str, figure: str, found: int, count: int, share: float, clustering: float = 1.0) -> None:
    """A share in per cent; ``clustering``: by what factor its standard deviation is above that of independent events."""
    off = chance_of(bench).deviations * math.sqrt(share * (1 - share) / count) * clustering  # the normal approximation
    bench.hold(asked, figure, 100 * found / count, 100 * (share - off), 100 * (share + off), count, " %")


def assert_delay(bench: Bench, asked: str, delays: dict[int, float], expected: float) -> None:
    for figure, share, bound in (("median off by", 0.5, MEDIAN), ("99th percentile off by", 0.99, P99)):
        bench.hold(asked, figure, percentile(delays, share) - expected, -bound, bound, len(delays), " ms")
    assert min(delays.values()) >= expected - MEDIAN


def test_the_unimpaired_path_adds_next_to_nothing(bench: Bench, base: float) -> None:
    # Absolute, for what every delay below has on top would not show there.
    bench.hold("nothing", "median delay", base, 0, MEDIAN, 100, " ms")


@pytest.mark.parametrize("delay", [20 * ms, 23.7 * ms], ids=str)  # the second is no multiple of the sender's period
def test_delay(bench: Bench, base: float, delay: Duration) -> None:
    run = bench.under(Impairment(delay=delay)).send(300, every=3 * MS)
    assert run.order == list(range(300))
    assert_delay(bench, f"delay {delay}", run.delays(), base + delay.ms)


def test_loss_is_the_share_asked_for_and_nothing_else_is_lost(bench: Bench) -> None:
    run = bench.under(Impairment(loss=10 * percent)).send(chance_of(bench).enough(4000), every=MS // 5)
    hold_share(bench, "loss 10%", "lost", len(run.missing), run.count, 0.1)
    assert len(run.missing) <= run.counted("lost", "dropped") <= len(run.missing) + run.chatter
    assert run.counted("queue_dropped", "cut_dropped", "refused") == 0


def test_exactly_the_packets_that_were_picked_are_dropped(bench: Bench, base: float) -> None:
    impairment = Impairment(delay=20 * ms, drop=(Pick(1), Pick(50), Pick(7, min_bytes=200 - HEADERS), Pick(1, min_bytes=200 - HEADERS + 1)))
    if bench.executor == "netem":
        assert bench.refuses("drop", impairment)
        assert "which ones to drop cannot be said; use the relay" in str(netem.can_say(impairment))
        return
    run = bench.under(CLEAR).send(300, every=3 * MS, changes=((100, impairment),))
    assert run.missing == [100, 106, 149]
    bench.hold("drop of 3 picked packets", "packets lost, and no other", len(run.missing), 3, 3, 300)
    assert run.counted("picked") == 3
    assert run.counted("lost", "queue_dropped", "cut_dropped", "refused") == 0
    told = run.raw["after"]["picked_packets"]
    assert [(one["number"], one["size"], int(one["begins"][:8], 16)) for one in told] == [(n - 99, 200 - HEADERS, n) for n in run.missing]
    assert all(run.raw["sent"][n] - WAKING <= one["at"] <= run.arrived[n + 1] for n, one in zip(run.missing, told, strict=True))
    assert run.raw["after"]["awaited"] == 1, "no packet was of the last pick's size"
    assert_delay(bench, "drop, among delay 20ms", run.delays(range(101, 300)), base + 20)


@pytest.mark.parametrize("size", [125, 1250])
def test_rate_counts_ip_packets(bench: Bench, size: int) -> None:
    count = 75_000 // size  # 0.6 s at 1 Mbit/s
    run = bench.under(Impairment(rate=1 * mbit)).send(count, every=0, size=size)
    assert run.order == list(range(count))
    first, *_, last = run.clean()
    span = (run.arrived[last] - run.arrived[first]) / 1e9
    rate = (last - first) * size * 8 / span / 1e6
    bench.hold("rate 1mbit", f"rate of packets of {size} B", rate, 0.98, 1.02, count, " Mbit/s")


def test_what_finds_the_queue_full_is_dropped_at_the_tail(bench: Bench) -> None:
    run = bench.under(Impairment(rate=200 * kbit, queue=10)).send(30, every=0, size=1250)  # 50 ms each
    bench.hold("queue 10, rate 200kbit", "packets that found room of 30 at once", len(run.order), 10 - run.chatter, 10, 30)
    assert run.order == list(range(len(run.order)))
    assert 20 <= run.counted("queue_dropped", "dropped") <= 20 + run.chatter


def test_jitter_keeps_the_order(bench: Bench, base: float) -> None:
    run = bench.under(Impairment(delay=20 * ms, jitter=10 * ms)).send(300, every=3 * MS)
    assert run.order == list(range(300))
    delays = run.delays()
    bench.hold("delay 20ms, jitter 10ms, in order", "least delay", percentile(delays, 0) - base, 10 - MEDIAN, 30, len(delays), " ms")
    bench.hold("delay 20ms, jitter 10ms, in order", "99th percentile", percentile(delays, 0.99) - base, 10, 30 + P99, len(delays), " ms")
    assert percentile(delays, 0.9) - percentile(delays, 0.1) > 5, "there is jitter"


def test_with_reordering_jitter_reorders(bench: Bench, base: float) -> None:
    run = bench.under(Impairment(delay=20 * ms, jitter=10 * ms, reordering=True)).send(300, every=3 * MS)
    assert run.order != sorted(run.order)
    assert run.missing == []
    delays = run.delays()
    asked = "delay 20ms, jitter 10ms, reordering"
    bench.hold(asked, "least delay", percentile(delays, 0) - base, 10 - MEDIAN, 30, len(delays), " ms")
    bench.hold(asked, "99th percentile", percentile(delays, 0.99) - base, 10, 30 + P99, len(delays), " ms")
    # Uniform on 20 ms: the median of 300 has a standard deviation of 0.58 ms; 3.3 of these is 99.9 %.
    bench.hold(asked, "median off by", percentile(delays, 0.5) - base - 20, -1.9 - MEDIAN, 1.9 + MEDIAN, len(delays), " ms")


def test_a_change_while_running_spares_those_under_way(bench: Bench, base: float) -> None:
    run = bench.under(Impairment(delay=200 * ms)).send(300, every=3 * MS, changes=((100, Impairment(delay=20 * ms)),))
    assert run.order == list(range(300)), "none lost, none overtaken"
    assert_delay(bench, "delay 200ms, changed to 20ms: before", run.delays(range(100)), base + 200)
    # The first after the change wait behind those before it; 180 ms later that is over.
    assert_delay(bench, "delay 200ms, changed to 20ms: after", run.delays(range(100 + 65, 300)), base + 20)


def test_back_to_nothing(bench: Bench, base: float) -> None:
    bench.under(Impairment(delay=50 * ms, jitter=5 * ms, loss=50 * percent, rate=100 * kbit, queue=5)).send(20, every=0)
    run = bench.under(CLEAR).send(300, every=2 * MS)
    assert run.order == list(range(300))
    assert_delay(bench, "much, and back to nothing", run.delays(), base)


def test_bursts_of_loss_have_the_share_and_the_lengths_of_the_model(bench: Bench) -> None:
    model, chance = GilbertElliott(p=2.5 * percent, r=25 * percent), chance_of(bench)
    count = chance.enough(10_000)
    impairment = Impairment(burst=model)
    if bench.refuses("burst", impairment):
        return
    run = bench.under(impairment).send(count, every=MS // 10)
    missing = set(run.missing)
    memory = 1 - 0.025 - 0.25  # what makes bursts makes the share vary by (1 + memory) / (1 - memory) more than independent losses do
    hold_share(bench, "burst p 2.5%, r 25%", "lost", len(missing), count, model.mean_loss, math.sqrt((1 + memory) / (1 - memory)))
    lengths = [len(list(burst)) for lost, burst in groupby(range(count), missing.__contains__) if lost]
    chi = 0.0
    for n in range(1, 9):  # geometric: P(n) = r (1-r)^(n-1); the last class is 8 and more
        share = 0.75 ** (n - 1) * (0.25 if n < 8 else 1)
        got = sum(1 for length in lengths if min(length, 8) == n)
        chi += (got - share * len(lengths)) ** 2 / (share * len(lengths))
    deviation = math.sqrt(0.75) / 0.25  # of a length; the mean is 4
    mean, off = sum(lengths) / len(lengths), chance.deviations * deviation / math.sqrt(len(lengths))
    bench.hold("burst p 2.5%, r 25%", "mean length of a burst", mean, 4 - off, 4 + off, count, " packets")
    bench.hold("burst p 2.5%, r 25%", "chi-square of the lengths against the geometric distribution", chi, 0, chance.chi_square, count)
    assert run.counted("queue_dropped", "cut_dropped", "refused") == 0


@pytest.mark.parametrize("distribution", ["normal", "pareto", "paretonormal"])
def test_delays_are_spread_as_the_table_has_it(bench: Bench, base: float, distribution: Distribution) -> None:
    # With reordering each packet has its own delay; in order one would wait for the one before.
    impairment = Impairment(delay=40 * ms, jitter=8 * ms, distribution=distribution, reordering=True)
    if bench.refuses("distribution", impairment):
        return
    run = bench.under(impairment).send(chance_of(bench).enough(500), every=2 * MS)
    assert run.missing == []
    delays, entries = run.delays(), table(distribution)
    assert entries is not None
    band = chance_of(bench).kolmogorov / math.sqrt(len(delays))  # how far off the share below any value may be
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        low, high = (
            base + 40 + 8 * entries[min(max(int(at * len(entries)), 0), len(entries) - 1)] / SCALE for at in (share - band, share + band)
        )
        asked, value = f"delay 40ms, jitter 8ms, {distribution}", percentile(delays, share) - base
        bench.hold(asked, f"quantile {share:.0%}", value, low - base - MEDIAN, high - base + MEDIAN, len(delays), " ms")


def test_those_let_ahead_skip_the_delay_and_the_rest_keep_theirs(bench: Bench, base: float) -> None:
    impairment = Impairment(delay=20 * ms, reorder=25 * percent)
    if bench.refuses("reorder", impairment):
        return
    run = bench.under(impairment).send(chance_of(bench).enough(1000), every=MS)
    assert run.missing == []
    delays = run.delays()
    early, rest = {n: took for n, took in delays.items() if took < 10}, {n: took for n, took in delays.items() if took >= 10}
    # Of all, not of those whose delays count: a stall is likelier to meet who is longer under way.
    behind = [*accumulate(reversed(run.order), min, initial=run.count)][-2::-1]  # the least of those that arrived later
    overtook = sum(least < n for n, least in zip(run.order, behind, strict=True))
    hold_share(bench, "reorder 25%, delay 20ms", "let ahead", overtook, run.count, 0.25)
    assert percentile(early, 0.99) <= base + P99
    assert_delay(bench, "reorder 25%, delay 20ms: the rest", rest, base + 20)
    order = [n for n in run.order if n in rest]
    assert order == sorted(order)


def test_some_come_twice_one_right_behind_the_other(bench: Bench) -> None:
    impairment = Impairment(duplicate=10 * percent)
    if bench.refuses("duplicate", impairment):
        return
    run = bench.under(impairment).send(chance_of(bench).enough(4000), every=MS // 5, more=True)
    twice = len(run.order) - run.count
    assert run.missing == []
    assert run.order == sorted(run.order)
    assert max(Counter(run.order).values()) == 2
    hold_share(bench, "duplicate 10%", "came twice", twice, run.count, 0.1)
    if bench.executor != "netem":
        assert run.counted("duplicated") == twice


def test_what_is_corrupted_the_receivers_checksum_drops(bench: Bench) -> None:
    impairment = Impairment(corrupt=20 * percent)
    if bench.refuses("corrupt", impairment):
        return
    run = bench.under(impairment).send(chance_of(bench).enough(4000), every=MS // 5)
    assert run.order == sorted(run.order)
    # netem flips bits of the Ethernet header too, and one in the source address harms nothing.
    harmless = 6 / (14 + 200) if bench.executor == "netem" else 0.0
    hold_share(bench, "corrupt 20%", "dropped by the receiver's checksum", len(run.missing), run.count, 0.2 * (1 - harmless))
    if bench.executor != "netem":
        assert len(run.missing) <= run.counted("corrupted") <= len(run.missing) + run.chatter
        assert run.counted("lost", "queue_dropped", "cut_dropped", "refused") == 0


def test_who_would_wait_longer_than_the_queues_time_is_dropped(bench: Bench) -> None:
    impairment = Impairment(rate=200 * kbit, queue_time=220 * ms)  # 50 ms each: the sixth would wait 250 ms
    if bench.refuses("queue_time", impairment):
        return
    run = bench.under(impairment).send(30, every=0, size=1250)
    bench.hold("queue_time 220ms, rate 200kbit", "packets that found room of 30 at once", len(run.order), 5 - run.chatter, 5, 30)
    assert run.order == list(range(len(run.order)))
    assert 25 <= run.counted("queue_dropped", "dropped") <= 25 + run.chatter


@pytest.mark.parametrize("version", [4, 6])
def test_a_path_mtu_black_hole_tells_nobody(bench: Bench, version: int) -> None:
    impairment = Impairment(mtu=1280)
    if bench.refuses("mtu", impairment):
        return
    bench.impair(impairment)
    assert bench.ask("path_mtu", host=3, size=1281, version=version)["arrived"] == []
    seen = bench.ask("path_mtu", host=3, size=1280, version=version)
    assert (seen["mtu"], seen["again"], seen["arrived"]) == (1500, None, [1280, 1280])
    bench.hold("mtu 1280", f"largest IPv{version} packet that arrives", max(seen["arrived"]), 1280, 1280, 4, " B")


@pytest.mark.parametrize("version", [4, 6])
def test_with_too_big_the_senders_kernel_learns_the_path_mtu(bench: Bench, version: int) -> None:
    impairment = Impairment(mtu=1300, too_big=True)
    if bench.refuses("mtu", impairment):
        return
    bench.impair(impairment)
    seen = bench.ask("path_mtu", host=4, size=1301, version=version)
    assert (seen["mtu"], seen["again"], seen["arrived"]) == (1300, "EMSGSIZE", [1300])
    bench.hold("mtu 1300, too_big", f"path MTU that the sender's kernel learns (IPv{version})", seen["mtu"], 1300, 1300, 3, " B")
