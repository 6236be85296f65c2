"""One clock for all records: kernel receive stamps are CLOCK_REALTIME, everything here is CLOCK_MONOTONIC.

The two run at one rate (NTP slews both alike), so their difference is a constant that changes only when somebody sets the wall clock.  It
is sampled several times a second by reading realtime between two readings of monotonic; of a few tries the tightest counts, because a
process that is preempted between two readings measures the preemption.  A difference that moved by more than ``STEP`` is a step, which is
told: packets that arrived between the step and the sample carry wrong stamps, so delay figures around it are void.
"""

from __future__ import annotations

import time

STEP = 500_000
_TRIES = 5
_TIGHT = 2_000
_STALE = 60_000_000_000


class StampClock:
    """Converts CLOCK_REALTIME stamps (ns) to CLOCK_MONOTONIC (ns)."""

    def __init__(self) -> None:
        self._offset = self._measure()

    def sample(self) -> int:
        """Measure anew; the step (ns, signed) if the wall clock was set by more than STEP since the last sample, else 0."""
        offset = self._measure()
        step = self._offset - offset
        self._offset = offset
        return step if abs(step) > STEP else 0

    def monotonic(self, realtime: int) -> int:
        """When the stamp ``realtime`` was made, on the monotonic clock."""
        return realtime + self._offset

    def plausible(self, arrived: int, now: int) -> bool:
        """Whether a packet read at ``now`` can have come at ``arrived``: not in the future, and not over a minute ago."""
        return 0 <= now - arrived < _STALE

    @staticmethod
    def _measure() -> int:
        """Monotonic minus realtime, ns."""
        tightest, offset = 1 << 62, 0
        for _ in range(_TRIES):
            before = time.monotonic_ns()
            wall = time.time_ns()
            after = time.monotonic_ns()
            if after - before < tightest:
                tightest, offset = after - before, (before + after) // 2 - wall
                if tightest < _TIGHT:
                    break
        return offset
