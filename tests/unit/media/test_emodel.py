from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.media.emodel import (
    BASE,
    G711,
    G711_PLC,
    G729A_VAD,
    Codec,
    burst_ratio,
    full_model,
    idd,
    ie_eff,
    mos,
    opus_proxy,
    r_factor,
    worst_seconds,
)
from harness.units import Rate, kbit, ms
from tests.unit.media.flows import MS, S, audio


def test_the_full_formula_at_its_defaults() -> None:
    model = full_model()
    assert model.r == pytest.approx(93.2062, abs=5e-5)
    assert model.r == pytest.approx(93.206208, abs=5e-6)
    assert mos(model.r) == pytest.approx(4.4094, abs=5e-5)
    assert (model.ro, model.is_, model.idle) == pytest.approx((94.7688, 1.4136, 0.1490), abs=5e-5)
    assert (model.idte, model.idd) == (0, 0)


@pytest.mark.parametrize(
    ("ta", "delay", "r", "score", "full_r", "full_score"),
    [
        (0, 0, 93.200, 4.4093, 93.206, 4.409),
        (20, 0, 93.200, 4.4093, 92.531, 4.396),
        (50, 0, 93.200, 4.4093, 91.756, 4.380),
        (100, 0, 93.200, 4.4093, 90.664, 4.355),
        (150, 0.1635, 93.0365, 4.4061, 89.539, 4.328),
        (200, 3.0444, 90.1556, 4.3428, 85.805, 4.223),
        (250, 8.9167, 84.2833, 4.1751, 79.177, 3.993),
        (300, 14.7607, 78.4393, 3.9637, 72.666, 3.719),
        (400, 24.0701, 69.1299, 3.5559, 62.247, 3.216),
        (500, 30.6359, 62.5641, 3.2318, 54.803, 2.828),
    ],
)
def test_the_delay_table(ta: float, delay: float, r: float, score: float, full_r: float, full_score: float) -> None:
    assert idd(ta) == pytest.approx(delay, abs=5e-5)
    assert BASE - idd(ta) == pytest.approx(r, abs=6e-5)
    assert mos(BASE - idd(ta)) == pytest.approx(score, abs=6e-5)
    full = full_model(ta=ta, t=ta, tr=2 * ta)
    assert full.r == pytest.approx(full_r, abs=6e-4)
    assert mos(full.r) == pytest.approx(full_score, abs=6e-4)


PROXY_10 = Codec(label="proxy", ie=0, bpl=10)
PROXY_20 = Codec(label="proxy", ie=0, bpl=20)


@pytest.mark.parametrize(
    ("codec", "row"),
    [
        (G711_PLC, "93.2/4.409 89.560/4.328 86.189/4.235 77.419/3.923 66.134/3.411 51.071/2.631"),
        (G711, "93.2/4.409 75.275/3.834 63.041/3.256 42.125/2.169 26.766/1.481 15.011/1.124"),
        (G729A_VAD, "82.2/4.104 78.000/3.946 74.200/3.787 64.700/3.340 53.234/2.745 39.123/2.021"),
        (PROXY_10, "93.2/4.409 84.564/4.184 77.367/3.921 61.533/3.179 45.700/2.351 29.867/1.604"),
        (PROXY_20, "93.2/4.409 88.676/4.305 84.564/4.184 74.200/3.787 61.533/3.179 45.700/2.351"),
    ],
)
def test_the_loss_table(codec: Codec, row: str) -> None:
    for loss, cell in zip((0, 1, 2, 5, 10, 20), row.split(), strict=True):
        r, score = map(float, cell.split("/"))
        assert r_factor(codec, delay_ms=100, loss_percent=loss) == pytest.approx(r, abs=6e-4)
        assert mos(r_factor(codec, delay_ms=100, loss_percent=loss)) == pytest.approx(score, abs=6e-4)


def test_burst_loss_and_delay_with_loss() -> None:
    assert r_factor(G711_PLC, delay_ms=0, loss_percent=5, burst_ratio=2) == pytest.approx(75.990, abs=6e-4)
    r = r_factor(G711_PLC, delay_ms=150, loss_percent=1)
    assert r == pytest.approx(89.397, abs=6e-4)
    assert mos(r) == pytest.approx(4.324, abs=6e-4)


