"""One QUIC connection as a call needs it: media out by priority and in time, a path kept alive, a path changed, an orderly end.

``quic.Core`` is the mechanism; the policies are here, each in a small method that a test agent can override:
``keepalive_after`` (never send PINGs), ``source_of`` (never follow a peer to a new address), ``MediaQueue.is_expired`` (send stale media),
``begin_migration`` (move in some other way), ``yields`` (let video queue up before audio).

Media waits in the queue here, never in aioquic: one datagram is handed over, flushed, and taken back if it did not go (stream mode:
``frame_streams``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent

from harness.call.config import EndpointConfig
from harness.call.discards import Why
from harness.call.events import Address, MediaExpired, PathKind, Transmit, Unsent
from harness.call.frame_streams import FrameStreams
from harness.call.media_queue import CLASSES, URGENT, MediaQueue, Waiting
from harness.call.qlog import StreamingLogger
from harness.call.quic import Core, nanoseconds, seconds
from harness.call.roq import SENT_AS, RoqCode, encode_datagram
from harness.call.timers import earliest

SIGNALLING_STREAM = 0
"""The client's first bidirectional stream."""
LOST_CLOSE_REPEATS = 8
QUEUE_SHARE = 1 / 8
LEFT_FOR_PTOS = 3
"""As long as a closed connection drains (RFC 9000 §10.2)."""


@dataclass(slots=True)
class _Probe:
    """A path being probed: aioquic's own path object, when it began and when the next PATH_CHALLENGE is due."""

    path: object
    address: Address
    began: int
    again: int


@dataclass(frozen=True, slots=True)
class PathChange:
    """Something about a path, before anybody knows which call it belongs to."""

    kind: PathKind
    address: Address
    at: int
    detail: str = ""


