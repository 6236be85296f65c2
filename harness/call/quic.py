"""The one module that touches aioquic's private attributes (1.7.2, pinned; ``tests/unit/call/test_quic.py`` fails when one is gone).

``Core`` is aioquic's connection with what it lacks for calls that must survive a moving client.  It holds no policy: when to probe, to keep
alive or to give up is ``connection``'s business.  What is changed, and why:

* Nothing is left in aioquic's datagram queue between two flushes: it has no expiry and no limit, and one oversized frame blocks it.
* PTO backoff is clamped: after an outage that the host cannot see the end of, a backed-off PTO is seconds of silence (RFC 9002 §6.2 would
  double without end; a call's own 15 s bound ends this instead).
* Paths are keyed by (local path, ip, port), so a client can validate a new path with a spare connection id (RFC 9000 §9.1) before it
  switches; aioquic then changes connection id and path together, on PATH_RESPONSE, before anything is flushed.
* RETIRE_CONNECTION_ID waits 3 PTO: aioquic forgets a retired id at once, and would drop what is still in flight on a slower old path.
* A late packet from the old path does not switch connection ids back (RFC 9000 §9.3: only the highest-numbered packet moves anything);
  aioquic's test ignores packet numbers, and interleaving around one move could burn all spare ids.
* A server whose client seems to have moved asks the old path as well, and who is asked on the path in use answers with more than a probing
  packet (RFC 9000 §9.3.3): so the client is found again when somebody else has sent its packets from elsewhere, even if it is silent.
* What becomes of each datagram is told (``take``): aioquic drops what is not authentic, or was there before, without a word.
* Congestion window and RTT begin anew on a new path (RFC 9000 §9.4).
* Audio and RTCP have a small window of their own beside aioquic's, as if they were a connection of their own: when loss halves the window
  under a burst of video, aioquic would hold everything back for up to a round trip.  When that window is full too (an outage) one packet
  still goes every 100 ms: a PTO is a multiple of the RTT, and audio must be back sooner than that after a long one.
* What is not urgent can yield to delay (``congestion``), and the delay is seen before its ACK has come.
* The pacer is faster than one window a round trip, as RFC 9002 §7.7 has it.  It counts bytes, not packets: charged 1200 bytes each, 50
  audio packets/s would be held back on a collapsed window.  PTO probes are not paced, or a clamped PTO would fire again and again without
  having sent one.
* A look for something to send costs aioquic a third of a packet, and a packet two looks.  Almost always there is nothing but a DATAGRAM
  and an ACK (``_quiet``): then one packet is built without the looks, or none at all.
* A stateless reset is recognised (RFC 9000 §10.3.1), and tokens are told, so that one can be sent for a connection that is forgotten.
* aioquic's two known slips are guarded: flushing a server that has dropped its first datagram, and a timer before there is one.

Seconds as floats exist only here.
"""

from __future__ import annotations

import contextlib
import hmac
import math
from typing import ClassVar, TextIO

from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # public, but re-exported without saying so
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.congestion.base import K_INITIAL_WINDOW, create_congestion_control
from aioquic.quic.connection import END_STATES, QuicConnection, QuicConnectionId, QuicConnectionState, QuicNetworkPath, QuicReceiveContext
from aioquic.quic.events import ConnectionTerminated, QuicEvent
from aioquic.quic.logger import QuicLogger
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder, QuicPacketBuilderStop
from aioquic.quic.recovery import QuicPacketNumberWindow, QuicPacketPacer, QuicPacketSpace
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch

from harness.call.congestion import NAME, YieldingReno
from harness.call.discards import Why
from harness.call.events import Address
from harness.call.headers import CID_LENGTH

Epoch.__hash__ = object.__hash__  # type: ignore[method-assign]  # Enum's is in Python, and aioquic looks 25 of them up a packet

