"""What one receiver knows of one RTP source: extended sequence numbers, loss and jitter (RFC 3550 §6.4.1, A.1, A.3, A.8).

Loss here is the network's: over a reliable stream it is 0 by construction, and jitter then carries the retransmission delay.  Loss by
playout deadline is another figure, and not this module's.

Jitter is kept twice: as a float, to be looked at, and in the RFC's integer form scaled by 16, which is what goes on the wire.
"""

from __future__ import annotations

from harness.rtp.rtcp import LOST_MAX, LOST_MIN, ReportBlock

SECOND = 1_000_000_000
MAX_DROPOUT = 3000  # RFC 3550 A.1: a jump ahead up to this is loss
MAX_MISORDER = 100  # a step back up to this is reordering
CYCLE = 1 << 16


class Reception:
    """Statistics of one source (SSRC) with an RTP clock of ``clock_rate`` Hz.  ``receive`` every packet, in order of arrival."""

    def __init__(self, ssrc: int, clock_rate: int) -> None:
        self.ssrc = ssrc
        self.clock_rate = clock_rate
        self.received = 0
        self.jitter = 0.0
        """Interarrival jitter in RTP clock units."""
        self.jitter_scaled = 0
        self._base: int | None = None
        self._max = 0
        self._cycles = 0
        self._suspect = -1
        self._transit: int | None = None
        self._at_report = (0, 0)
        self._sr: tuple[int, int] | None = None

    def receive(self, sequence: int, timestamp: int, arrived: int) -> None:
        """Count a packet with these RTP header fields that arrived at ``arrived`` nanoseconds."""
        if self._base is None:
            self._begin(sequence)
        else:
            ahead = (sequence - self._max) % CYCLE
            if ahead < MAX_DROPOUT:
                if sequence < self._max:
                    self._cycles += CYCLE
                self._max = sequence
            elif ahead <= CYCLE - MAX_MISORDER:
                # A jump too large for loss or reordering: two in a row mean that the source began anew (A.1).
                if sequence != self._suspect:
                    self._suspect = (sequence + 1) % CYCLE
                    return
                self._begin(sequence)
            self._suspect = -1
        self.received += 1
        self._measure_jitter(timestamp, arrived)

    def _begin(self, sequence: int) -> None:
        self._base = self._max = sequence
        self._cycles = 0
        self._suspect = -1
        self._transit = None
        self.received = 0
        self._at_report = (0, 0)

    def _measure_jitter(self, timestamp: int, arrived: int) -> None:
        transit = arrived * self.clock_rate // SECOND - timestamp
        if self._transit is not None:
            # Timestamps wrap at 32 bits, so the difference is taken there, and read as signed.
            difference = abs((transit - self._transit + (1 << 31)) % (1 << 32) - (1 << 31))
            self.jitter += (difference - self.jitter) / 16
            self.jitter_scaled += difference - ((self.jitter_scaled + 8) >> 4)
        self._transit = transit

    @property
    def extended_max(self) -> int:
        """The highest sequence number seen, with the cycles counted in."""
        return self._cycles + self._max

    @property
    def expected(self) -> int:
        """How many packets the source has sent since the first one seen, as far as is known."""
        return 0 if self._base is None else self.extended_max - self._base + 1

    @property
    def lost(self) -> int:
        """Expected less received: signed, since duplicates count as received."""
        return self.expected - self.received

    @property
    def jitter_ns(self) -> int:
        """Interarrival jitter in nanoseconds."""
        return round(self.jitter * SECOND / self.clock_rate)

    def heard_sender_report(self, ntp: int, now: int) -> None:
        """Remember the source's SR (its 32.32 NTP time) that arrived at ``now``, for ``last_sr`` and ``delay_since_sr``."""
        self._sr = (ntp >> 16 & 0xFFFFFFFF, now)

    def report(self, now: int) -> ReportBlock:
        """The report block at ``now``; its ``fraction_lost`` covers the time since the last call."""
        expected, received = self.expected - self._at_report[0], self.received - self._at_report[1]
        self._at_report = (self.expected, self.received)
        last_sr, delay = 0, 0
        if self._sr is not None:
            last_sr = self._sr[0]
            delay = (now - self._sr[1]) * 65536 // SECOND
        return ReportBlock(
            ssrc=self.ssrc,
            fraction_lost=fraction_lost(expected, received),
            lost=min(max(self.lost, LOST_MIN), LOST_MAX),
            highest=self.extended_max,
            jitter=self.jitter_scaled >> 4,
            last_sr=last_sr,
            delay_since_sr=delay,
        )


def fraction_lost(expected: int, received: int) -> int:
    """Loss in an interval as 1/256, rounded down; 0 when nothing was lost (or duplicates outweigh the loss)."""
    lost = expected - received
    return 0 if expected <= 0 or lost <= 0 else min(255, 256 * lost // expected)
