"""QUIC frames out of a decrypted packet, by RFC 9000 §19 and RFC 9221 §4: a table of layouts, and the four frames that need more.

Frames of extensions are in the table where their layout is published, for the sake of what stands behind them in a packet: ACK frequency
(draft-ietf-quic-ack-frequency-11), stream resets with partial delivery (draft-ietf-quic-reliable-stream-reset-07), address discovery
(draft-ietf-quic-address-discovery-00), multipath (RFC 10069, and the numbers of its drafts), time stamps (draft-huitema-quic-ts-08).

For reading captures, so it knows nothing of the stack under test: it is a second opinion on what the bytes say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # public, but re-exported without saying so

_Reader = Callable[[Buffer], Any]


PROBING = frozenset({"PATH_CHALLENGE", "PATH_RESPONSE", "NEW_CONNECTION_ID", "PADDING"})
"""Frames that move no connection to the address that they come from (RFC 9000 §9.1)."""


class Frame(NamedTuple):
    """One frame: its name in the RFC's words, and its fields by theirs in lower case (numbers, bytes; ``ranges`` are (lowest, highest))."""

    name: str
    fields: dict[str, Any]


def _varint(buffer: Buffer) -> int:
    return buffer.pull_uint_var()


def _octets(count: int) -> _Reader:
    return lambda buffer: buffer.pull_bytes(count)


def _after_length(buffer: Buffer) -> bytes:
    return buffer.pull_bytes(buffer.pull_uint_var())


def _after_short_length(buffer: Buffer) -> bytes:
    return buffer.pull_bytes(buffer.pull_uint8())


def _rest(buffer: Buffer) -> bytes:
    return buffer.pull_bytes(buffer.capacity - buffer.tell())


_LAYOUTS: dict[int, tuple[str, dict[str, _Reader]]] = {
    0x01: ("PING", {}),
    0x04: ("RESET_STREAM", {"stream": _varint, "error": _varint, "final_size": _varint}),
    0x05: ("STOP_SENDING", {"stream": _varint, "error": _varint}),
    0x06: ("CRYPTO", {"offset": _varint, "data": _after_length}),
    0x07: ("NEW_TOKEN", {"token": _after_length}),
    0x10: ("MAX_DATA", {"maximum": _varint}),
    0x11: ("MAX_STREAM_DATA", {"stream": _varint, "maximum": _varint}),
    0x12: ("MAX_STREAMS_BIDI", {"maximum": _varint}),
    0x13: ("MAX_STREAMS_UNI", {"maximum": _varint}),
    0x14: ("DATA_BLOCKED", {"maximum": _varint}),
    0x15: ("STREAM_DATA_BLOCKED", {"stream": _varint, "maximum": _varint}),
    0x16: ("STREAMS_BLOCKED_BIDI", {"maximum": _varint}),
    0x17: ("STREAMS_BLOCKED_UNI", {"maximum": _varint}),
    0x18: (
        "NEW_CONNECTION_ID",
        {"sequence": _varint, "retire_prior_to": _varint, "connection_id": _after_short_length, "reset_token": _octets(16)},
    ),
    0x19: ("RETIRE_CONNECTION_ID", {"sequence": _varint}),
    0x1A: ("PATH_CHALLENGE", {"data": _octets(8)}),
    0x1B: ("PATH_RESPONSE", {"data": _octets(8)}),
    0x1C: ("CONNECTION_CLOSE", {"error": _varint, "frame_type": _varint, "reason": _after_length}),
    0x1D: ("APPLICATION_CLOSE", {"error": _varint, "reason": _after_length}),
    0x1E: ("HANDSHAKE_DONE", {}),
    0x1F: ("IMMEDIATE_ACK", {}),
    0x24: ("RESET_STREAM_AT", {"stream": _varint, "error": _varint, "final_size": _varint, "reliable_size": _varint}),
    0x30: ("DATAGRAM", {"data": _rest}),
    0x31: ("DATAGRAM", {"data": _after_length}),
    0xAF: ("ACK_FREQUENCY", {"sequence": _varint, "threshold": _varint, "max_ack_delay": _varint, "reordering": _varint}),
    0x02F5: ("TIMESTAMP", {"timestamp": _varint}),
    0x9F81A6: ("OBSERVED_ADDRESS", {"sequence": _varint, "address": _octets(4), "port": _octets(2)}),
    0x9F81A7: ("OBSERVED_ADDRESS", {"sequence": _varint, "address": _octets(16), "port": _octets(2)}),
}
_MULTIPATH: tuple[tuple[tuple[int, int], str, dict[str, _Reader]], ...] = (  # numbers of RFC 10069, and of the drafts
    ((0x3E75, 0x15228C05), "PATH_ABANDON", {"path": _varint, "error": _varint}),
    ((0x3E76, 0x15228C07), "PATH_STATUS_BACKUP", {"path": _varint, "sequence": _varint}),
    ((0x3E77, 0x15228C08), "PATH_STATUS_AVAILABLE", {"path": _varint, "sequence": _varint}),
    (
        (0x3E78, 0x15228C09),
        "PATH_NEW_CONNECTION_ID",
        {
            "path": _varint,
            "sequence": _varint,
            "retire_prior_to": _varint,
            "connection_id": _after_short_length,
            "reset_token": _octets(16),
        },
    ),
    ((0x3E79, 0x15228C0A), "PATH_RETIRE_CONNECTION_ID", {"path": _varint, "sequence": _varint}),
    ((0x3E7A, 0x15228C0C), "MAX_PATH_ID", {"maximum": _varint}),
    ((0x3E7B, 0x15228C0D), "PATHS_BLOCKED", {"maximum": _varint}),
    ((0x3E7C, 0x15228C0E), "PATH_CIDS_BLOCKED", {"path": _varint, "sequence": _varint}),
)
_LAYOUTS |= {number: (name, layout) for numbers, name, layout in _MULTIPATH for number in numbers}
_PATH_ACKS = {0x3E: False, 0x3F: True, 0x15228C00: False, 0x15228C01: True}
"""Whether they have ECN counts."""
_PADDING, _ACK, _ACK_ECN, _STREAM, _LAST_STREAM = 0x00, 0x02, 0x03, 0x08, 0x0F


