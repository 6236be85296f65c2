"""One call: its state, and what each operation and each message does to it.

Every change of state goes through ``_move``; a call that is back in Idle has left the call table (``ended`` tells the table).  An orderly
end stays in Ending until the peer has acknowledged ``bye`` (or the linger is over); a failed or refused call is gone at once, and only its
connection lives on until the ``bye`` is through.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

from harness.call.capabilities import MediaCapabilities, MediaConstraints, agreed, mismatch
from harness.call.config import EndpointConfig
from harness.call.connection import Connection
from harness.call.errors import CapabilityMismatch, InvalidState
from harness.call.events import (
    CallAccepted,
    CallEnded,
    CallHeld,
    CallInitiated,
    CallRejected,
    CallResumed,
    CallStats,
    ConnectionEstablished,
    ConnectionFailed,
    Event,
    IncomingCall,
    MediaUpdated,
    PathEvent,
    PathKind,
    Side,
    StateChanged,
)
from harness.call.health import PathHealth
from harness.call.media import CallMedia
from harness.call.redial import Redial
from harness.call.roq import RoqCode
from harness.call.signaling import (
    MAX_REASON,
    Bye,
    CapabilityExchange,
    ConnectionConfirm,
    ConnectionReady,
    Hold,
    MediaUpdate,
    Message,
    Resume,
    encode,
    offer,
)
from harness.call.states import State, require, step
from harness.call.timers import earliest

Role = Literal["caller", "callee"]
_WHO: dict[Side, str] = {"here": "this side", "peer": "the peer"}


class Call:
    """A call on a connection, or between two (``redial``).  ``wanted`` is what this side wants of the peer, ``mine`` what it offers.

    ``server_name``: for whom the peer's certificate must be, where this side dials.  ``now`` is nanoseconds.
    """

    redial_class: ClassVar[type[Redial]] = Redial

    def __init__(
        self,
        name: str,
        role: Role,
        connection: Connection,
        config: EndpointConfig,
        *,
        wanted: MediaConstraints,
        mine: MediaCapabilities,
        server_name: str,
        rng: random.Random,
        tokens: Iterator[int],
        sink: Callable[[Event], None],
    ) -> None:
        self.name = name
        self.role: Role = role
        self.connection = connection
        self.state = State.IDLE
        self.ended = False
        self.handshakes = 0
        self.mine = mine
        self.server_name = server_name
        self.redial = self.redial_class(self, config)
        self.media = CallMedia(name, connection, config, rng=rng, tokens=tokens, sink=sink, say=self.say)
        self._config = config
        self._wanted = wanted
        self._theirs: MediaCapabilities | None = None
        self._sink = sink
        self._deadline: int | None = None
        self._health: PathHealth | None = None
        self._held_by: set[Side] = set()
        self._end_reason = ""
        self._given_up: Connection | None = None
        self._odcid = connection.odcid.hex()
        self._address = connection.address

    def _move(self, new: State, now: int) -> None:
        old, self.state = self.state, step(self.name, self.state, new)
        self._sink(StateChanged(self.name, now, old, new))
        if new is State.IDLE:
            self.ended = True
            self._deadline = None

    # The way up

    def dial(self, now: int) -> None:
        """The caller begins."""
        self._move(State.CALLING, now)
        self._sink(CallInitiated(self.name, now, self._address))
        self._deadline = now + self._config.dial_timeout.ns

    @property
    def lost(self) -> bool:
        """Whether there is no connection to use."""
        return self.connection.over is not None

    def handshake_done(self, connection: Connection, now: int) -> None:
        """The QUIC handshake is complete; the caller makes its offer."""
        self.handshakes += 1
        if connection is not self.connection:
            self.redial.handshake_done(connection, now)
        elif self.role == "caller" and self.state is State.CALLING:
            self.say(offer(CapabilityExchange, self.name, self.mine, None), now)
            self._move(State.CONNECTING, now)
            self._deadline = now + self._config.answer_timeout.ns

    def ring(self, theirs: MediaCapabilities, now: int) -> None:
        """The callee has got the caller's offer."""
        self.handshakes += 1
        self._theirs = theirs
        self._move(State.CALLING, now)
        self._sink(IncomingCall(self.name, now, theirs, self._address))
        self._deadline = now + self._config.answer_timeout.ns

    def accept(self, now: int) -> None:
        """The callee answers; CapabilityMismatch refuses the call as well."""
        require(self.name, self.state, State.CALLING, operation="accept")
        if self.role == "caller" or self._theirs is None:
            raise InvalidState(self.name, "accept is for the called side; this side dialled")
        wrong = mismatch(self._wanted, self._theirs)
        if wrong is not None:
            self.reject(f"capability mismatch: {wrong}", now)
            raise CapabilityMismatch(self.name, wrong)
        self.say(offer(ConnectionConfirm, self.name, self.mine, None), now)
        self._move(State.CONNECTING, now)
        self._sink(CallAccepted(self.name, now))
        self._deadline = now + self._config.dial_timeout.ns

    def confirm(self, theirs: MediaCapabilities, now: int) -> None:
        """The caller has the callee's answer; InvalidState unless Connecting."""
        require(self.name, self.state, State.CONNECTING, operation="confirm")
        if self.role == "callee":
            raise InvalidState(self.name, "connection_confirm is for the side that dialled")
        wrong = mismatch(self._wanted, theirs)
        if wrong is not None:
            self.break_off(f"capability mismatch: {wrong}", "CapabilityMismatch", now)
            return
        self._theirs = theirs
        self.say(ConnectionReady(self.name), now)
        self._connected(now)

    def ready(self, now: int) -> None:
        """The callee hears that the caller is ready; InvalidState unless Connecting."""
        require(self.name, self.state, State.CONNECTING, operation="connection_ready")
        if self.role == "caller":
            raise InvalidState(self.name, "connection_ready is for the called side")
        self._connected(now)

    def _connected(self, now: int) -> None:
        assert self._theirs is not None
        both = agreed(self.mine, self._theirs)
        self._move(State.CONNECTED, now)
        self._deadline = None
        self._health = PathHealth(self._config, now)
        self._sink(ConnectionEstablished(self.name, now, self._odcid, self.connection.address, both))
        self.media.begin(both, now)

    # On hold: the state stays Connected, RTCP and keepalive go on, and media flows when neither side holds the call

    def hold(self, now: int, by: Side = "here") -> None:
        """From now on nobody sends media, until ``by`` resumes; what waits is dropped.

        InvalidState unless Connected, or if ``by`` holds it.
        """
        require(self.name, self.state, State.CONNECTED, operation="hold")
        if by == "here":
            self.redial.require_rest("hold")
        if by in self._held_by:
            raise InvalidState(self.name, f"hold: {_WHO[by]} holds the call already")
        self._held_by.add(by)
        self.connection.drop_media("held")
        if by == "here":
            self.say(Hold(session_id=self.name), now)
        self._sink(CallHeld(self.name, now, by))

    @property
    def held_here(self) -> bool:
        """Whether this side holds the call."""
        return "here" in self._held_by

    def agree_on_hold(self, held: bool, now: int) -> None:
        """The peer has said, with a new connection, whether it holds the call: what it said last on the lost one may have been lost too."""
        if held != ("peer" in self._held_by):
            (self.hold if held else self.resume)(now, "peer")

    def resume(self, now: int, by: Side = "here") -> None:
        """``by`` lets go of its hold; InvalidState unless Connected, or if ``by`` does not hold it."""
        require(self.name, self.state, State.CONNECTED, operation="resume")
        if by == "here":
            self.redial.require_rest("resume")
        if by not in self._held_by:
            raise InvalidState(self.name, f"resume: {_WHO[by]} does not hold the call")
        self._held_by.discard(by)
        if by == "here":
            self.say(Resume(session_id=self.name), now)
        self._sink(CallResumed(self.name, now, by, flows=not self._held_by))

    def require_flowing(self) -> None:
        """InvalidState unless media may be sent now: Connected, and held by nobody."""
        require(self.name, self.state, State.CONNECTED, operation="send_rtp")
        if self._held_by:
            raise InvalidState(self.name, f"send_rtp: on hold by {' and '.join(_WHO[by] for by in sorted(self._held_by))}")

    # Another connection

    def asked_again_untrusted(self, connection: Connection, message: CapabilityExchange, now: int) -> None:
        """The caller asks for this call, which is Connected, over a new connection."""
        self.handshakes += 1
        self.redial.asked_untrusted(connection, message, now)

    def move_to(self, connection: Connection, now: int) -> None:
        """Go on over ``connection``, which is ready on both sides."""
        old, self.connection = self.connection, connection
        if old.over is None:
            old.leave(now)
        self._odcid = connection.odcid.hex()
        self._health = PathHealth(self._config, now)
        self.media.carry_on(connection)

    def lose(self, why: str, error: str, now: int) -> None:
        """The connection is lost: have another looked for, or fail where none may be."""
        if self._config.redial_window is None:
            self.fail(why, now, error=error)
            return
        if self._given_up is self.connection:
            return  # its end, which was this side's own doing, is told once it has come
        self._given_up = self.connection
        if not self.lost:
            self.connection.give_up(why, now)
        self._health = None
        self.redial.lost(self._config.redial_window.ns, why, now)

    def tell_path(self, kind: PathKind, now: int, detail: str = "") -> None:
        """Say something about the path in use."""
        self._sink(PathEvent(self.name, now, kind, self.connection.address, detail))

    # The way down

    def reject(self, reason: str, now: int) -> None:
        """Refuse a call that is not connected yet."""
        require(self.name, self.state, State.CALLING, State.CONNECTING, operation="reject")
        self._part(reason, now, self.connection)
        self._down(CallRejected(self.name, now, reason), now)

    def end(self, reason: str, now: int) -> None:
        """Hang up, or cancel."""
        if self.state is State.CONNECTED:
            self._move(State.ENDING, now)
            self._end_reason = reason
            attempt = self.redial.rest()
            if self.lost:  # nobody hears of it, unless the next connection is that far
                self._part(reason, now, attempt)
                self._over(reason, now)
            else:
                self._part(reason, now, self.connection)
        elif self.state in (State.CALLING, State.CONNECTING):
            self._part("cancelled", now, self.connection)
            self._down(CallEnded(self.name, now, reason), now)

    def fail(self, reason: str, now: int, *, error: str = "TransportError") -> None:
        """Give up at once: CONNECTION_CLOSE, no ``bye``."""
        require(self.name, self.state, State.CALLING, State.CONNECTING, State.CONNECTED, operation="fail")
        self.connection.close(RoqCode.GENERAL, reason, now)
        self._down(ConnectionFailed(self.name, now, reason, error), now)

    def break_off(self, reason: str, error: str, now: int) -> None:
        """Fail, and tell the peer why with a ``bye``: the connection itself is sound."""
        if self.state in (State.CALLING, State.CONNECTING, State.CONNECTED):
            self._part(reason, now, self.connection)
            self._down(ConnectionFailed(self.name, now, reason, error), now)

    def _down(self, last_word: Event, now: int) -> None:
        self._move(State.FAILED, now)
        self._move(State.IDLE, now)
        self._sink(last_word)

    def _over(self, reason: str, now: int) -> None:
        if self.state is State.CONNECTED:
            self._move(State.ENDING, now)
        self._move(State.IDLE, now)
        self._sink(CallEnded(self.name, now, reason))

    def _part(self, reason: str, now: int, connection: Connection | None) -> None:
        """Say ``bye`` where that is possible, and let the connection go."""
        if connection is None:
            return
        if connection.over is None and connection.core.handshake_complete:
            if not connection.finishing:
                connection.send_signal(encode(Bye(self.name, reason=reason[:MAX_REASON])), now, end=True)
                connection.finish(reason, now, self._config.end_linger.ns)
        else:
            connection.close(RoqCode.NO_ERROR, reason, now)

    def connection_over(self, connection: Connection, code: int, reason: str, now: int) -> None:
        """A connection was closed, by either side, or timed out."""
        why = f"QUIC connection closed: {reason or 'no reason given'} (code {code:#x})"
        if connection is not self.connection:
            self.redial.broke(connection, now)
        elif self.state is State.ENDING:
            self._over(self._end_reason, now)
        elif self.state is State.CONNECTED and code == RoqCode.NO_ERROR:
            self._over(reason, now)
        elif self.state is State.CONNECTED and not connection.given_up:
            self.lose(why, "TransportError", now)
        elif self.state is not State.IDLE:
            self._down(ConnectionFailed(self.name, now, why), now)

    # What the peer says

    def hear_untrusted(self, connection: Connection, message: Message, now: int) -> None:
        """Act on one message; what is out of order breaks the call off."""
        if connection is not self.connection:
            self.redial.hear_untrusted(connection, message, now)
            return
        if message.session_id != self.name:
            self.break_off(f"a message for session {message.session_id[:64]!r} on the connection of another", "TransportError", now)
            return
        try:
            if isinstance(message, Bye):
                self.hang_up_untrusted(message.reason or "", now)
            elif isinstance(message, ConnectionConfirm):
                self.confirm(message.capabilities, now)
            elif isinstance(message, ConnectionReady):
                self.ready(now)
            elif isinstance(message, Hold):
                self.hold(now, by="peer")
            elif isinstance(message, Resume):
                self.resume(now, by="peer")
            elif isinstance(message, MediaUpdate):
                require(self.name, self.state, State.CONNECTED, operation="media_update")
                self._sink(MediaUpdated(self.name, now, message.audio, message.video, message.screen_share, "peer"))
            else:
                raise InvalidState(self.name, "a second capability_exchange")
        except InvalidState as error:
            self.break_off(f"signalling out of order: {error.what}", "InvalidState", now)

    def hang_up_untrusted(self, reason: str, now: int) -> None:
        """The peer has said ``bye``."""
        self._let_go(reason, now)
        if self.state is State.CONNECTED:
            self._over(reason, now)
        elif self.state in (State.CALLING, State.CONNECTING):
            refused = self.role == "caller"
            self._down(CallRejected(self.name, now, reason) if refused else CallEnded(self.name, now, reason), now)

    def _let_go(self, reason: str, now: int) -> None:
        """The peer has said ``bye``: end the signalling stream from here too, and close when that is acknowledged."""
        if self.connection.over is None and not self.connection.finishing:
            self.connection.send_signal(b"", now, end=True)
            self.connection.finish(reason, now, self._config.end_linger.ns)

    # Time

    def handle_timer(self, now: int) -> None:
        """Timeouts, path health, RTCP, quality."""
        if self._deadline is not None and now >= self._deadline:
            self._time_out(now)
        if self.state is State.CONNECTED and self._health is not None:
            for word in self._health.observe(self.connection.heard_at, now):
                if word == "failed":
                    self.lose(f"nothing heard for {self._config.failed}", "CallTimeout", now)
                else:
                    self.tell_path(word, now)
        if self.state is State.CONNECTED:
            self.redial.handle_timer(now)
        if self.state is State.CONNECTED:
            self.media.handle_timer(now, held=bool(self._held_by))

    def heard(self, now: int) -> None:
        """Something came: the path may be healthy again."""
        if self.state is State.CONNECTED and self._health is not None and self._health.word != "healthy":
            self.handle_timer(now)

    def _time_out(self, now: int) -> None:
        if self.role == "caller" and self.state is State.CALLING:
            self.fail(f"no QUIC handshake with {self._address} within {self._config.dial_timeout}", now, error="CallTimeout")
        elif self.role == "callee" and self.state is State.CONNECTING:
            self.break_off(f"no connection_ready within {self._config.dial_timeout}", "CallTimeout", now)
        else:
            self.break_off(f"no answer within {self._config.answer_timeout}", "CallTimeout", now)

    def timer(self) -> int | None:
        """When ``handle_timer`` has something to do."""
        due = [self._deadline]
        if self.state is State.CONNECTED:
            due += (self.media.timer(), self.redial.timer())
            if self._health is not None:
                # What was heard since only puts the next change off: then the timer comes early, and does nothing.
                due.append(self._health.next_change())
        return earliest(due)

    def stats(self) -> CallStats:
        """A snapshot."""
        core = self.connection.core
        address = self.connection.address
        return CallStats(
            call=self.name,
            state=self.state,
            role=self.role,
            rtt_ns=round(core.rtt * 1e9),
            cwnd=core.congestion_window,
            bytes_in_flight=core.bytes_in_flight,
            path=address.path,
            address=address,
            handshakes=self.handshakes,
            odcid=self._odcid,
            redials=self.redial.count,
            max_rtp_packet=self.connection.max_rtp_packet,
            queued=len(self.connection.queue),
            sent=dict(self.connection.sent),
            received=dict(self.media.received),
            expired=self.media.expired,
            dropped=self.media.dropped,
            heard_at=self.connection.heard_at,
        )

    def say(self, message: Message, now: int, connection: Connection | None = None) -> None:
        """Write ``message`` to the call's connection, or to that which may become it."""
        (connection or self.connection).send_signal(encode(message), now)
