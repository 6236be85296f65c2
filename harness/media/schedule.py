"""The schedule that the lab asked for: when each frame of a flow is due, and when a source owes nothing.

Between the lab's requests a source owes one frame every interval.  A frame that is due has a *place*.  Places rest on the lab's requests,
on departures captured at the sender's host and on RTP timestamps; no agent's record or stamp is needed.

* A **span** is the time in which media is owed: from the request that starts or resumes it to the one that stops it.  For the side that
  learns of a hold over the network it opens and closes when the signal arrives at its host.
* The **origin** of a span is the first departure (of a frame's first packet) within ``GRACE`` of its request, else the end of that grace.
  Places are the origin plus whole intervals, while the span lasts.
* Within a span and an SSRC the RTP timestamp says which place a frame fills.  A new SSRC, or a timestamp that puts a frame more than one
  interval after its own departure, takes the last place due at its departure.  Timestamps only sort frames into places: what they hide
  (frames that were not made, or were stamped anew) is left as empty places or as lateness.
* The anchor is fixed.  It follows the earliest departures of each ``WINDOW`` by at most ``DRIFT``, the most that two clocks differ.
* Between spans time is **free**: nothing is owed, and no silence counts.
* A **leave** to adapt is the scenario's, never the stack's: within it a flow owes one frame per longer interval, or nothing at all.

All times are ns of CLOCK_MONOTONIC.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from harness.rtp.packet import AUDIO_CLOCK, VIDEO_CLOCK

SECOND = 1_000_000_000
GRACE = 100_000_000
"""From a request to its effect."""
WINDOW = 10 * SECOND
DRIFT = 1_000_000
"""100 ppm of ``WINDOW``: the most that a source's clock may differ from this one."""
FOREVER = 1 << 62
"""Later than any time of CLOCK_MONOTONIC."""