def parse_frames_untrusted(payload: bytes) -> tuple[Frame, ...]:
    """The frames of one packet, in order, a run of PADDING as one frame.

    From a frame of an unknown type, or one that is cut short, nothing more can be told: the rest is one ``UNREADABLE`` that says why.
    """
    buffer = Buffer(data=payload)
    found = []
    while not buffer.eof():
        start = buffer.tell()
        try:
            found.append(_frame(buffer))
        except ValueError as error:
            found.append(Frame("UNREADABLE", {"why": str(error), "data": payload[start:]}))
            break
    return tuple(found)


def _frame(buffer: Buffer) -> Frame:
    kind = buffer.pull_uint_var()
    if kind == _PADDING:
        return _padding(buffer)
    if kind in (_ACK, _ACK_ECN):
        return _ack(buffer, ecn=kind == _ACK_ECN)
    if _STREAM <= kind <= _LAST_STREAM:
        return _stream(buffer, kind)
    if kind in _PATH_ACKS:
        path = buffer.pull_uint_var()
        ack = _ack(buffer, ecn=_PATH_ACKS[kind])
        return Frame("PATH_ACK", {"path": path, **ack.fields})
    if kind not in _LAYOUTS:
        raise ValueError(f"frame type {kind:#x} is not known")
    name, layout = _LAYOUTS[kind]
    return Frame(name, {field: read(buffer) for field, read in layout.items()})


def _padding(buffer: Buffer) -> Frame:
    first = buffer.tell() - 1
    rest = buffer.data_slice(buffer.tell(), buffer.capacity)
    buffer.seek(buffer.capacity - len(rest.lstrip(b"\0")))
    return Frame("PADDING", {"length": buffer.tell() - first})


def _ack(buffer: Buffer, *, ecn: bool) -> Frame:
    largest, delay, more, first = (buffer.pull_uint_var() for _ in range(4))
    low = largest - first
    ranges = [(low, largest)]
    for _ in range(more):
        high = low - buffer.pull_uint_var() - 2
        low = high - buffer.pull_uint_var()
        ranges.append((low, high))
    if low < 0:
        raise ValueError(f"an ACK range goes down to packet {low}")
    fields: dict[str, Any] = {"delay": delay, "ranges": tuple(ranges)}
    if ecn:
        fields["ecn"] = tuple(buffer.pull_uint_var() for _ in range(3))
    return Frame("ACK", fields)


def _stream(buffer: Buffer, kind: int) -> Frame:
    stream = buffer.pull_uint_var()
    offset = buffer.pull_uint_var() if kind & 4 else 0
    data = _after_length(buffer) if kind & 2 else _rest(buffer)
    return Frame("STREAM", {"stream": stream, "offset": offset, "data": data, "fin": bool(kind & 1)})
