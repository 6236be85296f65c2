"""RTCP for one call: a compound packet of sender and receiver reports every interval, and what the peer's reports say.

Every local source (SSRC) that has sent gets a sender report; the first of them carries the report blocks on what was heard.  A side that
has sent nothing sends a receiver report.  The NTP field counts seconds of the clock passed in, not of the year 1900: nothing here
compares it with a wall clock.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.rtp.packet import AUDIO_CLOCK, VIDEO_CLOCK, RtpPacket
from harness.rtp.reception import Reception
from harness.rtp.rtcp import ReceiverReport, Report, ReportBlock, SenderReport, encode_compound, parse_compound_untrusted

SECOND = 1_000_000_000
CLOCKS: dict[str, int] = {"audio": AUDIO_CLOCK, "video": VIDEO_CLOCK, "screen": VIDEO_CLOCK, "data": 1000, "padding": VIDEO_CLOCK}
MAX_SOURCES = 31
"""As many remote sources are followed as one report has room for; a peer that invents more is not served."""


REMEMBERED = 4096
"""Packets of a source that the peer's next report may speak of: 4 s at 1000 a second."""


@dataclass(slots=True)
class _Sent:
    """What a local source has sent."""

    clock_rate: int
    told: tuple[int, int]
    """What the peer's latest report that was looked at said: the highest sequence number, and packets lost."""
    packets: int = 0
    octets: int = 0
    timestamp: int = 0
    at: int = 0
    counts: dict[int, int] = field(default_factory=dict)
    """By sequence number, how many packets had been sent with it: what was never sent left a gap in the numbers, and is not lost."""

    def count(self, sequence: int) -> None:
        """One more was sent."""
        self.packets += 1
        self.counts.pop(sequence, None)
        self.counts[sequence] = self.packets
        if len(self.counts) > REMEMBERED:
            del self.counts[next(iter(self.counts))]

    def between(self, before: int, after: int) -> int:
        """How many packets were sent after that with the extended number ``before`` up to ``after``; all of them where that is unknown."""
        first, last = self.counts.get(before & 0xFFFF), self.counts.get(after & 0xFFFF)
        return after - before if first is None or last is None else last - first


class Outcome(NamedTuple):
    """What became of what was sent (not of what expired here before): the loss of all packets together, the worst jitter of any source."""

    loss_percent: float
    jitter_ms: float


class Reporter:
    """RTCP state of one call; ``interval`` in nanoseconds, None for no reports out (those of the peer are still read)."""

    def __init__(self, rng: random.Random, interval: int | None, began: int) -> None:
        self._ssrc = rng.getrandbits(32)
        self._interval = interval
        self._next = None if interval is None else began + interval
        self._sent: dict[int, _Sent] = {}
        self.receptions: dict[int, Reception] = {}
        self.heard_about: dict[int, ReportBlock] = {}
        """By local SSRC, the peer's latest report block: what became of what was sent."""

    def sent(self, flow: str, packet: RtpPacket, now: int) -> None:
        """Count a packet that was handed to the connection."""
        source = self._sent.get(packet.ssrc)
        if source is None:
            before = packet.sequence - 1
            source = self._sent[packet.ssrc] = _Sent(CLOCKS[flow], told=(before, 0), counts={before & 0xFFFF: 0})
        source.count(packet.sequence)
        source.octets += len(packet.payload)
        source.timestamp, source.at = packet.timestamp, now

    def heard(self, flow: str, packet: RtpPacket, arrived: int) -> None:
        """Count a packet that arrived."""
        reception = self.receptions.get(packet.ssrc)
        if reception is None:
            if len(self.receptions) >= MAX_SOURCES:
                return
            reception = self.receptions[packet.ssrc] = Reception(packet.ssrc, CLOCKS[flow])
        reception.receive(packet.sequence, packet.timestamp, arrived)

    def heard_rtcp_untrusted(self, data: bytes, arrived: int) -> None:
        """Read the peer's compound packet; PacketError for what is none."""
        for report in parse_compound_untrusted(data):
            if isinstance(report, SenderReport) and report.ssrc in self.receptions:
                self.receptions[report.ssrc].heard_sender_report(report.ntp, arrived)
            for block in report.blocks:
                if block.ssrc in self._sent:
                    self.heard_about[block.ssrc] = block

    def outcome(self) -> Outcome | None:
        """What the peer has reported since the last call of the sources that were heard meanwhile; None when it has not of any."""
        expected = lost = 0
        jitter = 0.0
        for ssrc, block in self.heard_about.items():
            source = self._sent[ssrc]
            highest, lost_before = source.told
            if block.highest <= highest:
                continue
            source.told = block.highest, block.lost
            heard = block.highest - highest - (block.lost - lost_before)
            sent = source.between(highest, block.highest)
            expected += sent
            lost += sent - heard
            jitter = max(jitter, block.jitter * 1000 / source.clock_rate)
        return Outcome(100 * max(0, lost) / expected, jitter) if expected else None

    def next_report(self) -> int | None:
        """When ``due`` has something."""
        return self._next

    def due(self, now: int) -> bytes | None:
        """The compound packet to send at ``now``, if one is due."""
        if self._next is None or self._interval is None or now < self._next:
            return None
        self._next = now + self._interval
        blocks = tuple(reception.report(now) for reception in self.receptions.values())
        reports: list[Report] = []
        for ssrc, source in self._sent.items():
            elapsed = (now - source.at) * source.clock_rate // SECOND
            reports.append(
                SenderReport(
                    ssrc=ssrc,
                    ntp=(now << 32) // SECOND & 0xFFFFFFFFFFFFFFFF,
                    timestamp=(source.timestamp + elapsed) & 0xFFFFFFFF,
                    packets=source.packets,
                    octets=source.octets,
                    blocks=() if reports else blocks,
                )
            )
        return encode_compound(reports or [ReceiverReport(ssrc=self._ssrc, blocks=blocks)])
