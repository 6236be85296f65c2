"""How long what the peer sends queues on its way here, so that it is not taken for a queue on the way there.

A round trip is two ways, and only the way there is what this side's video can fill.  RTP timestamps are the peer's own clock: what they say
of the times between packets, held against the arrivals, is how the one-way delay changes (RFC 3550 §6.4.1 has jitter of the same
difference).  Acknowledgements come by the same way as audio, mostly in the same datagrams, so what delays audio delays them.
"""

from __future__ import annotations

import math

from harness.call.congestion import HORIZON, Shortest
from harness.rtp.packet import RtpPacket

LONG_HORIZON = 30.0
"""Seconds; what a queue that stands for longer hides, a clock that is 100 ppm off would imitate (3 to 6 ms)."""
SMOOTHING = 1 / 8  # as of QUIC's smoothed RTT
INTERVAL = 0.02
"""Seconds between two packets of audio."""
STALE = 0.5
"""Seconds without a packet after which nothing is known: the peer may have been muted."""


class InboundDelay:
    """Follows one source of the peer, that which was heard last.  Seconds, but for ``arrived`` and ``now`` (nanoseconds)."""

    def __init__(self, clock_rate: int) -> None:
        self._clock_rate = clock_rate
        self._ssrc: int | None = None
        self._timestamp = 0
        self.forget()

    def forget(self) -> None:
        """The path has changed: what was learned of its length is void."""
        self._shortest = Shortest(HORIZON)
        self._long = Shortest(LONG_HORIZON)
        self._smoothed: float | None = None
        self._excess = 0.0
        self._longest_wait = Shortest(HORIZON)  # of negative waits
        self._arrived: float | None = None
        self._sampled = 0

    def heard(self, packet: RtpPacket, arrived: int) -> None:
        """Take a packet's timestamp and when it came."""
        at = arrived / 1e9
        if packet.ssrc != self._ssrc:
            self.forget()
            self._ssrc, self._timestamp, self._sampled = packet.ssrc, packet.timestamp, packet.timestamp
        step = (packet.timestamp - self._timestamp + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000
        if step < 0:
            return  # it was overtaken, which says nothing new
        self._timestamp = packet.timestamp
        self._sampled += step
        transit = at - self._sampled / self._clock_rate
        self._shortest.add(transit, at)
        self._long.add(transit, at)
        self._excess = transit - self._shortest.value
        self._smoothed = transit if self._smoothed is None else self._smoothed + SMOOTHING * (transit - self._smoothed)
        if self._arrived is not None:
            self._longest_wait.add(self._arrived - at, at)
        self._arrived = at

    def excess(self, now: int) -> float:
        """How much longer the way here takes now than lately at best; 0 when unknown.

        What is overdue counts before it has come, but only by as much as packets have been overdue lately: when both ways narrow at once,
        packets are overdue here just as long as acknowledgements are, and the queue on the way there would be seen too late for audio.
        """
        if self._arrived is None:
            return 0.0
        waited = now / 1e9 - self._arrived
        return 0.0 if waited > STALE else self._excess + max(0.0, min(waited, -self._longest_wait.value) - INTERVAL)

    def standing(self) -> float:
        """How much longer the way here takes, smoothed, than it did at best in the last half minute; 0 when unknown."""
        shortest = self._long.value
        return 0.0 if self._smoothed is None or math.isinf(shortest) else max(0.0, self._smoothed - shortest)
