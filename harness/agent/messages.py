"""The agent protocol, version 3: JSON lines between a scenario and an agent, as data.

Rules.  One JSON object a line, UTF-8, at most ``MAX_LINE`` bytes with its newline.  The agent speaks first, with ``hello``.  The harness
sends requests, tagged by ``op`` and numbered by ``id`` (1 and up, never reused); the agent gives each exactly one answer, ``ok`` or
``error``, and pushes events, tagged by ``event``, at any time.  A line whose id the agent could not read is answered under id 0.

Nothing unknown is ignored (``lines`` decodes strictly both ways), so whatever changes here changes ``PROTOCOL``; what an agent may lack is
told by capabilities, not by silence.

Times (``at`` and all that end in ``_ns``) are nanoseconds of CLOCK_MONOTONIC.  docs/protocol.md is this file in prose, with a transcript.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec

from harness.media.kinds import MediaKind

PROTOCOL = 3
MAX_LINE = 1 << 20

Flow = Literal["audio", "video", "screen", "data"]
Mode = Literal["datagram", "stream"]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Natural = Annotated[int, msgspec.Meta(ge=0)]


class Done(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer that says no more than "done"."""


# -- what the harness asks -----------------------------------------------------------------------------------------------------------------


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="op"):
    """Base of all requests; ``answer`` is the type of its ``ok``.  ``id`` 0 is a request that was not sent yet; no line may hold it."""

    answer: ClassVar[type[msgspec.Struct]] = Done
    id: Natural = 0


class PathSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A local interface and its own addresses; the host's policy routing picks the interface by the source address."""

    name: str
    v4: str | None = None
    v6: str | None = None


class MediaSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which media (MediaConstraints)."""

    audio: bool = False
    video: bool = False
    screen_share: bool = False


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What may be tuned; None is the stack's own default.

    0 turns ``keepalive_ms``, ``rtcp_ms``, ``queue_bound_ms`` and ``redial_window_ms`` off.  ``accepts``: which media an incoming call may
    ask for; ``requires``: what a caller must offer.  ``media_expiry_ms``: how long a packet may wait in the stack's queue before it is
    dropped unsent.  ``receive_buffer``: bytes asked for with SO_RCVBUF.  ``media``: what its sources send; what comes
    of real media, for which the capabilities ``opus`` and ``vp8`` stand, is kept in ``<name>.heard.rtpdump``.
    """

    alpn: str | None = None
    auto_answer: bool | None = None
    max_concurrent_calls: int | None = None
    accepts: MediaSet | None = None
    requires: MediaSet | None = None
    keepalive_ms: Natural | None = None
    rtcp_ms: Natural | None = None
    dial_timeout_ms: Natural | None = None
    answer_timeout_ms: Natural | None = None
    suspected_ms: Natural | None = None
    disconnected_ms: Natural | None = None
    failed_ms: Natural | None = None
    idle_timeout_ms: Natural | None = None
    end_linger_ms: Natural | None = None
    redial_window_ms: Natural | None = None
    ack_delay_ms: Natural | None = None
    probe_retry_ms: Natural | None = None
    probe_give_up_ms: Natural | None = None
    pto_clamp: int | None = None
    urgent_window: int | None = None
    urgent_trickle_ms: Natural | None = None
    queue_bound_ms: Natural | None = None
    adapt: bool | None = None
    adapt_windows: int | None = None
    restore_windows: int | None = None
    quality_ms: Natural | None = None
    max_udp_payload: int | None = None
    queue_limit: int | None = None
    early_limit: int | None = None
    half_open_limit: int | None = None
    retry_above: int | None = None
    media_expiry_ms: Positive = 150
    receive_buffer: Positive = 4 << 20
    media: MediaKind = "synthetic"


class Configure(Request, frozen=True, kw_only=True, tag="configure"):
    """Who this agent is; once, before all else.

    ``certificate``, ``key`` and ``ca`` are PEM files; ``server_name`` is what a dialled peer's certificate must say unless the dial says
    otherwise; ``folder`` gets records, qlog and keys.log; ``seed`` seeds every generator in the agent.
    """

    name: str
    paths: tuple[PathSpec, ...]
    folder: str
    seed: int = 0
    certificate: str | None = None
    key: str | None = None
    ca: str | None = None
    server_name: str = ""
    options: Options = Options()