@pytest.mark.parametrize(("r", "score"), [(50, 2.575), (60, 3.100), (70, 3.597), (80, 4.024), (90, 4.339), (94, 4.424)])
def test_r_to_mos(r: float, score: float) -> None:
    assert mos(r) == pytest.approx(score, abs=6e-4)


@pytest.mark.parametrize(("r", "score"), [(90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58)])
def test_the_published_bands_within_a_hundredth(r: float, score: float) -> None:
    assert mos(r) == pytest.approx(score, abs=0.01)


@given(st.floats(-1000, 1000))
def test_mos_stays_between_1_and_4_5(r: float) -> None:
    assert 1 <= mos(r) <= 4.5


def test_the_cubic_s_dip_is_clamped() -> None:
    assert [mos(r) for r in (-5, 0, 1, 3, 6, 6.5)] == [1.0] * 6
    assert mos(100) == mos(130) == 4.5


def test_no_loss_adds_nothing_even_at_a_bpl_of_0() -> None:
    assert ie_eff(11, 0, 0) == 11


def test_the_opus_proxy_says_that_it_is_one() -> None:
    assert "proxy" in opus_proxy().label
    assert (opus_proxy().ie, opus_proxy().bpl, opus_proxy(fec=True).bpl) == (6, 10, 20)
    assert opus_proxy(32 * kbit).ie == pytest.approx(7.2819, abs=1e-4)
    assert (opus_proxy(Rate(1)).ie, opus_proxy(510 * kbit).ie, opus_proxy(dtx=True).ie) == (30, 0, 8)


def test_burst_ratio_is_1_for_scattered_losses_and_above_it_for_bursts() -> None:
    assert burst_ratio([True] * 50) == 1
    assert burst_ratio([False] * 50) == 1
    assert burst_ratio([index != 7 for index in range(50)]) == 1
    assert burst_ratio([not 10 <= index < 15 for index in range(50)]) == pytest.approx(5 * 0.9)


class TestEverySecond:
    def test_an_average_hides_what_the_worst_second_shows(self) -> None:
        """metrics.md §3.3: 2 s of outage in 60 s are 3.3 % loss and R 82, "satisfied"."""
        packets = audio(3000, lost=range(1000, 1100))
        average = r_factor(G711_PLC, delay_ms=90, loss_percent=100 * 100 / 3000)
        assert average == pytest.approx(82, abs=0.1)
        seconds = worst_seconds(packets, since=0, until=60 * S - 1, deadline=150 * MS)
        assert [(second.start // S, second.r, second.mos) for second in seconds[:2]] == [(20, 0.0, 1.0), (21, 0.0, 1.0)]
        assert seconds[2].r == pytest.approx(93.2)
        assert len(seconds) == 59  # the rest below a second belongs to the last

    def test_delay_is_mouth_to_ear(self) -> None:
        (second,) = worst_seconds(audio(50, delay=90 * MS), since=0, until=S, deadline=None)
        assert second.delay == 150 * ms  # 20 packet + 40 buffer + 90 way
        assert second.r == pytest.approx(93.0365, abs=1e-4)
        assert second.codec == G711_PLC.label

    def test_late_is_missed(self) -> None:
        packets = audio(100, delay=lambda index: 200 * MS if index in (60, 80) else 30 * MS)
        worst = worst_seconds(packets, since=0, until=2 * S - 1, deadline=150 * MS)[0]
        assert (worst.unheard, worst.offered) == (2, 100)

    def test_the_worst_comes_first_and_equals_by_time(self) -> None:
        packets = audio(250, lost=[60, 160, 161, 210])
        seconds = worst_seconds(packets, since=0, until=5 * S, deadline=None)
        assert [second.start // S for second in seconds] == [3, 1, 4, 0, 2]

    def test_a_second_of_mute_has_no_score(self) -> None:
        packets = audio(100, pauses={50: 3 * S})
        assert sorted(second.start // S for second in worst_seconds(packets, since=0, until=5 * S, deadline=None)) == [0, 4]

    def test_nothing_offered_has_no_score_at_all(self) -> None:
        assert worst_seconds([], since=0, until=5 * S, deadline=None) == []
