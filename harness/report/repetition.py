"""What many runs of one scenario come to: k of n conclusive runs with a confidence interval, and how each figure was distributed.

A conclusive run is one that came to PASS or FAIL.  All others, ERROR and NOT RUN too, count as inconclusive: they are shown beside them and
may be at most ``TOLERATED`` of all, or one; no run is left out because of how it came out.  The interval is Wilson's (1927) for a
proportion: it stays sensible at n of n, where the plain one shrinks to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, floor, sqrt
from statistics import NormalDist
from typing import TextIO

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.report.model import Report
from harness.report.printable import printable
from harness.report.text import PLAIN, amount, bound
from harness.units import Quantity, Ratio, percent
from harness.verdict import Relation, Result

CONFIDENCE = 0.95
TOLERATED = 5 * percent
"""Inconclusive runs among all runs of a repetition."""


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How one verdict's figure was distributed: ``values`` in rising order, over ``runs`` runs (None figures are not among the values)."""

    name: str
    direction: str
    relation: Relation
    bound: Quantity
    runs: int
    values: tuple[Quantity, ...]

    def at(self, share: float) -> Quantity | None:
        """The smallest value that at least ``share`` (0 … 1) of the values do not exceed; None without values."""
        return self.values[max(0, ceil(share * len(self.values)) - 1)] if self.values else None


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of one test.  ``broken``: runs that left no report (killed, timed out); they count as inconclusive."""

    test: str
    passed: int
    failed: int
    inconclusive: int
    broken: int = 0
    spreads: tuple[Spread, ...] = ()
    reasons: tuple[str, ...] = ()
    """One line per run that did not pass: its seed, its result, its first reason."""

    @property
    def conclusive(self) -> int:
        """Runs that came to PASS or FAIL."""
        return self.passed + self.failed

    @property
    def runs(self) -> int:
        """All of them."""
        return self.conclusive + self.inconclusive + self.broken

    @property
    def inconclusive_share(self) -> Ratio:
        """Runs without a result among all runs."""
        return Ratio(10**12 * (self.inconclusive + self.broken) // self.runs) if self.runs else 0 * percent

    def holds(self, wanted: int) -> bool:
        """Whether ``wanted`` conclusive runs all passed, with few enough inconclusive ones beside them."""
        few = self.broken <= tolerated(self.runs, least=0) and self.inconclusive + self.broken <= tolerated(self.runs)
        return not self.failed and self.passed >= wanted and few


def tolerated(runs: int, least: int = 1) -> int:
    """How many of ``runs`` may be inconclusive: one core that was taken away once says nothing about the product, however few the runs."""
    return max(least, floor(runs * TOLERATED.fraction))


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval (0 … 1) for the probability behind ``successes`` of ``trials``; (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share, squared = successes / trials, z * z
    middle = (share + squared / (2 * trials)) / (1 + squared / trials)
    half = z / (1 + squared / trials) * sqrt(share * (1 - share) / trials + squared / (4 * trials * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def tally(test: str, reports: Sequence[Report], broken: int = 0) -> Tally:
    """Count the runs of ``test`` and collect their figures."""
    results = [report.result for report in reports]
    return Tally(
        test=test,
        passed=results.count(Result.PASS),
        failed=results.count(Result.FAIL),
        inconclusive=sum(result not in (Result.PASS, Result.FAIL) for result in results),
        broken=broken,
        spreads=tuple(_spreads(reports)),
        reasons=tuple(f"seed {r.seed}: {r.result}, {r.reasons[0]}" for r in reports if r.result is not Result.PASS),
    )


def _spreads(reports: Iterable[Report]) -> list[Spread]:
    found: dict[tuple[str, str, Relation, Quantity], list[Quantity | None]] = {}
    for report in reports:
        for verdict in report.verdicts:
            found.setdefault((verdict.name, verdict.direction, verdict.relation, verdict.bound), []).append(verdict.value)
    return [
        Spread(
            name=name,
            direction=direction,
            relation=relation,
            bound=bound,
            runs=len(values),
            values=tuple(sorted((value for value in values if value is not None), key=lambda value: value.count)),
        )
        for (name, direction, relation, bound), values in found.items()
    ]


def show(tallies: Sequence[Tally], wanted: int, file: TextIO | None = None) -> None:
    """Print what the runs came to: a table of figures and a line of counts per test."""
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(file=file, width=PLAIN, highlight=False, markup=False, emoji=False)
    for one in tallies:
        table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
        for heading in ("figure", "direction"):
            table.add_column(heading, overflow="fold")
        for heading in ("bound", "least", "median", "95 %", "most", "runs"):
            table.add_column(heading, justify="right", no_wrap=True)
        for spread in one.spreads:
            figures = [amount(spread.at(share)) for share in (0.0, 0.5, 0.95, 1.0)]
            table.add_row(Text(printable(spread.name)), Text(printable(spread.direction)), bound(spread), *figures, str(spread.runs))
        console.print(table)
        for reason in one.reasons:
            console.print(Text(f"- {printable(reason)}"), soft_wrap=True)
        console.print(Text(sentence(one, wanted), style="green" if one.holds(wanted) else "bold red"), soft_wrap=True)
        console.print()


def sentence(one: Tally, wanted: int) -> str:
    """``rebind_port[ipv4]: 100 of 100 conclusive runs passed (95 % interval 96.3 % to 100 %), 2 inconclusive (1.96 %)``."""
    low, high = (f"{100 * edge:.1f}".removesuffix(".0") for edge in wilson(one.passed, one.conclusive))
    beside = f"{one.inconclusive + one.broken} inconclusive ({amount(one.inconclusive_share)})"
    short = "" if one.conclusive >= wanted else f"; {wanted} conclusive runs were wanted"
    return f"{one.test}: {one.passed} of {one.conclusive} conclusive runs passed (95 % interval {low} % to {high} %), {beside}{short}"
