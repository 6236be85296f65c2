"""The judge of one figure, which is the part that nobody else checks."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.media.figure import Figure, Gap, Moment, counted
from harness.units import Count, Duration, Ratio, kbit, ms, packets, percent, s
from harness.verdict import Blame, Relation, Result, at_least, at_most, equal


class TestOneVerdict:
    @pytest.mark.parametrize(
        ("judge", "value", "result"),
        [
            (at_most, 399 * ms, "PASS"),
            (at_most, 400 * ms, "PASS"),
            (at_most, 400 * ms + Duration(1), "FAIL"),
            (at_least, 400 * ms, "PASS"),
            (at_least, 400 * ms - Duration(1), "FAIL"),
            (equal, 400 * ms, "PASS"),
            (equal, 400 * ms + Duration(1), "FAIL"),
            (at_most, None, "INCONCLUSIVE"),
            (at_least, None, "INCONCLUSIVE"),
            (equal, None, "INCONCLUSIVE"),
        ],
    )
    def test_the_bound_itself_is_allowed_and_none_never_passes(self, judge: Any, value: Any, result: str) -> None:
        verdict = judge("figure", value, 400 * ms)
        assert verdict.result == result
        assert verdict.blame == {"PASS": None, "FAIL": "product", "INCONCLUSIVE": "harness"}[result]

    @given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
    def test_the_margin_is_negative_exactly_on_a_fail(self, value: int, bound: int) -> None:
        for judge in (at_most, at_least, equal):
            verdict = judge("figure", Duration(value), Duration(bound))
            assert verdict.margin is not None
            assert (verdict.margin.count < 0) == (verdict.result is Result.FAIL)

    def test_a_figure_brings_its_direction_and_note(self) -> None:
        verdict = at_most("loss", Figure(5 * percent, "alice → bob audio", note="5 of 100"), 3 * percent)
        assert (verdict.direction, verdict.note, verdict.margin) == ("alice → bob audio", "5 of 100", -2 * percent)
        unmeasured = at_most("loss", Figure(None, "alice → bob audio", note="not measured: the source offered nothing"), 3 * percent)
        assert unmeasured.result is Result.INCONCLUSIVE
        assert unmeasured.note == "not measured: the source offered nothing"
        assert unmeasured.margin is None

    def test_what_is_counted_is_told_where_the_bound_is_missed(self) -> None:
        found = [Moment(3, "c"), Moment(1, "a"), Moment(2, "b")]
        missed = equal("handshakes", counted(found, "of Alice"), 1)
        assert (missed.value, missed.note, [one.text for one in missed.moments]) == (Count(3), "of Alice", ["a", "b", "c"])
        assert equal("handshakes", counted(found), 3).moments == ()
        many = equal("packets", counted(Moment(n) for n in range(1000)), 0)
        assert (len(many.moments), many.more) == (40, 960)

    def test_a_wait_tells_when_it_was_waited(self) -> None:
        waited = Gap(5 * s, 1, 5_000_000_001)
        verdict = equal("connected", Figure(Count(0), where=waited, call="c"), 1)
        assert (verdict.result, verdict.where, verdict.call) == (Result.FAIL, waited, "c")

    def test_whole_numbers_may_count(self) -> None:
        assert equal("handshakes", 1, 1).result is Result.PASS
        assert at_most("lost", Count(4), 3).result is Result.FAIL
        assert at_most("lost", 3, 3 * packets).bound == Count(3)

    def test_a_fail_may_be_another_s(self) -> None:
        assert at_most("strays", 1, 0, blame=Blame.AGENT).blame == "agent"
        assert at_most("strays", 0, 0, blame=Blame.AGENT).blame is None

    @pytest.mark.parametrize(
        ("value", "bound", "says"),
        [
            (200 * ms, 400, "the bound 400 is a count without a unit"),
            (200, 400 * ms, "the value 200 has no unit"),
            (200 * ms, 0.4, "the bound 0.4 has no unit"),
            (0.2, 400 * ms, "the value 0.2 has no unit"),
            (math.nan, 400 * ms, "nan is not a finite"),
            (200 * ms, math.nan, "nan is not a finite"),
            (200 * ms, math.inf, "inf is not a finite"),
            (2 * percent, 400 * ms, "the value 2% is a ratio, the bound 400ms is a duration"),
            (300 * kbit, 3 * percent, "is a rate"),
            (True, 1, "yes or no"),
            (1, True, "yes or no"),
            (200 * ms, None, "it has no bound"),
            (200 * ms, "400ms", "has no unit"),
            (Figure(3 * percent), 400 * ms, "is a ratio"),
        ],
    )
    def test_what_makes_no_sense_is_refused_by_name(self, value: Any, bound: Any, says: str) -> None:
        for judge in (at_most, at_least, equal):
            with pytest.raises(SpecError, match="verdict 'longest silence'") as caught:
                judge("longest silence", value, bound)
            assert says in str(caught.value)

    def test_the_unit_of_the_bound_is_checked_although_nothing_was_measured(self) -> None:
        with pytest.raises(SpecError, match="finite"):
            at_most("silence", None, math.nan)  # type: ignore[arg-type]

    def test_a_verdict_has_a_name(self) -> None:
        with pytest.raises(SpecError, match="no name"):
            at_most(" ", 1 * ms, 2 * ms)


def test_relations_have_signs() -> None:
    assert [relation.sign for relation in Relation] == ["≤", "≥", "="]
    assert at_most("share", Ratio(1), 1 * percent).result is Result.PASS
    assert at_most("time", 1 * s, 1000 * ms).result is Result.PASS
