"""A flow whose packets no key opens: silence and loss from the sizes and times of datagrams, and nothing else.

Media of such a flow are datagrams of the call with a payload of ``LEAST`` to ``MOST`` bytes more than its RTP packets.  A lone one ends
nothing: a gap ends with ``ROW`` of them within as many intervals.  There are no places, so no lateness, order, content or pictures; silence
may be understated, since padding of that size looks like media.  Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from harness.media.figure import Figure, Gap, Moment, share
from harness.media.measures import Heard
from harness.media.silence import longest
from harness.units import Count, Duration, Quantity

LEAST, MOST = 20, 90
"""Bytes that QUIC and RTP over QUIC add to an RTP packet, at least and at most."""
ROW = 3
BY_SIZES = "sealed: by the sizes and times of datagrams"
NOT_MEASURED = "not measured: no key opens the packets of this flow"


class SealedDatagram(NamedTuple):
    """A datagram that left the speaker's host: when, and when it was taken at the listener's (ns, None: it never came)."""

    departed: int
    taken: int | None


@dataclass(frozen=True)
class SealedHeard(Heard):
    """One flow in one direction, of which only ``datagrams`` are known: those of media's size, in the order of departure.

    Empty where sizes cannot tell (video), or where only some of its packets could not be opened: ``why`` then says so.
    """

    datagrams: Sequence[SealedDatagram] = ()
    why: str = NOT_MEASURED

    def _figure(self, value: Quantity | None, **rest: Any) -> Figure:
        """Nothing that rests on packets is known."""
        return super()._figure(None, note=self.why)

    def longest_gap(self, since: int | None = None, until: int | None = None) -> Figure:
        """The longest time between two datagrams of media's size, less an interval and less what the schedule left free."""
        since, until = self._window(since, until)
        if not self.datagrams:
            return self._unmeasured(self.why)
        gaps = tuple(self._gaps(since, until))
        return Figure(longest(gaps, since=since).excess, self.direction, gaps, BY_SIZES, speaker=self.speaker, listener=self.listener)

    def _gaps(self, since: int, until: int) -> list[Gap]:
        taken = sorted(one.taken for one in self.datagrams if one.taken is not None and one.taken <= until)
        interval = self.pace.interval
        ends = {at for at, last in zip(taken, taken[ROW - 1 :], strict=False) if last - at <= ROW * interval}
        gaps: list[Gap] = []
        before: int | None = None
        for at in taken:
            if before is None or at in ends or at - before <= interval:
                gaps += self._gap(before, at, interval, since, until) if before is not None else []
                before = at
        if before is not None:
            gaps += self._gap(before, until, interval, since, until, recovered=False)
        return gaps

    def _gap(self, left: int, right: int, interval: int, since: int, until: int, *, recovered: bool = True) -> list[Gap]:
        free = sum(max(0, min(end, right) - max(start, left)) for start, end in self.free or ())
        excess = right - left - free - interval
        return [Gap(Duration(excess), left, right, recovered)] if excess > 0 and since <= right <= until else []

    def lost(self, since: int | None = None, until: int | None = None) -> Figure:
        """Datagrams of media's size that left and never came."""
        since, until = self._window(since, until)
        if not self.datagrams:
            return self._unmeasured(self.why)
        gone = [one for one in self.datagrams if one.taken is None and since <= one.departed <= until]
        moments = tuple(Moment(one.departed, "a datagram of media's size was lost") for one in gone)
        return Figure(Count(len(gone)), self.direction, note=BY_SIZES, timeless=True, moments=moments)

    def unheard(self, since: int | None = None, until: int | None = None) -> Figure:
        """What was lost: that something came late, or was not taken, cannot be seen."""
        lost = self.lost(since, until)
        return lost if lost.value is None else replace(lost, note=f"{BY_SIZES}; what was late or not taken is not measured")

    def network_loss(self, since: int | None = None, until: int | None = None) -> Figure:
        """Their share of those that left."""
        since, until = self._window(since, until)
        left = [one for one in self.datagrams if since <= one.departed <= until]
        value = share(sum(one.taken is None for one in left), len(left))
        return self._unmeasured(self.why) if value is None else Figure(value, self.direction, note=BY_SIZES, timeless=True)
