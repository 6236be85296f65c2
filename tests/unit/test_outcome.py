"""What a run comes to."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from harness.errors import AgentCrashed, AgentError, BlamedError, CapabilityLacking, EnvironmentUnfit, HarnessError, SpecError
from harness.media.figure import Figure, Gap, Overdue
from harness.outcome import conclude
from harness.units import Count, Duration, ms, packets
from harness.verdict import Blame, Receipt, Result, Stall, Verdict, at_most, equal
from tests.unit.media.flows import MS, S


def receipt(fault: str = "rebind", taken: bool = True) -> Receipt:
    return Receipt(fault=fault, kind="new 4-tuple", at=5, observed={"before": 1, "after": 2}, taken=taken, source="conntrack")


def silence(*gaps: tuple[float, float], extra: float = 20) -> Figure:
    """A figure of gaps (start ms, end ms), each counting all but ``extra`` ms of its stretch."""
    made = tuple(Gap(Duration(round((end - start - extra) * MS)), round(start * MS), round(end * MS)) for start, end in gaps)
    return Figure(max(gap.excess for gap in made), "alice → bob audio", made)


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
            (KeyError("x"), "harness"),
        ],
    )
    def test_other_errors_are_inconclusive_with_their_blame(self, error: Exception, blame: str) -> None:
        outcome = conclude([self.GOOD], errors=[error])
        assert (outcome.result, outcome.blame) == (Result.INCONCLUSIVE, blame)

    def test_a_mistake_of_the_author_is_an_error(self) -> None:
        outcome = conclude([self.GOOD, self.UNKNOWN], errors=[HarnessError("bug"), SpecError("link", "no such link")])
        assert (outcome.result, outcome.blame, outcome.reasons[0]) == (Result.ERROR, Blame.AUTHOR, "link: no such link")

    def test_an_exception_of_the_scenario_s_own_code_is_its_author_s(self) -> None:
        try:
            {}["nothing"]
        except KeyError as error:
            outcome = conclude([self.GOOD], errors=[error])
        assert (outcome.result, outcome.blame) == (Result.ERROR, Blame.AUTHOR)

    def test_an_exception_of_the_harness_s_own_code_is_not(self) -> None:
        try:
            at_most("silence", 1 * ms, 2 * ms).holds(None)  # type: ignore[arg-type]
        except AttributeError as error:
            outcome = conclude([self.GOOD], errors=[error])
        assert (outcome.result, outcome.blame) == (Result.INCONCLUSIVE, Blame.HARNESS)

    def test_a_lacking_capability_is_not_run_and_hides_neither_failure_nor_mistake(self) -> None:
        lacking = CapabilityLacking("bob", "it does not offer hold", ("hold",))
        assert conclude([], errors=[lacking]).result is Result.NOT_RUN
        assert conclude([self.UNKNOWN], errors=[HarnessError("bug"), lacking]).blame is Blame.AGENT
        assert conclude([], errors=[lacking, SpecError("link", "no")]).result is Result.ERROR
        assert conclude([self.BAD], errors=[lacking]).result is Result.FAIL

    def test_a_crash_is_a_failure_of_the_product(self) -> None:
        outcome = conclude([self.GOOD], errors=[AgentCrashed("bob", "it was killed by SIGSEGV")])
        assert (outcome.result, outcome.blame) == (Result.FAIL, Blame.PRODUCT)
        assert outcome.reasons == ("agent bob: it was killed by SIGSEGV",)

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


@pytest.mark.parametrize("good", [True, False])
def test_a_network_that_did_what_nobody_asked_proves_nothing(good: bool) -> None:
    verdict = at_most("audio lost", 0 if good else 9, 1 * packets)
    outcome = conclude([verdict], unfit=["link x lost 7 packets"])
    assert (outcome.result, outcome.blame, outcome.reasons[0]) == (Result.INCONCLUSIVE, Blame.ENVIRONMENT, "link x lost 7 packets")


def test_what_was_looked_at_is_not_kept() -> None:
    verdict = equal("video never sent", Figure(Count(1), overdue=(Overdue("given up", 1 * S, 1200 * MS),)), 0)
    assert b"overdue" not in json.encode(conclude([verdict], stalls=[]), enc_hook=str)


def test_what_befell_the_run_itself_comes_before_every_verdict() -> None:
    """A relay that was killed makes silence: no FAIL of the product."""
    silent = at_most("silence", 900 * ms, 100 * ms)
    gone = HarnessError("the relay process has ended (SIGKILL): see keeper.log")
    stopped = AgentError("alice", "its process was stopped (SIGSTOP) and has not gone on")
    for voids, blame in (([gone], Blame.HARNESS), ([stopped, gone], Blame.AGENT), ([OSError(28, "No space left")], Blame.ENVIRONMENT)):
        outcome = conclude([silent], errors=[RuntimeError("x")], voids=voids)
        assert (outcome.result, outcome.blame) == (Result.INCONCLUSIVE, blame)
        assert str(voids[0]) in outcome.reasons[0]
    assert conclude([silent]).result is Result.FAIL


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE])
def test_a_machine_that_has_no_more_of_something_is_unfit(number: int) -> None:
    outcome = conclude([], errors=[ExceptionGroup("nursery", [OSError(number, os.strerror(number))])])
    assert (outcome.result, outcome.blame) == (Result.INCONCLUSIVE, Blame.ENVIRONMENT)
    assert conclude([], errors=[OSError(errno.ENOENT, "no such file")]).blame is Blame.HARNESS
