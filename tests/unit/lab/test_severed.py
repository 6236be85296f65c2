"""After a missed wait the waits of a call return at once: no figure of what began then may be green."""

from __future__ import annotations

import pytest

from harness.lab import severed
from harness.media.figure import Figure, between
from harness.media.measures import Heard
from harness.units import Duration, Quantity, ms
from harness.verdict import Result, Verdict, at_most, equal
from tests.unit.media.flows import MS, S, audio

BROKEN = 3 * S


def heard() -> Heard:
    packets = audio(250)
    return severed.cut(Heard(packets, "alice → bob audio", 0, 5 * S, 200 * ms), BROKEN)


@pytest.mark.parametrize("measure", ["longest_gap", "loss", "late", "recovery", "unheard"])
def test_what_begins_after_the_missed_wait_is_not_measured(measure: str) -> None:
    before, after = (getattr(heard(), measure)(at) for at in (BROKEN - 1, BROKEN))
    assert before.value is not None
    assert (after.value, after.note, after.direction) == (None, severed.WHY, "alice → bob audio")


def test_a_window_given_by_name_or_left_out_is_known_too() -> None:
    assert heard().longest_gap(since=BROKEN).value is None
    assert heard().recovery(after=BROKEN + 1).value is None
    assert heard().longest_gap().value is not None
    assert heard().closed == 5 * S


def figure(value: Quantity, since: int | None, call: str = "", direction: str = "") -> Figure:
    where = None if since is None else between(since, since + MS).gaps[0]
    return Figure(value, direction, where=where, call=call)


@pytest.mark.parametrize(
    ("one", "measured"),
    [
        pytest.param(at_most("x", 5 * ms, 10 * ms), False, id="a bare time"),
        pytest.param(at_most("x", 15 * ms, 10 * ms), True, id="a failure stays one"),
        pytest.param(equal("x", 1, 1), True, id="a count of the captures"),
        pytest.param(at_most("x", figure(5 * ms, BROKEN - MS), 10 * ms), True, id="began before"),
        pytest.param(at_most("x", figure(5 * ms, BROKEN + MS), 10 * ms), False, id="began after"),
        pytest.param(at_most("x", figure(5 * ms, BROKEN + MS, "dead"), 10 * ms), False, id="of the call that is dead"),
        pytest.param(at_most("x", figure(5 * ms, BROKEN + MS, "other"), 10 * ms), True, id="of another call"),
        pytest.param(at_most("x", figure(5 * ms, BROKEN + MS, "", "alice → bob"), 10 * ms), True, id="of a flow, which knows its call"),
    ],
)
def test_verdicts_of_a_run_with_a_dead_call(one: Verdict, measured: bool) -> None:
    taken = severed.judged(one, {"dead": BROKEN})
    assert taken == one if measured else (taken.result, taken.value, taken.note) == (Result.INCONCLUSIVE, None, severed.WHY)
    assert severed.judged(one, {}) == one
    assert isinstance(one.bound, Duration) or one.name == "x"
