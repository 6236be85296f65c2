from __future__ import annotations

import pytest

from harness.report.session import Case, Run, tightest, worst_first
from harness.units import ms, packets
from harness.verdict import Blame, Result, Verdict, at_least, at_most, equal
from tests.unit.report.runs import VERDICTS, made

PASSED, FAILED, UNCLEAR = (Run(made(verdicts), "artifacts/x") for verdicts in (VERDICTS[:1], VERDICTS, VERDICTS[5:]))

LACKING = Run(made([], result=Result.NOT_RUN, blame=Blame.AGENT), "artifacts/x")
MISTAKEN = Run(made([], result=Result.ERROR, blame=Blame.AUTHOR), "artifacts/x")


@pytest.mark.parametrize(
    ("case", "word"),
    [
        (Case(nodeid="a", runs=(PASSED,)), "PASS"),
        (Case(nodeid="a", runs=(UNCLEAR, PASSED)), "PASS"),
        (Case(nodeid="a", runs=(UNCLEAR, FAILED)), "FAIL"),
        (Case(nodeid="a", runs=(UNCLEAR,)), "INCONCLUSIVE"),
        (Case(nodeid="a", runs=(UNCLEAR,), skipped="agent bob: no migrate"), "SKIPPED"),
        (Case(nodeid="a", runs=(LACKING,)), "NOT RUN"),
        (Case(nodeid="a", runs=(LACKING,), skipped="allowed"), "SKIPPED"),
        (Case(nodeid="a", runs=(MISTAKEN,)), "ERROR"),
        (Case(nodeid="a", runs=(PASSED,), trouble="teardown: no"), "ERROR"),
        (Case(nodeid="a", runs=(FAILED,), trouble="teardown: no"), "FAIL"),
        (Case(nodeid="a", trouble="collection: no"), "ERROR"),
    ],
)
def test_the_last_run_decides_and_no_trouble_passes(case: Case, word: str) -> None:
    assert case.word == word


def test_the_worst_comes_first_and_what_is_alike_keeps_its_order() -> None:
    cases = [
        Case(nodeid="1", runs=(PASSED,)),
        Case(nodeid="2", runs=(UNCLEAR,)),
        Case(nodeid="3", runs=(FAILED,)),
        Case(nodeid="4", trouble="x"),
        Case(nodeid="5", runs=(FAILED,)),
        Case(nodeid="6", runs=(LACKING,)),
    ]
    assert [case.nodeid for case in worst_first(cases)] == ["3", "5", "4", "6", "2", "1"]


def test_why_is_the_reason_of_the_last_run_or_the_last_line_of_what_pytest_says() -> None:
    assert Case(nodeid="a", runs=(PASSED, FAILED)).reason == FAILED.report.reasons[0]
    assert Case(nodeid="a", trouble="collection: File x\nSyntaxError: no\n").reason == "SyntaxError: no"
    assert Case(nodeid="a", runs=(PASSED,)).reason == ""


LOOSE, CLOSE = at_most("loose", 1 * ms, 100 * ms), at_most("close", 999 * ms, 1000 * ms)
RATE, EXACT = at_least("rate", 12 * packets, 10 * packets), equal("exact", 1, 1)
MISSED, MISSED_MORE = at_most("missed", 110 * ms, 100 * ms), equal("missed more", 2, 1)
UNMEASURED, NONE_WANTED = at_most("unmeasured", None, 1 * ms), at_most("none wanted", 1, 0)


@pytest.mark.parametrize(
    ("verdicts", "first"),
    [
        ([], None),
        ([LOOSE, CLOSE, EXACT], CLOSE),
        ([EXACT], EXACT),
        ([RATE, LOOSE], RATE),
        ([CLOSE, MISSED, MISSED_MORE], MISSED_MORE),
        ([UNMEASURED, CLOSE], UNMEASURED),
        ([UNMEASURED, MISSED], MISSED),
        ([MISSED_MORE, NONE_WANTED], NONE_WANTED),
    ],
)
def test_the_tightest_verdict_is_the_one_nearest_to_failing(verdicts: list[Verdict], first: Verdict | None) -> None:
    assert tightest(verdicts) is first
