"""Calls, signalling and RTP packets in the frames of one host: which connection is of which call, and when each packet passed.

RTP over QUIC: a DATAGRAM frame holds ``flow id (varint) | RTP packet``, a unidirectional stream ``flow id | (length (varint) | RTP
packet)*``.  Signalling is JSON, each message behind its length (varint), on the first bidirectional stream.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.judge.tshark import Frame

FLOWS = {0x20: "audio", 0x21: "video", 0x22: "screen", 0x24: "data"}
RTCP_FLOW = 0x23
RTCP_TYPES = range(72, 77)
"""Of the low seven bits of an RTCP packet's type (200–204): no RTP payload type (RFC 5761 §4)."""
AUDIO_PAYLOAD_TYPE = 111
UNIDIRECTIONAL = 0x02


@dataclass(frozen=True, slots=True)
class Signal:
    """One message of a call's signalling, as its last byte passed the host: ``at`` ns of the frames' clock."""

    at: int
    outgoing: bool
    message: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Packet:
    """The first copy of one RTP packet that passed the host in one direction.

    ``at``: ns of the frames' clock, of a stream when its bytes up to the packet's last one had all passed (coming in), or when the last one
    first passed (going out).  ``interface``, ``size``: of the UDP datagram that brought it.  ``marker``, ``timestamp``: RTP's.
    """

    at: int
    call: str
    flow: str
    outgoing: bool
    interface: str
    size: int
    ssrc: int
    sequence: int
    timestamp: int
    marker: bool

    @property
    def key(self) -> tuple[str, int, int]:
        """What names it at both hosts of its call, while sequence numbers do not wrap."""
        return self.flow, self.ssrc, self.sequence


@dataclass(frozen=True)
class Wire:
    """What passed one host: ``packets`` and ``signals`` (by call), ``calls`` (by connection), and the ``frames`` themselves.

    ``sealed``: frames of these connections that tshark could not open.
    """

    frames: Sequence[Frame]
    packets: Sequence[Packet]
    signals: dict[str, list[Signal]]
    calls: dict[int, str]
    sealed: int


@dataclass(frozen=True, slots=True)
class _Part:
    at: int
    offset: int
    data: bytes
    frame: Frame


def read(frames: Sequence[Frame], calls: Iterable[str]) -> Wire:
    """What ``frames`` of one host, in order of time, hold of ``calls``; a connection is of the call whose id its signalling names."""
    wanted = frozenset(calls)
    streams: dict[tuple[int, bool, int], list[_Part]] = {}  # (connection, outgoing, stream)
    for frame in frames:
        if frame.connection is not None and (frame.outgoing or frame.intact):
            for part in frame.parts:
                key = frame.connection, frame.outgoing, part.number
                streams.setdefault(key, []).append(_Part(frame.time, part.offset, part.data, frame))
    of_connection: dict[int, str] = {}
    signals: dict[str, list[Signal]] = {}
    for (connection, outgoing, number), parts in streams.items():
        if number != 0:
            continue
        for signal in _signals(parts, outgoing):
            call = signal.message.get("session_id")
            if call in wanted:
                of_connection.setdefault(connection, call)
                signals.setdefault(call, []).append(signal)
    for found in signals.values():
        found.sort(key=lambda signal: signal.at)
    packets = _first_copies([*_in_datagrams(frames, of_connection), *_in_streams(streams, of_connection)])
    sealed = sum(not frame.opened and frame.connection in of_connection for frame in frames)
    return Wire(frames, packets, signals, of_connection, sealed)


def _signals(parts: Sequence[_Part], outgoing: bool) -> Iterator[Signal]:
    """The messages of one direction of the signalling stream; nothing more once its framing is lost."""
    data = _prefix(parts)
    passed = _passing(parts, outgoing)
    for begin, end in _lengths(data, 0):
        try:
            message = json.loads(data[begin:end])
        except ValueError:
            return
        if isinstance(message, dict):
            yield Signal(passed(end).at, outgoing, message)


def _in_datagrams(frames: Sequence[Frame], calls: dict[int, str]) -> Iterator[Packet]:
    for frame in frames:
        call = calls.get(frame.connection) if frame.connection is not None else None
        if call is None or not (frame.outgoing or frame.intact):
            continue
        for data in frame.datagrams:
            found = varint(data, 0)
            if found is not None and (packet := _rtp(data[found[1] :], found[0], frame.time, call, frame)) is not None:
                yield packet


