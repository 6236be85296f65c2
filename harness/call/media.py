"""The media of one call: RTP out to the connection's queue, RTP in from datagrams and streams, RTCP both ways.

Media can overtake a lost ``connection_ready``; what comes before the call is connected waits, bounded, and is given out when it is.  What
is not RTP, or belongs to a flow that the call has not agreed to, is counted and dropped (a stream is answered with STOP_SENDING): bytes
from the network never end a call here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import ClassVar

import msgspec

from harness.call.capabilities import MediaCapabilities
from harness.call.config import EndpointConfig
from harness.call.connection import Connection
from harness.call.errors import ConfigError, PacketTooLarge, TransportError
from harness.call.events import Address, Event, MediaExpired, MediaReceived, Mode
from harness.call.inbound import InboundDelay
from harness.call.media_queue import Waiting
from harness.call.quality import CallQuality
from harness.call.reports import Reporter
from harness.call.roq import FLOW_NAMES, MAX_STREAM_PACKET, RoqCode, RoqError, StreamDecoder, decode_datagram_untrusted
from harness.call.signaling import Message
from harness.call.timers import earliest
from harness.rtp.packet import AUDIO_CLOCK, PacketError, parse_rtp_untrusted


class Origin(msgspec.Struct, frozen=True):
    """The UDP datagram that something came in."""

    arrived: int
    address: Address
    udp_size: int


StreamKey = tuple[Connection, int]
"""A stream's number means something on its own connection only."""


