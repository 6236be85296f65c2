"""``Endpoint``: all calls and QUIC connections, in both roles, of one agent."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TextIO

from harness.call.capabilities import MediaConstraints
from harness.call.config import EndpointConfig
from harness.call.events import Address, CallStats, Event, Mode, QlogSink, Transmit


class Endpoint:
    """The call stack of one agent.  The owner feeds it datagrams and time, and sends what ``transmit`` returns.

    After every ``receive``, ``handle_timer`` or operation: send what ``transmit(now)`` returns, read ``events()``, and arm a timer for
    ``timer()``.  ``rng`` makes call ids and SSRCs.  ``keylog`` gets SSLKEYLOGFILE lines.  ``qlog`` is called with a name
    ("<odcid>-client") for each connection and returns where its records go.  Raises ConfigError for a config that makes no sense.
    """

    def __init__(
        self, config: EndpointConfig, *, rng: random.Random, keylog: TextIO | None = None, qlog: Callable[[str], QlogSink] | None = None
    ) -> None:
        raise NotImplementedError

    def receive(self, data: bytes, address: Address, *, now: int, arrived: int) -> None:
        """Take one UDP datagram from ``address``; ``arrived`` is its kernel stamp.  Garbage is dropped; nothing is ever raised for it."""
        raise NotImplementedError

    def timer(self) -> int | None:
        """When ``handle_timer`` wants to be called; None when nothing is under way."""
        raise NotImplementedError

    def handle_timer(self, now: int) -> None:
        """Do what is due at ``now``.  Harmless when called early."""
        raise NotImplementedError

    def transmit(self, now: int) -> list[Transmit]:
        """The datagrams to send now, in order."""
        raise NotImplementedError

    def events(self) -> list[Event]:
        """What happened since the last call, oldest first."""
        raise NotImplementedError

    def initiate(self, to: Address, constraints: MediaConstraints, *, now: int, server_name: str | None = None) -> str:
        """Call the peer at ``to``; returns the new call id.  Raises CallLimitReached, ConfigError (no ``ca``).

        ``server_name`` (default: the config's, else the address) is what the peer's certificate must be issued to.
        """
        raise NotImplementedError

    def accept(self, call: str, now: int) -> None:
        """Answer an incoming call.  Raises CallNotFound, InvalidState, CapabilityMismatch (which also refuses the call)."""
        raise NotImplementedError

    def reject(self, call: str, reason: str, now: int) -> None:
        """Refuse a call that is not connected yet.  Raises CallNotFound, InvalidState."""
        raise NotImplementedError

    def end(self, call: str, reason: str, now: int) -> None:
        """Hang up, or cancel a call that is not connected yet.  Raises CallNotFound."""
        raise NotImplementedError

    def fail(self, call: str, reason: str, now: int) -> None:
        """Give a call up as broken: the connection is closed at once, without ``bye``.  Raises CallNotFound, InvalidState."""
        raise NotImplementedError

    def send_rtp(self, call: str, flow: str, packet: bytes, *, now: int, expires: int, mode: Mode = "datagram") -> int:
        """Queue one RTP packet on ``flow`` (audio, video, screen, data); returns its token.

        It is sent before ``expires`` or not at all (``MediaExpired``).  Raises CallNotFound, InvalidState unless Connected, ConfigError for
        a flow that is unknown or was not agreed, PacketTooLarge (naming both sizes) in datagram mode, TransportError for what is not RTP.
        """
        raise NotImplementedError

    def migrate(self, call: str, path: str, now: int) -> None:
        """Move a call that this side dialled to the local path ``path``: probe it, and switch once it has answered (``PathEvent`` tells).

        The old path is used until then.  Raises CallNotFound; InvalidState for the callee, before the handshake is confirmed, unless
        Connected, or when already there; TransportError without a spare connection id.
        """
        raise NotImplementedError

    def stats(self, call: str) -> CallStats:
        """A snapshot of ``call``.  Raises CallNotFound."""
        raise NotImplementedError

    def inventory(self) -> dict[str, int]:
        """What is held: ``calls``, ``connections`` (draining ones included), ``streams``; all 0 when everything is cleaned up."""
        raise NotImplementedError

    def close(self, now: int) -> None:
        """End everything: a ``bye`` where possible, CONNECTION_CLOSE on every connection.  ``timer()`` is None once all have drained."""
        raise NotImplementedError
