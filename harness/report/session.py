"""What a session of pytest came to, test by test: the runs of each scenario, and what pytest has to say where there is no run."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harness.report.model import Report
from harness.units import Quantity
from harness.verdict import Relation, Result, Verdict


class Run(msgspec.Struct, frozen=True):
    """A run and where it is kept, as a person in the project's folder would name it."""

    report: Report
    folder: str


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One test, or a file that could not be collected.

    ``runs``: all of them, the last decides; those before it were followed by another seed.  ``trouble``: what pytest says of an error
    outside of a run (at collection, in a fixture, a worker that died).  ``skipped``: why.  ``file``, ``line``: where the test is written.
    """

    nodeid: str
    runs: tuple[Run, ...] = ()
    trouble: str = ""
    skipped: str = ""
    file: str = ""
    line: int | None = None

    @property
    def word(self) -> str:
        """FAIL, ERROR, NOT RUN, INCONCLUSIVE, SKIPPED (also NOT RUN where that was allowed) or PASS."""
        if self.runs and self.runs[-1].report.result is Result.FAIL:
            return "FAIL"
        if self.trouble:
            return "ERROR"
        if self.skipped:
            return "SKIPPED"
        return str(self.runs[-1].report.result) if self.runs else "PASS"

    @property
    def reason(self) -> str:
        """Why it is no PASS, in one sentence; "" if it is one."""
        reasons = self.runs[-1].report.reasons if self.runs else ()
        return next((text for text in (*reasons[:1], self.skipped, self.trouble.strip().rpartition("\n")[2]) if text), "")


ORDER = ("FAIL", "ERROR", "NOT RUN", "INCONCLUSIVE", "SKIPPED", "PASS")


def worst_first(cases: Iterable[Case]) -> list[Case]:
    """By ``ORDER``; what is alike stays in the order in which it was run."""
    return sorted(cases, key=lambda case: ORDER.index(case.word))


def tightest(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The verdict that tells most: the one that is missed by the largest share of its bound, else one not measured, else the least margin.

    A figure that must be exactly its bound has no margin to speak of: it is told only where nothing else was judged, or when it is missed.
    """
    return min(verdicts, key=_room, default=None)


def _room(verdict: Verdict) -> tuple[int, float]:
    rank = {Result.FAIL: 0, Result.PASS: 2}.get(verdict.result, 1)
    exact = verdict.result is Result.PASS and verdict.relation is Relation.EQUAL
    margin = verdict.margin
    return rank + exact, 0.0 if margin is None else _share(margin, verdict.bound)


def _share(margin: Quantity, bound: Quantity) -> float:
    """``margin`` as a share of ``bound``; of a bound of 0, whatever is not 0 is infinitely far from it."""
    if bound.count:
        return margin.count / abs(bound.count)
    return float("inf") * margin.count if margin.count else 0.0
