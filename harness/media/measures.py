"""What one agent heard of one flow of one other agent: the figures by the names that scenarios use.

``Heard`` holds the joined packets of one flow and direction and the window of the run; every method takes ``since`` and ``until`` (ns) to
narrow it and gives a ``Figure``: a quantity with its direction, or None with the reason.  The rules are in the modules that compute:
``silence``, ``delivery`` (loss), ``timing``, ``bursts``, ``emodel``, ``freezes``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

from harness.media import silence, timing
from harness.media.bursts import LossPattern, loss_pattern
from harness.media.delivery import Delivery, delayed, delivery, given_up, late, overtaken, was_late, was_lost, was_not_taken
from harness.media.emodel import G711_PLC, Codec, ScoredSecond, worst_seconds
from harness.media.figure import Figure, Gap, Moment, Overdue
from harness.media.freezes import VideoReport, video_report
from harness.media.records import MediaPacket
from harness.media.schedule import AUDIO, Leave, Pace
from harness.media.silence import Free, TakenFrame
from harness.media.window import offered_in
from harness.units import Count, Duration, Quantity, Ratio, expect

_Overdue = Callable[..., tuple[Overdue, ...]]
_Fate = Callable[[MediaPacket], str]
"""What became of a packet, in words; "" for one that a figure does not count."""
NOTHING_OFFERED = "not measured: the source offered nothing in this window"
NEVER_ASKED = "not measured: the lab never asked for this flow"
NOTHING_CAME = "not measured: nothing that was offered in this window arrived"


@dataclass(frozen=True)
class Heard:
    """One flow in one direction.

    ``packets``: every packet of it (``MediaPacket``), not only those of the window.  ``opened``/``closed``: ns, the window judged unless a
    method is given another; let it end before the hang-up, or the last packets in flight count as lost.  ``deadline``: by how much a packet
    may be late and still be played; None plays everything.  ``clock_stepped``: the clock conversion stepped by more than 0.5 ms during the
    run, which voids the delay and jitter figures.  ``pace``: one frame every how long.  ``free``: when the schedule owed nothing; None:
    nobody asked for the flow, so there is no silence to measure.  ``leaves``: to send fewer frames.  ``decided``: up to when (ns) the fate
    of every place is known; None: until the playout allowance and the path's own delay before ``closed``.  ``speaker``, ``listener``: names
    of agents.
    """

    packets: Sequence[MediaPacket]
    direction: str
    opened: int
    closed: int
    deadline: Duration | None
    clock_stepped: bool = False
    pace: Pace = AUDIO
    free: Free | None = field(default=())
    leaves: Sequence[Leave] = ()
    decided: int | None = None
    speaker: str = ""
    listener: str = ""

    def __post_init__(self) -> None:
        if self.deadline is not None:
            expect(Duration, self.deadline, f"{self.direction}: deadline")
        if self.closed < self.opened:
            raise ValueError(f"{self.direction}: the window ends {self.opened - self.closed} ns before it begins")

    @cached_property
    def frames(self) -> list[TakenFrame]:
        """The frames of which the listener took every packet, in the order of their places."""
        return self._frames(lambda packet: packet.taken)

    @cached_property
    def frames_at_host(self) -> list[TakenFrame]:
        """The frames of which every packet came to the listener's host, as taken when they came."""
        return self._frames(lambda packet: packet.arrived)

    def _frames(self, when: Callable[[MediaPacket], int | None]) -> list[TakenFrame]:
        found = []
        ordered = sorted(
            (packet for packet in self.packets if packet.ssrc or packet.sent is not None), key=lambda p: (p.ssrc, p.offered, p.rtp)
        )
        for _, group in groupby(ordered, key=lambda packet: (packet.ssrc, packet.offered, packet.rtp)):
            frame = list(group)
            taken = [at for packet in frame if (at := when(packet)) is not None]
            if len(taken) < len(frame) or not (self.pace == AUDIO or any(packet.marker for packet in frame)):
                continue
            departed, arrived = (max((packet.sent or 0) for packet in frame), max(packet.arrived or 0 for packet in frame))
            found.append(TakenFrame(frame[0].offered, departed, arrived, max(taken), max(packet.delay for packet in frame)))
        return sorted(found)

    def longest_gap(self, since: int | None = None, until: int | None = None) -> Figure:
        """The longest silence that ends in the window; to its end when the flow does not come back."""
        return self._longest_of(self.frames, since, until)

    def longest_gap_at_host(self, since: int | None = None, until: int | None = None) -> Figure:
        """The same by when frames came to the listener's host, whatever its process did with them: what captures alone can show."""
        return self._longest_of(self.frames_at_host, since, until)

    def _longest_of(self, frames: Sequence[TakenFrame], since: int | None, until: int | None) -> Figure:
        since, until = self._window(since, until)
        if self.free is None:
            return self._unmeasured(NEVER_ASKED)
        gaps = silence.silences(
            frames,
            self.free,
            interval=self.pace.interval,
            since=since,
            until=until,
            deadline=self._deadline_ns,
            delay=self._delay,
            leaves=self.leaves,
        )
        return self._longest(gaps, since, until)

    def recovery(self, after: int, until: int | None = None) -> Figure:
        """From ``after`` until the first frame due after it was taken, path delay included; to the window's end if none was."""
        _, until = self._window(after, until)
        gap = silence.recovery(self.frames, after=after, until=until, interval=self.pace.interval, deadline=self._deadline_ns)
        return self._figure(gap.excess, gaps=(gap,), note="" if gap.recovered else "never came back", yields=self._yields)

    def unheard(self, since: int | None = None, until: int | None = None) -> Figure:
        """Frames due in the window that the listener missed: never departed, lost, not taken, or late; the whole frame for one packet.

        Places whose fate the window's end leaves open (``decided``) do not count, nor does what departed while nothing was owed.
        """
        since, until = self._window(since, until)
        if self.free is None:
            return self._unmeasured(NEVER_ASKED)
        owed = self._owed(since, max(since, min(until, self._decided)))
        if not owed:
            return self._unmeasured(NOTHING_OFFERED)
        missed = [(frame[0].offered, [packet for packet in frame if self._missed(packet)]) for frame in owed]
        missed = [(due, packets) for due, packets in missed if packets]
        overdue = [[delayed(packet, self._deadline_ns) for packet in packets] for _, packets in missed]
        kinds = Counter(_kind(packets[0]) for _, packets in missed)
        return self._figure(
            Count(len(missed)),
            note=_told(kinds["lost"], kinds["late"], kinds["never sent"], kinds["not taken"], len(owed)),
            overdue=tuple(max((one for one in its if one), key=lambda one: one.excess.ns) for its in overdue if all(its)),
            moments=tuple(Moment(due, self._missed(packets[0])) for due, packets in missed),
            gaps=self.longest_gap(since, until).gaps if missed else (),
            interval=self.pace.interval,
            yields=self._yields,
        )

    def loss(self, since: int | None = None, until: int | None = None) -> Figure:
        """Playout loss: the share of what was due in the window that the listener missed (``unheard``)."""
        since, until = self._window(since, until)
        counts = self.delivery(since, until)
        parts = _parts(counts)
        overdue = self._overdue(late, since, until) + self._overdue(given_up, since, until)
        moments = self._moments(since, until, self._missed)
        return self._share(counts.playout_loss, parts, NOTHING_OFFERED, overdue=overdue, of=counts.offered, moments=moments)

    def network_loss(self, since: int | None = None, until: int | None = None) -> Figure:
        """Sent but never arrived, of what was sent."""
        since, until = self._window(since, until)
        counts = self.delivery(since, until)
        nothing = "not measured: nothing was sent in this window"
        moments = self._moments(since, until, _lost)
        return self._share(counts.network_loss, f"{counts.lost} of {counts.sent}", nothing, timeless=True, moments=moments)

    def lost(self, since: int | None = None, until: int | None = None) -> Figure:
        """Packets that left the sender's host and never came to the listener's."""
        since, until = self._window(since, until)
        counts = self.delivery(since, until)
        return self._count(counts.lost, counts, timeless=True, moments=self._moments(since, until, _lost))

    def not_taken(self, since: int | None = None, until: int | None = None) -> Figure:
        """Packets that came to the listener's host and that its process never took."""
        since, until = self._window(since, until)
        counts = self.delivery(since, until)
        return self._count(counts.not_taken, counts, moments=self._moments(since, until, _not_taken))

    def late(self, since: int | None = None, until: int | None = None) -> Figure:
        """Packets that were taken after the deadline."""
        since, until = self._window(since, until)
        counts = self.delivery(since, until)
        moments = self._moments(since, until, self._late)
        return self._count(counts.late, counts, overdue=self._overdue(late, since, until), moments=moments)

    def expired(self, since: int | None = None, until: int | None = None) -> Figure:
        """Packets that never left the sender's host."""
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
        """Copies that came with other bytes than the first that left, or with a payload that is one byte over and over."""
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

    def longest_freeze(self, since: int | None = None, until: int | None = None) -> Figure:
        """The longest freeze that ends in the window, as a figure with its gaps; not measured when no frame was ever shown."""
        since, until = self._window(since, until)
        report = self.video(since, until)
        if not report.frames_rendered:
            return self._unmeasured("not measured: no frame was rendered in this window")
        return self._longest(report.freezes, since, until)

    def longest_standstill(self, since: int | None = None, until: int | None = None) -> Figure:
        """The longest time without a new picture, a standstill that never ends included."""
        since, until = self._window(since, until)
        return self._longest(self.video(since, until).intervals, since, until)

    @property
    def largest_frame(self) -> int:
        """Bytes of UDP payload that the largest frame took."""
        sizes: Counter[tuple[int, int, int]] = Counter()
        for packet in self.packets:
            sizes[_frame(packet)] += packet.udp or 0
        return max(sizes.values(), default=0)

    @property
    def _yields(self) -> bool:
        return any(packet.flow != "audio" for packet in self.packets)

    @property
    def _deadline_ns(self) -> int | None:
        return None if self.deadline is None else self.deadline.ns

    def _window(self, since: int | None, until: int | None) -> tuple[int, int]:
        return self.opened if since is None else since, self.closed if until is None else until

    @property
    def _delay(self) -> int:
        """The path's own delay, where no frame was taken."""
        return next((packet.delay for packet in self.packets if packet.delay), 0)

    @property
    def _decided(self) -> int:
        """Up to when the fate of every place is known."""
        if self.decided is not None:
            return self.decided
        return self.closed - (self._deadline_ns or 0) - max((packet.delay for packet in self.packets), default=0)

    def _owed(self, since: int, until: int) -> list[list[MediaPacket]]:
        """The frames due in the window, as lists of their packets."""
        frames: dict[tuple[int, int, int], list[MediaPacket]] = {}
        for packet in offered_in(self.packets, since, until):
            if not any(start <= packet.offered < end for start, end in self.free or ()):
                frames.setdefault(_frame(packet), []).append(packet)
        return list(frames.values())

    def _missed(self, packet: MediaPacket) -> str:
        return _lost(packet) or _not_taken(packet) or self._late(packet) or _unsent(packet)

    def _longest(self, gaps: Sequence[Gap], since: int, until: int) -> Figure:
        if until <= since:
            return self._unmeasured("not measured: the window has no length")
        longest = silence.longest(gaps, since=since)
        note = "" if longest.recovered else "to the end of the window"
        return self._figure(longest.excess, gaps=tuple(gaps), note=note, yields=self._yields)

    def _overdue(self, which: _Overdue, since: int, until: int) -> tuple[Overdue, ...]:
        return which(self.packets, since=since, until=until, deadline=self._deadline_ns)

    def _moments(self, since: int, until: int, fate: _Fate) -> tuple[Moment, ...]:
        """The packets of the window that have the ``fate``, each at the time at which it was offered."""
        return tuple(Moment(packet.offered, told) for packet in offered_in(self.packets, since, until) if (told := fate(packet)))

    def _late(self, packet: MediaPacket) -> str:
        if packet.taken is None or not was_late(packet, self._deadline_ns):
            return ""
        return f"late: taken {Duration(packet.taken - packet.offered)} after it was due, by {_way(packet)}"

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
        call = self.packets[0].call if self.packets else ""
        both = 2 * max((packet.delay for packet in self.packets), default=0)
        return Figure(value, self.direction, call=call, speaker=self.speaker, listener=self.listener, round_trip=both, **rest)


