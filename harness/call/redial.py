"""A call that looks for another connection: how long, where, and with which attempt.

It is begun by the loss of the connection (silence, an idle timeout, a QUIC error; not a close that somebody asked for) on either side, or
by the application of the side that dialled, which knows where the peer is now.  Only that side dials: a new connection, an offer that names
the same session and says ``redial``, the callee's ``connection_confirm`` without asking anybody, ``connection_ready``; then both use the
new connection and let the old one go without a word.  An attempt that fails is followed by another until the window closes.  Meanwhile the
call is Connected; an old connection that is still alive carries it, and without one media expires at once.

Whoever knows the session id may take a call over: it is 122 random bits that have crossed the network inside QUIC only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.call.config import EndpointConfig
from harness.call.connection import Connection
from harness.call.errors import InvalidState
from harness.call.events import Address, PathKind
from harness.call.roq import RoqCode
from harness.call.signaling import Bye, CapabilityExchange, ConnectionConfirm, ConnectionReady, Message, offer
from harness.call.states import State
from harness.call.timers import earliest

if TYPE_CHECKING:
    from harness.call.dialog import Call

PAUSE = 500_000_000
"""Between an attempt that was refused or broke and the next, ns."""
NO_SUCH_CALL = "no such call, or it has ended"


class Redial:
    """The search of ``call`` for another connection; at rest while ``until`` is None.  ``count``: how often it has found one."""

    def __init__(self, call: Call, config: EndpointConfig) -> None:
        self.until: int | None = None
        self.count = 0
        self._call = call
        self._config = config
        self._to: Address | None = None
        self._again: int | None = None
        self._attempt: Connection | None = None
        self._peer_holds: bool | msgspec.UnsetType = msgspec.UNSET

    def require_rest(self, operation: str) -> None:
        """InvalidState while the call is being redialled: what is said to the peer then may be lost with the old connection."""
        if self.until is not None or self._attempt is not None:
            raise InvalidState(self._call.name, f"{operation}: the call is being redialled")

    # Beginning

    def lost(self, window: int, why: str, now: int) -> None:
        """The connection is gone: look for another for ``window`` ns."""
        self.until = now + window
        if self._call.role == "caller" and self._to is None:
            self._to = self._call.connection.address
            self._again = now
        self._tell("redialling", now, why)

    def ask(self, to: Address, now: int) -> None:
        """Dial ``to`` now, whatever was under way; what has become of the old connection does not matter."""
        if self.until is None:
            window = self._config.redial_window or self._config.dial_timeout
            self.until = now + window.ns
        self._drop_attempt(now)
        self._to, self._again = to, now
        self._tell("redialling", now, f"to {to}")

    def due(self, now: int) -> Address | None:
        """Where an attempt is to be made now."""
        return self._to if self._again is not None and now >= self._again else None

    def put_off(self, now: int) -> None:
        """No attempt can be made now; the next is due a little later."""
        self._again = now + PAUSE

    def began(self, attempt: Connection) -> None:
        """``attempt`` is being made."""
        self._attempt, self._again = attempt, None

    # Talking over a connection that is not the call's yet

    def handshake_done(self, attempt: Connection, now: int) -> None:
        """The caller asks for its call."""
        self._call.say(
            offer(CapabilityExchange, self._call.name, self._call.mine, None, redial=True, held=self._call.held_here), now, attempt
        )

    def obstacle(self) -> str | None:
        """Why this side does not follow its peer to a new connection, or None."""
        if self._call.role == "caller":
            return "only the side that dialled can redial"
        if self._call.state is not State.CONNECTED:
            return f"the call is {self._call.state}"
        return None

    def asked_untrusted(self, attempt: Connection, message: CapabilityExchange, now: int) -> None:
        """The callee is asked for its call, and says yes; it moves when the caller is ready."""
        self._attempt, self._peer_holds = attempt, message.held
        if self.until is not None:
            self.until = max(self.until, now + self._config.dial_timeout.ns)
        self._call.say(offer(ConnectionConfirm, self._call.name, self._call.mine, None, held=self._call.held_here), now, attempt)

    def hear_untrusted(self, attempt: Connection, message: Message, now: int) -> None:
        """Act on a message that came over a connection that is not the call's; what makes no sense ends that connection only."""
        call = self._call
        if message.session_id != call.name:
            attempt.close(RoqCode.EXPECTATION_UNMET, "a message for another session", now)
        elif isinstance(message, Bye):
            if attempt is self._attempt and call.role == "caller" and not call.lost:
                self._fail(message.reason or "", now)
            else:  # nobody there has the call; or the peer has hung up, over the attempt or the connection that was left
                call.hang_up_untrusted(message.reason or "", now)
        elif attempt is self._attempt and isinstance(message, ConnectionConfirm) and call.role == "caller":
            self._peer_holds = message.held
            call.say(ConnectionReady(call.name), now, attempt)
            self._found(attempt, now)
        elif attempt is self._attempt and isinstance(message, ConnectionReady) and call.role == "callee":
            self._found(attempt, now)
        elif attempt.finishing:
            pass  # said before the call moved, on the connection that it left: nothing that matters now
        else:
            attempt.close(RoqCode.EXPECTATION_UNMET, "signalling out of order", now)

    # Ending

    def _found(self, attempt: Connection, now: int) -> None:
        self.rest()
        self.count += 1
        self._call.move_to(attempt, now)
        self._tell("redialled", now)
        if self._peer_holds is not msgspec.UNSET:
            self._call.agree_on_hold(self._peer_holds, now)

    def broke(self, attempt: Connection, now: int) -> None:
        """A connection that is not the call's is over."""
        if attempt is self._attempt:
            self._attempt = None
            self._again = now + PAUSE if self._to is not None else None

    def handle_timer(self, now: int) -> None:
        """Close the window."""
        if self.until is not None and now >= self.until:
            if self._call.lost:
                self._call.fail(f"the connection was lost, and no other found in {self._config.redial_window}", now, error="CallTimeout")
            else:
                self._fail("no answer in time", now)

    def timer(self) -> int | None:
        """When there is something to do."""
        return earliest([self.until, self._again])

    def _fail(self, why: str, now: int) -> None:
        self._drop_attempt(now)
        self.rest()
        self._tell("redial_failed", now, why)

    def rest(self) -> Connection | None:
        """Look no further; returns the attempt that was under way, which is the caller's to end."""
        attempt, self._attempt = self._attempt, None
        self.until = self._to = self._again = None
        return attempt

    def _drop_attempt(self, now: int) -> None:
        if self._attempt is not None:
            self._attempt.close(RoqCode.NO_ERROR, "given up", now)
            self._attempt = None

    def _tell(self, kind: PathKind, now: int, detail: str = "") -> None:
        self._call.tell_path(kind, now, detail)
