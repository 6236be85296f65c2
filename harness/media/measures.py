"""What one agent heard of one flow of one other agent: the figures by the names that scenarios use.

``Heard`` holds the joined packets of one flow and direction and the window of the run; every method takes ``since`` and ``until`` (ns) to
narrow it and gives a ``Figure``: a quantity with its direction, or None with the reason.  The rules are in the modules that compute:
``continuity`` (silence), ``delivery`` (loss), ``timing``, ``bursts``, ``emodel``, ``freezes``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.media import continuity, timing
from harness.media.bursts import LossPattern, loss_pattern
from harness.media.delivery import Delivery, delivery, given_up, late, overtaken, was_late, was_lost
from harness.media.emodel import G711_PLC, Codec, ScoredSecond, worst_seconds
from harness.media.figure import Figure, Gap, Moment, Overdue
from harness.media.freezes import VideoReport, video_report
from harness.media.records import MediaPacket
from harness.media.window import offered_in
from harness.units import Count, Duration, Quantity, Ratio, expect

_Overdue = Callable[..., tuple[Overdue, ...]]
_Fate = Callable[[MediaPacket], str]
"""What became of a packet, in words; "" for one that a figure does not count."""
NOTHING_OFFERED = "not measured: the source offered nothing in this window"
NOTHING_CAME = "not measured: nothing that was offered in this window arrived"


@dataclass(frozen=True)
class Heard:
    """One flow in one direction.

    ``packets``: every packet of it (``records.join``), not only those of the window.  ``opened``/``closed``: ns, the window judged unless a
    method is told otherwise; let it end before the hang-up, or the last packets in flight count as lost.  ``deadline``: how long after it
    was offered a packet may arrive and still be played; None plays everything.  ``clock_stepped``: the clock conversion stepped by more
    than 0.5 ms during the run, which voids the delay and jitter figures.
    """

    packets: Sequence[MediaPacket]
    direction: str
    opened: int
    closed: int
    deadline: Duration | None
    clock_stepped: bool = False

    def __post_init__(self) -> None:
        if self.deadline is not None:
            expect(Duration, self.deadline, f"{self.direction}: deadline")
        if self.closed < self.opened:
            raise ValueError(f"{self.direction}: the window ends {self.opened - self.closed} ns before it begins")

    def longest_gap(self, since: int | None = None, until: int | None = None) -> Figure:
        """The longest silence that ends in the window; to its end when the flow does not come back."""
        since, until = self._window(since, until)
        return self._longest(continuity.silences(self.packets, since=since, until=until, deadline=self._deadline_ns), since, until)

    def interruption(self, at: int, until: int | None = None) -> Figure:
        """The longest silence of a fault at ``at``: it ends between the fault and the arrival of the first packet offered after it."""
        _, until = self._window(at, until)
        return self._longest(continuity.interruptions(self.packets, at=at, until=until, deadline=self._deadline_ns), at, until)

    def recovery(self, after: int, until: int | None = None) -> Figure:
        """From ``after`` to the arrival of the first packet offered after it, path delay included; to the window's end if none came."""
        _, until = self._window(after, until)
        gap = continuity.recovery(self.packets, after=after, until=until, deadline=self._deadline_ns)
        return self._figure(gap.excess, gaps=(gap,), note="" if gap.recovered else "never came back", yields=self._yields)

    def longest_pause_of_source(self, since: int | None = None, until: int | None = None) -> Figure:
        """The longest time in which the source offered nothing: silence forgives it, so a scenario without a mute bounds it."""
        since, until = self._window(since, until)
        return self._longest(continuity.source_pauses(self.packets, since=since, until=until), since, until)

    def loss(self, since: int | None = None, until: int | None = None) -> Figure:
        """Playout loss: expired in the stack, lost or late, of what was offered in the window."""
        since, until = self._window(since, until)
        counts = self.delivery(since, until)
        parts = f"{counts.lost} lost, {counts.late} late, {counts.expired} never sent, of {counts.offered}"
        overdue = self._overdue(late, since, until) + self._overdue(given_up, since, until)
        moments = self._moments(since, until, lambda packet: _lost(packet) or self._late(packet) or _unsent(packet))
        return self._share(counts.playout_loss, parts, NOTHING_OFFERED, overdue=overdue, of=counts.offered, moments=moments)

    def network_loss(self, since: int | None = None, until: int | None = None) -> Figure:
        """Sent but never arrived, of what was sent."""
        since, until = self._window(since, until)
        counts = self.delivery(since, until)
        nothing = "not measured: nothing was sent in this window"
        moments = self._moments(since, until, _lost)
        return self._share(counts.network_loss, f"{counts.lost} of {counts.sent}", nothing, timeless=True, moments=moments)

    def lost(self, since: int | None = None, until: int | None = None) -> Figure:
        """Packets that left the stack and never arrived."""
        since, until = self._window(since, until)
        counts = self.delivery(since, until)
        return self._count(counts.lost, counts, timeless=True, moments=self._moments(since, until, _lost))

    def late(self, since: int | None = None, until: int | None = None) -> Figure:
        """Packets that arrived after the deadline."""
        since, until = self._window(since, until)
        counts = self.delivery(since, until)
        moments = self._moments(since, until, self._late)
        return self._count(counts.late, counts, overdue=self._overdue(late, since, until), moments=moments)

    def expired(self, since: int | None = None, until: int | None = None) -> Figure:
        """Packets that the stack let expire in its own queue."""
        since, until = self._window(since, until)
        counts = self.delivery(since, until)
        moments = self._moments(since, until, _unsent)
        return self._count(counts.expired, counts, overdue=self._overdue(given_up, since, until), moments=moments)

    def duplicates(self, since: int | None = None, until: int | None = None) -> Figure:
        """Copies beyond the first."""
        since, until = self._window(since, until)
        counts = self.delivery(since, until)
        return self._count(counts.duplicates, counts, timeless=True, moments=self._moments(since, until, _doubled))

    def reordered(self, since: int | None = None, until: int | None = None) -> Figure:
        """Packets that arrived after one that was offered later."""
        since, until = self._window(since, until)
        counts = self.delivery(since, until)
        overdue = self._overdue(overtaken, since, until)
        moments = tuple(Moment(one.start, f"came {Duration(one.end - one.start)} later, overtaken") for one in overdue)
        return self._count(counts.reordered, counts, overdue=overdue, moments=moments)

    def corrupted(self, since: int | None = None, until: int | None = None) -> Figure:
        """Copies that came with other bytes than were offered."""
        since, until = self._window(since, until)
        counts = self.delivery(since, until)
        return self._count(counts.corrupted, counts, timeless=True, moments=self._moments(since, until, _changed))

    def arrived(self, since: int | None = None, until: int | None = None) -> Figure:
        """Packets offered in the window that arrived; 0 is a measured 0 here, for a scenario that wants silence or wants media."""
        return self._figure(Count(self.delivery(since, until).arrived))

    def delivery(self, since: int | None = None, until: int | None = None) -> Delivery:
        """All the counts at once."""
        since, until = self._window(since, until)
        return delivery(self.packets, since=since, until=until, deadline=self._deadline_ns)

    def delay(self, since: int | None = None, until: int | None = None) -> timing.DelaySummary | None:
        """One-way delay through the network (sendmsg to the kernel's receive stamp); None when nothing came or the clock stepped."""
        since, until = self._window(since, until)
        return None if self.clock_stepped else timing.delay(self.packets, since=since, until=until)

    def delay_p99(self, since: int | None = None, until: int | None = None) -> Figure:
        """The 99th percentile of the one-way delay through the network."""
        return self._timed("p99", since, until)

    def delay_p50(self, since: int | None = None, until: int | None = None) -> Figure:
        """The median of the one-way delay through the network."""
        return self._timed("p50", since, until)

    def jitter(self, clock_rate: int, since: int | None = None, until: int | None = None) -> Figure:
        """The highest RFC 3550 jitter reached in the window."""
        since, until = self._window(since, until)
        if self.clock_stepped:
            return self._unmeasured(_STEPPED)
        both = timing.jitter(self.packets, since=since, until=until, clock_rate=clock_rate)
        return self._unmeasured("not measured: fewer than two packets arrived") if both is None else self._figure(both[1])

    def losses(self, since: int | None = None, until: int | None = None) -> LossPattern:
        """How the losses cluster."""
        since, until = self._window(since, until)
        return loss_pattern(self.packets, since=since, until=until, deadline=self._deadline_ns)

    def quality(self, codec: Codec = G711_PLC, since: int | None = None, until: int | None = None) -> list[ScoredSecond]:
        """Every second's R and MOS, the worst first; to be reported, never gated on."""
        since, until = self._window(since, until)
        return worst_seconds(self.packets, since=since, until=until, deadline=self._deadline_ns, codec=codec)

    def video(self, since: int | None = None, until: int | None = None) -> VideoReport:
        """Freezes and pauses, for a video flow."""
        since, until = self._window(since, until)
        return video_report(self.packets, since=since, until=until)

    def freezes(self, since: int | None = None, until: int | None = None) -> Figure:
        """How often the picture froze; not measured when no frame was ever shown, since no freeze can be counted then."""
        report = self.video(since, until)
        if not report.frames_rendered:
            return self._unmeasured("not measured: no frame was rendered in this window")
        moments = tuple(Moment(gap.start, f"frozen for {Duration(gap.end - gap.start)}") for gap in report.freezes)
        return self._figure(Count(report.freeze_count), note=f"frozen for {report.total_freezes_duration}", moments=moments)

    def longest_standstill(self, since: int | None = None, until: int | None = None) -> Figure:
        """The longest time without a new picture, a standstill that never ends included."""
        since, until = self._window(since, until)
        return self._longest(self.video(since, until).intervals, since, until)

    @property
    def _yields(self) -> bool:
        return any(packet.flow != "audio" for packet in self.packets)

    @property
    def _deadline_ns(self) -> int | None:
        return None if self.deadline is None else self.deadline.ns

    def _window(self, since: int | None, until: int | None) -> tuple[int, int]:
        return self.opened if since is None else since, self.closed if until is None else until

    def _longest(self, gaps: Sequence[Gap], since: int, until: int) -> Figure:
        if until <= since:
            return self._unmeasured("not measured: the window has no length")
        longest = continuity.longest(gaps, since=since)
        note = "" if longest.recovered else "to the end of the window"
        return self._figure(longest.excess, gaps=tuple(gaps), note=note, yields=self._yields)

    def _overdue(self, which: _Overdue, since: int, until: int) -> tuple[Overdue, ...]:
        return which(self.packets, since=since, until=until, deadline=self._deadline_ns)

    def _moments(self, since: int, until: int, fate: _Fate) -> tuple[Moment, ...]:
        """The packets of the window that have the ``fate``, each at the time at which it was offered."""
        return tuple(Moment(packet.offered, told) for packet in offered_in(self.packets, since, until) if (told := fate(packet)))

    def _late(self, packet: MediaPacket) -> str:
        if packet.arrived is None or not was_late(packet, self._deadline_ns):
            return ""
        return f"late: came after {Duration(packet.arrived - packet.offered)} by {_way(packet)}"

    def _share(self, value: Ratio | None, note: str, unmeasured: str, **rest: Any) -> Figure:
        return self._unmeasured(unmeasured) if value is None else self._figure(value, note=note, **rest)

    def _count(self, value: int, counts: Delivery, **rest: Any) -> Figure:
        return self._figure(Count(value), note=f"of {counts.offered}", **rest) if counts.offered else self._unmeasured(NOTHING_OFFERED)

    def _timed(self, which: str, since: int | None, until: int | None) -> Figure:
        if self.clock_stepped:
            return self._unmeasured(_STEPPED)
        summary = self.delay(since, until)
        value: Quantity | None = None if summary is None else getattr(summary, which)
        return self._unmeasured(NOTHING_CAME) if value is None else self._figure(value, note=f"spread {summary.spread}" if summary else "")

    def _unmeasured(self, why: str) -> Figure:
        return self._figure(None, note=why)

    def _figure(self, value: Quantity | None, **rest: Any) -> Figure:
        return Figure(value, self.direction, call=self.packets[0].call if self.packets else "", **rest)


def _way(packet: MediaPacket) -> str:
    return f"{packet.path or '?'} → {packet.arrivals[0].path or '?'}" if packet.arrivals else packet.path or "an unknown way"


def _lost(packet: MediaPacket) -> str:
    return f"lost by {_way(packet)}" if was_lost(packet) else ""


def _unsent(packet: MediaPacket) -> str:
    return f"never sent: {packet.unsent or 'no reason told'}" if packet.sent is None else ""


def _doubled(packet: MediaPacket) -> str:
    return f"came {len(packet.arrivals)} times by {_way(packet)}" if len(packet.arrivals) > 1 else ""


def _changed(packet: MediaPacket) -> str:
    return f"came changed by {_way(packet)}" if packet.corrupted else ""


_STEPPED = "not measured: the clock offset stepped by more than 0.5 ms"