class CallMedia:
    """Media state of one call on one connection at a time (``carry_on``).

    ``tokens`` numbers outgoing packets; ``sink`` takes events, ``say`` what is to be told to the peer.
    """

    quality_class: ClassVar[type[CallQuality]] = CallQuality

    def __init__(
        self,
        call: str,
        connection: Connection,
        config: EndpointConfig,
        *,
        rng: random.Random,
        tokens: Iterator[int],
        sink: Callable[[Event], None],
        say: Callable[[Message, int], None],
    ) -> None:
        self._call = call
        self._connection = connection
        self._config = config
        self._rng = rng
        self._tokens = tokens
        self._sink = sink
        self._say = say
        self._flows: frozenset[str] | None = None
        self._early: list[tuple[int, bytes, Origin, Mode]] = []
        self._decoders: dict[StreamKey, StreamDecoder] = {}
        self._stopped: set[StreamKey] = set()
        self.reporter: Reporter | None = None
        self.quality: CallQuality | None = None
        self.inbound = InboundDelay(AUDIO_CLOCK)
        self.received: dict[str, int] = {}
        self.dropped = 0
        self.expired = 0

    def begin(self, agreed: MediaCapabilities, now: int) -> None:
        """The call is connected: media of what was ``agreed`` flows, and what came early is given out."""
        offered = {"audio": agreed.audio, "video": agreed.video, "screen": agreed.video, "data": agreed.data_channel, "rtcp": True}
        self._flows = frozenset(flow for flow, offered_by_both in offered.items() if offered_by_both)
        self.reporter = Reporter(self._rng, None if self._config.rtcp is None else self._config.rtcp.ns, now)
        self.quality = self.quality_class(
            self._call, self._config, self.inbound, audio=agreed.audio, rng=self._rng, say=self._say, sink=self._sink, began=now
        )
        self._connection.on_sent = self._count_sent
        self._connection.inbound = self.inbound.excess
        early, self._early = self._early, []
        for flow, packet, origin, mode in early:
            self._deliver_untrusted(flow, packet, origin, now, mode)

    def carry_on(self, connection: Connection) -> None:
        """From now on media goes out by ``connection``; what still comes by the old one is taken all the same."""
        old, self._connection = self._connection, connection
        connection.on_sent, old.on_sent = old.on_sent, None
        connection.sent = old.sent
        connection.inbound = self.inbound.excess
        self.inbound.forget()
        self._decoders = {key: decoder for key, decoder in self._decoders.items() if key[0] in (old, connection)}
        self._stopped = {key for key in self._stopped if key[0] in (old, connection)}

    def path_changed(self) -> None:
        """The connection goes by another path, whose length nobody knows yet."""
        self.inbound.forget()
        if self.quality is not None:
            self.quality.path_changed()

    # Out

    def send(self, flow: str, packet: bytes, *, now: int, expires: int, mode: Mode) -> int:
        """Queue one RTP packet; see ``Endpoint.send_rtp``."""
        if mode not in ("datagram", "stream"):
            raise ConfigError(self._call, f"mode {mode!r}; allowed are datagram and stream")
        if self._flows is None or flow not in self._flows - {"rtcp"}:
            allowed = ", ".join(sorted(self._flows - {"rtcp"})) if self._flows else "none"
            raise ConfigError(self._call, f"flow {flow!r} was not agreed in this call; agreed: {allowed}")
        limit = self._connection.max_rtp_packet if mode == "datagram" else MAX_STREAM_PACKET
        if len(packet) > limit:
            raise PacketTooLarge(self._call, len(packet), limit)
        try:
            rtp = parse_rtp_untrusted(packet)
        except PacketError as error:
            raise TransportError(self._call, f"not an RTP packet: {error}") from None
        if self.quality is not None:
            self.quality.offered(flow, len(rtp.payload))
        token = next(self._tokens)
        if self._connection.over is None:
            self._connection.put(Waiting(token, flow, packet, expires, mode, rtp))
        else:
            self.expired += 1
            self._sink(MediaExpired(self._call, now, token, "no connection"))
        return token

    def _count_sent(self, entry: Waiting, now: int) -> None:
        if entry.rtp is not None and self.reporter is not None:
            self.reporter.sent(entry.flow, entry.rtp, now)

    def timer(self) -> int | None:
        """When ``handle_timer`` has something to do."""
        return None if self.reporter is None or self.quality is None else earliest([self.reporter.next_report(), self.quality.timer()])

    def handle_timer(self, now: int, *, held: bool) -> None:
        """Queue RTCP, look at the quality, pad, where that is due; ``held``: no media may be sent now."""
        self._report(now)
        if self.quality is not None and self.reporter is not None:
            self.quality.handle_timer(now, self._connection, self.reporter, held)

    def _report(self, now: int) -> None:
        packet = None if self.reporter is None else self.reporter.due(now)
        interval = self._config.rtcp
        if packet is not None and interval is not None and self._connection.over is None and len(packet) <= self._connection.max_rtp_packet:
            self._connection.put(Waiting(0, "rtcp", packet, now + interval.ns, "datagram"))

    # In

    def datagram_untrusted(self, data: bytes, origin: Origin, now: int) -> None:
        """Take one DATAGRAM payload."""
        try:
            flow, packet = decode_datagram_untrusted(data)
        except RoqError:
            self.dropped += 1
            return
        self._deliver_untrusted(flow, packet, origin, now, "datagram")

    def stream_untrusted(self, key: StreamKey, data: bytes, ended: bool, origin: Origin, now: int) -> None:
        """Take bytes of an incoming unidirectional stream."""
        if key in self._stopped:
            if ended:
                self._stopped.discard(key)
            return
        decoder = self._decoders.setdefault(key, StreamDecoder())
        try:
            packets = decoder.feed_untrusted(data)
        except RoqError as error:
            self._stop(key, error.code, ended)
            return
        if decoder.flow is not None and not self._may_know(decoder.flow):
            self._stop(key, RoqCode.UNKNOWN_FLOW_ID, ended)
            return
        for packet in packets:
            self._deliver_untrusted(decoder.flow if decoder.flow is not None else -1, packet, origin, now, "stream")
        if ended:
            if decoder.partial:
                self.dropped += 1
            self.stream_over(key)

    def stream_over(self, key: StreamKey) -> None:
        """An incoming stream was reset or has ended."""
        self._decoders.pop(key, None)
        self._stopped.discard(key)

    def _stop(self, key: StreamKey, code: RoqCode, ended: bool) -> None:
        self.dropped += 1
        self._decoders.pop(key, None)
        if not ended:
            self._stopped.add(key)
            connection, number = key
            connection.refuse_stream(number, code)

    def _may_know(self, flow: int) -> bool:
        name = FLOW_NAMES.get(flow)
        return name is not None and (self._flows is None or name in self._flows)

    def _deliver_untrusted(self, flow: int, packet: bytes, origin: Origin, now: int, mode: Mode) -> None:
        if not self._may_know(flow):
            self.dropped += 1
            return
        if self._flows is None or self.reporter is None:
            if len(self._early) < self._config.early_limit:
                self._early.append((flow, packet, origin, mode))
            else:
                self.dropped += 1
            return
        name = FLOW_NAMES[flow]
        try:
            if name == "rtcp":
                self.reporter.heard_rtcp_untrusted(packet, origin.arrived)
                return
            rtp = parse_rtp_untrusted(packet)
        except PacketError:
            self.dropped += 1
            return
        self.reporter.heard(name, rtp, origin.arrived)
        if name == "audio":
            self.inbound.heard(rtp, origin.arrived)
        if rtp.padding and not rtp.payload:
            return  # it was sent to try the path, and has told by its arrival what it was sent for
        self.received[name] = self.received.get(name, 0) + 1
        self._sink(MediaReceived(self._call, now, name, packet, origin.arrived, origin.address, origin.udp_size, mode))