def _in_streams(streams: dict[tuple[int, bool, int], list[_Part]], calls: dict[int, str]) -> Iterator[Packet]:
    for (connection, outgoing, number), parts in streams.items():
        if not number & UNIDIRECTIONAL or connection not in calls:
            continue
        data = _prefix(parts)
        head = varint(data, 0)
        if head is None:
            continue
        passed = _passing(parts, outgoing)
        for begin, end in _lengths(data, head[1]):
            last = passed(end)
            if (packet := _rtp(data[begin:end], head[0], last.at, calls[connection], last.frame)) is not None:
                yield packet


def _rtp(data: bytes, flow: int, at: int, call: str, frame: Frame) -> Packet | None:
    """The RTP packet (RFC 3550 §5.1) in ``data``; None for RTCP, for one that is nothing but padding, and for what is neither."""
    if len(data) < 12 or data[0] >> 6 != 2 or flow == RTCP_FLOW:
        return None
    kind = data[1] & 0x7F
    if kind in RTCP_TYPES and flow not in FLOWS:
        return None
    begin = 12 + 4 * (data[0] & 0x0F)
    if data[0] & 0x20 and data[-1] >= len(data) - begin:
        return None
    name = FLOWS.get(flow) or ("audio" if kind == AUDIO_PAYLOAD_TYPE else "video")
    return Packet(
        at=at,
        call=call,
        flow=name,
        outgoing=frame.outgoing,
        interface=frame.interface,
        size=frame.size,
        ssrc=int.from_bytes(data[8:12], "big"),
        sequence=int.from_bytes(data[2:4], "big"),
        timestamp=int.from_bytes(data[4:8], "big"),
        marker=bool(data[1] & 0x80),
    )


def _first_copies(packets: Sequence[Packet]) -> list[Packet]:
    """By time; further copies of a packet are left out, those of a sequence number that has come round are not."""
    found: list[Packet] = []
    newest: dict[tuple[str, bool, str, int, int], int] = {}  # -> RTP timestamp of the copy that counts
    for packet in sorted(packets, key=lambda one: one.at):
        key = packet.call, packet.outgoing, packet.flow, packet.ssrc, packet.sequence
        if newest.get(key) != packet.timestamp:
            newest[key] = packet.timestamp
            found.append(packet)
    return found


def _prefix(parts: Sequence[_Part]) -> bytes:
    """The bytes of a stream from its beginning to the first that never passed."""
    data = bytearray()
    for part in sorted(parts, key=lambda one: one.offset):
        if part.offset > len(data):
            break
        data += part.data[len(data) - part.offset :]
    return bytes(data)


def _passing(parts: Sequence[_Part], outgoing: bool) -> Callable[[int], _Part]:
    """Which part made the first ``end`` bytes of the stream pass: going out the first that held byte ``end`` − 1, coming in the one that
    made all of them complete.
    """
    if outgoing:
        return lambda end: next(part for part in parts if part.offset < end <= part.offset + len(part.data))
    marks: list[tuple[int, _Part]] = []  # (bytes complete, part)
    waiting: list[tuple[int, int]] = []
    complete = 0
    for part in parts:
        waiting.append((part.offset, part.offset + len(part.data)))
        before = complete
        for begin, end in sorted(waiting):
            if begin <= complete:
                complete = max(complete, end)
        waiting = [one for one in waiting if one[0] > complete]
        if complete > before:
            marks.append((complete, part))
    return lambda end: next(part for done, part in marks if done >= end)


def _lengths(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Where each whole item behind its length (varint) begins and ends, from byte ``at`` on."""
    while (found := varint(data, at)) is not None:
        length, begin = found
        if begin + length > len(data):
            return
        yield begin, begin + length
        at = begin + length


def varint(data: bytes, at: int) -> tuple[int, int] | None:
    """(value, offset behind it) of QUIC's variable-length integer (RFC 9000 §16) at ``at``; None when it is not whole."""
    if at >= len(data):
        return None
    length = 1 << (data[at] >> 6)
    if at + length > len(data):
        return None
    return int.from_bytes(data[at : at + length], "big") & ((1 << (8 * length - 2)) - 1), at + length
