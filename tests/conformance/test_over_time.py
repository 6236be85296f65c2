"""Links that change by themselves: schedules and recorded rates on a real relay link, within the bounds of the link contract.

netem's schedules are driven by the keeper, so they are tested on a built network, with whatever executor this machine has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from harness.spec.link import CLEAR, Impairment, Schedule, Step
from harness.spec.rate_trace import rate_trace
from harness.spec.topology import Host, Link, Topology
from harness.units import ms, s
from tests.conformance.link_bench import MS, Bench
from tests.conformance.networks import opened, within_deadline
from tests.conformance.test_links import MEDIAN, P99, assert_delay, percentile


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """The relay in the form that this machine has."""
    made = Bench("relay")
    if made.unfit is not None:
        made.close()
        made = Bench("relay-packet")
    assert made.unfit is None, made.unfit
    yield made
    made.close()


@pytest.fixture(scope="module")
def base(bench: Bench) -> float:
    return percentile(bench.under(CLEAR).send(100, every=3 * MS).delays(), 0.5)


def test_each_packet_meets_the_step_in_which_it_was_sent(bench: Bench, base: float) -> None:
    """Ten steps, 100 ms apart, each 5 ms slower than the one before; then back to the first, for those in the link to be waited for."""
    steps = tuple(Step(100 * n * ms, Impairment(delay=(20 + 5 * n) * ms)) for n in range(1, 11))
    rising = Impairment(delay=20 * ms, schedule=Schedule((*steps, Step(1100 * ms, Impairment(delay=20 * ms)))))
    run = bench.under(CLEAR).send(500, every=3 * MS, changes=((50, rising),))
    assert run.order == list(range(500)), "none lost, none overtaken"
    told = [one for one in run.raw["own"]["rulings"] if one["at"] > run.raw["sent"][49]]
    assert [one["step"] for one in told] == list(range(12))
    assert [one["due"] - told[0]["at"] for one in told] == [100 * n * MS for n in range(12)]
    assert percentile({n: (one["at"] - one["due"]) / MS for n, one in enumerate(told)}, 0.5) <= MEDIAN
    off: dict[int, float] = {}
    for n, delay in run.delays(range(50, 500)).items():
        sent = run.raw["sent"][n]
        last = max(k for k, one in enumerate(told) if k == 0 or one["at"] <= sent)
        near = any(abs(sent - one["at"]) < MS for one in told)
        behind = last == 11 and sent - told[11]["at"] < 60 * MS  # they wait for those who came under 70 ms
        if not (near or behind):
            off[n] = delay - (20 + 5 * (last % 11))
    assert len(off) > 200
    assert_delay(bench, "a schedule of ten delays, 100ms apart", off, base)


def test_a_recorded_rate_is_kept_opportunity_by_opportunity(bench: Bench) -> None:
    random = Random(5)
    times = [*sorted(random.randrange(1, 100) for _ in range(39)), 100]
    count = 400  # ten periods: 4.8 Mbit/s in the mean
    run = bench.under(Impairment(rate_trace=rate_trace(times, "forty in 100 ms"))).send(count, every=0, size=1500)
    assert run.order == list(range(count))
    clean, arrived = set(run.clean()), run.arrived
    spans = {n: (arrived[n + 360] - arrived[n]) / 1e9 for n in range(40) if {n, n + 360} <= clean}
    assert 360 * 1500 * 8 / percentile(spans, 0.5) == pytest.approx(4.8e6, rel=0.02)
    # The first packet may have come anywhere in the trace: all are held against the opportunities from the one that it met.
    off: list[float] = []
    for first in range(40):
        met = [divmod(n + first, 40) for n in range(count)]
        late = {n: arrived[n] / MS - 100 * met[n][0] - times[met[n][1]] for n in clean}
        middle = percentile(late, 0.5)
        found = sorted(abs(one - middle) for one in late.values())
        off = min(off or found, found, key=lambda errors: errors[len(errors) // 2])
    assert off[len(off) // 2] <= MEDIAN
    assert off[int(len(off) * 0.99)] <= P99


def test_a_built_network_follows_its_schedule_from_when_it_goes_live(tmp_path: Path) -> None:
    """Whoever carries the link.  Held while it is probed, then every step in its order, and a receipt of an impair that replaces it."""
    scheduled = Impairment(
        delay=5 * ms, schedule=Schedule((Step(50 * ms, Impairment(delay=9 * ms)), Step(100 * ms, CLEAR)), every=150 * ms)
    )
    link = Link("a/eth", "b/eth", "10.9.1.0/24", "fd00:9::/64", a_to_b=scheduled, b_to_a=CLEAR)
    topology = Topology("over_time", (Host("a"), Host("b")), (link,))

    async def main() -> None:
        async with opened(topology, tmp_path) as network:
            handle = network.link("a/eth")
            assert (await handle.rulings())["a_to_b"]["rulings"] == []
            await network.probe()
            live = time.monotonic_ns()
            while len((told := await handle.rulings())["a_to_b"]["rulings"]) < 8:
                pass
            ruled = told["a_to_b"]["rulings"]
            assert [(one["round"], one["step"]) for one in ruled[:8]] == [(n // 3, n % 3) for n in range(8)]
            assert [one["due"] - ruled[0]["at"] for one in ruled[:8]] == [50 * n * MS for n in range(8)]
            assert ruled[0]["at"] <= live, "it began when the probe was over"
            assert [one["impairment"] for one in ruled[:3]] == [{"delay": "5ms"}, {"delay": "9ms"}, {}]
            await handle.impair(a_to_b=Impairment(delay=20 * ms), over=1 * s)
            ramped = (await handle.rulings())["a_to_b"]
            assert ramped["asked"]["schedule"] == "10 steps, the last at 1s"
            await handle.light()
            assert (await handle.rulings())["a_to_b"]["asked"]["schedule"] == "2 steps, the last at 100ms, every 150ms"

    within_deadline(main)
