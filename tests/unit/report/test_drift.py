"""The hint of drift: what it sees, what it leaves alone, and how often it cries wolf."""

from __future__ import annotations

import random

import pytest

from harness.report import drift
from harness.units import ms, packets, percent
from harness.verdict import Relation


@pytest.mark.parametrize(
    ("relation", "value", "bound", "margin"),
    [
        (Relation.AT_MOST, 50 * ms, 200 * ms, 75),
        (Relation.AT_MOST, 250 * ms, 200 * ms, -25),
        (Relation.AT_LEAST, 300 * packets, 200 * packets, 50),
        (Relation.AT_LEAST, 100 * packets, 200 * packets, -50),
        (Relation.EQUAL, 1 * packets, 1 * packets, None),
        (Relation.AT_MOST, 0 * packets, 0 * packets, None),
        (Relation.AT_MOST, None, 200 * ms, None),
        (Relation.AT_MOST, 1 * percent, 200 * ms, None),
    ],
)
def test_a_margin_is_what_is_left_of_the_bound(relation: Relation, value: object, bound: object, margin: float | None) -> None:
    assert drift.margin(relation, value, bound) == margin  # type: ignore[arg-type]


def test_a_falling_margin_is_told_with_the_runs_that_are_left() -> None:
    assert drift.hint([60 - 2 * n for n in range(11)]) == (
        "the margin shrinks: 20 % of the bound lost over the latest 11 runs; at this rate the bound breaks in 20 runs"
    )


def test_noise_does_not_hide_a_trend() -> None:
    luck = random.Random(1)
    assert "the margin shrinks" in drift.hint([70 - 1.5 * n + luck.gauss(0, 5) for n in range(20)])


def test_a_slow_drift_is_told_that_twenty_runs_do_not_show() -> None:
    luck = random.Random(1)
    margins = [70 - 0.2 * n + luck.gauss(0, 5) for n in range(102)]
    assert drift.hint(margins[-20:]) == ""
    assert drift.hint(margins).startswith(
        "the margin shrinks: 20 % of the bound lost over the latest 100 runs; at this rate the bound breaks"
    )


def test_a_step_is_told() -> None:
    assert drift.hint([80, 81, 79, 80, 82, 78, 81, 60, 62, 61]) == (
        "the latest three lie nearer to the bound than all 7 before them, by 19 % of the bound"
    )


@pytest.mark.parametrize(
    "margins",
    [
        [],
        [50.0],
        [50.0] * 30,
        [40 + n for n in range(20)],
        [60 - 0.3 * n for n in range(20)],
        [90 - 10 * n for n in range(7)],
        [80.0, 20.0] * 10,
        [80.0] * 19 + [5.0],
        [80, 81, 79, 80, 82, 78, 60, 62, 61],
    ],
    ids=["none", "one", "the same", "better", "a little", "too few", "back and forth", "one outlier", "too few before a step"],
)
def test_what_is_no_drift_is_not_told(margins: list[float]) -> None:
    assert drift.hint(margins) == ""


def test_only_the_latest_runs_are_looked_at() -> None:
    assert drift.hint([100 - 3 * n for n in range(20)] + [40.0] * drift.WINDOW * drift.BLOCK) == ""


@pytest.mark.parametrize("runs", [10, 14, 20, 43, 100])
def test_unchanging_runs_are_seldom_told(runs: int) -> None:
    """Margins that scatter widely about one value: at most one window in fifty gets a hint, by all rules together."""
    luck = random.Random(7)
    windows = 1000
    told = sum(bool(drift.hint([luck.gauss(50, 15) for _ in range(runs)])) for _ in range(windows))
    assert told <= windows / 50


def test_ties_do_not_feign_a_trend() -> None:
    luck = random.Random(3)
    windows = 1000
    assert sum(bool(drift.hint([luck.choice([100.0, 0.0]) for _ in range(20)])) for _ in range(windows)) <= windows / 50


def test_slope_and_test_by_hand() -> None:
    assert drift.theil_sen([1, 2, 3, 100, 5]) == 1.0
    assert drift.kendall([1, 2, 3, 4]) == pytest.approx((6 - 1) / (4 * 3 * 13 / 18) ** 0.5)
    assert drift.kendall([4, 3, 2, 1]) == -drift.kendall([1, 2, 3, 4])
    assert drift.kendall([5, 5, 5, 5]) == 0
    assert drift.theil_sen([3]) == 0