def _frame(packet: MediaPacket) -> tuple[int, int, int]:
    return packet.ssrc, packet.offered, packet.rtp


def _way(packet: MediaPacket) -> str:
    return f"{packet.path or '?'} → {packet.arrivals[0].path or '?'}" if packet.arrivals else packet.path or "an unknown way"


def _lost(packet: MediaPacket) -> str:
    return f"lost by {_way(packet)}" if was_lost(packet) else ""


def _not_taken(packet: MediaPacket) -> str:
    return f"came to the listener's host by {_way(packet)} and was not taken" if was_not_taken(packet) else ""


def _unsent(packet: MediaPacket) -> str:
    return f"never sent: {packet.unsent or 'no reason recorded'}" if packet.sent is None else ""


def _kind(packet: MediaPacket) -> str:
    """What became of a packet that was missed, in two words."""
    if packet.sent is None:
        return "never sent"
    return "lost" if was_lost(packet) else "not taken" if was_not_taken(packet) else "late"


def _parts(counts: Delivery) -> str:
    return _told(counts.lost, counts.late, counts.expired, counts.not_taken, counts.offered)


def _told(lost: int, late: int, unsent: int, not_taken: int, of: int) -> str:
    """What became of those that were missed."""
    return f"{lost} lost, {late} late, {unsent} never sent{f', {not_taken} not taken' if not_taken else ''}, of {of}"


def _doubled(packet: MediaPacket) -> str:
    return f"came {len(packet.arrivals)} times by {_way(packet)}" if len(packet.arrivals) > 1 else ""


def _changed(packet: MediaPacket) -> str:
    return f"came changed by {_way(packet)}" if packet.corrupted else ""


_STEPPED = "not measured: the clock offset stepped by more than 0.5 ms"
