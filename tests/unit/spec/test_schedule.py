from __future__ import annotations

from typing import Any

import pytest

from harness.errors import SpecError
from harness.spec.link import CLEAR, Impairment, Pick, Schedule, Step
from harness.spec.rate_trace import mahimahi
from harness.spec.topology import Topology
from harness.units import mbit, ms, percent, s
from tests.unit.spec.nets import ACCESS, changed

FAR = Step(15 * s, Impairment(delay=60 * ms))
TRACE = mahimahi("1\n2\n")


def told(schedule: Any, **fields: Any) -> str:
    with pytest.raises(SpecError) as caught:
        Impairment(schedule=schedule, **fields).validate("link x, a_to_b")
    where, _, what = str(caught.value).partition("link x, a_to_b, schedule")
    assert where == ""
    return what


@pytest.mark.parametrize(
    ("schedule", "what"),
    [
        (FAR, ": Step(at=Duration(15s), impairment=Impairment(delay=Duration( is not a Schedule, for example"),
        (Schedule(()), ", steps: it is empty; for an impairment that stays as it is give no schedule"),
        (Schedule((CLEAR,)), ", steps: (Impairment("),  # type: ignore[arg-type]
        (Schedule((Step(15, CLEAR),)), ", step 1, at: 15 has no unit; a duration is meant, for example 20 * ms"),  # type: ignore[arg-type]
        (Schedule((Step(None, CLEAR),)), ", step 1, at: None has no unit; a duration is meant"),  # type: ignore[arg-type]
        (Schedule((Step(-1 * s, CLEAR),)), ", step 1, at: -1s is negative; allowed is 0 or more"),
        (
            Schedule((Step(0 * s, CLEAR),)),
            ", step 1 (at 0s), at: what rules from 0 are the impairment's own fields; allowed is above 0",
        ),
        (Schedule((FAR, FAR)), ", step 2 (at 15s), at: it is not after the step before, at 15s; times ascend"),
        (Schedule((FAR, Step(14 * s, CLEAR))), ", step 2 (at 14s), at: it is not after the step before, at 15s; times ascend"),
        (Schedule((FAR, Step(86_401 * s, CLEAR))), ", step 2 (at 86401s), at: allowed is up to 86400s (24 hours)"),
        (Schedule((FAR,), every=15 * s), ", every: 15s is not beyond the last step, at 15s, which would never come"),
        (Schedule((FAR,), every=20), ", every: 20 has no unit"),  # type: ignore[arg-type]
        (
            Schedule((FAR, Step(16 * s, Impairment(delay=1 * ms, jitter=2 * ms)))),
            ", step 2 (at 16s), jitter: 2ms is above the delay of 1ms",
        ),
        (Schedule((Step(1 * s, None),)), ", step 1 (at 1s), impairment: None is not an Impairment"),  # type: ignore[arg-type]
        (
            Schedule((Step(1 * s, Impairment(schedule=Schedule((FAR,)))),)),
            ", step 1 (at 1s), schedule: a step has no schedule of its own; give it to the impairment whose schedule it is",
        ),
        (Schedule((Step(1 * s, Impairment(rate_trace=TRACE)),)), ", step 1 (at 1s), rate_trace: a step has no rate_trace of its own"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_named(schedule: Any, what: str) -> None:
    assert told(schedule).startswith(what)


def test_a_step_has_no_rate_beside_the_trace() -> None:
    what = told(Schedule((Step(1 * s, Impairment(rate=1 * mbit)),)), rate_trace=TRACE)
    assert what == ", step 1 (at 1s), rate: the rate_trace goes on through the steps, and rate is 1mbit; leave it out"


def test_what_rules_at_which_step() -> None:
    whole = Impairment(delay=20 * ms, rate_trace=TRACE, schedule=Schedule((FAR, Step(16 * s, Impairment(queue_time=1 * s))), every=20 * s))
    whole.validate("here")
    assert whole.at_start == whole.at_step(0) == Impairment(delay=20 * ms, rate_trace=TRACE)
    assert whole.at_step(1) == Impairment(delay=60 * ms, rate_trace=TRACE)
    assert whole.at_step(2) == Impairment(queue_time=1 * s, rate_trace=TRACE)
    assert str(whole.schedule) == "2 steps, the last at 16s, every 20s"
    assert CLEAR.at_start is CLEAR


def test_a_schedule_goes_through_a_topology_and_back() -> None:
    steps = (FAR, Step(15.2 * s, Impairment(loss=1 * percent, drop=(Pick(3),))), Step(16 * s, CLEAR))
    topology = changed(ACCESS, a_to_b=Impairment(delay=20 * ms, schedule=Schedule(steps, every=30 * s)))
    assert Topology.from_json(topology.to_json()) == topology
    with pytest.raises(SpecError, match="a_to_b, schedule, every: 3s is not beyond the last step"):
        changed(ACCESS, a_to_b=Impairment(schedule=Schedule(steps, every=3 * s)))
