"""Silence, late and unheard frames of one flow in one direction, by the schedule that the lab's requests make.  Pure; times are ns.

The definitions, with their symbols:

* a span [R, M] is the time from a request that starts media to the one that ends it; its origin O is the first departure of
  a packet in [R, R + G], else R + G; its places, in which a frame is due, are O + k·I before M;
* a frame's place follows from its RTP timestamp, counted from the first frame of its SSRC in the span; that first frame, and one whose
  timestamp jumps, stands in the last place due at its departure;
* a frame is late when taken − place − d > P, with d the configured delay of its path;
* it is fresh when its place is above every place heard before;
* silence(a, b) of two fresh frames heard one after the other is max(0, taken b − taken a − free − I), with free the part of [taken a,
  taken b] that lies between spans, each end of it shifted by d;
* a place is unheard when its frame never departed, departed and never arrived, or was late.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

MS = 1_000_000
ALLOWANCE = 100 * MS
"""G: from a request to its effect."""
PLAYOUT = 200 * MS
"""P: how much later than its path's delay a frame may be taken and still be played."""
DRIFT_STEP, DRIFT_WINDOW = 1 * MS, 10_000 * MS
"""How far the places may follow the source's clock (100 ppm): one step for each window."""
RUN = 10
"""So many late frames in a row, late by the same, are heard again: a listener sets its playout anew."""


