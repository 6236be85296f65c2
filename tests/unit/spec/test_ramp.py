from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.spec.link import CLEAR, LEAST_SPREAD, GilbertElliott, Impairment, Pick, Schedule, Step
from harness.spec.ramp import ramp
from harness.spec.rate_trace import rate_trace
from harness.units import Duration, kbit, mbit, ms, percent, s

TRACE = rate_trace([10], "slow")
BURST = GilbertElliott(p=1 * percent, r=20 * percent)


def test_it_goes_in_a_straight_line_and_ends_with_what_is_wanted() -> None:
    found = ramp(Impairment(delay=20 * ms, rate=5 * mbit), Impairment(delay=60 * ms, loss=40 * percent, rate=1 * mbit), 400 * ms, "x")
    assert found == Impairment(
        delay=20 * ms,
        rate=5 * mbit,
        schedule=Schedule(
            (
                Step(100 * ms, Impairment(delay=30 * ms, loss=10 * percent, rate=4 * mbit)),
                Step(200 * ms, Impairment(delay=40 * ms, loss=20 * percent, rate=3 * mbit)),
                Step(300 * ms, Impairment(delay=50 * ms, loss=30 * percent, rate=2 * mbit)),
                Step(400 * ms, Impairment(delay=60 * ms, loss=40 * percent, rate=1 * mbit)),
            )
        ),
    )
    found.validate("x")


def test_to_nothing_and_in_uneven_time() -> None:
    found = ramp(Impairment(loss=60 * percent, jitter=6 * ms, delay=6 * ms, distribution="uniform"), CLEAR, 250 * ms, "x")
    assert found.schedule is not None
    assert [step.at for step in found.schedule.steps] == [100 * ms, 200 * ms, 250 * ms]
    assert found.schedule.steps[0].impairment == Impairment(loss=36 * percent, delay=3.6 * ms, jitter=3.6 * ms)
    assert found.schedule.steps[-1].impairment == CLEAR


def test_what_both_have_stays() -> None:
    both: dict[str, Any] = {"burst": BURST, "mtu": 1300, "queue": 20, "rate_trace": TRACE, "drop": ()}
    found = ramp(Impairment(**both), Impairment(**both, delay=10 * ms), 200 * ms, "x")
    found.validate("x")
    assert found.at_step(1) == Impairment(**both, delay=5 * ms)


def test_a_spread_comes_with_its_jitter() -> None:
    spread = Impairment(delay=40 * ms, jitter=4 * ms, distribution="normal", reordering=True)
    for found in (ramp(CLEAR, spread, 200 * ms, "x"), ramp(spread, CLEAR, 200 * ms, "x")):
        found.validate("x")
        assert found.at_step(1) == Impairment(delay=20 * ms, jitter=2 * ms, distribution="normal", reordering=True)


@given(st.sampled_from(list(LEAST_SPREAD)), st.integers(0, 10**8), st.integers(0, 10**8), st.integers(10**8, 10**9))
def test_rounding_leaves_nothing_between_that_is_wrong(distribution: Any, jitter: int, other: int, over: int) -> None:
    def spread(jitter: int) -> Impairment:
        return Impairment(delay=Duration(int(jitter * -LEAST_SPREAD[distribution]) + 1), jitter=Duration(jitter), distribution=distribution)

    ramp(spread(jitter), spread(other), Duration(over), "x").validate("x")


@pytest.mark.parametrize(
    ("was", "wanted", "what"),
    [
        (CLEAR, Impairment(rate=1 * mbit), "x, rate: there is nothing between None and 1mbit; give a rate on both sides, or on none"),
        (CLEAR, Impairment(burst=BURST), "x, burst: there is nothing between None and p 1% r 20%"),
        (Impairment(mtu=1300), CLEAR, "x, mtu: there is nothing between 1300 and None; impair without over, or leave it"),
        (Impairment(rate=5 * kbit, queue=3), Impairment(rate=5 * kbit), "x, queue: there is nothing between 3 and None"),
        (Impairment(rate_trace=TRACE), CLEAR, "x, rate_trace: there is nothing between slow (1 opportunities in 10ms"),
        (
            Impairment(delay=9 * ms, jitter=1 * ms),
            Impairment(delay=9 * ms, jitter=1 * ms, distribution="pareto"),
            "x, distribution: there is nothing between uniform and pareto",
        ),
        (CLEAR, Impairment(drop=(Pick(1),)), "x, drop: picked packets are counted anew at each step of a ramp; impair without over"),
        (
            CLEAR,
            Impairment(schedule=Schedule((Step(1 * s, CLEAR),))),
            "x, schedule: a ramp is a schedule, and does not end in another; impair without over",
        ),
    ],
)
def test_what_has_nothing_between_is_named(was: Impairment, wanted: Impairment, what: str) -> None:
    with pytest.raises(SpecError) as caught:
        ramp(was, wanted, 1 * s, "x")
    assert str(caught.value).startswith(what)


@pytest.mark.parametrize("over", [99 * ms, 3601 * s, -1 * s, 2, None])
def test_a_time_that_is_none_for_a_ramp_is_named(over: Any) -> None:
    with pytest.raises(SpecError, match=r"^x, over: "):
        ramp(CLEAR, CLEAR, over, "x")
