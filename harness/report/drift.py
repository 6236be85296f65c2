"""Whether a figure draws nearer to its bound from run to run, while all of them still pass.  A hint, never a verdict.

What is looked at is the *margin*: how far a value lies inside its bound, in % of the bound, over the latest ``WINDOW`` runs that measured
it under the same circumstances, oldest first; and, so that a slow drift is seen as well, over the latest ``WINDOW`` blocks of ``BLOCK``
runs, each told by its median.  Two rules, each of which cries wolf at most once in a hundred windows of unchanging runs:

* **trend**: the margins fall.  Mann–Kendall's test says so (one-sided, z ≤ ``-SURE``, that is p ≤ 0.005), over ``LEAST`` runs or more, and
  Theil and Sen's slope (the median of the slopes of all pairs, which a single outlier does not move) makes a loss of ``LOSS`` or more over
  the window.
* **step**: the latest three margins are all smaller than every one before them, of which there are ``BEFORE`` or more (by chance: once in
  120 windows of ten, less in longer ones), and their median lies ``STEP`` or more below the median of those before.

A figure whose bound is 0, or that must equal its bound, has no margin in % and does not drift: any change of it is a FAIL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import ceil, sqrt
from statistics import median

from harness.units import Quantity
from harness.verdict import Relation

WINDOW = 20
"""Runs that are looked at."""
BLOCK = 5
LEAST = 8
BEFORE = 7
SURE = 2.576
LOSS = 10.0
"""% of the bound, over the window."""
STEP = 5.0
"""% of the bound."""


def margin(relation: Relation, value: Quantity | None, bound: Quantity) -> float | None:
    """How far ``value`` lies inside ``bound``, in % of it, negative when it is missed; None where that means nothing."""
    if value is None or relation is Relation.EQUAL or bound.count <= 0 or type(value) is not type(bound):
        return None
    inside = bound.count - value.count if relation is Relation.AT_MOST else value.count - bound.count
    return 100 * inside / bound.count


def hint(margins: Sequence[float]) -> str:
    """What the margins (oldest first) hint at, in words; empty when at nothing."""
    latest = list(margins)[-WINDOW:]
    whole = list(margins)[len(margins) % BLOCK :]
    blocks = [median(whole[n : n + BLOCK]) for n in range(0, len(whole), BLOCK)][-WINDOW:]
    return _trend(latest) or _step(latest) or _trend(blocks, BLOCK)


def _trend(margins: Sequence[float], each: int = 1) -> str:
    if len(margins) < LEAST or kendall(margins) > -SURE:
        return ""
    slope = theil_sen(margins)
    lost = -slope * (len(margins) - 1)
    if lost < LOSS:
        return ""
    left = margins[-1]
    when = f"; at this rate the bound breaks in {ceil(each * left / -slope)} runs" if left > 0 else ""
    return f"the margin shrinks: {lost:.0f} % of the bound lost over the latest {each * len(margins)} runs{when}"


def _step(margins: Sequence[float]) -> str:
    before, latest = margins[:-3], margins[-3:]
    if len(before) < BEFORE or max(latest) >= min(before):
        return ""
    fell = median(before) - median(latest)
    if fell < STEP:
        return ""
    return f"the latest three lie nearer to the bound than all {len(before)} before them, by {fell:.0f} % of the bound"


def theil_sen(values: Sequence[float]) -> float:
    """The median slope of all pairs of values, per step; 0 with fewer than two."""
    slopes = [(values[j] - values[i]) / (j - i) for i, j in combinations(range(len(values)), 2)]
    return median(slopes) if slopes else 0.0


def kendall(values: Sequence[float]) -> float:
    """Mann–Kendall's z: below 0 when the values fall, 0 when all are equal.  Its variance is corrected for ties."""
    n = len(values)
    s = sum((later > earlier) - (later < earlier) for earlier, later in combinations(values, 2))
    ties = sum(t * (t - 1) * (2 * t + 5) for t in Counter(values).values())
    variance = (n * (n - 1) * (2 * n + 5) - ties) / 18
    return (s - (s > 0) + (s < 0)) / sqrt(variance) if variance > 0 else 0.0
