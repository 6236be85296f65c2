"""What goes in and out of an ``Endpoint``: addresses, datagrams to send, and events.

Every event has ``call`` (the call id) and ``at`` (nanoseconds on the clock that the endpoint is driven with).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import msgspec

from harness.call.adaptation import Word
from harness.call.capabilities import MediaCapabilities
from harness.call.states import State

Mode = Literal["datagram", "stream"]
Unsent = Literal["expired", "queue full", "held", "ended", "no connection"]
PathKind = Literal[
    "probing",  # client: PATH_CHALLENGE goes out on a new path
    "validated",  # either: the path answered its challenge
    "migrated",  # client: media now goes by the new path
    "probe_failed",  # client: no answer within the bound, or given up; media stays where it was
    "peer_moved",  # server: the client's packets now come from another address (NAT rebind or migration)
    "validating",  # server: that address is being challenged
    "reclaimed",  # server: the client is where it was; whoever sent its packets from elsewhere never answered (RFC 9000 §9.3.3)
    "suspected",  # nothing heard for 2.5 s
    "disconnected",  # nothing heard for 5 s
    "healthy",  # heard again
    "redialling",  # the connection is lost, or another was asked for: the caller dials anew, the callee waits for it
    "redialled",  # the call goes on over a new connection to that address
    "redial_failed",  # no new connection came; the old one, which is still there, carries on
]


class Address(NamedTuple):
    """A remote address as seen over the local path (interface) called ``path``; aioquic gets it as its opaque address."""

    path: str
    ip: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{host}:{self.port} over {self.path}"


class Transmit(msgspec.Struct, frozen=True):
    """One UDP datagram to send to ``address`` now; ``media`` holds the tokens (see ``send_rtp``) of the RTP packets inside it.

    A packet sent in stream mode may span datagrams: its token is on the one that carries its last byte for the first time.
    """

    data: bytes
    address: Address
    media: tuple[int, ...] = ()


class QlogSink(Protocol):
    """Where one connection's qlog goes, as a JSON text sequence; ``close`` is called once, at the end of the connection."""

    def write(self, records: bytes, /) -> object:
        """Take whole records (RS, JSON, LF), one or more."""

    def close(self) -> None:
        """No more records will come."""


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    call: str
    at: int


@dataclass(frozen=True, slots=True)
class StateChanged(Event):
    """The call moved from ``old`` to ``new``."""

    old: State
    new: State


@dataclass(frozen=True, slots=True)
class CallInitiated(Event):
    """A call to ``address`` began here; the peer is being dialled."""

    address: Address


@dataclass(frozen=True, slots=True)
class IncomingCall(Event):
    """A peer at ``address`` calls, and offers ``capabilities``; answer with ``accept`` or ``reject``."""

    capabilities: MediaCapabilities
    address: Address


@dataclass(frozen=True, slots=True)
class CallAccepted(Event):
    """The call was accepted on this side; it is connected once the caller has confirmed."""


@dataclass(frozen=True, slots=True)
class CallRejected(Event):
    """The call was refused, here or by the callee, for ``reason`` ("busy" when the callee had no room)."""

    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionEstablished(Event):
    """The call is connected; ``odcid`` (hex) names its QUIC connection: the client's first destination connection id."""

    odcid: str
    address: Address
    agreed: MediaCapabilities


@dataclass(frozen=True, slots=True)
class ConnectionFailed(Event):
    """The call failed for ``reason``; ``error`` is the name of the class of ``harness.call.errors`` that it amounts to."""

    reason: str
    error: str = "TransportError"


@dataclass(frozen=True, slots=True)
class CallEnded(Event):
    """The call ended in an orderly way, by either side, and has left the call table."""

    reason: str


Side = Literal["here", "peer"]


@dataclass(frozen=True, slots=True)
class CallHeld(Event):
    """``by`` holds the call: until the same side resumes it nobody sends media; what waited was dropped."""

    by: Side


@dataclass(frozen=True, slots=True)
class CallResumed(Event):
    """``by`` has let go of its hold; media ``flows`` again unless the other side holds the call too."""

    by: Side
    flows: bool


@dataclass(frozen=True, slots=True)
class QualityChanged(Event):
    """Once a second: the quality of what this side sends (see ``adaptation.CallQualityMetrics``)."""

    rtt_ms: float
    packet_loss_percent: float
    jitter_ms: float
    bandwidth_kbps: float
    word: Word


@dataclass(frozen=True, slots=True)
class VideoAdapted(Event):
    """Video and screen of this side may use ``kbps`` of payload in all from now on; 0: they stop."""

    kbps: int
    why: str


@dataclass(frozen=True, slots=True)
class MediaUpdated(Event):
    """What ``by`` sends from now on."""

    audio: bool
    video: bool
    screen_share: bool
    by: Side


@dataclass(frozen=True, slots=True)
class PathEvent(Event):
    """Something about the path ``address`` of a call that goes on meanwhile."""

    kind: PathKind
    address: Address
    detail: str = ""


@dataclass(frozen=True, slots=True)
class MediaReceived(Event):
    """One RTP packet; ``arrived`` is the stamp of the UDP datagram (``udp_size`` bytes of payload, from ``address``) that completed it."""

    flow: str
    packet: bytes
    arrived: int
    address: Address
    udp_size: int
    mode: Mode


@dataclass(frozen=True, slots=True)
class MediaExpired(Event):
    """The RTP packet of ``token`` was not sent: too old, pushed out of a full queue, the call held or over, or without a connection."""

    token: int
    why: Unsent = "expired"


class CallStats(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of one call.  Sizes in bytes, times in nanoseconds, counts since the call began."""

    call: str
    state: State
    role: Literal["caller", "callee"]
    rtt_ns: int
    cwnd: int
    bytes_in_flight: int
    path: str
    address: Address
    handshakes: int
    odcid: str
    redials: int
    max_rtp_packet: int
    """The largest RTP packet that ``send_rtp`` takes in datagram mode."""
    queued: int
    sent: Mapping[str, int] = msgspec.field(default_factory=dict)
    """RTP packets handed to the network, by flow."""
    received: Mapping[str, int] = msgspec.field(default_factory=dict)
    """RTP packets heard, by flow."""
    expired: int = 0
    dropped: int = 0
    """Received media that was not understood or belongs to no flow of the call."""
    heard_at: int | None = None
    """When the last authenticated packet came."""
