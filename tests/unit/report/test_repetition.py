"""k of n, its interval, and the distribution of each figure."""

from __future__ import annotations

from io import StringIO

import pytest

from harness.media.figure import Figure
from harness.report.model import Report
from harness.report.repetition import Tally, sentence, show, tally, wilson
from harness.units import Duration, ms
from harness.verdict import Verdict, at_most
from tests.unit.report.runs import made


def _took(value: Duration | None) -> Verdict:
    return at_most("longest silence", Figure(value, "bob → alice audio"), 80 * ms)


def _run(value: Duration | None, seed: int = 1) -> Report:
    return made([_took(value)], seed=seed)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # computed with SciPy: binomtest(k, n).proportion_ci(0.95, "wilson")
        (100, 100, 0.9630, 1.0),
        (95, 100, 0.8882, 0.9785),
        (1, 2, 0.0945, 0.9055),
        (0, 10, 0.0, 0.2775),
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_interval_is_wilsons(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_runs_are_counted_by_their_results() -> None:
    counted = tally("rebind_port", [_run(10 * ms), _run(90 * ms, seed=2), _run(None, seed=3)], broken=1)
    assert (counted.passed, counted.failed, counted.inconclusive, counted.broken) == (1, 1, 1, 1)
    assert (counted.conclusive, counted.runs, counted.inconclusive_share.percent) == (2, 4, 50)
    assert [reason.partition(",")[0] for reason in counted.reasons] == ["seed 2: FAIL", "seed 3: INCONCLUSIVE"]


def test_a_figures_distribution_is_told_by_rank() -> None:
    (spread,) = tally("x", [_run(n * ms) for n in (5, 3, 1, 4, 2)]).spreads
    assert [spread.at(share) for share in (0.0, 0.5, 0.95, 1.0)] == [1 * ms, 3 * ms, 5 * ms, 5 * ms]
    assert (spread.runs, spread.bound, spread.direction) == (5, 80 * ms, "bob → alice audio")


def test_what_was_not_measured_is_counted_and_is_no_value() -> None:
    (spread,) = tally("x", [_run(None)]).spreads
    assert (spread.runs, spread.values, spread.at(0.5)) == (1, (), None)


@pytest.mark.parametrize(
    ("counted", "holds"),
    [
        (Tally(test="x", passed=100, failed=0, inconclusive=0), True),
        (Tally(test="x", passed=100, failed=0, inconclusive=5), True),
        (Tally(test="x", passed=100, failed=0, inconclusive=6), False),
        (Tally(test="x", passed=100, failed=0, inconclusive=3, broken=3), False),
        (Tally(test="x", passed=99, failed=0, inconclusive=1), False),
        (Tally(test="x", passed=100, failed=1, inconclusive=0), False),
        (Tally(test="x", passed=0, failed=0, inconclusive=0), False),
    ],
)
def test_only_all_of_n_holds_with_at_most_five_percent_inconclusive(counted: Tally, holds: bool) -> None:
    assert counted.holds(100) is holds


@pytest.mark.parametrize(("inconclusive", "broken", "holds"), [(1, 0, True), (2, 0, False), (0, 1, False)])
def test_of_few_runs_one_may_be_inconclusive_and_none_broken(inconclusive: int, broken: int, holds: bool) -> None:
    assert Tally(test="x", passed=3, failed=0, inconclusive=inconclusive, broken=broken).holds(3) is holds


def test_the_sentence_says_what_is_missing() -> None:
    told = sentence(Tally(test="rebind_port", passed=97, failed=2, inconclusive=1), 100)
    assert told.startswith("rebind_port: 97 of 99 conclusive runs passed (95 % interval 92.9 % to 99.4 %), 1 inconclusive (1 %)")
    assert told.endswith("; 100 conclusive runs were wanted")


def test_the_table_shows_every_figure_and_every_run_that_did_not_pass() -> None:
    out = StringIO()
    show([tally("rebind_port", [_run(10 * ms), _run(90 * ms, seed=2)])], 2, out)
    text = out.getvalue()
    assert "longest silence" in text
    assert "≤ 80 ms" in text
    assert "seed 2: FAIL, longest silence" in text
    assert "rebind_port: 1 of 2 conclusive runs passed" in text
