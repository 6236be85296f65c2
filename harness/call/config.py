"""What an ``Endpoint`` is told once, at its birth.  Every bound has its source beside it; a scenario changes them by name."""

from __future__ import annotations

import msgspec

from harness.call.capabilities import NOTHING, MediaConstraints
from harness.call.errors import ConfigError
from harness.units import Duration, expect, ms, s

MIN_UDP_PAYLOAD = 1200
MAX_UDP_PAYLOAD = 1452  # 1500 - IPv6 - UDP


class EndpointConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All of an endpoint's settings.  ``certificate`` and ``key`` (PEM paths) make it able to be called; ``ca`` (PEM path) to call.

    ``accepts``: what it offers to callers.  ``requires``: what a caller must offer to it.  ``auto_answer``: accept without being asked.
    ``keepalive``: PING when nothing ack-eliciting was sent for so long; None is off.  ``rtcp``: interval of sender and receiver reports;
    None is off.  With both off, an endpoint that sends no media sends nothing but ACKs.
    """

    name: str
    alpn: str = "roq-14-call"
    certificate: str | None = None
    key: str | None = None
    ca: str | None = None
    server_name: str | None = None

    accepts: MediaConstraints = MediaConstraints(audio=True, video=True, screen_share=True)
    requires: MediaConstraints = NOTHING
    auto_answer: bool = False
    max_concurrent_calls: int = 10

    keepalive: Duration | None = 1 * s  # measured: bounds the silence of a muted client after a rebind
    rtcp: Duration | None = 1 * s  # call-stack.md §5
    dial_timeout: Duration = 5 * s
    """From ``initiate`` to the end of the QUIC handshake; also what a server grants a new connection to say what it wants."""
    answer_timeout: Duration = 30 * s
    """How long a call may ring."""
    suspected: Duration = 2500 * ms  # libwebrtc WEAK_CONNECTION_RECEIVE_TIMEOUT
    disconnected: Duration = 5 * s  # pion; libwebrtc write-connect timeout
    failed: Duration = 15 * s  # libwebrtc write timeout
    idle_timeout: Duration = 30 * s  # RFC 9000 §10.1; RFC 7675 consent
    redial_window: Duration | None = 10 * s
    """How long a call whose connection is lost may look for another before it fails; None: it fails at once.  call-stack.md §7."""
    end_linger: Duration = 1 * s
    """How long an orderly end waits for the peer to acknowledge the ``bye`` before it closes the connection anyway."""

    pto_clamp: int = 1
    """Largest PTO backoff exponent: 1 doubles once.  20 runs of an outage at 2 % loss recovered in ≤ 184 ms with 1."""
    ack_delay: Duration = 20 * ms
    """How long an ACK may wait; aioquic's own 1 ms costs 23 % more packets.  Less than the 25 ms that it advertises."""
    urgent_window: int = 4800
    """Bytes of audio and RTCP that may be in flight beside the congestion window: twice RFC 9002's minimum; 740 ms of 80-byte audio."""
    urgent_trickle: Duration = 100 * ms
    """When that window is full as well, one such packet may still go this often (10 kbit/s): what finds a path again after an outage."""
    adapt: bool = True
    """Halve, stop and restore video by the call's quality; audio is never touched."""
    adapt_windows: int = 3  # call-stack.md §6, as are the next two
    restore_windows: int = 5
    quality: Duration = 1 * s
    """A window of quality."""
    queue_bound: Duration | None = 20 * ms
    """How long packets may queue on the way before video yields (see ``congestion``): audio has 200 ms in all; None never yields."""
    max_udp_payload: int = MIN_UDP_PAYLOAD
    probe_retry: Duration = 200 * ms
    """A PATH_CHALLENGE that got no answer is repeated after this (a new path's PTO is 2 × the initial RTT of 100 ms)."""
    probe_give_up: Duration = 3 * s
    follow_grace: Duration = 250 * ms
    """How long a path must have been gone, or another usable, before the call moves by itself: the application may be quicker."""
    follow_silence: Duration = 1 * s
    """How long, beyond a round trip, nothing sent may be acknowledged before other paths are probed, although the interface is up."""

    queue_limit: int = 256
    """RTP packets of one flow that may wait; beyond it the oldest is dropped and reported."""
    early_limit: int = 256
    """Media that came before ``connection_ready`` (it can overtake a lost one) kept per call."""
    retry_above: int = 16
    """With more server connections than this that are not a call's yet, whoever begins one must prove its address (RFC 9000 §8.1.2)."""
    half_open_limit: int = 64
    """Server connections that may exist without a call; more Initials are not answered."""

    def validate(self) -> None:
        """Raise ConfigError that names the field, its value and what is allowed."""
        for field in ("dial_timeout", "answer_timeout", "suspected", "disconnected", "failed", "idle_timeout", "end_linger", "ack_delay"):
            _positive(field, getattr(self, field))
        for field in ("probe_retry", "probe_give_up", "follow_grace", "follow_silence", "urgent_trickle", "quality"):
            _positive(field, getattr(self, field))
        for field in ("keepalive", "rtcp", "queue_bound", "redial_window"):
            if getattr(self, field) is not None:
                _positive(field, getattr(self, field))
        if not self.suspected < self.disconnected < self.failed:
            raise ConfigError(
                "", f"suspected {self.suspected}, disconnected {self.disconnected}, failed {self.failed}: each must exceed the last"
            )
        if not MIN_UDP_PAYLOAD <= self.max_udp_payload <= MAX_UDP_PAYLOAD:
            raise ConfigError("", f"max_udp_payload {self.max_udp_payload}: allowed is {MIN_UDP_PAYLOAD} to {MAX_UDP_PAYLOAD} bytes")
        for field in ("max_concurrent_calls", "queue_limit", "early_limit", "half_open_limit", "adapt_windows", "restore_windows"):
            if getattr(self, field) < 1:
                raise ConfigError("", f"{field} {getattr(self, field)}: allowed is 1 or more")
        for field in ("pto_clamp", "retry_above"):
            if getattr(self, field) < 0:
                raise ConfigError("", f"{field} {getattr(self, field)}: allowed is 0 or more")
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("", "certificate and key go together; one of them is missing")


def _positive(field: str, value: object) -> None:
    try:
        duration = expect(Duration, value, field)
    except TypeError as error:
        raise ConfigError("", str(error)) from None
    if duration.count <= 0:
        raise ConfigError("", f"{field} {duration}: allowed is more than 0")