class Bound(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An open UDP socket: its path, family and local address; ``dropped`` is what the kernel threw away because its buffer was full."""

    path: str
    family: Literal["v4", "v6"]
    ip: str
    port: int
    dropped: int = 0


class Listening(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sockets that are bound now and take calls."""

    sockets: tuple[Bound, ...]


class Listen(Request, frozen=True, kw_only=True, tag="listen"):
    """Open a socket on every path and take calls; port 0 lets the kernel choose one (the same for no two paths)."""

    answer: ClassVar[type[msgspec.Struct]] = Listening
    port: Port = 0


class Dialled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The new call's id."""

    call: str


class Dial(Request, frozen=True, kw_only=True, tag="dial"):
    """Call ``ip``:``port`` from ``path``; answered at once with the call's id, the rest is events.

    ``audio``, ``video`` and ``screen_share`` are insisted on; ``optional`` is offered besides.  ``server_name`` None: as configured.
    """

    answer: ClassVar[type[msgspec.Struct]] = Dialled
    ip: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    path: str
    audio: bool = True
    video: bool = False
    screen_share: bool = False
    optional: MediaSet = MediaSet()
    server_name: str | None = None


class Accept(Request, frozen=True, kw_only=True, tag="accept"):
    """Take an incoming call."""

    call: str


class Reject(Request, frozen=True, kw_only=True, tag="reject"):
    """Refuse an incoming call; the caller sees the reason."""

    call: str
    reason: str = "rejected"


class End(Request, frozen=True, kw_only=True, tag="end"):
    """Hang up; before the call is connected it is a cancel."""

    call: str
    reason: str = "ended"


class Hold(Request, frozen=True, kw_only=True, tag="hold"):
    """Hold a connected call: neither side sends media of it until this side resumes it."""

    call: str


class Resume(Request, frozen=True, kw_only=True, tag="resume"):
    """Let go of the hold; media flows again, from the sources that were running, when neither side holds the call."""

    call: str


class Migrate(Request, frozen=True, kw_only=True, tag="migrate"):
    """Move a call to another local path (client only); answered when the move has begun, ``path`` events tell the rest."""

    call: str
    path: str


class Fail(Request, frozen=True, kw_only=True, tag="fail"):
    """Give a call up as broken: its connection is closed at once, without a word to the peer's application."""

    call: str
    reason: str = "failed"


class Redial(Request, frozen=True, kw_only=True, tag="redial"):
    """Go on over a new connection to ``ip``:``port`` from ``path``, where the peer is known to be now (the side that dialled only).

    Answered when the attempt is under way, ``path`` events tell the rest.
    """

    call: str
    ip: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    path: str


class MediaStart(Request, frozen=True, kw_only=True, tag="media_start"):
    """Start a source on ``flow``.

    ``bitrate_kbps``: how much payload a second.  ``payload_bytes``, for audio and instead of it: bytes of RTP payload a packet.
    """

    call: str
    flow: Flow
    bitrate_kbps: Positive | None = None
    payload_bytes: Positive | None = None
    mode: Mode = "datagram"


class MediaStop(Request, frozen=True, kw_only=True, tag="media_stop"):
    """Stop the source on ``flow``."""

    call: str
    flow: Flow


class CallStats(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call as its stack sees it: evidence to lay beside the capture, never a verdict.  Null is what an agent cannot know.

    ``odcid``: hex of the original destination connection id of the connection in use; ``handshakes`` counts QUIC handshakes completed for
    this call id.  ``sent`` and ``received`` count RTP packets by flow; ``expired`` left the queue unsent; ``dropped`` came and was not
    understood.  ``heard_at``: when the last authenticated packet came.  Sizes are bytes, times ns.
    """

    state: str
    role: Literal["caller", "callee"]
    path: str | None
    remote: str | None
    odcid: str | None
    handshakes: int
    redials: int
    rtt_ns: int | None = None
    cwnd: int | None = None
    bytes_in_flight: int | None = None
    max_rtp_packet: int | None = None
    queued: int | None = None
    sent: dict[str, int] = {}
    received: dict[str, int] = {}
    expired: int = 0
    dropped: int = 0
    heard_at: int | None = None


class Stats(Request, frozen=True, kw_only=True, tag="stats"):
    """Ask for a call's figures."""

    answer: ClassVar[type[msgspec.Struct]] = CallStats
    call: str


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An open file descriptor and what /proc says it is."""

    fd: int
    target: str


class Holdings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that an agent holds, for leak checks.

    ``tasks`` are names, ``sources`` are "call/flow", ``calls`` are the ids of calls that are not over.  ``stack`` is the stack's own count
    of what it holds (connections, draining ones included; streams): all 0 is a stack at rest.
    """

    sockets: tuple[Bound, ...]
    tasks: tuple[str, ...]
    sources: tuple[str, ...]
    calls: tuple[str, ...]
    stack: dict[str, int]
    descriptors: tuple[Descriptor, ...]


class Inventory(Request, frozen=True, kw_only=True, tag="inventory"):
    """Ask what the agent holds."""

    answer: ClassVar[type[msgspec.Struct]] = Holdings


class Discarded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has come to the agent's sockets and was of no use, counted since it began: a datagram once, under one reason.

    ``discarded``: dropped without an answer, by reason (``harness/call/discards.py`` has the words).  ``answered``: with Retry or Version
    Negotiation, nothing being kept.  ``begun``: connections that others have begun here.  ``reclaimed``: how often a peer whose packets had
    come from elsewhere was found where it was.
    """

    discarded: dict[str, int]
    answered: dict[str, int]
    begun: int = 0
    reclaimed: int = 0


class Discards(Request, frozen=True, kw_only=True, tag="discards"):
    """Ask what came and was of no use."""

    answer: ClassVar[type[msgspec.Struct]] = Discarded


class Shutdown(Request, frozen=True, kw_only=True, tag="shutdown"):
    """End all calls, write all files, answer, exit 0."""


# -- what the agent answers ----------------------------------------------------------------------------------------------------------------


class Failure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Why a request failed: ``kind`` is the stack's error class (InvalidState, CallNotFound …) or BadRequest; ``call`` if one was named."""

    kind: str
    message: str
    call: str | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The one answer to a request: exactly one of ``ok`` (see the request's ``answer``) and ``error``."""

    id: Natural
    ok: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: Failure | msgspec.UnsetType = msgspec.UNSET


# -- what the agent tells ------------------------------------------------------------------------------------------------------------------


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="event"):
    """Base of all that an agent tells unasked."""


class Hello(Event, frozen=True, kw_only=True, tag="hello"):
    """The first line of every agent."""

    protocol: int
    agent: str
    version: str
    capabilities: tuple[str, ...] = ()


class CallEvent(Event, frozen=True, kw_only=True):
    """Something that happened to ``call`` at ``at``."""

    at: int
    call: str


class StateChanged(CallEvent, frozen=True, kw_only=True, tag="state_changed"):
    """A call state change; both words are from the table of call states."""

    old: str
    new: str


class CallInitiated(CallEvent, frozen=True, kw_only=True, tag="call_initiated"):
    """A dial has begun, from ``path`` to ``remote``."""

    path: str | None = None
    remote: str | None = None


class Offer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a peer offers (MediaCapabilities)."""

    audio: bool
    video: bool
    data_channel: bool
    max_bandwidth_kbps: int


class IncomingCall(CallEvent, frozen=True, kw_only=True, tag="incoming_call"):
    """A capability exchange arrived from ``remote`` ("ip:port" as seen from here) over the local ``path``; accept or reject it."""

    capabilities: Offer
    path: str
    remote: str


class CallAccepted(CallEvent, frozen=True, kw_only=True, tag="call_accepted"):
    """The callee accepted."""


class CallRejected(CallEvent, frozen=True, kw_only=True, tag="call_rejected"):
    """The call was refused."""

    reason: str | None = None


class ConnectionEstablished(CallEvent, frozen=True, kw_only=True, tag="connection_established"):
    """The call is Connected; ``odcid`` is the QUIC connection's original destination connection id, hex; ``agreed`` is what both can do."""

    odcid: str
    path: str | None = None
    remote: str | None = None
    agreed: Offer | None = None


class ConnectionFailed(CallEvent, frozen=True, kw_only=True, tag="connection_failed"):
    """The call is Failed; ``error`` is the error class that it amounts to (CallTimeout, TransportError …)."""

    reason: str | None = None
    error: str | None = None


class CallEnded(CallEvent, frozen=True, kw_only=True, tag="call_ended"):
    """The call is over and its slot is free."""

    reason: str | None = None


class CallHeld(CallEvent, frozen=True, kw_only=True, tag="call_held"):
    """The call is on hold by this side or the peer, and no media of it is sent from here any more."""

    by: Literal["here", "peer"]


class CallResumed(CallEvent, frozen=True, kw_only=True, tag="call_resumed"):
    """That side has let go of its hold; media ``flows`` again unless the other side holds the call too."""

    by: Literal["here", "peer"]
    flows: bool


class QualityChanged(CallEvent, frozen=True, kw_only=True, tag="quality_changed"):
    """Once a second: how well what this side sends gets through; ``bandwidth_kbps`` is what there is, not what is used."""

    rtt_ms: float
    packet_loss_percent: float
    jitter_ms: float
    bandwidth_kbps: float
    word: Literal["good", "fair", "adapt"]


class VideoAdapted(CallEvent, frozen=True, kw_only=True, tag="video_adapted"):
    """The stack gives this side's video and screen ``kbps`` of payload in all from now on; 0: they are stopped."""

    kbps: int
    why: str


class MediaUpdated(CallEvent, frozen=True, kw_only=True, tag="media_updated"):
    """What that side sends from now on."""

    audio: bool
    video: bool
    screen_share: bool
    by: Literal["here", "peer"]


class PathChanged(CallEvent, frozen=True, kw_only=True, tag="path"):
    """Path health, beside the call's state: ``kind`` is probing, validated, migrated, suspected, redialling …; ``remote`` is "ip:port"."""

    kind: str
    path: str | None = None
    remote: str | None = None
    detail: str = ""


class Media(CallEvent, frozen=True, kw_only=True, tag="media"):
    """Every 100 ms per call and flow: packets sent and heard so far, and when the last one was heard (kernel stamp)."""

    flow: str
    sent: int
    heard: int
    last_heard: int | None = None


class Lag(Event, frozen=True, kw_only=True, tag="lag"):
    """The agent's loop was ``late_ns`` late at ``at``: for a deadline of its own (timer) or to a packet in its socket (receive)."""

    at: int
    late_ns: int
    behind: Literal["timer", "receive"] = "timer"


class ClockStep(Event, frozen=True, kw_only=True, tag="clock_step"):
    """CLOCK_REALTIME was stepped by ``step_ns`` against CLOCK_MONOTONIC: delay figures around it are void."""

    at: int
    step_ns: int


class SendError(Event, frozen=True, kw_only=True, tag="send_error"):
    """The kernel refused a datagram (``kind`` is the errno's name): told once per path and kind; ``count`` is how many so far."""

    at: int
    path: str
    kind: str
    count: int
    message: str


class Overflow(Event, frozen=True, kw_only=True, tag="overflow"):
    """The kernel dropped ``dropped`` more datagrams because the agent did not read its socket in time: not the network's loss."""

    at: int
    path: str
    dropped: int


class Log(Event, frozen=True, kw_only=True, tag="log"):
    """A line for the person reading the timeline."""

    at: int
    level: Literal["info", "warning", "error"]
    message: str


T = TypeVar("T")


def _leaves(base: type[T]) -> tuple[type[T], ...]:
    """The classes below ``base`` that have a tag of their own."""
    found: list[type[T]] = []
    for child in base.__subclasses__():
        below = _leaves(child)
        found += below if below else (child,)
    return tuple(found)


def _tags(classes: tuple[type[Any], ...]) -> dict[str, type[Any]]:
    return {str(cls.__struct_config__.tag): cls for cls in classes}


REQUESTS: dict[str, type[Request]] = _tags(_leaves(Request))
EVENTS: dict[str, type[Event]] = _tags(_leaves(Event))