@dataclass(frozen=True, slots=True)
class Span:
    """From the request that opened it to the one that closed it; None while it is open."""

    opened: int
    closed: int | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of media: all packets of one SSRC and RTP timestamp, as ``departed`` and ``taken`` by its last packet.

    ``began``: when its first packet departed, where that was earlier (ns).
    ``taken``: None when it never arrived whole.  ``timestamp``: RTP's, without wrap.  ``delay``: the configured one of its path.
    """

    departed: int
    taken: int | None
    ssrc: int
    timestamp: int
    delay: int
    began: int | None = None

    @property
    def first(self) -> int:
        """When its first packet departed."""
        return self.departed if self.began is None else self.began


@dataclass(frozen=True, slots=True)
class Source:
    """What the source of a flow owes: a frame every ``ticks`` of its RTP clock, which has ``rate`` of them a second."""

    rate: int
    ticks: int

    @property
    def interval(self) -> int:
        """I, ns."""
        return self.after(1)

    def after(self, frames: int) -> int:
        """How long so many intervals take, ns, each rounded by itself."""
        return frames * self.ticks * 1_000_000_000 // self.rate


@dataclass(frozen=True, slots=True)
class Placed:
    """A frame in its place: the ``span`` by number, ``place`` when it was due, ``index`` the number of the place that it fills.

    ``future``: its timestamp says that it was due more than an interval after it departed.
    """

    frame: Frame
    span: int
    index: int
    place: int
    future: bool = False

    @property
    def lateness(self) -> int:
        assert self.frame.taken is not None
        return self.frame.taken - self.place - self.frame.delay


@dataclass(frozen=True, slots=True)
class Gap:
    """Silence of ``excess`` from ``start``, when the last fresh frame was taken, to ``end``, when the next was or the window ended."""

    excess: int
    start: int
    end: int
    recovered: bool = True


@dataclass(frozen=True, slots=True)
class Unheard:
    """Places of a window: how many were ``due``, and of those that nobody heard how many for each reason."""

    due: int = 0
    never_departed: int = 0
    lost: int = 0
    late: int = 0

    @property
    def total(self) -> int:
        return self.never_departed + self.lost + self.late


@dataclass(frozen=True)
class Flow:
    """A flow of one direction, its frames in their places.

    ``origins``: O of each span.  ``heard``: (taken, place) of the fresh frames that were heard, in order of taking.  ``delay``: that of the
    first frame, for what no frame tells the delay of.
    """

    spans: tuple[Span, ...]
    source: Source
    placed: tuple[Placed, ...]
    origins: tuple[int, ...]
    heard: tuple[Placed, ...]
    delay: int
    shifts: dict[tuple[int, int], int] = field(default_factory=dict)
    playout: int = PLAYOUT

    def gaps(self, since: int, until: int) -> list[Gap]:
        """Every silence above 0 that ends in [since, until], in order of time; empty when nothing was ever owed by ``until``."""
        if not self.origins or self.origins[0] > until:
            return []
        times = [one.frame.taken for one in self.heard if one.frame.taken is not None and one.frame.taken <= until]
        first = self.origins[0] + self.delay - self.source.interval
        if not times or times[0] > first:
            times.insert(0, first)
        found = [
            Gap(self._silent(before, after), before, after)
            for before, after in pairwise(times)
            if since <= after <= until and after > before
        ]
        found.append(Gap(self._silent(times[-1], until), times[-1], until, recovered=False))
        return [gap for gap in found if gap.excess > 0]

    def longest(self, since: int, until: int) -> Gap:
        """The longest silence that ends in the window; one of 0 at ``since`` when there is none."""
        return max(self.gaps(since, until), key=lambda gap: gap.excess, default=Gap(0, since, since))

    def unheard(self, since: int, until: int) -> Unheard:
        """The fate of every place due in [since, until − d − P]: what is due later is undecided when the window ends."""
        best: dict[tuple[int, int], int] = {}  # 0 heard, 1 late, 2 lost
        for one in self.placed:
            fate = 2 if one.frame.taken is None else int(one.lateness > self.playout)
            best[one.span, one.index] = min(best.get((one.span, one.index), 3), fate)
        fates = [best.get(place, 3) for place, at in self.places(until - self.delay - self.playout) if at >= since]
        return Unheard(len(fates), fates.count(3), fates.count(2), fates.count(1))

    def places(self, until: int) -> list[tuple[tuple[int, int], int]]:
        """((span, index), time) of every place due by ``until``."""
        found = []
        for number, (span, origin) in enumerate(zip(self.spans, self.origins, strict=True)):
            end = until + 1 if span.closed is None else min(until + 1, span.closed)
            index = 0
            while (at := self._due(number, origin, index)) < end:
                found.append(((number, index), at))
                index += 1
        return found

    def _due(self, span: int, origin: int, index: int) -> int:
        at = origin + self.source.after(index)
        return at + self.shifts.get((span, (at - origin) // DRIFT_WINDOW), 0)

    def _silent(self, began: int, ended: int) -> int:
        return max(0, ended - began - self._free(began, ended) - self.source.interval)

    def _free(self, began: int, ended: int) -> int:
        """How much of [began, ended] nobody owed anything at the listener."""
        total = 0
        for number, span in enumerate(self.spans):
            if span.closed is None:
                continue
            start = span.closed + self._delay(span.closed, after=False)
            if number + 1 < len(self.origins):
                end = self.origins[number + 1] + self._delay(self.origins[number + 1], after=True)
            else:
                end = max(ended, start)
            total += max(0, min(ended, end) - max(began, start))
        return total

    def _delay(self, at: int, *, after: bool) -> int:
        """The delay of the path of the last frame that departed by ``at``, or of the first one ``after`` it; of the nearest without one."""
        if not self.placed:
            return self.delay
        number = bisect_left(self._departures, at) if after else bisect_right(self._departures, at) - 1
        return self.placed[min(max(number, 0), len(self.placed) - 1)].frame.delay

    @cached_property
    def _departures(self) -> list[int]:
        return [one.frame.departed for one in self.placed]


def flow(frames: Sequence[Frame], spans: Sequence[Span], source: Source, delay: int, playout: int = PLAYOUT) -> Flow:
    """``frames`` of one flow in the places of ``spans``; ``delay``: the path's where no frame tells it.

    The lab stamps a request once it is written, and an agent may act by then: a frame that departs less than G before a span opens is that
    span's, unless the span before it closed less than G ago.  One that departs when nothing was ever asked for has no place.
    """
    ordered = sorted(frames, key=lambda frame: frame.departed)
    spans = tuple(sorted(spans, key=lambda span: span.opened))
    delay = ordered[0].delay if ordered else delay
    opens = [span.opened - ALLOWANCE for span in spans]
    for number in range(1, len(spans)):
        closed = spans[number - 1].closed
        opens[number] = min(spans[number].opened, max(opens[number], (closed or 0) + ALLOWANCE))
    origins: list[int] = []
    placed: list[Placed] = []
    base: dict[int, tuple[int, int]] = {}
    for number, span in enumerate(spans):
        following = opens[number + 1] if number + 1 < len(spans) else None
        own = [one for one in ordered if one.departed >= opens[number] and (following is None or one.departed < following)]
        closed = spans[number - 1].closed if number else None
        while own and closed is not None and (place := _stamped(own[0], base, source)) is not None and place < closed:
            placed.append(_placed(own.pop(0), number - 1, origins[number - 1], place, source))  # late, of the span before
        origin = min((one.first for one in own), default=span.opened + ALLOWANCE)
        origin = min(origin, span.opened + ALLOWANCE)
        origins.append(origin)
        base = {}
        placed += _place(own, number, origin, base, source)
    placed, shifts = _follow(placed, origins)
    return Flow(spans, source, tuple(placed), tuple(origins), tuple(_heard(placed, source, playout)), delay, shifts, playout)


def _stamped(frame: Frame, base: Mapping[int, tuple[int, int]], source: Source) -> int | None:
    """When ``frame`` was due by its timestamp; None for an SSRC that ``base`` does not have: SSRC → (timestamp, time)."""
    if frame.ssrc not in base:
        return None
    timestamp, at = base[frame.ssrc]
    return at + (frame.timestamp - timestamp) * 1_000_000_000 // source.rate


def _placed(frame: Frame, span: int, origin: int, place: int, source: Source, future: bool = False) -> Placed:
    index = ((place - origin) * source.rate + source.ticks * 500_000_000) // (source.ticks * 1_000_000_000)
    return Placed(frame, span, index, place, future)


def _place(frames: Sequence[Frame], number: int, origin: int, base: dict[int, tuple[int, int]], source: Source) -> list[Placed]:
    """The frames of one span, in order of departure, in their places; ``base`` is filled."""
    found = []
    for frame in frames:
        passed = max(0, frame.first - origin) * source.rate // (source.ticks * 1_000_000_000)
        due = origin + source.after(passed)  # the last place due at its departure
        place = _stamped(frame, base, source)
        future = place is not None and place > frame.departed + source.interval
        if place is None or future or place < origin:
            place = due
            base[frame.ssrc] = frame.timestamp, due
        found.append(_placed(frame, number, origin, place, source, future))
    return found


def _follow(placed: Sequence[Placed], origins: Sequence[int]) -> tuple[list[Placed], dict[tuple[int, int], int]]:
    """Let the places follow the source's clock: in each window of a span by the least (departed − place), a step of 1 ms at most."""
    least: dict[tuple[int, int], int] = {}
    for one in placed:
        window = one.span, (one.place - origins[one.span]) // DRIFT_WINDOW
        least[window] = min(least.get(window, 1 << 62), one.frame.departed - one.place)
    shifts: dict[tuple[int, int], int] = {}
    for span, number in sorted(least):
        if number > 0:  # the origin itself is a departure
            before = shifts.get((span, number - 1), 0)
            shifts[span, number] = before + max(-DRIFT_STEP, min(DRIFT_STEP, least[span, number] - before))
    moved = []
    for one in placed:
        shift = shifts.get((one.span, (one.place - origins[one.span]) // DRIFT_WINDOW), 0)
        moved.append(replace(one, place=one.place + shift))
    return moved, shifts


def _heard(placed: Sequence[Placed], source: Source, playout: int) -> list[Placed]:
    """The fresh frames that were heard, in order of taking: those that were not late, and runs of those that were late by the same."""
    came = sorted((one for one in placed if one.frame.taken is not None), key=lambda one: (one.frame.taken or 0, one.place))
    fresh: list[Placed] = []
    top = -(1 << 62)
    number = 0
    while number < len(came):
        taken = [came[number]] if came[number].lateness <= playout else _run(came, number, top, source.interval // 2)
        for one in taken:
            if one.place > top:
                fresh.append(one)
                top = one.place
        number += max(1, len(taken))
    return fresh


def _run(came: Sequence[Placed], number: int, top: int, agree: int) -> list[Placed]:
    """The frames from ``number`` on that are fresh one after the other and late by the same; none when there are fewer than ``RUN``."""
    found: list[Placed] = []
    least, most = came[number].lateness, came[number].lateness
    for one in came[number:]:
        least, most = min(least, one.lateness), max(most, one.lateness)
        if one.place <= top or most - least > agree:
            break
        found.append(one)
        top = one.place
    return found if len(found) >= RUN else []
