"""Signalling: JSON objects tagged by ``"type"``, each after its length (QUIC varint), on the connection's first bidirectional stream.

Unknown fields are ignored; an unknown type, a wrong field type or anything over a limit is a ``SignalError`` whose text may be shown to the
peer: it ends the call, never the process.  Where the framing is lost (a length over the limit) nothing more can be read from that stream.
"""

from __future__ import annotations

from collections import deque
from typing import Annotated

import msgspec

from harness.call.capabilities import MediaCapabilities
from harness.call.roq import decode_varint_untrusted, encode_varint

MAX_MESSAGE = 65_536
MAX_SESSION_ID = 256
MAX_PER_SECOND = 100
MAX_REASON = 1024
SECOND = 1_000_000_000

U32 = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]


class SignalError(ValueError):
    """A message that is not understood or breaks a limit; ``fatal`` when the stream cannot be read any further."""

    def __init__(self, what: str, *, fatal: bool = False) -> None:
        self.fatal = fatal
        super().__init__(what)


class _Message(msgspec.Struct, frozen=True, tag_field="type"):
    session_id: str


class _Offer(_Message, frozen=True, kw_only=True):
    audio: bool
    video: bool
    data_channel: bool
    max_bandwidth_kbps: U32
    quic_endpoint: str | None = None
    held: bool | msgspec.UnsetType = msgspec.UNSET
    """Port, in a redial: whether this side holds the call."""

    @property
    def capabilities(self) -> MediaCapabilities:
        """The offer without the envelope."""
        return MediaCapabilities(self.audio, self.video, self.data_channel, self.max_bandwidth_kbps)


class CapabilityExchange(_Offer, frozen=True, kw_only=True, tag="capability_exchange"):
    """The caller's offer, which opens a call; with ``redial`` (port) it is for a call that both sides have, and opens none."""

    redial: bool | msgspec.UnsetType = msgspec.UNSET


class ConnectionConfirm(_Offer, frozen=True, kw_only=True, tag="connection_confirm"):
    """The callee's answer: the call is accepted, and this is what it offers."""


class ConnectionReady(_Message, frozen=True, kw_only=True, tag="connection_ready"):
    """The caller is ready: media flows from now on."""


class Bye(_Message, frozen=True, kw_only=True, tag="bye"):
    """The call is over, refused or cancelled."""

    reason: str | None = None


class Hold(_Message, frozen=True, kw_only=True, tag="hold"):
    """The sender holds the call: from now on nobody sends media of it."""


class Resume(_Message, frozen=True, kw_only=True, tag="resume"):
    """The sender lets go of its hold."""


class MediaUpdate(_Message, frozen=True, kw_only=True, tag="media_update"):
    """What the sender sends from now on, of what was agreed."""

    audio: bool
    video: bool
    screen_share: bool


Message = CapabilityExchange | ConnectionConfirm | ConnectionReady | Bye | Hold | Resume | MediaUpdate
_DECODER: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def offer(
    kind: type[CapabilityExchange] | type[ConnectionConfirm],
    session: str,
    capabilities: MediaCapabilities,
    endpoint: str | None,
    **more: bool,
) -> Message:
    """A capability message of either kind for ``session``; ``endpoint`` as "ip:port" or "[v6]:port"; ``more``: that kind's own fields."""
    return kind(
        session_id=session,
        audio=capabilities.audio,
        video=capabilities.video,
        data_channel=capabilities.data_channel,
        max_bandwidth_kbps=capabilities.max_bandwidth_kbps,
        quic_endpoint=endpoint,
        **more,
    )


def encode(message: Message) -> bytes:
    """The message as it stands on the stream, length first."""
    body = msgspec.json.encode(message)
    return encode_varint(len(body)) + body


def parse_untrusted(body: bytes) -> Message:
    """One message without its length, from the network; SignalError for anything that is not one."""
    try:
        message = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SignalError(f"signalling message not understood: {error}") from None
    size = len(message.session_id.encode("utf-8", "surrogatepass"))
    if size > MAX_SESSION_ID:
        raise SignalError(f"a session_id of {size} bytes; at most {MAX_SESSION_ID} are allowed")
    return message


class Decoder:
    """The receiving end of a signalling stream: bytes in any pieces in, messages out.  Holds at most one message's bytes plus one piece."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._recent: deque[int] = deque()
        self._lost = False

    def feed_untrusted(self, data: bytes, now: int) -> list[Message | SignalError]:
        """Take bytes that came at ``now``; returns the messages they completed, in order, with an error in the place of each bad one.

        After an error with ``fatal`` nothing more is returned, ever.
        """
        found: list[Message | SignalError] = []
        if self._lost:
            return found
        self._buffer += data
        while (prefix := decode_varint_untrusted(self._buffer)) is not None:
            length, start = prefix
            if length > MAX_MESSAGE:
                found.append(SignalError(f"a message of {length} bytes announced; at most {MAX_MESSAGE} are allowed", fatal=True))
                break
            if start + length > len(self._buffer):
                break
            body = bytes(self._buffer[start : start + length])
            del self._buffer[: start + length]
            found.append(self._admit_untrusted(body, now))
            if isinstance(found[-1], SignalError) and found[-1].fatal:
                break
        if found and isinstance(found[-1], SignalError) and found[-1].fatal:
            self._lost = True
            self._buffer.clear()
        return found

    def _admit_untrusted(self, body: bytes, now: int) -> Message | SignalError:
        while self._recent and self._recent[0] <= now - SECOND:
            self._recent.popleft()
        if len(self._recent) >= MAX_PER_SECOND:
            return SignalError(f"more than {MAX_PER_SECOND} messages in a second", fatal=True)
        self._recent.append(now)
        try:
            return parse_untrusted(body)
        except SignalError as error:
            return error
