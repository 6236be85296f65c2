"""``Endpoint``: all calls and QUIC connections, in both roles, of one agent.

An endpoint is fed UDP datagrams and time.  A datagram goes to the connection that owns its destination connection id; an Initial that
nobody owns makes a new server connection.  Each connection carries one call (the flow ids and the signalling leave room for more); a
connection lives longer than its call, until the ``bye`` is through and CONNECTION_CLOSE has drained.

The call table is changed in two places only, ``_enter`` and ``_sweep``; the limit is checked where the entry is made.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import random
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar, TextIO

from aioquic.quic import events as quic_events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.logger import QuicLogger

from harness.call.capabilities import NOTHING, MediaCapabilities, MediaConstraints
from harness.call.config import EndpointConfig
from harness.call.connection import SIGNALLING_STREAM, Connection
from harness.call.dialog import Call
from harness.call.discards import Discards, Why
from harness.call.doorman import Doorman
from harness.call.errors import CallLimitReached, CallNotFound, CapabilityMismatch, ConfigError, InvalidState, TransportError
from harness.call.events import Address, CallStats, Event, Mode, PathEvent, QlogSink, Transmit
from harness.call.headers import MIN_INITIAL, Header, peek_untrusted, version_negotiation
from harness.call.media import Origin
from harness.call.pathfinder import Local, Pathfinder, next_due
from harness.call.qlog import StreamingLogger
from harness.call.quic import configuration
from harness.call.redial import NO_SUCH_CALL
from harness.call.resets import MIN_SIZE, LostConnections
from harness.call.roq import RoqCode
from harness.call.signaling import MAX_REASON, Bye, CapabilityExchange, Decoder, Message, SignalError, encode
from harness.call.states import State, require
from harness.call.timers import earliest

MILLISECOND = 1_000_000


@dataclass(slots=True)
class _Line:
    """A connection and what hangs on it."""

    connection: Connection
    signals: Decoder = field(default_factory=Decoder)
    call: Call | None = None
    cids: set[bytes] = field(default_factory=set)
    cids_issued: int = 0
    over_told: bool = False

    @property
    def half_open(self) -> bool:
        """Whether somebody has begun this connection and not yet said what for."""
        return self.connection.role == "server" and self.call is None and self.connection.over is None and not self.connection.finishing


class Endpoint:
    """The call stack of one agent.  The owner feeds it datagrams and time, and sends what ``transmit`` returns.

    After every ``receive``, ``handle_timer`` or operation: send what ``transmit(now)`` returns, read ``events()``, and arm a timer for
    ``timer()``.  ``rng`` makes call ids and SSRCs.  ``keylog`` gets SSLKEYLOGFILE lines.  ``qlog`` is called with a name
    ("<odcid>-client") for each connection and returns where its records go.  Raises ConfigError for a config that makes no sense.

    A test agent that must misbehave sets ``connection_class`` (see ``connection``) or ``call_class``, or overrides an operation.
    """

    connection_class: ClassVar[type[Connection]] = Connection
    call_class: ClassVar[type[Call]] = Call

    def __init__(
        self, config: EndpointConfig, *, rng: random.Random, keylog: TextIO | None = None, qlog: Callable[[str], QlogSink] | None = None
    ) -> None:
        config.validate()
        self._config = config
        self._rng = rng
        self._keylog = keylog
        self._qlog = qlog
        self._tokens = itertools.count(1)
        self._lines: list[_Line] = []
        self._by_cid: dict[bytes, _Line] = {}
        self._calls: dict[str, Call] = {}
        self._events: list[Event] = []
        self._replies: list[Transmit] = []
        self._doorman = Doorman(rng)
        self._discards = Discards()
        self._pathfinder = Pathfinder(config)
        self._lost = LostConnections(rng)
        self._closing = False
        self._fired = -1
        self._identity = QuicConfiguration(is_client=False)
        self._trusted: bytes | None = None
        try:
            if config.certificate is not None:
                self._identity.load_cert_chain(config.certificate, config.key)
            if config.ca is not None:
                with open(config.ca, "rb") as file:
                    self._trusted = file.read()
        except (OSError, ValueError, IndexError, TypeError) as error:
            raise ConfigError("", f"certificate {config.certificate}, key {config.key}, ca {config.ca}: {error}") from None

    # Datagrams and time

    def receive(self, data: bytes, address: Address, *, now: int, arrived: int) -> None:
        """Take one UDP datagram from ``address``; ``arrived`` is its kernel stamp.  Garbage is dropped; nothing is ever raised for it."""
        header = peek_untrusted(data)
        if header is None:
            self._discards.discarded["not QUIC"] += 1
            return
        line = self._by_cid.get(header.destination)
        if line is None and header.version is None and self._heard_reset_untrusted(data, address, now):
            return
        if line is None:
            line = self._answer_untrusted(header, data, address, now)
            if line is None:
                return
        why = line.connection.receive(data, address, now)
        if why is not None:
            self._discards.discarded["out of place" if header.negotiation or header.retry else why] += 1
        self._pump(line, Origin(arrived, address, len(data)), now)
        if line.call is not None:
            line.call.heard(now)
        self._sweep(now)

    def timer(self) -> int | None:
        """When ``handle_timer`` wants to be called; None when nothing is under way."""
        due = [line.connection.timer() for line in self._lines]
        due += [call.timer() for call in self._calls.values()]
        due += [self._unused_until(line) for line in self._lines]
        due.append(next_due(self._pathfinder, self._calls.values()))
        at = earliest(due)
        # What is due and still cannot be done (a full window, no budget on an unvalidated path) is looked at again a little later.
        return at if at is None or at > self._fired else self._fired + MILLISECOND

    def handle_timer(self, now: int) -> None:
        """Do what is due at ``now``.  Harmless when called early."""
        self._fired = now
        for line in list(self._lines):
            line.connection.handle_timer(now)
            until = self._unused_until(line)
            if until is not None and now >= until:
                line.connection.close(RoqCode.EXPECTATION_UNMET, "no call was made on this connection", now)
            self._pump(line, None, now)
        for call in list(self._calls.values()):
            call.handle_timer(now)
            self._redial(call, now)
            self._follow(call, now)
        self._sweep(now)

    def transmit(self, now: int) -> list[Transmit]:
        """The datagrams to send now, in order."""
        out, self._replies = self._replies, []
        for line in self._lines:
            out += line.connection.transmit(now)
            if line.cids_issued != line.connection.core.cids_issued:
                self._learn_cids(line)
        self._sweep(now)
        return out

    def events(self) -> list[Event]:
        """What happened since the last call, oldest first."""
        found, self._events = self._events, []
        return found

    def write_logs(self) -> None:
        """Hand all qlog records to their sinks; otherwise they are handed over in batches, and when a connection ends."""
        for line in self._lines:
            line.connection.write_log()

    def paths_usable(self, usable: Collection[Local], now: int) -> None:
        """Exactly these local paths could carry packets from now on: a call whose path is not among them looks for another by itself.

        Without a word of them no path is ever probed but by ``migrate``.
        """
        self._pathfinder.told(usable, now)

    # Operations

    def initiate(
        self,
        to: Address,
        constraints: MediaConstraints,
        *,
        now: int,
        server_name: str | None = None,
        optional: MediaConstraints = NOTHING,
    ) -> str:
        """Call the peer at ``to``; returns the new call id.  Raises CallLimitReached, ConfigError (no ``ca``), TransportError.

        ``constraints``: what this side insists on; ``optional``: what it offers besides, and does without if the peer cannot.
        ``server_name`` (default: the config's, else the address) is what the peer's certificate must be issued to.
        """
        if self._closing:
            raise TransportError("", "the endpoint is closing")
        if self._trusted is None:
            raise ConfigError("", "cannot call: no ca to verify the callee's certificate with")
        if not (constraints.audio or constraints.video or constraints.screen_share):
            raise ConfigError("", "cannot call: no medium is wanted")
        if self._full():
            raise CallLimitReached("", f"{self._config.max_concurrent_calls} calls are in progress, which is the limit")
        server_name = server_name or self._config.server_name or to.ip
        line = self._dial(to, server_name, now)
        name = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        call = self._enter(name, line, MediaCapabilities.of(constraints | optional), constraints, server_name)
        call.dial(now)
        return name

    def accept(self, call: str, now: int) -> None:
        """Answer an incoming call.  Raises CallNotFound, InvalidState, CapabilityMismatch (which also refuses the call)."""
        try:
            self._find(call).accept(now)
        finally:
            self._sweep(now)

    def reject(self, call: str, reason: str, now: int) -> None:
        """Refuse a call that is not connected yet.  Raises CallNotFound, InvalidState."""
        self._find(call).reject(reason, now)
        self._sweep(now)

    def end(self, call: str, reason: str, now: int) -> None:
        """Hang up, or cancel a call that is not connected yet.  Raises CallNotFound."""
        self._find(call).end(reason, now)
        self._sweep(now)

    def hold(self, call: str, now: int) -> None:
        """Hold a call: nobody sends media of it until this side resumes it.  Raises CallNotFound, InvalidState (not Connected, or held)."""
        self._find(call).hold(now)
        self._sweep(now)

    def resume(self, call: str, now: int) -> None:
        """Let go of this side's hold; media flows when neither side holds the call.  Raises CallNotFound, InvalidState."""
        self._find(call).resume(now)

    def fail(self, call: str, reason: str, now: int) -> None:
        """Give a call up as broken: the connection is closed at once, without ``bye``.  Raises CallNotFound, InvalidState."""
        self._find(call).fail(reason, now)
        self._sweep(now)

    def send_rtp(self, call: str, flow: str, packet: bytes, *, now: int, expires: int, mode: Mode = "datagram") -> int:
        """Queue one RTP packet on ``flow`` (audio, video, screen, data); returns its token.

        It is sent before ``expires`` or not at all (``MediaExpired``).  Raises CallNotFound, InvalidState unless Connected or when on hold,
        ConfigError for a flow that is unknown or was not agreed, PacketTooLarge (naming both sizes) in datagram mode, TransportError for
        what is not RTP.
        """
        found = self._find(call)
        found.require_flowing()
        return found.media.send(flow, packet, now=now, expires=expires, mode=mode)

    def migrate(self, call: str, path: str, now: int) -> None:
        """Move a call that this side dialled to the local path ``path``: probe it, and switch once it has answered (``PathEvent`` tells).

        The old path is used until then.  Raises CallNotFound; InvalidState for the callee, before the handshake is confirmed, unless
        Connected, or when already there; TransportError without a spare connection id.
        """
        found = self._find(call)
        connection = found.connection
        if found.state is State.CONNECTED and found.lost:
            raise InvalidState(call, "cannot migrate: there is no connection now; the call is being redialled")
        obstacle = connection.may_migrate()
        if obstacle is not None:
            raise InvalidState(call, f"cannot migrate: {obstacle}")
        require(call, found.state, State.CONNECTED, operation="migrate")
        if connection.address.path == path:
            raise InvalidState(call, f"cannot migrate: the call already uses {path}")
        if connection.spare_cids == 0:
            raise TransportError(call, "cannot migrate: the peer has given no spare connection id")
        connection.begin_migration(path, now)
        self._tell_changes(found, now)

    def redial(self, call: str, to: Address, now: int) -> None:
        """Have a call that this side dialled go on over a new connection to ``to``, where the application knows the peer to be now.

        A connection that is still alive is used until the new one is ready (``PathEvent`` tells).  Raises CallNotFound; InvalidState for
        the callee, or unless Connected.
        """
        found = self._find(call)
        if found.role == "callee":
            raise InvalidState(call, "cannot redial: only the side that dialled can")
        require(call, found.state, State.CONNECTED, operation="redial")
        found.redial.ask(to, now)
        self._redial(found, now)
        self._sweep(now)

    def stats(self, call: str) -> CallStats:
        """A snapshot of ``call``, also while it is ending.  Raises CallNotFound."""
        if call not in self._calls:
            raise CallNotFound(call, NO_SUCH_CALL)
        return self._calls[call].stats()

    def inventory(self) -> dict[str, int]:
        """What is held: ``calls``, ``connections`` (draining ones included), ``streams``; all 0 when everything is cleaned up."""
        return {
            "calls": len(self._calls),
            "connections": len(self._lines),
            "streams": sum(line.connection.core.open_streams for line in self._lines),
        }

    def discards(self) -> Discards:
        """What has come and was of no use, by reason, since the endpoint began."""
        return self._discards

    def close(self, now: int) -> None:
        """End everything: a ``bye`` where possible, CONNECTION_CLOSE on every connection.  ``timer()`` is None once all have drained."""
        self._closing = True
        for call in list(self._calls.values()):
            call.end("endpoint closed", now)
        for line in self._lines:
            if line.call is None and not line.connection.finishing:
                line.connection.close(RoqCode.NO_ERROR, "endpoint closed", now)
        self._sweep(now)

    # The call table

    def _find(self, call: str) -> Call:
        found = self._calls.get(call)
        if found is None or found.state is State.ENDING:
            raise CallNotFound(call, NO_SUCH_CALL)
        return found

    def _full(self) -> bool:
        return sum(call.state is not State.ENDING for call in self._calls.values()) >= self._config.max_concurrent_calls

    def _enter(self, name: str, line: _Line, mine: MediaCapabilities, wanted: MediaConstraints, server_name: str = "") -> Call:
        call = self.call_class(
            name,
            "caller" if line.connection.role == "client" else "callee",
            line.connection,
            self._config,
            wanted=wanted,
            mine=mine,
            server_name=server_name,
            rng=self._rng,
            tokens=self._tokens,
            sink=self._emit,
        )
        self._calls[name] = line.call = call
        return call

    def _emit(self, event: Event) -> None:
        self._events.append(event)

    def _sweep(self, now: int) -> None:
        """Forget calls that are over and connections that have drained."""
        for name in [name for name, call in self._calls.items() if call.ended]:
            del self._calls[name]
            self._pathfinder.forget(name)
        for line in list(self._lines):
            call = line.call
            if call is not None:
                if line.connection.lost_media:
                    lost = line.connection.lost(call.name, now)
                    call.media.expired += len(lost)
                    self._events += lost
                if call.ended:
                    line.call = None
                    if not line.connection.finishing:  # that of a redial that is not wanted any more
                        line.connection.close(RoqCode.NO_ERROR, "the call is over", now)
            if line.connection.gone:
                if line.connection.was_lost:
                    patience = self._config.failed.ns + (self._config.redial_window or self._config.failed).ns
                    self._lost.remember(line.connection.core.reset_tokens, now + patience)
                self._lines.remove(line)
                for cid in line.cids:
                    self._by_cid.pop(cid, None)

    # Connections

    def _configuration(self, *, client: bool, server_name: str | None) -> QuicConfiguration:
        logger: QuicLogger | None = None if self._qlog is None else StreamingLogger(self._qlog)
        return configuration(
            client=client,
            alpn=self._config.alpn,
            max_udp_payload=self._config.max_udp_payload,
            idle_timeout=self._config.idle_timeout.s,
            server_name=server_name,
            keylog=self._keylog,
            logger=logger,
        )

    def _dial(self, to: Address, server_name: str, now: int, *, persistent: bool = False) -> _Line:
        settings = self._configuration(client=True, server_name=server_name)
        settings.load_verify_locations(cadata=self._trusted)
        connection = self._connection(settings, odcid=None, began=now, persistent=persistent)
        connection.connect(to, now)
        return self._admit(connection)

    def _follow(self, call: Call, now: int) -> None:
        """Probe another local path where the one in use is gone or does not answer."""
        path = None if call.ended else self._pathfinder.next_path(call, now)
        if path is not None:
            call.connection.begin_migration(path, now)
            self._tell_changes(call, now)

    def _redial(self, call: Call, now: int) -> None:
        """Make the attempt that is due, if one is."""
        to = call.redial.due(now)
        if to is None or call.ended:
            return
        to = self._pathfinder.instead_of(to)
        try:
            line = self._dial(to, call.server_name, now, persistent=True)
        except TransportError:
            call.redial.put_off(now)
        else:
            line.call = call
            call.redial.began(line.connection)

    def _connection(self, settings: QuicConfiguration, **given: Any) -> Connection:
        """A new connection; TransportError when its log cannot be opened, as when no file descriptor is left."""
        try:
            return self.connection_class(self._config, settings, **given)
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, type(error).__name__)
            raise TransportError("", f"no new connection, its log cannot be opened, {name}: {error.strerror}") from None

    def _admit(self, connection: Connection) -> _Line:
        line = _Line(connection)
        self._lines.append(line)
        self._own(line, connection.core.host_cids)
        return line

    def _own(self, line: _Line, cids: list[bytes]) -> None:
        for cid in cids:
            line.cids.add(cid)
            self._by_cid[cid] = line

    def _answer_untrusted(self, header: Header, data: bytes, address: Address, now: int) -> _Line | None:
        """What to do with a datagram that belongs to no connection: a new server connection for a sound Initial, else nothing."""
        why = self._refusal_untrusted(header, data)
        reset = self._lost.answer_untrusted(header.destination, len(data), now) if header.version is None else None
        if reset is not None:
            self._discards.answered["Stateless Reset"] += 1
            self._replies.append(Transmit(reset, address))
            return None
        if why is not None:
            self._discards.discarded[why] += 1
            return None
        assert header.version is not None
        if header.version not in self._identity.supported_versions:
            self._discards.answered["Version Negotiation"] += 1
            self._replies.append(Transmit(version_negotiation(header, self._identity.supported_versions), address))
            return None
        waiting = sum(line.half_open for line in self._lines)
        odcid, retry_source = header.destination, None
        if header.token:
            proven = self._doorman.admitted_untrusted(header, address, now)
            if proven is None:
                self._discards.discarded["bad token"] += 1
                return None
            odcid, retry_source = proven, header.destination
        elif waiting > self._config.retry_above:
            self._discards.answered["Retry"] += 1
            self._replies.append(Transmit(self._doorman.retry(header, address, now), address))
            return None
        elif not self._doorman.is_sealed_untrusted(data, header):
            self._discards.discarded["not authentic"] += 1
            return None
        if waiting >= self._config.half_open_limit:
            self._discards.discarded["too many half open"] += 1
            return None
        settings = self._configuration(client=False, server_name=None)
        settings.certificate = self._identity.certificate
        settings.certificate_chain = self._identity.certificate_chain
        settings.private_key = self._identity.private_key
        try:
            line = self._admit(self._connection(settings, odcid=odcid, retry_source=retry_source, began=now))
        except TransportError:  # as if the packet had been lost: the caller repeats it
            return None
        self._own(line, [header.destination])
        self._discards.begun += 1
        return line

    def _heard_reset_untrusted(self, data: bytes, address: Address, now: int) -> bool:
        """Whether a datagram for no known connection id is a stateless reset: then the connection is lost, and is not answered for."""
        reset = next((line for line in self._lines if line.connection.is_reset_untrusted(data, address)), None)
        if reset is None or len(data) < MIN_SIZE:
            return False
        reset.connection.abandon("stateless reset: the peer has forgotten the connection", now)
        self._pump(reset, None, now)
        self._sweep(now)
        return True

    def _refusal_untrusted(self, header: Header, data: bytes) -> Why | None:
        """Why a datagram that belongs to no connection is not even answered; None for what may begin one."""
        if header.negotiation or header.retry:
            return "out of place"
        unspoken = header.version is not None and header.version not in self._identity.supported_versions
        if self._config.certificate is None or self._closing or len(data) < MIN_INITIAL or not (header.initial or unspoken):
            return "unknown connection id"
        return None

    def _unused_until(self, line: _Line) -> int | None:
        """By when a connection must have become that of a call."""
        connection = line.connection
        if (line.call is not None and line.call.connection is connection) or connection.over is not None or connection.finishing:
            return None
        return connection.began + self._config.dial_timeout.ns

    def _learn_cids(self, line: _Line) -> None:
        """Connection ids that were issued while building datagrams must be known before the peer uses them."""
        line.cids_issued = line.connection.core.cids_issued
        self._own(line, line.connection.core.host_cids)

    def _pump(self, line: _Line, origin: Origin | None, now: int) -> None:
        """Act on what a connection has to say."""
        connection = line.connection
        for event in connection.drain_events():
            self._act_untrusted(line, event, origin, now)
        self._tell_changes(line.call, now, connection)
        if connection.over is not None and not line.over_told:
            line.over_told = True
            connection.stop_media()
            if line.call is not None:
                line.call.connection_over(connection, *connection.over, now)

    def _tell_changes(self, call: Call | None, now: int, connection: Connection | None = None) -> None:
        connection = connection if call is None else call.connection
        if connection is None or not connection.changes:
            return
        changes = list(connection.changes)
        connection.changes.clear()
        self._discards.reclaimed += sum(change.kind == "reclaimed" for change in changes)
        if call is not None:
            if any(change.kind in ("migrated", "peer_moved") for change in changes):
                self._pathfinder.forget(call.name)
                call.media.path_changed()
            self._events += [PathEvent(call.name, change.at, change.kind, change.address, change.detail) for change in changes]

    def _act_untrusted(self, line: _Line, event: quic_events.QuicEvent, origin: Origin | None, now: int) -> None:
        call, connection = line.call, line.connection
        if isinstance(event, quic_events.ConnectionIdRetired):
            line.cids.discard(event.connection_id)
            self._by_cid.pop(event.connection_id, None)
        elif isinstance(event, quic_events.HandshakeCompleted):
            if call is not None:
                call.handshake_done(connection, now)
        elif isinstance(event, quic_events.StreamDataReceived) and origin is not None:
            if event.stream_id == SIGNALLING_STREAM:
                self._signals_untrusted(line, event.data, now)
            elif event.stream_id & 2 == 0:
                connection.close(RoqCode.STREAM_CREATION, f"bidirectional stream {event.stream_id}: media goes on unidirectional ones", now)
            elif call is not None:
                call.media.stream_untrusted((connection, event.stream_id), event.data, event.end_stream, origin, now)
        elif isinstance(event, quic_events.DatagramFrameReceived) and origin is not None:
            if call is not None:
                call.media.datagram_untrusted(event.data, origin, now)
        elif isinstance(event, quic_events.StreamReset | quic_events.StopSendingReceived):
            if event.stream_id == SIGNALLING_STREAM:
                if call is not None and call.connection is connection:
                    call.break_off("the signalling stream was reset", "TransportError", now)
            elif isinstance(event, quic_events.StopSendingReceived):
                connection.stream_refused(event.stream_id)
            elif call is not None:
                call.media.stream_over((connection, event.stream_id))

    # Signalling

    def _signals_untrusted(self, line: _Line, data: bytes, now: int) -> None:
        for message in line.signals.feed_untrusted(data, now):
            if isinstance(message, SignalError):
                if line.call is not None and line.call.connection is line.connection:
                    line.call.break_off(str(message), "TransportError", now)
                else:
                    self._refuse(line, "", str(message), now)
            elif line.call is not None:
                if not line.call.ended:
                    line.call.hear_untrusted(line.connection, message, now)
            elif not line.connection.finishing:
                self._first_message_untrusted(line, message, now)

    def _first_message_untrusted(self, line: _Line, message: Message, now: int) -> None:
        if not isinstance(message, CapabilityExchange):
            self._refuse(line, message.session_id, "a call begins with capability_exchange", now)
        elif self._closing:
            self._refuse(line, message.session_id, "endpoint closed", now)
        elif (known := self._calls.get(message.session_id)) is not None:
            obstacle = known.redial.obstacle()
            if obstacle is not None:
                self._refuse(line, message.session_id, f"this session id is in use: {obstacle}", now)
            else:
                line.call = known
                known.asked_again_untrusted(line.connection, message, now)
        elif message.redial is True:
            self._refuse(line, message.session_id, NO_SUCH_CALL, now)
        elif self._full():
            self._refuse(line, message.session_id, "busy", now)
        else:
            call = self._enter(message.session_id, line, MediaCapabilities.of(self._config.accepts), self._config.requires)
            call.ring(message.capabilities, now)
            if self._config.auto_answer:
                self._auto_answer(call, now)

    def _auto_answer(self, call: Call, now: int) -> None:
        with contextlib.suppress(CapabilityMismatch):  # the call was refused, and both sides have been told why
            call.accept(now)

    def _refuse(self, line: _Line, session: str, reason: str, now: int) -> None:
        """``bye`` to what never became a call here."""
        if line.connection.over is None and not line.connection.finishing:
            line.connection.send_signal(encode(Bye(session, reason=reason[:MAX_REASON])), now, end=True)
            line.connection.finish(reason, now, self._config.end_linger.ns)