SECOND = 1_000_000_000
SHORT_OVERHEAD = 1 + CID_LENGTH + 2 + 16 + 1 + 2
"""1-RTT header, connection id, packet number, AEAD tag; DATAGRAM type and length: 1170 bytes of payload in 1200."""
ACK_ROOM = 100
"""Bytes left in a packet beside which an ACK frame is sure to find room."""
RETIRE_AFTER_PTOS = 3


def seconds(nanoseconds: int) -> float:
    """The harness's time as aioquic's."""
    return nanoseconds / SECOND


def nanoseconds(at: float) -> int:
    """Aioquic's time as the harness's, never early: ``seconds`` of the result is not below ``at``."""
    result = math.ceil(at * SECOND)
    while result / SECOND < at:
        result += 1
    return result


class _Pacer(QuicPacketPacer):
    """A token bucket in bytes: aioquic charges each packet in full as it is built, ``settle`` gives back what it did not use."""

    def __init__(self, core: Core, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self._core = core
        self._charged = 0

    def next_send_time(self, now: float) -> float | None:  # type: ignore[override]
        if self.packet_time is None or self._core.probe_due or self._core.urgent:
            return None
        self.update_bucket(now=now)
        return now - self.bucket_time if self.bucket_time < 0 else None

    def update_after_send(self, now: float) -> None:
        if self.packet_time is not None:
            self.update_bucket(now=now)
            self.bucket_time -= self.packet_time
            self._charged += 1

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        # RFC 9002 §7.7: faster than a window a round trip, or the window is never used; twice as fast in slow start, which must fill it.
        faster = 2.0 if self._core.in_slow_start else 1.25
        super().update_rate(congestion_window=int(faster * congestion_window), smoothed_rtt=smoothed_rtt)

    def settle(self, size: int) -> None:
        if self.packet_time is not None and self._charged:
            self.bucket_time += self.packet_time * (self._charged - size / self._max_datagram_size)
        self._charged = 0


class _Window(QuicPacketNumberWindow):
    """Remembers which packet number was looked up last, that of the packet being received, and whether it had been there before."""

    current = -1
    repeated = False

    def __contains__(self, packet_number: int) -> bool:
        self.current = packet_number
        self.repeated = super().__contains__(packet_number)
        return self.repeated


class Core(QuicConnection):
    """aioquic's connection, amended as the module says.  All times are aioquic's float seconds."""

    window_class: ClassVar[type[_Window]] = _Window

    def __init__(
        self,
        configuration: QuicConfiguration,
        *,
        odcid: bytes | None,
        retry_source: bytes | None = None,
        ack_delay: float,
        urgent_window: int,
        trickle: float,
        pto_clamp: int,
        persistent: bool = False,
    ) -> None:
        self.now = 0.0
        self.heard_at: float | None = None
        self.urgent = False
        self._urgent_window = urgent_window
        self._trickle = trickle
        self._trickle_at = 0.0
        self._urgent_packets: dict[int, int] = {}
        self._pto_clamp = pto_clamp
        self._persistent = persistent
        self._retire_later: list[tuple[float, int]] = []
        self._carried: list[tuple[int, int]] = []
        self._tokens: dict[int, list[int]] = {}
        self._built = 0
        self._handing_over: int | None = None
        self._stream_ends: dict[int, list[tuple[int, int]]] = {}
        self._authentic = 0
        self._unanswered: tuple[int, float | None] = (-1, None)
        super().__init__(configuration=configuration, original_destination_connection_id=odcid, retry_source_connection_id=retry_source)
        self._ack_delay = ack_delay
        self._control.urgent = self._urgent_packets
        self._pacer = self._loss._pacer = _Pacer(self, max_datagram_size=self._max_datagram_size)

    # What the connection is and where it stands

    @property
    def started(self) -> bool:
        """False for a server connection none of whose datagrams was of any use (flushing it would be an IndexError in aioquic)."""
        return bool(self._network_paths)

    @property
    def handshake_complete(self) -> bool:
        """TLS is done and 1-RTT data may be sent."""
        return self._handshake_complete

    @property
    def handshake_confirmed(self) -> bool:
        """Both sides know so (RFC 9001 §4.1.2): from here a client may migrate."""
        return self._handshake_confirmed

    @property
    def close_reason(self) -> ConnectionTerminated | None:
        """Why the connection is closing, draining or gone; None while it lives.  aioquic tells only once it has drained."""
        return self._close_event

    @property
    def closing(self) -> bool:
        """CONNECTION_CLOSE was sent from here, the peer may not have noticed."""
        return self._state is QuicConnectionState.CLOSING

    @property
    def terminated(self) -> bool:
        """Nothing is left but to forget it."""
        return self._state is QuicConnectionState.TERMINATED

    @property
    def host_cids(self) -> list[bytes]:
        """The connection ids by which the peer may address this side."""
        return [connection_id.cid for connection_id in self._host_cids]

    @property
    def cids_issued(self) -> int:
        """How many of them there have been."""
        return self._host_cid_seq

    @property
    def active_path(self) -> QuicNetworkPath:
        """The path in use; only when ``started``."""
        return self._network_paths[0]

    @property
    def rtt(self) -> float:
        """Smoothed RTT, or the initial guess before the first sample."""
        return self._loss._rtt_smoothed if self._loss._rtt_initialized else self._loss._rtt_initial

    @property
    def measured_rtt(self) -> float | None:
        """Smoothed RTT; None before the first sample on this path."""
        return self._loss._rtt_smoothed if self._loss._rtt_initialized else None

    @property
    def pto(self) -> float:
        """The probe timeout without backoff."""
        return self._loss.get_probe_timeout()

    @property
    def congestion_window(self) -> int:
        """Bytes that may be in flight."""
        return self._loss.congestion_window

    @property
    def initial_window(self) -> int:
        """What may be in flight on a path of which nothing is known (RFC 9002 §7.2)."""
        return K_INITIAL_WINDOW * self._max_datagram_size

    @property
    def yielded_for(self) -> float:
        """For how many seconds packets have been held back because others queued on the way, on this path."""
        return self._control.yielded_for

    @property
    def narrowed_at(self) -> float:
        """When a loss last made the window smaller; 0 when none has on this path."""
        return self._control._congestion_recovery_start_time

    @property
    def in_slow_start(self) -> bool:
        """Whether the window still grows by what is acknowledged (RFC 9002 §7.3.1)."""
        control = self._control
        return control.ssthresh is None or control.congestion_window < control.ssthresh

    @property
    def bytes_in_flight(self) -> int:
        """Bytes that are in flight."""
        return self._loss.bytes_in_flight

    @property
    def acknowledged(self) -> int:
        """Bytes sent whose arrival the peer has confirmed, since the connection began."""
        return self._control.acknowledged

    @property
    def probe_due(self) -> bool:
        """A PTO has fired and its probe has not been built yet."""
        return self._probe_pending

    @property
    def last_eliciting(self) -> float:
        """When something that makes the peer answer was last sent."""
        return self._loss._time_of_last_sent_ack_eliciting_packet

    @property
    def max_datagram_payload(self) -> int:
        """The largest DATAGRAM payload that fits one packet and that the peer takes; 0 before the handshake or if it takes none."""
        allowed = self._remote_max_datagram_frame_size
        return 0 if allowed is None else min(self._max_datagram_size - SHORT_OVERHEAD, allowed - 4)

    @property
    def open_streams(self) -> int:
        """Streams that are not finished yet."""
        return len(self._streams)

    # In

    def take(self, data: bytes, address: Address, now: float) -> Why | None:
        """Receive one UDP datagram; aioquic raises nothing for what is in it.  Why no packet in it was taken, None when one was."""
        self.now = now
        if self._state in END_STATES:
            return None
        stranger = self._is_client and all(path.addr != address for path in self._network_paths)
        before = self._progress
        for space in self._spaces.values():
            space.received_packets.repeated = False  # type: ignore[attr-defined]
        self.receive_datagram(data, address, now)
        if self._progress != before:
            return None
        if stranger:
            return "unknown server address"
        if any(space.received_packets.repeated for space in self._spaces.values()):  # type: ignore[attr-defined]
            return "duplicate" if address == self.active_path.addr else "duplicate from another address"
        return "not authentic"

    @property
    def _progress(self) -> tuple[object, ...]:
        """Changes with every datagram that is of any use."""
        return self._authentic, self._retry_count, self._version_negotiated_incompatible, self._close_event

    @property
    def reset_tokens(self) -> dict[bytes, bytes]:
        """The connection ids by which the peer may address this side, each with the token that it was given for that one."""
        given = self._host_cids if not self._is_client else [one for one in self._host_cids if one.sequence_number > 0]
        return {one.cid: one.stateless_reset_token for one in given if one.was_sent}

    def is_reset_untrusted(self, data: bytes) -> bool:
        """Whether ``data`` ends in the reset token of an id that this side addresses its peer by (RFC 9000 §10.3.1)."""
        used = [self._peer_cid, *(path.peer_cid for path in self._network_paths if path.peer_cid is not None)]
        tokens = [one.stateless_reset_token for one in used if one.stateless_reset_token]
        return any(hmac.compare_digest(data[-len(token) :], token) for token in tokens)

    def fire(self, now: float) -> None:
        """Do what aioquic's timer asks for at ``now``, if anything."""
        self.now = now
        due = self.get_timer()  # also computes what handle_timer relies on
        if due is None or now < due:
            return
        self.handle_timer(now)
        if self._handshake_confirmed or self._persistent:
            self._loss._pto_count = min(self._loss._pto_count, self._pto_clamp)

    def give_up(self, reason: str) -> None:
        """CONNECTION_CLOSE with the next flush, as QUIC itself would over an error: the application has not ended anything."""
        self.close(error_code=QuicErrorCode.INTERNAL_ERROR, frame_type=QuicFrameType.PADDING, reason_phrase=reason[:256])

    def vanish(self, reason: str) -> None:
        """Be over and gone at once, without a word to the peer, as after an idle timeout."""
        if not self.terminated:
            self._close_event = self._close_event or ConnectionTerminated(QuicErrorCode.INTERNAL_ERROR, QuicFrameType.PADDING, reason)
            self._close_end()

    def next_timer(self) -> float | None:
        """When ``fire`` or ``flush`` has something to do."""
        due = self.get_timer()
        if self._retire_later and self.started and self._close_event is None:
            due = min(self._retire_later[0][0], due if due is not None else math.inf)
        return due

    def drain_events(self) -> list[QuicEvent]:
        """Aioquic's events since the last call."""
        found = []
        while (event := self.next_event()) is not None:
            found.append(event)
        return found

    # Out

    def flush(
        self, now: float, *, datagram: bytes | None = None, token: int = 0, urgent: bool = False
    ) -> tuple[list[tuple[bytes, Address, tuple[int, ...]]], bool]:
        """Build what is to be sent now; with ``datagram``, that DATAGRAM payload too, under ``token``.

        ``urgent``: audio or RTCP.  Returns the UDP datagrams (bytes, where to, tokens inside) and whether the DATAGRAM went out; if not it
        was taken back.
        """
        self.now = now
        if not self.started:
            return [], False
        while self._retire_later and self._retire_later[0][0] <= now:
            self._retire_connection_ids.append(self._retire_later.pop(0)[1])
        if datagram is None and self.idle(now):
            return [], False
        self._carried.clear()
        self._tokens.clear()
        self._built = 0
        self._handing_over = token
        control = self._control
        extra = self._urgent_in_flight()
        self.urgent = urgent and (extra < self._urgent_window or now >= self._trickle_at)
        trickle = self.urgent and extra >= self._urgent_window
        if self.urgent:
            extra = max(extra, control.bytes_in_flight + self._max_datagram_size - control.congestion_window)
        if datagram is not None:
            self._datagrams_pending.append(datagram)
            space = self._spaces[Epoch.ONE_RTT]
            if space.ack_at is not None and len(datagram) + ACK_ROOM <= self.max_datagram_payload:
                space.ack_at = min(space.ack_at, now)  # a waiting ACK rides along: half the packets of a talking pair
        control.congestion_window += extra
        try:
            pairs = self.datagrams_to_send(now)
        finally:
            control.congestion_window -= extra
            self.urgent = False
        taken = not self._datagrams_pending
        if taken and trickle:
            self._trickle_at = now + self._trickle
        self._datagrams_pending.clear()
        return [(data, address, tuple(self._tokens.get(index, ()))) for index, (data, address) in enumerate(pairs)], taken

    def idle(self, now: float) -> bool:
        """Whether ``flush`` would find nothing to send at ``now``."""
        acks_at = self._spaces[Epoch.ONE_RTT].ack_at if self._handshake_confirmed else None
        return (acks_at is None or acks_at > now) and self._quiet()

    def _quiet(self) -> bool:
        """Whether nothing waits but ACKs and DATAGRAMs: what ``_write_application`` and ``datagrams_to_send`` look for, one by one.

        Never True wrongly; False where it does not matter (a handshake, an end, a path that is not validated).
        """
        if not self._handshake_confirmed or self._close_pending or self._state is not QuicConnectionState.CONNECTED:
            return False
        if self._pacing_at is not None or self._ping_pending or self._probe_pending or self._retire_connection_ids:
            return False
        if self._handshake_done_pending or self._streams_blocked_pending or not self._crypto_streams[Epoch.ONE_RTT].sender.buffer_is_empty:
            return False
        for path in self._network_paths:
            if not path.is_validated or path.remote_challenges:
                return False
        for connection_id in self._host_cids:
            if not connection_id.was_sent:
                return False
        for limit in (self._local_max_data, self._local_max_streams_bidi, self._local_max_streams_uni):
            if limit.value != limit.sent or limit.used * 2 > limit.value:
                return False
        for stream in self._streams.values():
            if not stream.sender.buffer_is_empty or stream.sender.reset_pending or stream.receiver.stop_pending or stream.is_finished:
                return False
            credit = stream.max_stream_data_local
            if credit != stream.max_stream_data_local_sent or stream.receiver.highest_offset * 2 > credit:
                return False
        return True

    def is_full(self, size: int) -> bool:
        """Whether both windows are full, so that even audio (``size`` bytes) has to wait: in an outage, above all."""
        urgent = self._urgent_in_flight()
        return urgent >= self._urgent_window and self.bytes_in_flight - urgent + size + SHORT_OVERHEAD > self.congestion_window

    def _urgent_in_flight(self) -> int:
        """Bytes of urgent packets that are neither acknowledged nor lost."""
        if not self._urgent_packets:
            return 0
        sent = self._spaces[Epoch.ONE_RTT].sent_packets
        for number in [number for number in self._urgent_packets if number not in sent]:
            del self._urgent_packets[number]
        return sum(self._urgent_packets.values())

    def queueing(self, now: float, inbound: float = 0.0) -> float:
        """How much longer the round trip takes now than this path explains, a delayed ACK apart: how long packets queue on the way there.

        ``inbound``: seconds that what comes queues on the way here.  It is not added to the delay of an ACK: an ACK that is late already
        rides with the next packet.
        """
        return max(0.0, self._pending(now) - self._control.expected_rtt - max(self._loss.max_ack_delay, inbound))

    @property
    def expected_rtt(self) -> float:
        """How long a round trip may take without a queue, by those of lately; 0 before the first."""
        expected = self._control.expected_rtt
        return 0.0 if math.isinf(expected) else expected

    def yield_to_delay(self, now: float) -> None:
        """What is not urgent is held back now, and begins again with one packet."""
        self._control.yield_to_delay(now)

    def overfills(self, size: int, bound: float) -> bool:
        """Whether ``size`` bytes more that are not urgent would queue for longer than ``bound``, by what is delivered now.

        One such packet at a time may always be in flight.
        """
        others = self.bytes_in_flight - self._urgent_in_flight()
        return others > 0 and self.bytes_in_flight + size + SHORT_OVERHEAD > self._control.room(bound + self._loss.max_ack_delay)

    def _pending(self, now: float) -> float:
        """How long ago the first packet was sent after the last one that is acknowledged; 0 when there is none.

        The round trip takes at least that; to wait for its ACK would be to know too late.
        """
        oldest = self.unanswered_since
        return 0.0 if oldest is None else now - oldest

    @property
    def unanswered_since(self) -> float | None:
        """When the first packet was sent after the last one that is acknowledged (1-RTT); None when there is none.

        aioquic forgets the oldest packet at each PTO, so the answer is kept from one look to the next, until an acknowledgement comes.
        """
        space = self._spaces[Epoch.ONE_RTT]
        oldest: float | None = None
        for number in reversed(space.sent_packets):
            if number <= space.largest_acked_packet:
                break
            packet = space.sent_packets[number]
            if packet.in_flight and packet.sent_time is not None:
                oldest = packet.sent_time
        acked, before = self._unanswered
        if acked == space.largest_acked_packet and before is not None:
            oldest = before
        self._unanswered = (space.largest_acked_packet, oldest)
        return oldest

    @property
    def _control(self) -> YieldingReno:
        control = self._loss._cc
        assert isinstance(control, YieldingReno)
        return control

    def ping(self) -> None:
        """Have a PING sent, unless one is waiting already."""
        if not self._ping_pending:
            self.send_ping(0)

    # Streams

    def can_open_stream(self) -> bool:
        """Whether the peer allows one more unidirectional stream now (aioquic would reset a blocked one, which breaks the protocol)."""
        return self._local_next_stream_id_uni // 4 < self._remote_max_streams_uni

    def stream_waits(self, stream_id: int) -> bool:
        """Whether the stream has data (new or to be repeated) that no packet in flight carries."""
        stream = self._streams.get(stream_id)
        return stream is not None and not stream.sender.is_finished and (len(stream.sender._pending) > 0 or stream.sender._pending_eof)

    def stream_sent(self, stream_id: int) -> bool:
        """Whether everything written to the stream, its end included, was acknowledged (or the stream was reset)."""
        stream = self._streams.get(stream_id)
        return stream is None or stream.sender.is_finished

    def takes_data(self, stream_id: int) -> bool:
        """Whether more may be written to the stream: it has neither ended nor been reset, as it is when the peer asks to stop it."""
        if self._stream_is_discarded(stream_id):
            return False
        stream = self._streams.get(stream_id)
        if stream is None:
            return (stream_id & 1 == 0) == self._is_client  # only who opens a stream can write to it first
        sender = stream.sender
        return not sender.is_finished and sender._buffer_fin is None and sender._reset_error_code is None

    def write_packet(self, stream_id: int, data: bytes, token: int, *, end: bool) -> None:
        """Write to a stream; ``token`` is reported with the UDP datagram that carries the last of ``data`` for the first time."""
        self.send_stream_data(stream_id, data, end_stream=end)
        self._stream_ends.setdefault(stream_id, []).append((self._streams[stream_id].sender._buffer_stop, token))

    def forget_tokens(self, stream_id: int) -> list[int]:
        """Tokens written to the stream that no datagram has carried; they will not be reported any more."""
        return [token for _, token in self._stream_ends.pop(stream_id, [])]

    # Paths

    @property
    def spare_cids(self) -> int:
        """Unused connection ids of the peer."""
        return len(self._peer_cid_available)

    def begin_probe(self, address: Address) -> QuicNetworkPath:
        """Have PATH_CHALLENGE sent to ``address`` with a spare connection id; aioquic switches to it by itself on PATH_RESPONSE.

        Needs ``spare_cids``.  What was known of that address before is forgotten.
        """
        for old in [path for path in self._network_paths[1:] if path.addr == address]:
            self.drop_path(old)
        path = QuicNetworkPath(address)
        path.peer_cid = self._peer_cid_available.pop(0)
        self._add_network_path(path)
        return path

    def ask_again(self, path: QuicNetworkPath, now: float) -> list[tuple[bytes, Address, tuple[int, ...]]]:
        """A PATH_CHALLENGE for a path that was validated before: one datagram, under the id in use there."""
        assert self._version is not None
        builder = QuicPacketBuilder(
            host_cid=self.host_cid,
            is_client=self._is_client,
            max_datagram_size=self._max_datagram_size,
            packet_number=self._packet_number,
            peer_cid=(path.peer_cid or self._peer_cid).cid,
            quic_logger=self._quic_logger,
            version=self._version,
        )
        builder.start_packet(QuicPacketType.ONE_RTT, self._cryptos[Epoch.ONE_RTT])
        self._write_path_challenge_frame(builder=builder, network_path=path)
        self._tokens.clear()
        self._built = 0
        built = self._flush_builder(builder=builder, network_path=path, peer_cid=(path.peer_cid or self._peer_cid).cid, now=now)
        return [(data, address, ()) for data, address in built]

    def path_to(self, address: Address) -> QuicNetworkPath | None:
        """What is known of the path to ``address``, unless it was forgotten."""
        return next((path for path in self._network_paths if path.addr == address), None)

    def repeat_probe(self, path: QuicNetworkPath) -> None:
        """Send another PATH_CHALLENGE on a path that has not answered; answers to the earlier ones count as well."""
        path.local_challenge_sent = False

    def drop_path(self, path: QuicNetworkPath) -> None:
        """Forget a path that is not in use, and retire its connection id."""
        if path in self._network_paths[1:]:
            self._network_paths.remove(path)
            if path.peer_cid is not None:
                self._retire_peer_cid(path.peer_cid)
                path.peer_cid = None

    def begin_anew(self) -> None:
        """Forget congestion window, pacing and RTT of the old path (RFC 9000 §9.4).

        What is in flight counts no more: it went by another path, and its fate says nothing about this one.
        """
        loss = self._loss
        for packet in self._spaces[Epoch.ONE_RTT].sent_packets.values():
            packet.in_flight = False
        self._urgent_packets.clear()
        self._unanswered = (-1, None)
        acknowledged = self.acknowledged
        loss._cc = create_congestion_control(self._configuration.congestion_control_algorithm, max_datagram_size=self._max_datagram_size)
        self._control.acknowledged = acknowledged
        self._control.urgent = self._urgent_packets
        self._pacer = loss._pacer = _Pacer(self, max_datagram_size=self._max_datagram_size)
        loss._rtt_initialized = False
        loss._rtt_min = math.inf
        loss._rtt_latest = 0.0
        loss._pto_count = 0

    # aioquic's own methods, amended

    @property
    def host_cid(self) -> bytes:
        """The id by which the peer addresses this side now."""
        return self._host_cid_in_use

    @host_cid.setter
    def host_cid(self, value: bytes) -> None:
        if not self._late():
            self._host_cid_in_use = value

    def change_connection_id(self) -> None:
        """As aioquic's, except that a late packet changes nothing."""
        if not self._late():
            super().change_connection_id()

    def _late(self) -> bool:
        """Whether the packet being received is not the newest."""
        space = getattr(self, "_spaces", {}).get(Epoch.ONE_RTT)
        return space is not None and 0 <= space.received_packets.current < space.largest_received_packet

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        for space in self._spaces.values():
            space.received_packets = self.window_class()

    def _handle_padding_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        """With its length told to qlog: the frame's type was one byte of it."""
        start = buf.tell() - 1
        super()._handle_padding_frame(context, frame_type, buf)
        if context.quic_logger_frames:
            context.quic_logger_frames[-1]["payload_length"] = buf.tell() - start

    def _handle_path_challenge_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        """As aioquic's; on the path in use something that is no probe goes with the answer, or what follows it (RFC 9000 §9.3.3)."""
        super()._handle_path_challenge_frame(context, frame_type, buf)
        if context.network_path is self._network_paths[0]:
            self.ping()

    def _payload_received(self, context: QuicReceiveContext, plain: bytes, crypto_frame_required: bool = False) -> tuple[bool, bool]:
        self._authentic += 1
        result = super()._payload_received(context, plain, crypto_frame_required)
        self.heard_at = context.time  # it was authentic
        return result

    def _retire_peer_cid(self, connection_id: QuicConnectionId) -> None:
        self._retire_later.append((self.now + RETIRE_AFTER_PTOS * self.pto, connection_id.sequence_number))
        self._retire_later.sort()

    def _write_application(self, builder: QuicPacketBuilder, network_path: QuicNetworkPath, now: float) -> None:
        if self._quiet():
            space = self._spaces[Epoch.ONE_RTT]
            ack_due = space.ack_at is not None and space.ack_at <= now
            if not ack_due:
                self._pacing_at = self._pacer.next_send_time(now)
                if self._pacing_at is not None:
                    return
            builder.start_packet(QuicPacketType.ONE_RTT, self._cryptos[Epoch.ONE_RTT])
            if ack_due:
                self._write_ack_frame(builder=builder, space=space, now=now)
            with contextlib.suppress(QuicPacketBuilderStop):
                while self._datagrams_pending:
                    self._write_datagram_frame(builder, self._datagrams_pending[0], QuicFrameType.DATAGRAM_WITH_LENGTH)
                    self._datagrams_pending.popleft()
            if not builder.packet_is_empty:
                self._pacer.update_after_send(now)
            if not self._datagrams_pending:
                return
        super()._write_application(builder, network_path, now)

    def _write_datagram_frame(self, builder: QuicPacketBuilder, data: bytes, frame_type: QuicFrameType) -> bool:
        written = super()._write_datagram_frame(builder, data, frame_type)
        if self._handing_over:
            self._carried.append((builder.packet_number, self._handing_over))
        if self.urgent:
            self._urgent_packets[builder.packet_number] = len(data) + SHORT_OVERHEAD
        return written

    def _write_stream_frame(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream, max_offset: int) -> int:
        used = super()._write_stream_frame(builder, space, stream, max_offset)
        number = stream.stream_id if stream.stream_id is not None else -1
        ends = self._stream_ends.get(number)
        while ends and ends[0][0] <= stream.sender.highest_offset:
            self._carried.append((builder.packet_number, ends.pop(0)[1]))
        if ends is not None and not ends:
            del self._stream_ends[number]
        return used

    def _flush_builder(
        self, builder: QuicPacketBuilder, network_path: QuicNetworkPath, peer_cid: bytes, now: float
    ) -> list[tuple[bytes, Address]]:
        first = self._packet_number
        pairs = super()._flush_builder(builder=builder, network_path=network_path, peer_cid=peer_cid, now=now)
        # 1-RTT packets come last, in rising order, and each ends its datagram: count from the end.
        for number, token in self._carried:
            index = self._built + len(pairs) - (builder.packet_number - number)
            self._tokens.setdefault(index, []).append(token)
        self._carried.clear()
        self._built += len(pairs)
        if network_path is self._network_paths[0]:
            # Audio has its window, and is not charged: at 2400 bytes a round trip it would leave video no slot at all.
            sent = self._spaces[Epoch.ONE_RTT].sent_packets
            numbers = (number for number in range(first, builder.packet_number) if number in sent and number not in self._urgent_packets)
            self._pacer.settle(sum(sent[number].sent_bytes for number in numbers))
        return pairs


def configuration(
    *,
    client: bool,
    alpn: str,
    max_udp_payload: int,
    idle_timeout: float,
    server_name: str | None,
    keylog: TextIO | None,
    logger: QuicLogger | None,
) -> QuicConfiguration:
    """Aioquic's configuration for one connection, without certificates."""
    return QuicConfiguration(
        alpn_protocols=[alpn],
        congestion_control_algorithm=NAME,
        connection_id_length=CID_LENGTH,
        idle_timeout=idle_timeout,
        is_client=client,
        max_datagram_frame_size=65_536,
        max_datagram_size=max_udp_payload,
        quic_logger=logger,
        secrets_log_file=keylog,
        server_name=server_name,
    )
