"""The tables of quantiles that relay and netem both use."""

from __future__ import annotations

from statistics import NormalDist, fmean, pstdev

import pytest

from harness.spec.link import LEAST_SPREAD, Distribution
from harness.spec.spread import ENTRIES, SCALE, table

SPREAD: list[Distribution] = ["normal", "pareto", "paretonormal"]


def deviations(distribution: Distribution) -> list[float]:
    entries = table(distribution)
    assert entries is not None
    return [entry / SCALE for entry in entries]


@pytest.mark.parametrize("distribution", SPREAD)
def test_the_kernel_takes_it(distribution: Distribution) -> None:
    entries = table(distribution)
    assert entries is not None
    assert len(entries) == ENTRIES <= 16_384
    assert list(entries) == sorted(entries)
    assert all(isinstance(entry, int) and -(1 << 15) <= entry < 1 << 15 for entry in entries)


@pytest.mark.parametrize("distribution", SPREAD)
def test_the_mean_is_nought_and_the_standard_deviation_one(distribution: Distribution) -> None:
    assert fmean(deviations(distribution)) == pytest.approx(0, abs=1e-4)
    assert pstdev(deviations(distribution)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("distribution", SPREAD)
def test_nothing_is_below_what_the_spec_calls_the_least(distribution: Distribution) -> None:
    assert 0 <= min(deviations(distribution)) - LEAST_SPREAD[distribution] < 0.002


def test_normal_is_normal() -> None:
    found = deviations("normal")
    for share in (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999):
        assert found[int(share * ENTRIES)] == pytest.approx(NormalDist().inv_cdf((int(share * ENTRIES) + 0.5) / ENTRIES), abs=0.001)


def test_pareto_is_pareto_up_to_the_cut() -> None:
    found = deviations("pareto")
    foot, width = 1.464002, 0.565735
    for share in (0.01, 0.5, 0.9, 0.95):
        value = foot + width * found[int(share * ENTRIES)]
        assert 1 - value**-3 == pytest.approx((int(share * ENTRIES) + 0.5) / ENTRIES, abs=1e-4)
    assert found[-1] == pytest.approx(4, abs=0.001)
    assert found.count(found[-1]) / ENTRIES == pytest.approx((foot + 4 * width) ** -3, abs=1e-3), "the tail lies on the cut"


def test_paretonormal_lies_between() -> None:
    for share in (0.1, 0.5, 0.9):
        low, high = sorted((deviations("normal")[int(share * ENTRIES)], deviations("pareto")[int(share * ENTRIES)]))
        assert low - 0.1 <= deviations("paretonormal")[int(share * ENTRIES)] <= high + 0.1


def test_uniform_needs_none() -> None:
    assert table("uniform") is None
    assert set(LEAST_SPREAD) == {"uniform", *SPREAD}
