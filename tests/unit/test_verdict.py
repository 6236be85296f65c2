"""The judge, which is the part that nobody else checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import AgentError, BlamedError, EnvironmentUnfit, HarnessError, SpecError
from harness.media.figure import Figure, Gap
from harness.media.measures import Heard
from harness.units import Count, Duration, Ratio, kbit, ms, packets, percent, s
from harness.verdict import Blame, Receipt, Relation, Result, Stall, Verdict, at_least, at_most, conclude, covered, equal, excuse
from tests.unit.media.flows import MS, S, audio


def silence(*gaps: tuple[float, float], extra: float = 20) -> Figure:
    """A figure of gaps (start ms, end ms), each counting all but ``extra`` ms of its stretch."""
    made = tuple(Gap(Duration(round((end - start - extra) * MS)), round(start * MS), round(end * MS)) for start, end in gaps)
    return Figure(max(gap.excess for gap in made), "alice → bob audio", made)


def receipt(fault: str = "rebind", taken: bool = True) -> Receipt:
    return Receipt(fault=fault, kind="new 4-tuple", at=5, observed={"before": 1, "after": 2}, taken=taken, source="conntrack")


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


class TestStalls:
    """A gap from 1000 to 1520 ms counts 500 ms; the bound is 400, the excess 100."""

    FAILED = at_most("silence", silence((1000, 1520)), 400 * ms)

    @pytest.mark.parametrize(
        ("stalls", "excused"),
        [
            ([(1100, 1200)], True),
            ([(1100, 1199.999)], False),
            ([(1100, 1160), (1300, 1340)], True),
            ([(1100, 1160), (1120, 1180)], False),  # they overlap: 80 ms in all
            ([(900, 1100)], True),
            ([(900, 1099)], False),
            ([(1500, 1700)], False),
            ([(0, 1000), (1520, 9000)], False),  # beside the gap, however long
            ([(0, 9000)], True),
            ([], False),
        ],
    )
    def test_only_stalls_inside_that_very_gap_that_cover_the_excess(self, stalls: Sequence[tuple[float, float]], excused: bool) -> None:
        assert self.FAILED.result is Result.FAIL
        judged = excuse(self.FAILED, [Stall(round(start * MS), round(end * MS), "agent bob") for start, end in stalls])
        assert (judged.result is Result.INCONCLUSIVE) == excused
        assert judged.blame == (Blame.ENVIRONMENT if excused else Blame.PRODUCT)
        assert ("agent bob" in judged.note) == excused

    def test_a_stall_that_explains_the_longest_gap_does_not_hide_the_next(self) -> None:
        verdict = at_most("silence", silence((1000, 1920), (3000, 3520), (5000, 5100)), 400 * ms)
        assert [gap.excess.ms for gap in verdict.gaps] == [900, 500]
        judged = excuse(verdict, [Stall(1 * S, 2 * S, "runner")])
        assert (judged.result, judged.value, judged.blame) == (Result.FAIL, 500 * ms, Blame.PRODUCT)
        assert "explained by stalls" in judged.note
        assert excuse(verdict, [Stall(1 * S, 4 * S, "runner")]).result is Result.INCONCLUSIVE

    def test_a_pass_on_an_upper_bound_stands(self) -> None:
        passed = at_most("silence", silence((1000, 1420)), 400 * ms)
        assert excuse(passed, [Stall(0, 9 * S, "runner")]) == passed

    def test_nothing_but_an_upper_bound_on_a_gap_is_excused(self) -> None:
        everywhere = [Stall(0, 9 * S, "runner")]
        for verdict in (
            at_most("loss", 5 * percent, 3 * percent),
            at_least("heard", 5, 6),
            at_most("no gaps known", 500 * ms, 400 * ms),
            at_least("pause of a muted source", silence((1000, 1520)), 600 * ms),
            equal("silence", silence((1000, 1520)), 0 * ms),
        ):
            assert excuse(verdict, everywhere) == verdict
            assert verdict.result is Result.FAIL

    @given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=8))
    def test_coverage_counts_every_nanosecond_once(self, pairs: list[tuple[int, int]]) -> None:
        stalls = [Stall(start, end, "runner") for start, end in pairs]
        union = {at for start, end in pairs for at in range(max(start, 20), min(end, 70))}
        assert covered(Gap(Duration(50), 20, 70), stalls).ns == len(union)

    def test_from_records_to_the_excuse(self) -> None:
        heard = Heard(audio(500, lost=range(100, 130)), "alice → bob audio", 0, 10 * S, 150 * ms)
        verdict = at_most("longest silence at bob", heard.longest_gap(), 400 * ms)
        assert (verdict.result, verdict.value) == (Result.FAIL, 600 * ms)
        assert excuse(verdict, [Stall(2100 * MS, 2301 * MS, "relay")]).result is Result.INCONCLUSIVE
        assert excuse(verdict, [Stall(2100 * MS, 2299 * MS, "relay")]).result is Result.FAIL


class TestTheRun:
    GOOD = at_most("silence", silence((1000, 1100)), 400 * ms)
    BAD = at_most("silence", silence((1000, 1520)), 400 * ms)
    UNKNOWN = at_most("delay", None, 150 * ms)

    def test_all_good(self) -> None:
        outcome = conclude([self.GOOD], faults=["rebind"], receipts=[receipt()])
        assert (outcome.result, outcome.blame, outcome.reasons) == (Result.PASS, None, ())
        assert outcome.verdicts == (self.GOOD,)

    def test_any_fail_is_fail(self) -> None:
        outcome = conclude(
            [self.GOOD, self.UNKNOWN, self.BAD],
            faults=["rebind"],
            errors=[AgentError("bob", "died")],
            stalls=[Stall(5 * S, 6 * S, "runner")],
        )
        assert (outcome.result, outcome.blame) == (Result.FAIL, Blame.PRODUCT)
        assert outcome.reasons[0] == "silence (alice → bob audio): 500ms, wanted ≤ 400ms"
        assert len(outcome.reasons) == 4

    def test_a_missing_receipt_is_inconclusive(self) -> None:
        outcome = conclude([self.GOOD], faults=["rebind", "lte down"], receipts=[receipt()])
        assert (outcome.result, outcome.blame) == (Result.INCONCLUSIVE, Blame.HARNESS)
        assert outcome.reasons == ("fault 'lte down' has no receipt: nothing proves that it took effect",)

    def test_a_receipt_that_says_no_is_no_receipt(self) -> None:
        outcome = conclude([self.GOOD], faults=["rebind"], receipts=[receipt(), receipt(taken=False)])
        assert (outcome.result, outcome.blame) == (Result.INCONCLUSIVE, Blame.HARNESS)
        assert "did not take effect: new 4-tuple, seen by conntrack" in outcome.reasons[0]

    def test_an_agent_s_error_is_the_agent_s(self) -> None:
        outcome = conclude([self.GOOD], faults=["rebind"], errors=[AgentError("bob", "garbage on its pipe")])
        assert (outcome.result, outcome.blame) == (Result.INCONCLUSIVE, Blame.AGENT)
        assert outcome.reasons[0] == "agent bob: garbage on its pipe"
        assert "no receipt" in outcome.reasons[1]

    @pytest.mark.parametrize(
        ("error", "blame"),
        [
            (EnvironmentUnfit("no nftables"), "environment"),
            (HarnessError("bug"), "harness"),
            (SpecError("link", "no such link"), "harness"),
            (KeyError("x"), "harness"),
        ],
    )
    def test_other_errors_are_inconclusive_with_their_blame(self, error: Exception, blame: str) -> None:
        outcome = conclude([self.GOOD], errors=[error])
        assert (outcome.result, outcome.blame) == (Result.INCONCLUSIVE, blame)

    def test_errors_of_the_product_fail(self) -> None:
        class RefusedError(BlamedError):
            blame = "product"

        assert conclude([], errors=[RefusedError("dial refused")]).result is Result.FAIL
        assert conclude([], errors=[AssertionError("call still up")]).reasons == ("assertion failed: call still up",)

    def test_a_fail_among_the_errors_decides_too(self) -> None:
        outcome = conclude([self.GOOD], errors=[AgentError("bob", "died"), AssertionError("still up")])
        assert (outcome.result, outcome.reasons[0]) == (Result.FAIL, "assertion failed: still up")

    def test_errors_inside_groups_are_found(self) -> None:
        group = BaseExceptionGroup("nursery", [ExceptionGroup("inner", [AgentError("bob", "died")])])
        assert conclude([self.GOOD], errors=[group]).blame is Blame.AGENT

    def test_an_unmeasured_figure_is_inconclusive(self) -> None:
        outcome = conclude([self.GOOD, self.UNKNOWN])
        assert (outcome.result, outcome.blame) == (Result.INCONCLUSIVE, Blame.HARNESS)
        assert outcome.reasons == ("delay: not measured, wanted ≤ 150ms",)

    def test_a_fail_explained_by_stalls_is_the_environment_s(self) -> None:
        outcome = conclude([self.GOOD, self.BAD], stalls=[Stall(1 * S, 2 * S, "relay")])
        assert (outcome.result, outcome.blame) == (Result.INCONCLUSIVE, Blame.ENVIRONMENT)
        assert outcome.verdicts[1].result is Result.INCONCLUSIVE

    def test_asserting_nothing_is_an_error(self) -> None:
        with pytest.raises(SpecError, match=r"scenarios/migration.py.*asserts nothing"):
            conclude([], faults=["rebind"], receipts=[receipt()], scenario="scenarios/migration.py")

    @given(st.lists(st.sampled_from([GOOD, BAD, UNKNOWN]), min_size=1), st.booleans(), st.booleans())
    def test_pass_means_that_nothing_at_all_was_wrong(self, verdicts: list[Verdict], proven: bool, error: bool) -> None:
        outcome = conclude(
            verdicts, faults=["rebind"], receipts=[receipt()] if proven else [], errors=[HarnessError("bug")] if error else []
        )
        assert (outcome.result is Result.PASS) == (proven and not error and all(verdict == self.GOOD for verdict in verdicts))
        assert (outcome.result is Result.FAIL) == (self.BAD in verdicts)
        assert (outcome.blame is None) == (outcome.result is Result.PASS) == (outcome.reasons == ())


def test_relations_have_signs() -> None:
    assert [relation.sign for relation in Relation] == ["≤", "≥", "="]
    assert at_most("share", Ratio(1), 1 * percent).result is Result.PASS
    assert at_most("time", 1 * s, 1000 * ms).result is Result.PASS


@pytest.mark.parametrize("good", [True, False])
def test_a_network_that_did_what_nobody_asked_proves_nothing(good: bool) -> None:
    verdict = at_most("audio lost", 0 if good else 9, 1 * packets)
    outcome = conclude([verdict], unfit=["link x lost 7 packets"])
    assert (outcome.result, outcome.blame, outcome.reasons[0]) == (Result.INCONCLUSIVE, Blame.ENVIRONMENT, "link x lost 7 packets")
