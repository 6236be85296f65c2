"""Quantities: exact, of one dimension, with a text form that reads back, and never without a unit."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.units import (
    MOST,
    Count,
    Duration,
    Quantity,
    Rate,
    Ratio,
    bit,
    expect,
    gbit,
    kbit,
    mbit,
    minutes,
    ms,
    ns,
    packets,
    percent,
    s,
    us,
)

KINDS: list[type[Quantity]] = [Duration, Rate, Ratio]
counts = st.integers(-(10**24), 10**24)


def test_what_people_write() -> None:
    assert (20 * ms).ns == 20_000_000
    assert (1.5 * s).ms == 1500
    assert (2 * minutes).s == 120
    assert 1000 * ns == us
    assert (5 * mbit).bits_per_second == 5_000_000
    assert 1000 * bit == kbit
    assert 1000 * mbit == gbit
    assert (1 * percent).fraction == 0.01
    assert (0.5 * percent).percent == 0.5
    assert (3 * packets).count == 3


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        (0 * ms, "0s"),
        (20 * ms, "20ms"),
        (1.5 * s, "1.5s"),
        (300 * us, "300us"),
        (1 * ns, "1ns"),
        (-20 * ms, "-20ms"),
        (90 * minutes, "5400s"),
        (5 * mbit, "5mbit"),
        (300 * kbit, "300kbit"),
        (1 * bit, "1bit"),
        (2.5 * gbit, "2.5gbit"),
        (1 * percent, "1%"),
        (0.5 * percent, "5000ppm"),
        (100 * percent, "100%"),
        (12 * packets, "12"),
    ],
)
def test_text(quantity: Quantity, text: str) -> None:
    assert str(quantity) == text
    assert repr(quantity) == f"{type(quantity).__name__}({text})"


@pytest.mark.parametrize(
    ("kind", "text", "count"),
    [
        (Duration, "20ms", 20_000_000),
        (Duration, " 1.5 S ", 1_500_000_000),
        (Duration, "+1us", 1_000),
        (Duration, "0.1ns", 0),
        (Rate, "5Mbit", 5_000_000),
        (Ratio, "0.01%", 100_000_000),
        (Ratio, "1ppm", 1_000_000),
    ],
)
def test_parse(kind: type[Quantity], text: str, count: int) -> None:
    assert kind.parse(text) == kind(count)


@pytest.mark.parametrize("text", ["", "20", "ms", "20 parsecs", "20ms 3", "1e3ms", "0x10ms", "nan ms", "20 m s", "1,5s", 20, None, 1.5])
@pytest.mark.parametrize("kind", KINDS)
def test_parse_names_what_it_was_given_and_what_is_allowed(kind: type[Quantity], text: Any) -> None:
    with pytest.raises(ValueError, match="write a number with one of") as caught:
        kind.parse(text)
    allowed = ", ".join(kind.units)
    assert str(caught.value) == f"{text!r} is not a {kind.__name__.lower()}: write a number with one of {allowed}"


def test_units_do_not_cross() -> None:
    with pytest.raises(ValueError, match="'20mbit' is not a duration"):
        Duration.parse("20mbit")


@pytest.mark.parametrize("kind", KINDS)
@given(count=st.integers(-MOST + 1, MOST - 1))
def test_text_reads_back_to_the_very_same(kind: type[Quantity], count: int) -> None:
    assert kind.parse(str(kind(count))) == kind(count)


@given(a=counts, b=counts)
def test_arithmetic_is_exact(a: int, b: int) -> None:
    assert Duration(a) + Duration(b) == Duration(a + b)
    assert Duration(a) - Duration(b) == Duration(a - b)
    assert -Duration(a) == Duration(-a)
    assert b * Duration(a) == Duration(a) * b == Duration(a * b)
    assert (Duration(a) < Duration(b), Duration(a) <= Duration(b)) == (a < b, a <= b)
    assert (Duration(a) > Duration(b), Duration(a) >= Duration(b)) == (a > b, a >= b)
    assert (Duration(a) == Duration(b)) == (a == b)


def test_division() -> None:
    assert 20 * ms / 2 == 10 * ms
    assert (20 * ms) / (5 * ms) == 4.0
    with pytest.raises(ZeroDivisionError):
        20 * ms / 0


def test_hash_goes_with_equality() -> None:
    assert len({20 * ms, 0.02 * s, Rate(20_000_000)}) == 2


@pytest.mark.parametrize("other", [1, 1.0, Rate(1), Count(1), "1ms", None])
@pytest.mark.parametrize("operation", [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a < b, lambda a, b: a >= b, lambda a, b: b + a])
def test_across_dimensions_is_a_type_error(operation: Any, other: Any) -> None:
    with pytest.raises(TypeError):
        operation(ms, other)


def test_across_dimensions_nothing_is_equal() -> None:
    assert Duration(1) != Rate(1)
    assert Duration(1) != 1


def test_quantities_do_not_multiply() -> None:
    nothing: Any = ms
    with pytest.raises(TypeError):
        ms * nothing


@pytest.mark.parametrize("factor", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match="is not a finite quantity"):
        factor * ms


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (Duration, "a duration is meant, for example 20 * ms"),
        (Rate, "a rate is meant, for example 5 * mbit"),
        (Ratio, "a ratio is meant, for example 1 * percent"),
        (Count, "a count is meant, for example 3 * packets"),
    ],
)
@pytest.mark.parametrize("value", [20, 0.5, True, "20ms", None])
def test_expect_refuses_what_has_no_unit(kind: type[Quantity], what: str, value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        expect(kind, value, "link a, delay")
    assert str(caught.value) == f"link a, delay: {value!r} has no unit; {what}"


def test_expect_hands_back_what_has() -> None:
    assert expect(Duration, 20 * ms, "here") == 20 * ms
