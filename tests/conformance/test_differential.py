"""netem and the relay under the same impairment, in one kernel: what comes of it is the same to within what chance and the contract allow.

``test_links`` holds each against the spec; here they are held against each other, over whole distributions.  Two samples of delays are told
apart by Kolmogorov's and Smirnov's distance after granting each delay the contract's 0.5 ms; shares by the normal approximation of a
difference.  Chance would break either once in a million: there are many comparisons, and netem's luck is new in every run.
Where the kernel has no sch_netem there is nothing to compare (docs/platforms.md).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import pytest

from harness.spec.link import GilbertElliott, Impairment
from harness.units import kbit, mbit, ms, percent
from tests.conformance.link_bench import MS, Bench, Run

MEDIAN = 0.5  # ms, as in test_links
SURE = 4.892  # standard deviations that chance exceeds once in a million
KOLMOGOROV = 2.694  # the same of the scaled distance: √(ln(2 / 1e-6) / 2)


@dataclass(frozen=True)
class Pair:
    """Both executors, each with hosts of its own."""

    netem: Bench
    relay: Bench

    def send(self, impairment: Impairment, count: int, *, every: int, size: int = 200, more: bool = False) -> tuple[Run, Run]:
        runs = [bench.under(impairment).send(count, every=every, size=size, more=more) for bench in (self.netem, self.relay)]
        return runs[0], runs[1]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    netem = Bench("netem")
    if netem.unfit is not None:
        netem.close()
        pytest.skip(f"platform: {netem.unfit}")
    relay = Bench("relay")
    yield Pair(netem, relay)
    netem.close()
    relay.close()


def distance(a: list[float], b: list[float], grace: float) -> float:
    """By how much the shares below any value differ at most, when every value may be ``grace`` off."""
    a, b = sorted(a), sorted(b)

    def below(values: list[float], at: float) -> float:
        return bisect_right(values, at) / len(values)

    return max(
        max(below(a, x - grace) - below(b, x), below(b, x - grace) - below(a, x))
        for x in (y + shift for y in a + b for shift in (0, grace))
    )


def assert_alike(a: list[float], b: list[float], grace: float = MEDIAN) -> None:
    assert distance(a, b, grace) <= KOLMOGOROV * math.sqrt((len(a) + len(b)) / (len(a) * len(b)))


def assert_same_share(a: int, b: int, count: int, clustering: float = 1.0) -> None:
    """Two shares of ``count``; ``clustering``: by what factor the standard deviation is above that of independent events."""
    share = (a + b) / (2 * count)
    assert abs(a - b) / count <= SURE * clustering * math.sqrt(share * (1 - share) * 2 / count)


def bursts(run: Run) -> list[float]:
    missing = set(run.missing)
    return [float(len(list(burst))) for lost, burst in groupby(range(run.count), missing.__contains__) if lost]


def test_the_distance_of_distributions() -> None:
    assert distance([1, 2, 3], [1, 2, 3], 0) == 0
    assert distance([1, 2, 3], [1.4, 2.4, 3.4], 0.5) == 0
    assert distance([1, 2, 3, 4], [3, 4, 5, 6], 0) == 0.5
    assert distance([1], [2], 0.5) == 1


@pytest.mark.parametrize(
    "impairment",
    [
        # Samples must be independent for the distance to mean anything: where packets keep their order, none may have to wait for another.
        pytest.param(Impairment(delay=20 * ms), id="delay"),
        pytest.param(Impairment(delay=20 * ms, jitter=1 * ms), id="jitter in order"),
        pytest.param(Impairment(delay=20 * ms, jitter=10 * ms, reordering=True), id="jitter"),
        pytest.param(Impairment(delay=30 * ms, jitter=8 * ms, distribution="normal", reordering=True), id="normal"),
        pytest.param(Impairment(delay=30 * ms, jitter=8 * ms, distribution="pareto", reordering=True), id="pareto"),
        pytest.param(Impairment(delay=30 * ms, jitter=8 * ms, distribution="paretonormal", reordering=True), id="paretonormal"),
        pytest.param(Impairment(delay=2 * ms, jitter=5 * ms, truncate=True, reordering=True), id="truncated"),
        pytest.param(Impairment(delay=20 * ms, reorder=25 * percent), id="reorder"),
        pytest.param(Impairment(delay=10 * ms, rate=2 * mbit), id="rate"),
    ],
)
def test_delays(pair: Pair, impairment: Impairment) -> None:
    netem, relay = pair.send(impairment, 400, every=2 * MS)
    assert netem.missing == relay.missing == []
    assert (netem.order == sorted(netem.order)) == (relay.order == sorted(relay.order))
    assert_alike([*netem.delays().values()], [*relay.delays().values()])


def test_a_queue_that_fills_and_spills(pair: Pair) -> None:
    impairment = Impairment(delay=7 * ms, rate=500 * kbit, queue=10)  # 20 ms each; one comes every 10, and never just when one leaves
    netem, relay = pair.send(impairment, 60, every=10 * MS, size=1250)
    assert abs(len(netem.missing) - len(relay.missing)) <= 1
    assert_alike([*netem.delays().values()], [*relay.delays().values()])


def test_independent_loss(pair: Pair) -> None:
    netem, relay = pair.send(Impairment(loss=10 * percent), 4000, every=MS // 5)
    assert_same_share(len(netem.missing), len(relay.missing), 4000)
    assert_alike(bursts(netem), bursts(relay), 0)


@pytest.mark.parametrize("loss", [None, 5 * percent], ids=["alone", "with independent loss"])
def test_loss_in_bursts(pair: Pair, loss: object) -> None:
    model = GilbertElliott(p=2.5 * percent, r=25 * percent, bad=80 * percent, good=1 * percent)
    netem, relay = pair.send(Impairment(burst=model, loss=loss), 6000, every=MS // 5)  # type: ignore[arg-type]
    memory = 1 - model.p.fraction - model.r.fraction
    assert_same_share(len(netem.missing), len(relay.missing), 6000, math.sqrt((1 + memory) / (1 - memory)))
    assert_alike(bursts(netem), bursts(relay), 0)


def test_duplicates(pair: Pair) -> None:
    netem, relay = pair.send(Impairment(duplicate=10 * percent), 2000, every=MS // 2, more=True)
    assert netem.missing == relay.missing == []
    assert_same_share(len(netem.order) - 2000, len(relay.order) - 2000, 2000)


def test_corruption(pair: Pair) -> None:
    netem, relay = pair.send(Impairment(corrupt=20 * percent), 2000, every=MS // 2)
    assert_same_share(len(netem.missing), len(relay.missing), 2000)
