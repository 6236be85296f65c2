"""Silence: the one quantity behind "longest silence" and "recovery", per flow and direction, against the lab's schedule.

A frame is *heard* when the listening process took it, not late: ``taken - place - d <= P``, where d is the configured one-way delay of the
path that carried it and P the playout allowance.  For silence alone a frame is also heard when it belongs to ``SETTLED`` or more fresh
frames in a row whose lateness agrees within half an interval: a listener re-anchors, and the slip itself was silence.  A frame is *fresh*
when its place is above every place heard before; an overtaken one is heard, but neither ends nor begins a silence.

For two fresh frames a and b heard one after the other:

    silence(a, b) = max(0, (taken b - taken a) - free(a, b) - I)

``free`` is the time in which the schedule owed nothing, shifted by the path's own delay, and I the interval.  Within leave to adapt I is
the longer interval of that leave; of a gap that lies there only in part, I is longer by no more than that part.  A virtual frame before the
first was taken at O + d - I, and a virtual one ends every window.  A gap belongs to the window in which it *ends*.

All times are ns of CLOCK_MONOTONIC.  Pure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from harness.media.figure import Gap
from harness.media.schedule import FOREVER, Leave
from harness.media.window import check
from harness.units import Duration

SETTLED = 10
"""Fresh frames in a row that make a listener re-anchor."""

Free = Sequence[tuple[int, int]]
"""When nothing was owed, by time."""


class TakenFrame(NamedTuple):
    """A frame that the listener took: its place, the last departure, arrival and taking of its packets, and its path's own delay (ns)."""

    due: int
    departed: int
    arrived: int
    taken: int
    delay: int

    @property
    def late(self) -> int:
        """How much later it was taken than the schedule and its path explain."""
        return self.taken - self.due - self.delay


def heard(frames: Sequence[TakenFrame], interval: int, deadline: int | None) -> list[TakenFrame]:
    """The fresh frames that were heard, in the order in which they were taken."""
    ascending: list[TakenFrame] = []
    newest = -FOREVER
    for frame in sorted(frames, key=lambda frame: (frame.taken, frame.due)):
        if frame.due > newest:
            newest = frame.due
            ascending.append(frame)
    if deadline is None:
        return ascending
    settled = _settled(ascending, interval, deadline)
    return [frame for number, frame in enumerate(ascending) if frame.late <= deadline or number in settled]


def _settled(frames: Sequence[TakenFrame], interval: int, deadline: int) -> set[int]:
    """Which of the late ones belong to a row whose lateness agrees."""
    found: set[int] = set()
    row: list[int] = []
    for number, frame in enumerate(frames):
        if frame.late <= deadline or (row and abs(frame.late - frames[row[0]].late) > interval // 2):
            row = []
        if frame.late > deadline:
            row.append(number)
            if len(row) >= SETTLED:
                found.update(row)
    return found


def silences(
    frames: Sequence[TakenFrame],
    free: Free,
    *,
    interval: int,
    since: int,
    until: int,
    deadline: int | None,
    delay: int = 0,
    leaves: Sequence[Leave] = (),
) -> list[Gap]:
    """Every silence above 0 that ends in the window, by time.

    ``delay``: the path's own, where no frame tells it.  ``free``: as ``Schedule.free`` gives it.  ``leaves``: to send fewer frames.
    """
    check(since, until)
    fresh = [frame for frame in heard(frames, interval, deadline) if frame.taken <= until]
    leads = bool(free) and free[0][0] == -FOREVER
    shifted = _shifted(free[leads:], fresh, delay)
    longer = [max(0, leave.interval - interval) for leave in leaves if leave.interval is not None]
    slow = _shifted([(leave.since, leave.until) for leave in leaves if leave.interval is not None], fresh, delay)
    first = fresh[0].delay if fresh else delay
    origin = free[0][1] if leads else since
    begin = min(origin + first, until) - interval
    times = [begin, *(frame.taken for frame in fresh), until]
    transits = [0, *(frame.arrived - frame.departed for frame in fresh), fresh[-1].arrived - fresh[-1].departed if fresh else delay]
    gaps = []
    for number, (left, right) in enumerate(pairwise(times), 1):
        if since <= right <= until:
            more = max((min(most, _overlap([when], left, right)) for most, when in zip(longer, slow, strict=True)), default=0)
            excess = right - left - _overlap(shifted, left, right) - interval - more
            ends = number == len(times) - 1
            if excess > 0:
                gaps.append(Gap(Duration(excess), left, right, recovered=not ends, transit=transits[number]))
    return gaps


def _shifted(free: Free, fresh: Sequence[TakenFrame], delay: int) -> list[tuple[int, int]]:
    """The free times as the listener feels them: each end later by the path's own delay then."""
    by_place = sorted(fresh, key=lambda frame: frame.due)
    places = [frame.due for frame in by_place]

    def before(at: int) -> int:
        number = bisect_right(places, at) - 1
        return by_place[max(number, 0)].delay if by_place else delay

    def after(at: int) -> int:
        number = bisect_left(places, at)
        return by_place[min(number, len(places) - 1)].delay if by_place else delay

    return [(start + before(start), end + after(end)) for start, end in free]


def _overlap(free: Free, left: int, right: int) -> int:
    return sum(max(0, min(end, right) - max(start, left)) for start, end in free)


def longest(gaps: Sequence[Gap], *, since: int) -> Gap:
    """The longest of ``gaps`` (the earliest of equals); a gap of 0 at ``since`` when there is none."""
    return max(gaps, key=lambda gap: gap.excess.ns, default=Gap(Duration(0), since, since))


def recovery(frames: Sequence[TakenFrame], *, after: int, until: int, interval: int, deadline: int | None) -> Gap:
    """From ``after`` to the taking of the first fresh frame due since then, path delay included; to the window's end when none came."""
    check(after, until)
    came = next((frame for frame in heard(frames, interval, deadline) if frame.due >= after and frame.taken <= until), None)
    end = until if came is None else came.taken
    transit = 0 if came is None else came.arrived - came.departed
    return Gap(Duration(end - after), after, end, recovered=came is not None, transit=transit)
