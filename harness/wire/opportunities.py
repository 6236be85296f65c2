"""A link whose rate was recorded: which packet leaves at which delivery opportunity of its trace (mahimahi's link queue).

* An opportunity takes 1500 bytes.  Several packets may leave at one; a packet that the rest of it does not hold begins there and leaves at
  the next one or, if need be, a later one.
* What an opportunity has left when nothing waits is gone: it is no credit for later.
* After its last opportunity the trace begins again, that one's time later.

mahimahi moves in whole milliseconds, and a packet that comes in the millisecond of an opportunity misses it.  Here a packet may use an
opportunity that comes at the nanosecond in which it is ready, or later.
"""

from __future__ import annotations

from bisect import bisect_left

from harness.spec.rate_trace import OPPORTUNITY, RateTrace

MS = 1_000_000


class Opportunities:
    """The opportunities of ``trace``, begun at ``origin`` (ns); used in order, by packets that are ready in order."""

    def __init__(self, trace: RateTrace, origin: int) -> None:
        self.trace = trace
        self._times = trace.times
        self._period = trace.times[-1]
        self._origin = origin
        self._index = 0  # of the opportunity in use, counted through all periods
        self._left = OPPORTUNITY  # bytes that it still takes

    def departure(self, size: int, ready: int) -> tuple[int, int, int]:
        """When a packet of ``size`` bytes that is ``ready`` (ns) can have left; and what to ``use`` if it does."""
        index, left = self._index, self._left
        if self._time(index) < ready:
            index, left = self._first(ready), OPPORTUNITY
        if size > left:
            more = -(-(size - left) // OPPORTUNITY)
            index += more
            left += more * OPPORTUNITY
        return self._time(index), index, left - size

    def use(self, index: int, left: int) -> None:
        """Let the packet have what ``departure`` said."""
        self._index, self._left = index, left

    def free(self, now: int) -> None:
        """Take back what was used of opportunities that are yet to come: who was to use them is gone."""
        if self._time(self._index) > now:
            self._index, self._left = self._first(now), OPPORTUNITY

    def _time(self, index: int) -> int:
        period, number = divmod(index, len(self._times))
        return self._origin + (period * self._period + self._times[number]) * MS

    def _first(self, ready: int) -> int:
        """The first opportunity at ``ready`` or later."""
        ms = max(-(-(ready - self._origin) // MS), 0)
        period, rest = divmod(ms, self._period)
        if rest == 0 and period:  # the end of a period is its last opportunities, and comes before the start of the next
            period, rest = period - 1, self._period
        return period * len(self._times) + bisect_left(self._times, rest)
