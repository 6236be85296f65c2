"""The clock of a page: µs since the moment at which the run's timeline began."""

from __future__ import annotations

from dataclasses import dataclass

SPAN = 3 * 3600 * 10**9
"""ns around its beginning in which all of a run lies (it ends itself after 180 s): what tells another time was not written by this run."""


@dataclass(frozen=True)
class Clock:
    """``zero``: that moment, in ns of CLOCK_MONOTONIC."""

    zero: int

    def __call__(self, ns: int) -> int:
        """µs since zero of an instant."""
        return (ns - self.zero) // 1000

    def inside(self, *instants: int | None) -> bool:
        """Whether all of these (ns; None counts as none) can be of this run."""
        return all(ns is None or abs(ns - self.zero) <= SPAN for ns in instants)
