"""Reno (RFC 9002 §7) that yields to delay: a queue in the network is a congestion event before it overflows.

Video shares a bottleneck's queue with the audio of its own call.  A router's queue holds seconds; audio is worthless after 200 ms; loss,
which is all that Reno looks at, comes seconds too late.  So what is not urgent is held back for as long as the round trip takes clearly
longer than this path and the queue on the way back (``inbound``) explain (``Connection.yields`` looks, before each such packet), and begins
again with what the path delivers in a round trip, or one packet.  Meanwhile it waits, and expires, in the call's own queue, where audio
overtakes it.

That notices a queue when it is there.  A key frame can make one at a blow, so on a path that is known to be too narrow (``careful``, for as
long as the call's quality says so) no more is in flight than what it has been seen to deliver in time, or one packet.

What a path explains: the shortest round trip is that of the last 1 to 2 s, not of all time, since a path may become longer for good without
anybody being told.  And a path that is always unsteady is no queue: by how much round trips usually exceed the shortest is learned over
some seconds, and allowed for up to a limit, lest a queue that stands for long be taken for the way the path is.
"""

from __future__ import annotations

import math
from collections.abc import Container

from aioquic.quic.congestion.base import register_congestion_control
from aioquic.quic.congestion.reno import RenoCongestionControl
from aioquic.quic.packet_builder import QuicSentPacket

NAME = "yielding reno"
HORIZON = 1.0
LEARN = 1 / 128  # of each sample, of which there are about 50 a second
LOOKED_EVERY = 0.05
"""Seconds: while packets wait they are looked at more often than that, at least when the next audio comes."""
UNSTEADY = 0.03
"""Seconds of unsteadiness that are allowed for at most: with the bound itself and one large packet's turn, audio is still in time."""


class Shortest:
    """The smallest of the samples of the last one to two ``horizon`` (seconds); inf before the first."""

    def __init__(self, horizon: float) -> None:
        self._horizon = horizon
        self._before = self._now = math.inf
        self._turn = -math.inf

    def add(self, sample: float, at: float) -> None:
        """Take a sample."""
        if at >= self._turn:
            self._before, self._now, self._turn = self._now, math.inf, at + self._horizon
        self._now = min(self._now, sample)

    @property
    def value(self) -> float:
        """The smallest."""
        return min(self._before, self._now)


class Delivered:
    """Bytes a second that were acknowledged, as of the better of the last two ``span`` (seconds)."""

    def __init__(self, span: float) -> None:
        self._span = span
        self._before = self._last = 0.0
        self._bytes = 0
        self._began: float | None = None

    def add(self, size: int, at: float) -> None:
        """Take what was acknowledged at once."""
        if self._began is None:
            self._began = at
        elif at >= self._began + self._span:
            self._before, self._last = self._last, self._bytes / (at - self._began)
            self._bytes, self._began = 0, at
        self._bytes += size

    @property
    def rate(self) -> float:
        """Bytes a second; 0 until the first span is over."""
        return max(self._before, self._last)


class YieldingReno(RenoCongestionControl):
    """Reno with ``yield_to_delay``; times in aioquic's seconds."""

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self._packet = max_datagram_size
        self.round_trip = Shortest(HORIZON)
        self.usual_excess = 0.0
        self.urgent: Container[int] = ()
        """Numbers of the packets that have a window of their own."""
        self.acknowledged = 0
        """Bytes, of the whole connection: a control that takes over goes on counting."""
        self.yielded_at = -math.inf
        """When it last yielded."""
        self.yielded_for = 0.0
        """How long it has yielded in all."""
        self._delivered = Delivered(HORIZON / 2)

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        """As Reno's, but two things widen nothing: what was sent before it yielded, and audio, which does not use this window."""
        self.acknowledged += packet.sent_bytes
        self._delivered.add(packet.sent_bytes, now)
        before = self.congestion_window
        super().on_packet_acked(now=now, packet=packet)
        if packet.packet_number in self.urgent or (packet.sent_time or 0.0) <= self.yielded_at:
            self.congestion_window = before

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:
        """Learn what the path is like.

        Not as aioquic's Reno, which ends slow start when round trips become longer (HyStart): it would do so on a path that has become
        longer, with the window of one packet that ``yield_to_delay`` has left, and a window takes one round trip a packet from there.
        """
        self.round_trip.add(rtt, now)
        self.usual_excess += LEARN * (min(rtt - self.round_trip.value, UNSTEADY) - self.usual_excess)

    @property
    def expected_rtt(self) -> float:
        """How long a round trip may take on this path without a queue; inf before the first one."""
        return self.round_trip.value + self.usual_excess

    def room(self, queue: float) -> float:
        """Bytes that may be in flight so that none of them queues for longer than ``queue`` seconds, as fast as they are delivered now."""
        return self._delivered.rate * (self.expected_rtt + queue)

    def yield_to_delay(self, now: float) -> None:
        """The queue is too long: when it is gone, begin with what the path was seen to deliver in a round trip, or one packet.

        On a short path that is one packet; on a long one a single packet would be seconds of slow start.
        """
        self.yielded_for += now - self.yielded_at if now - self.yielded_at < LOOKED_EVERY else 0.0
        self.yielded_at = now
        delivers = 0 if math.isinf(self.expected_rtt) else int(self._delivered.rate * self.expected_rtt)
        self.congestion_window = min(self.congestion_window, max(self._packet, delivers))


register_congestion_control(NAME, YieldingReno)