class Pace(NamedTuple):
    """A flow's RTP clock (Hz) and the ticks of it from one frame to the next."""

    clock: int
    ticks: int

    @property
    def interval(self) -> int:
        """From one frame to the next, ns, rounded up: two frames on time are never a nanosecond too far apart."""
        return -(-self.ticks * SECOND // self.clock)

    def after(self, frames: int) -> int:
        """How long ``frames`` intervals take, ns, without the rounding of one adding up."""
        return frames * self.ticks * SECOND // self.clock


AUDIO = Pace(AUDIO_CLOCK, AUDIO_CLOCK // 50)
VIDEO = Pace(VIDEO_CLOCK, VIDEO_CLOCK // 30)


def pace_of(flow: str) -> Pace:
    """The pace that the lab asks of ``flow``: 50 frames a second of audio, 30 of video and screen."""
    return AUDIO if flow == "audio" else VIDEO


class Span(NamedTuple):
    """A time in which media is owed.

    ``opens``: no frame of it departs before.  ``effective``: by when the request must have had its effect.  ``closes``: no place is due at
    it or after it (``FOREVER`` while it lasts).
    """

    opens: int
    effective: int
    closes: int = FOREVER


class Leave(NamedTuple):
    """Leave to adapt from ``since`` to ``until`` (ns): the flow owes one frame every ``interval`` ns there, None: nothing at all."""

    since: int
    until: int
    interval: int | None


class SentFrame(NamedTuple):
    """A frame as it left the sender's host: its SSRC, its RTP timestamp, and when its first and its last packet departed (ns)."""

    ssrc: int
    rtp: int
    began: int
    departed: int


class _Mapping:
    """How the RTP timestamps of one SSRC become times within a span."""

    def __init__(self, span: int, rtp: int, place: int) -> None:
        self.span = span
        self._rtp = rtp
        self._ticks = 0
        self._newest = rtp
        self._place = place

    def peek(self, rtp: int, clock: int) -> int:
        """When a frame of that timestamp is due, before drift."""
        return self._place + self._unwrapped(rtp) * SECOND // clock

    def time(self, rtp: int, clock: int) -> int:
        """The same of a frame that departed: later timestamps are unwrapped from it."""
        ticks = self._unwrapped(rtp)
        if ticks > self._ticks:
            self._ticks, self._newest = ticks, rtp
        return self._place + ticks * SECOND // clock

    def _unwrapped(self, rtp: int) -> int:
        step = (rtp - self._newest) & 0xFFFF_FFFF
        return self._ticks + (step - 0x1_0000_0000 if step >= 0x8000_0000 else step)


class _Grid:
    """The places of one span: which are filled, and how far drift has moved them."""

    def __init__(self, span: Span, origin: int, pace: Pace, leaves: Sequence[Leave] = ()) -> None:
        self.origin = origin
        self._pace = pace
        self._leaves = leaves
        self._owed: int | None = None
        """The last place that was filled, or was empty and owed."""
        self.span = span
        self.shift = 0
        self._filled: set[int] = set()
        self._shifts: list[tuple[int, int]] = [(0, 0)]
        self._given = 0
        self._window = origin + WINDOW
        self._least: int | None = None

    def number(self, place: int) -> int:
        """Which place is nearest to the time ``place``, from 0."""
        interval = self._pace.interval
        return (place - self.shift - self.origin + interval // 2) // interval

    def last_due(self, at: int) -> int:
        """The last place due at ``at``."""
        frames = max(0, (at - self.shift - self.origin) * self._pace.clock // (self._pace.ticks * SECOND))
        return self.origin + self.shift + self._pace.after(frames)

    def fill(self, place: int, departed: int) -> None:
        """A frame that is due at ``place`` departed."""
        self._filled.add(self.number(place))
        early = departed - place
        self._least = early if self._least is None else min(self._least, early)
        if departed >= self._window:
            self.shift += max(-DRIFT, min(DRIFT, self._least))
            self._shifts.append((self.number(departed), self.shift))
            self._window, self._least = departed + WINDOW, None

    def empty(self, until: int) -> Iterator[int]:
        """The places due before ``until`` that no frame has filled, each given once."""
        end = min(until, self.span.closes)
        at = 0
        while True:
            number = self._given
            while at + 1 < len(self._shifts) and self._shifts[at + 1][0] <= number:
                at += 1
            place = self.origin + self._pace.after(number) + self._shifts[at][1]
            if place >= end:
                return
            self._given += 1
            if number in self._filled:
                self._filled.discard(number)
                self._owed = place
            elif self._is_owed(place):
                self._owed = place
                yield place

    def _is_owed(self, place: int) -> bool:
        """Whether a frame was owed at an empty place: within a leave only when its interval has passed since the last one."""
        leave = next((one for one in self._leaves if one.since <= place < one.until), None)
        if leave is None:
            return True
        if leave.interval is None:
            return False
        return self._owed is None or place - self._owed >= leave.interval - self._pace.interval // 2


class Schedule:
    """The places of one flow of one direction.  Give it every frame in the order of departure; spans may be added while it is used."""

    def __init__(self, pace: Pace, spans: Sequence[Span] = (), leaves: Sequence[Leave] = ()) -> None:
        self.pace = pace
        self.leaves: Sequence[Leave] = sorted(leaves, key=lambda leave: (leave.since, leave.until))
        self._spans: list[Span] = list(spans)
        self._grids: dict[int, _Grid] = {}
        self._mappings: dict[int, _Mapping] = {}
        self.early: list[SentFrame] = []
        """Frames that claim by their timestamp a place more than an interval after they departed."""

    @property
    def spans(self) -> Sequence[Span]:
        """When media is owed, in order of time."""
        return self._spans

    def set_spans(self, spans: Sequence[Span]) -> None:
        """The spans as they are known now: those known before, the last one perhaps closed, and perhaps more."""
        self._spans = list(spans)
        for number, grid in self._grids.items():
            grid.span = self._spans[number]

    def place(self, frame: SentFrame) -> int:
        """When ``frame`` was due; one that departed before anything was asked for was due when it departed."""
        number = max((n for n, span in enumerate(self._spans) if span.opens <= frame.began), default=-1)
        if number < 0:
            return frame.departed
        mapping = self._mappings.get(frame.ssrc)
        if mapping is not None and mapping.span < number:
            place = mapping.time(frame.rtp, self.pace.clock) + self._grids[mapping.span].shift
            if place < self._spans[mapping.span].closes:  # late, of the span before
                self._grids[mapping.span].fill(place, frame.departed)
                return place
            mapping = None
        grid = self._grids.get(number) or self._begin(number, frame.began)
        if mapping is None:
            place = grid.last_due(frame.began)
            self._mappings[frame.ssrc] = _Mapping(number, frame.rtp, place - grid.shift)
        else:
            place = mapping.time(frame.rtp, self.pace.clock) + grid.shift
            if place > frame.departed + self.pace.interval:
                self.early.append(frame)
                place = grid.last_due(frame.began)
                self._mappings[frame.ssrc] = _Mapping(number, frame.rtp, place - grid.shift)
        grid.fill(place, frame.departed)
        return place

    def expected(self, ssrc: int, rtp: int) -> int | None:
        """When a frame of that SSRC and RTP timestamp would be due, which never departed; None when nothing of the SSRC did."""
        mapping = self._mappings.get(ssrc)
        return None if mapping is None else mapping.peek(rtp, self.pace.clock) + self._grids[mapping.span].shift

    def empty(self, until: int) -> list[int]:
        """The places due before ``until`` that nothing has filled so far, each given once, by time."""
        found: list[int] = []
        for number, span in enumerate(self._spans):
            if span.effective < until or number in self._grids:
                found += (self._grids.get(number) or self._begin(number, FOREVER)).empty(until)
        return sorted(found)

    def free(self) -> list[tuple[int, int]]:
        """When nothing was owed: from a span's end to the next one's origin, before the first, and by leave; by time, apart."""
        found, since = [(leave.since, leave.until) for leave in self.leaves if leave.interval is None], -FOREVER
        for number, span in enumerate(self._spans):
            grid = self._grids.get(number)
            found.append((since, span.effective if grid is None else grid.origin))
            since = span.closes
        found.append((since, FOREVER))
        apart: list[tuple[int, int]] = []
        for start, end in sorted((start, end) for start, end in found if end > start):
            if apart and start <= apart[-1][1]:
                apart[-1] = apart[-1][0], max(end, apart[-1][1])
            else:
                apart.append((start, end))
        return apart

    def _begin(self, number: int, departed: int) -> _Grid:
        span = self._spans[number]
        grid = self._grids[number] = _Grid(span, min(departed, span.effective), self.pace, self.leaves)
        return grid
