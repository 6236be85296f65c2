"""RTP over QUIC framing, after draft-ietf-avtcore-rtp-over-quic-14.

DATAGRAM: ``flow id (varint) | packet``.  Stream: unidirectional only, ``flow id | (length (varint) | packet)*``.  Varints are QUIC's
(RFC 9000 §16).  Here a stream carries one RTP frame (the packets of one timestamp), so that a frame that is too old can be cancelled with
RESET_STREAM 0x05 without holding up the next one.

Flow ids are fixed: audio 0x20, video 0x21, screen 0x22, RTCP 0x23, data 0x24.  A flow id that the call has not agreed to is unknown:
its datagrams are dropped, its streams answered with STOP_SENDING 0x06.
"""

from __future__ import annotations

from enum import IntEnum

FLOW_IDS: dict[str, int] = {"audio": 0x20, "video": 0x21, "screen": 0x22, "rtcp": 0x23, "data": 0x24}
FLOW_NAMES: dict[int, str] = {number: name for name, number in FLOW_IDS.items()}
SENT_AS: dict[str, int] = FLOW_IDS | {"padding": FLOW_IDS["video"]}
"""The flow id of whatever waits to be sent: a probe's padding goes as video, whose room it measures."""
MAX_STREAM_PACKET = 65_535
"""RTP itself sets no limit; UDP would not have carried more, so more is an error of the peer."""


class RoqCode(IntEnum):
    """Application error codes (draft §11): on streams and in CONNECTION_CLOSE."""

    NO_ERROR = 0x00
    GENERAL = 0x01
    INTERNAL = 0x02
    PACKET = 0x03
    STREAM_CREATION = 0x04
    FRAME_CANCELLED = 0x05
    UNKNOWN_FLOW_ID = 0x06
    EXPECTATION_UNMET = 0x07


class RoqError(ValueError):
    """Bytes from the peer that break the framing; ``code`` is what to close or stop with."""

    def __init__(self, code: RoqCode, what: str) -> None:
        self.code = code
        super().__init__(what)


def encode_varint(value: int) -> bytes:
    """QUIC's variable-length integer; ValueError outside 0 … 2^62-1."""
    for length, prefix in ((1, 0), (2, 1), (4, 2), (8, 3)):
        if 0 <= value < 1 << (8 * length - 2):
            return (value | prefix << (8 * length - 2)).to_bytes(length, "big")
    raise ValueError(f"{value} does not fit a QUIC varint")


def decode_varint_untrusted(data: bytes | bytearray, offset: int = 0) -> tuple[int, int] | None:
    """(value, offset after it) of the varint at ``offset`` of network bytes, or None if it is not all there yet."""
    if offset >= len(data):
        return None
    length = 1 << (data[offset] >> 6)
    if offset + length > len(data):
        return None
    value = int.from_bytes(data[offset : offset + length], "big") & ((1 << (8 * length - 2)) - 1)
    return value, offset + length


def encode_datagram(flow: int, packet: bytes) -> bytes:
    """The DATAGRAM payload that carries ``packet``."""
    return encode_varint(flow) + packet


def decode_datagram_untrusted(data: bytes) -> tuple[int, bytes]:
    """(flow id, packet) of a DATAGRAM payload from the network; RoqError when there is no whole flow id."""
    found = decode_varint_untrusted(data)
    if found is None:
        raise RoqError(RoqCode.PACKET, f"a datagram of {len(data)} bytes has no whole flow id")
    return found[0], data[found[1] :]


def encode_stream_packet(packet: bytes) -> bytes:
    """``packet`` as it stands on a stream, after the flow id."""
    return encode_varint(len(packet)) + packet


class StreamDecoder:
    """One incoming media stream.  ``flow`` is None until its id has come; packets are given out as soon as they are whole."""

    def __init__(self) -> None:
        self.flow: int | None = None
        self._buffer = bytearray()

    def feed_untrusted(self, data: bytes) -> list[bytes]:
        """Take more bytes of the stream; returns the packets that they completed.  RoqError for a packet beyond any sane size."""
        self._buffer += data
        offset = 0
        packets: list[bytes] = []
        if self.flow is None:
            found = decode_varint_untrusted(self._buffer)
            if found is None:
                return packets
            self.flow, offset = found
        while (found := decode_varint_untrusted(self._buffer, offset)) is not None:
            length, start = found
            if length > MAX_STREAM_PACKET:
                raise RoqError(RoqCode.PACKET, f"a packet of {length} bytes announced on a stream; at most {MAX_STREAM_PACKET} are taken")
            if start + length > len(self._buffer):
                break
            packets.append(bytes(self._buffer[start : start + length]))
            offset = start + length
        del self._buffer[:offset]
        return packets

    @property
    def partial(self) -> bool:
        """True when the stream would end inside a packet if it ended now."""
        return bool(self._buffer) or self.flow is None