class Connection:
    """One QUIC connection.  ``now`` is nanoseconds throughout; ``odcid`` names the connection for life.

    ``retry_source``: the id that a Retry gave to the client, if there was one.  ``persistent``: the handshake, too, is repeated without
    backoff, because somebody waits for it (a redial).
    """

    queue_class: ClassVar[type[MediaQueue]] = MediaQueue
    core_class: ClassVar[type[Core]] = Core

    def __init__(
        self,
        settings: EndpointConfig,
        configuration: QuicConfiguration,
        *,
        odcid: bytes | None,
        retry_source: bytes | None = None,
        began: int,
        persistent: bool = False,
    ) -> None:
        self.settings = settings
        self.role: Literal["client", "server"] = "client" if configuration.is_client else "server"
        self.began = began
        self.queue = self.queue_class(settings.queue_limit)
        self.changes: list[PathChange] = []
        self.lost_media: list[tuple[int, Unsent]] = []
        self.sent: dict[str, int] = {}
        self.expired = 0
        """Packets that left the queue unsent because the network took less than was offered."""
        self.on_sent: Callable[[Waiting, int], None] | None = None
        self.inbound: Callable[[int], float] = lambda now: 0.0
        """How long what the peer sends queues on its way here at a time (ns), in seconds."""
        self._core = self.core_class(
            configuration,
            odcid=odcid,
            retry_source=retry_source,
            ack_delay=settings.ack_delay.s,
            urgent_window=settings.urgent_window,
            trickle=settings.urgent_trickle.s,
            pto_clamp=settings.pto_clamp,
            persistent=persistent,
        )
        self._logger = configuration.quic_logger if isinstance(configuration.quic_logger, StreamingLogger) else None
        self.careful = False
        """The path is known to be narrow: nothing that is not urgent may fill it (see ``congestion``)."""
        self._probe: _Probe | None = None
        self._frames = FrameStreams(self._core)
        self._finish_by: int | None = None
        self._finish_reason = ""
        self._leaves_at: int | None = None
        self._close_datagrams: list[Transmit] = []
        self._closing_heard = 0
        self._repeat_close = False
        self._pinged_at = began
        self._address: Address | None = None
        self._validated = True
        self._ask_old_at: int | None = None

    # Standing

    @property
    def core(self) -> Core:
        """The QUIC mechanism, to look at."""
        return self._core

    @property
    def odcid(self) -> bytes:
        """The client's first destination connection id, the same on both sides for as long as the connection lives."""
        return self._core.original_destination_connection_id

    @property
    def address(self) -> Address:
        """Where datagrams go now."""
        address: Address = self._core.active_path.addr
        return address

    @property
    def heard_at(self) -> int | None:
        """When the last authentic packet came."""
        return None if self._core.heard_at is None else nanoseconds(self._core.heard_at)

    @property
    def gone(self) -> bool:
        """Drained, or never begun: forget it."""
        return self._core.terminated or (self.role == "server" and not self._core.started)

    @property
    def over(self) -> tuple[int, str] | None:
        """(code, reason) once the connection is closed by either side or has timed out; None while it lives."""
        event = self._core.close_reason
        return None if event is None else (event.error_code, event.reason_phrase)

    @property
    def given_up(self) -> bool:
        """Whether it was closed on purpose by whoever used it, here or there; not by a timeout, nor by QUIC over an error."""
        event = self._core.close_reason
        return event is not None and event.frame_type is None

    @property
    def finishing(self) -> bool:
        """An end is under way: an orderly one, or a silent one."""
        return self._finish_by is not None or self._leaves_at is not None

    @property
    def max_rtp_packet(self) -> int:
        """The largest RTP packet that fits a datagram now (every flow id takes one byte); 0 if the peer takes none."""
        return max(0, self._core.max_datagram_payload - 1)

    # Opening and closing

    def connect(self, address: Address, now: int) -> None:
        """Begin the handshake (client)."""
        self._clock(now)
        self._core.connect(address, seconds(now))
        self._address = address

    def finish(self, reason: str, now: int, linger: int) -> None:
        """Close in order: once everything written to the signalling stream is acknowledged, or after ``linger`` ns."""
        if self._finish_by is None:
            self._finish_by = now + linger
            self._finish_reason = reason
            self.stop_media()

    def close(self, code: RoqCode, reason: str, now: int) -> None:
        """CONNECTION_CLOSE at the next ``transmit``, with an application error code."""
        self._clock(now)
        self.stop_media()
        self._core.close(error_code=code, reason_phrase=reason[:256])

    def abandon(self, reason: str, now: int) -> None:
        """Be over and gone at once, without a word to the peer."""
        self._clock(now)
        self.stop_media()
        self._core.vanish(reason)

    def give_up(self, reason: str, now: int) -> None:
        """The connection is lost: say so with CONNECTION_CLOSE, in case one direction is alive, and repeat that to whoever still sends."""
        self._clock(now)
        self.stop_media()
        self._core.give_up(reason)

    @property
    def was_lost(self) -> bool:
        """Whether it ended by silence or by an error of QUIC, not because somebody asked for it."""
        return self.over is not None and not self.given_up and not self.finishing

    def is_reset_untrusted(self, data: bytes, address: Address) -> bool:
        """Whether ``data``, which belongs to no connection that is known, is the peer's word that it has forgotten this one."""
        return self._core.started and self.over is None and address == self.address and self._core.is_reset_untrusted(data)

    def leave(self, now: int) -> None:
        """Send nothing more: the call has another connection.  What is still under way from the peer is taken, then this one is gone."""
        self.stop_media()
        self._leaves_at = now + nanoseconds(LEFT_FOR_PTOS * self._core.pto)

    def _finish_if_done(self, now: int) -> None:
        if self._finish_by is not None and self.over is None and (now >= self._finish_by or self._core.stream_sent(SIGNALLING_STREAM)):
            self.close(RoqCode.NO_ERROR, self._finish_reason, now)

    def stop_media(self) -> None:
        """Nothing that waits will be sent; frames under way are cancelled."""
        self.drop_media("ended")
        self.queue.clear()

    def drop_media(self, why: Unsent) -> None:
        """No RTP that waits will be sent, frames under way are cancelled; RTCP stays."""
        for entry in [entry for entry in self.queue if entry.token]:
            self.queue.remove(entry)
            self.lost_media.append((entry.token, why))
        self.lost_media += [(token, why) for token in self._frames.cancel_all()]

    def drop_padding(self) -> None:
        """The padding that waits will not be sent."""
        for entry in [entry for entry in self.queue if entry.flow == "padding"]:
            self.queue.remove(entry)

    # In

    def source_of(self, address: Address) -> Address:
        """Where a datagram is taken to come from.  Honest here; a server that never follows its peer would lie."""
        return address

    def receive(self, data: bytes, address: Address, now: int) -> Why | None:
        """Take one UDP datagram; why nothing in it was of use, or None."""
        self._clock(now)
        if self._core.closing:
            self._heard_while_closing()
            return None
        why = self._core.take(data, self.source_of(address), self._core.now)
        self._watch_path(now)
        self._finish_if_done(now)
        return why

    def drain_events(self) -> list[QuicEvent]:
        """Aioquic's events since the last call."""
        return self._core.drain_events()

    def _heard_while_closing(self) -> None:
        # The peer has not seen CONNECTION_CLOSE; repeat it ever less often (RFC 9000 §10.2.1).
        self._closing_heard += 1
        if self._closing_heard & (self._closing_heard - 1) == 0 and self._closing_heard <= 1 << LOST_CLOSE_REPEATS:
            self._repeat_close = True

    # Time

    def handle_timer(self, now: int) -> None:
        """Do what is due."""
        self._clock(now)
        if self._leaves_at is not None:
            if now >= self._leaves_at:
                self.abandon("superseded", now)
            return
        self._core.fire(seconds(now))
        self._watch_path(now)
        if self.over is None:
            self._keep_alive(now)
            self._drive_probe(now)
            self._expire(now)
            self._finish_if_done(now)

    def timer(self) -> int | None:
        """When ``handle_timer`` has something to do."""
        if self._leaves_at is not None:
            return self._leaves_at
        at = self._core.next_timer()
        due = [None if at is None else nanoseconds(at)]
        if self.over is None and self._core.started:
            due += (self._keepalive_at(), self._finish_by, self._ask_old_at)
            if self._probe is not None:
                due += (self._probe.again, self._probe.began + self.settings.probe_give_up.ns)
            if self.queue:
                due.append(self.queue.next_expiry())
            if self._frames:
                due.append(self._frames.next_expiry())
        return earliest(due)

    # Keepalive

    def keepalive_after(self) -> int | None:
        """Nanoseconds without anything that makes the peer answer, after which a PING is sent; None is never."""
        return None if self.settings.keepalive is None else self.settings.keepalive.ns

    def _keepalive_at(self) -> int | None:
        after = self.keepalive_after()
        if after is None or not self._core.handshake_confirmed:
            return None
        return max(nanoseconds(self._core.last_eliciting), self._pinged_at) + after

    def _keep_alive(self, now: int) -> None:
        due = self._keepalive_at()
        if due is not None and now >= due:
            self._core.ping()
            self._pinged_at = now

    # Paths

    def may_migrate(self) -> str | None:
        """Why this connection cannot move now, or None."""
        if self.role == "server":
            return "only the side that dialled can migrate (RFC 9000 §9)"
        if not self._core.handshake_confirmed:
            return "the QUIC handshake is not confirmed yet (RFC 9000 §9)"
        return None

    def begin_migration(self, path: str, now: int) -> None:
        """Probe the same peer over the local path ``path``, and move there once it answers.  Needs a spare connection id."""
        self._clock(now)
        address = self.address._replace(path=path)
        if self._probe is not None:
            if self._probe.address == address:
                return  # it is under way
            self._give_up_probe(now, "another path was asked for")
        self._probe = _Probe(self._core.begin_probe(address), address, now, now + self.settings.probe_retry.ns)
        self.changes.append(PathChange("probing", address, now))

    @property
    def probing(self) -> bool:
        """Whether another path is being probed."""
        return self._probe is not None

    def unanswered_since(self) -> int | None:
        """When the first packet was sent of those that nothing acknowledged is newer than; None when all is acknowledged."""
        at = self._core.unanswered_since
        return None if at is None else nanoseconds(at)

    @property
    def round_trip(self) -> int:
        """The smoothed RTT, or the first guess, ns."""
        return nanoseconds(self._core.rtt)

    @property
    def spare_cids(self) -> int:
        """Connection ids of the peer that a new path could use."""
        return self._core.spare_cids

    def _drive_probe(self, now: int) -> None:
        probe = self._probe
        if probe is None:
            return
        if now >= probe.began + self.settings.probe_give_up.ns:
            self._give_up_probe(now, f"no answer within {self.settings.probe_give_up}")
        elif now >= probe.again:
            self._core.repeat_probe(probe.path)  # type: ignore[arg-type]
            probe.again = now + self.settings.probe_retry.ns

    def _give_up_probe(self, now: int, why: str) -> None:
        if self._probe is not None:
            self._core.drop_path(self._probe.path)  # type: ignore[arg-type]
            self.changes.append(PathChange("probe_failed", self._probe.address, now, why))
            self._probe = None

    def _watch_path(self, now: int) -> None:
        """Tell what aioquic did to the active path: a client's answered probe, a server's peer that moved."""
        if not self._core.started or not self._core.handshake_complete or self._core.terminated:
            return
        path = self._core.active_path
        if self._address is None:
            self._address, self._validated = path.addr, True
        if path.addr != self._address:
            before, self._address = self._address, path.addr
            if self.role == "client":
                self._probe = None
                self.changes.append(PathChange("validated", path.addr, now))
                self.changes.append(PathChange("migrated", path.addr, now, f"from {before}"))
                self._core.begin_anew()
                self._core.ping()  # PATH_RESPONSE alone is a probing packet and would not move the peer
                self._validated = True
            elif not self._validated and path.addr == self._moved_from:
                # Nothing was learnt of the path that was not real: window and RTT stand.
                self._validated, self._ask_old_at = True, None
                self.changes.append(PathChange("reclaimed", path.addr, now, f"from {before}"))
            else:
                self.changes.append(PathChange("peer_moved", path.addr, now, f"from {before}"))
                proven = self._validated
                self._validated = path.is_validated
                self.changes.append(PathChange("validated" if path.is_validated else "validating", path.addr, now))
                if path.is_validated:
                    self._ask_old_at = None
                    self._settle_on(before)
                elif proven:
                    self._moved_from = before
                    self._ask_old_at = now if self.asks_old_path() else None
        elif path.is_validated and not self._validated:
            self._validated, self._ask_old_at = True, None
            self.changes.append(PathChange("validated", path.addr, now))
            self._settle_on(self._moved_from)

    def _settle_on(self, before: Address) -> None:
        # A new port alone is a NAT at work on the same path: RFC 9000 §9.4 lets the window and RTT stand.
        if before.ip != self.address.ip:
            self._core.begin_anew()

    _moved_from: Address

    def asks_old_path(self) -> bool:
        """Whether a server that follows its peer asks, on the path that it leaves, whether the peer is there still (RFC 9000 §9.3.3)."""
        return True

    def _question_old_path(self, now: int) -> list[Transmit]:
        """The PATH_CHALLENGE for the path that was left, if it is due: a peer that is there still then sends from there.

        It is repeated for as long as the new path is not proven: whoever wins the race may have copied the answer too.
        """
        if self._ask_old_at is None or now < self._ask_old_at or self.over is not None:
            return []
        self._ask_old_at = now + self.settings.probe_retry.ns
        old = self._core.path_to(self._moved_from)
        return [] if old is None else [Transmit(*triple) for triple in self._core.ask_again(old, seconds(now))]

    # Out

    def send_signal(self, data: bytes, now: int, *, end: bool = False) -> None:
        """Write to the signalling stream; ``end`` says that nothing will follow.  Nothing is written once the peer has asked to stop it."""
        self._clock(now)
        if self._core.takes_data(SIGNALLING_STREAM):
            self._core.send_stream_data(SIGNALLING_STREAM, data, end_stream=end)

    def refuse_stream(self, number: int, code: RoqCode) -> None:
        """STOP_SENDING for a stream that the peer opened."""
        self._core.stop_stream(number, code)

    def stream_refused(self, number: int) -> None:
        """The peer has asked to stop a media stream (aioquic has reset it): nothing more may be written to it."""
        self.lost_media += [(token, "expired") for token in self._frames.refused(number)]

    def put(self, entry: Waiting) -> None:
        """Queue a packet; what it pushes out is reported in ``lost_media``."""
        pushed = self.queue.put(entry)
        if pushed is not None and pushed.token:
            self.lost_media.append((pushed.token, "queue full"))

    def transmit(self, now: int) -> list[Transmit]:
        """Everything that may be sent now."""
        self._clock(now)
        if self._leaves_at is not None:
            return []
        self._expire(now)
        out: list[Transmit] = []
        flushed = False
        while self.over is None and (entry := self._next_entry()) is not None and self._may_send(entry):
            if CLASSES[entry.flow] != URGENT and self.yields(entry, now):
                break
            flushed = True  # and completely: aioquic goes on until nothing is left that may go
            if entry.mode == "stream":
                self.queue.remove(entry)
                self._frames.write(entry)
                out += self._flush(now)
            else:
                payload = encode_datagram(SENT_AS[entry.flow], entry.packet)
                urgent = CLASSES[entry.flow] == URGENT
                built, gone = self._core.flush(seconds(now), datagram=payload, token=entry.token, urgent=urgent)
                out += [Transmit(*triple) for triple in built]
                if not gone:
                    break
                self.queue.remove(entry)
            self.sent[entry.flow] = self.sent.get(entry.flow, 0) + 1
            if self.on_sent is not None:
                self.on_sent(entry, now)
        if not flushed:
            closing = self.over is not None and not self._core.closing
            out += self._flush(now)
            if closing and self._core.closing:
                self._close_datagrams = list(out)
        out += self._question_old_path(now)
        if self._repeat_close:
            self._repeat_close = False
            out += self._close_datagrams
        return out

    def queues(self, now: int) -> bool:
        """Whether packets queue on the way for so long that audio will be late."""
        bound, at = self._queue_bound(), seconds(now)
        return bound is not None and self._core.queueing(at) > bound and self._core.queueing(at, self.inbound(now)) > bound

    def _queue_bound(self) -> float | None:
        """How long packets may queue on the way, in seconds: as configured, and on a long path a share of its own round trip.

        There a queue is seen late and costs a round trip to recover from, and whoever listens over it has a longer buffer.
        """
        bound = self.settings.queue_bound
        return None if bound is None else max(bound.s, self._core.expected_rtt * QUEUE_SHARE)

    def yields(self, entry: Waiting, now: int) -> bool:
        """Whether ``entry``, which is not urgent, must wait so that audio need not."""
        if self.queues(now):
            self._core.yield_to_delay(seconds(now))
            return True
        bound = self._queue_bound() if self.careful else None
        return bound is not None and self._core.overfills(len(entry.packet), bound)

    def _flush(self, now: int) -> list[Transmit]:
        built, _ = self._core.flush(seconds(now))
        return [Transmit(*triple) for triple in built]

    def _next_entry(self) -> Waiting | None:
        """What to send next: in order, except that when hardly anything gets through the newest audio is worth more than the oldest."""
        head = self.queue.head()
        if head is None or CLASSES[head.flow] != URGENT or not self._core.handshake_complete or not self._core.is_full(len(head.packet)):
            return head
        return self.queue.newest_urgent() or head

    def _may_send(self, entry: Waiting) -> bool:
        if not self._core.handshake_complete:
            return False
        return entry.mode == "datagram" or self._frames.has_room(entry)

    def _expire(self, now: int) -> None:
        if self.queue:
            old = self.queue.expire(now)
            self.expired += len(old)
            self.lost_media += [(entry.token, "expired") for entry in old if entry.token]
        if self._frames:
            tokens = self._frames.expire(now)
            self.expired += len(tokens)
            self.lost_media += [(token, "expired") for token in tokens]

    def lost(self, call: str, now: int) -> list[MediaExpired]:
        """``lost_media`` as events of ``call``, and forgotten."""
        found = [MediaExpired(call, now, token, why) for token, why in self.lost_media]
        self.lost_media.clear()
        return found

    # The log

    def _clock(self, now: int) -> None:
        self._core.now = seconds(now)
        if self._logger is not None and self._logger.trace is not None:
            self._logger.trace.proceed(now)

    def write_log(self) -> None:
        """Write the qlog as far as it goes."""
        if self._logger is not None and self._logger.trace is not None:
            self._logger.trace.flush()
