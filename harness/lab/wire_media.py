"""RTP packets as they were on the wire: read from opened QUIC packets, each with its departure, its arrivals and when it was taken.

RTP over QUIC (draft-ietf-avtcore-rtp-over-quic-14 §4, §5): a DATAGRAM is ``flow id | packet``; a unidirectional stream is
``flow id | (length | packet)*``.  A packet in a stream departs when its last byte first leaves, and arrives when the stream's prefix up to
its last byte is complete.  Copies are counted by SSRC and sequence number, each QUIC packet number once: a replayed datagram is no copy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

from harness.call.roq import decode_varint_untrusted
from harness.lab.crossings import Crossing
from harness.lab.flow_names import RTCP, FlowNames
from harness.media.records import Arrival, Mode
from harness.rtp.packet import HEADER, VERSION, unwrapped

_BLANK = 16
"""A payload of so many equal bytes is no media."""


class Rtp(NamedTuple):
    """The header of an RTP packet, its size in bytes and its CRC-32; ``blank``: its payload is one byte over and over."""

    ssrc: int
    seq: int
    timestamp: int
    payload_type: int
    marker: bool
    size: int
    crc: int
    blank: bool


@dataclass(slots=True)
class WirePacket:
    """One RTP packet of one direction of a connection.  Times in ns; ``index``: its sequence number without wrap.

    ``departed``: its first copy passed the sender's host.  ``path``: the interface there, ``remote``: "ip:port" that it went to, ``udp``:
    payload bytes of that datagram.  ``arrivals``: one for each copy that came.  ``taken``: when the listening process had surely taken the
    first of them, None when it never did.  ``corrupted``: copies with other bytes than the first.  ``departures``: how many copies left.
    """

    connection: str
    speaker: str
    listener: str
    flow: str
    rtp: Rtp
    index: int
    departed: int
    path: str
    remote: str
    udp: int
    mode: Mode
    arrivals: list[Arrival] = field(default_factory=list)
    taken: int | None = None
    corrupted: int = 0
    departures: int = 0


Taken = Callable[[Crossing], int | None]
"""When the listening process took the datagram of a crossing that arrived."""


def read_rtp_untrusted(data: bytes) -> Rtp | None:
    """The RTP packet in ``data``; None for RTCP and anything else."""
    if len(data) < HEADER.size or data[0] >> 6 != VERSION:
        return None
    first, second, sequence, timestamp, ssrc = HEADER.unpack_from(data)
    if second & 0x7F in RTCP:
        return None
    payload = data[HEADER.size + 4 * (first & 0x0F) :]
    blank = len(payload) >= _BLANK and payload.count(payload[:1]) == len(payload)
    return Rtp(ssrc, sequence, timestamp, second & 0x7F, bool(second & 0x80), len(data), crc32(data), blank)


def wire_packets(crossed: Iterable[Crossing], taken: Taken) -> list[WirePacket]:
    """The RTP packets of all connections, in the order of departure; ``crossed`` in the order of departure."""
    flows: dict[tuple[str, str], _Direction] = {}
    for one in crossed:
        key = one.packet.connection, one.speaker
        direction = flows.get(key)
        if direction is None:
            direction = flows[key] = _Direction(taken)
        direction.take(one)
    found = [packet for direction in flows.values() for packet in direction.finish()]
    found.sort(key=lambda packet: (packet.departed, packet.index))
    return found


class _Direction:
    """What one side of one connection sent."""

    def __init__(self, taken: Taken) -> None:
        self._taken = taken
        self._names = FlowNames()
        self._packets: dict[tuple[int, int], WirePacket] = {}
        self._last: dict[int, int] = {}
        self._numbers: set[int] = set()
        self._streams: dict[int, _MediaStream] = defaultdict(_MediaStream)

    def take(self, one: Crossing) -> None:
        if one.packet.number in self._numbers:
            return
        self._numbers.add(one.packet.number)
        for frame in one.packet.frames:
            if frame.name == "DATAGRAM":
                self._datagram(one, frame.fields["data"])
            elif frame.name == "STREAM" and frame.fields["stream"] & 2:
                self._streams[frame.fields["stream"]].pieces.append(_Piece(frame.fields["offset"], frame.fields["data"], one))

    def _datagram(self, one: Crossing, data: bytes) -> None:
        head = decode_varint_untrusted(data)
        rtp = None if head is None else read_rtp_untrusted(data[head[1] :])
        if head is not None and rtp is not None:
            self._add(head[0], rtp, one, "datagram", one.arrived, self._taken(one) if one.arrival is not None else None, one)

    def _add(self, flow_id: int, rtp: Rtp, one: Crossing, mode: Mode, arrived: int | None, taken: int | None, by: Crossing) -> None:
        flow = self._names.name(flow_id, rtp.payload_type)
        if flow is None:
            return
        index = unwrapped(rtp.seq, self._last.get(rtp.ssrc, rtp.seq))
        self._last[rtp.ssrc] = max(index, self._last.get(rtp.ssrc, index))
        known = self._packets.get((rtp.ssrc, index))
        if known is None:
            udp = one.packet.udp
            path = udp.interface.rpartition("/")[2]
            remote = f"{udp.destination[0]}:{udp.destination[1]}"
            known = self._packets[rtp.ssrc, index] = WirePacket(
                one.packet.connection, one.speaker, "", flow, rtp, index, one.departed, path, remote, udp.size, mode
            )
        known.departures += rtp.crc == known.rtp.crc
        if rtp.crc != known.rtp.crc or rtp.blank:
            known.corrupted += arrived is not None
            return
        if arrived is None or by.arrival is None:
            return
        known.listener = by.listener
        source = by.arrival.source
        known.arrivals.append(Arrival(arrived, by.arrival.interface.rpartition("/")[2], f"{source[0]}:{source[1]}", by.arrival.size))
        if taken is not None and (known.taken is None or taken < known.taken):
            known.taken = taken

    def finish(self) -> Iterator[WirePacket]:
        for _, stream in sorted(self._streams.items()):
            for flow_id, rtp, left, came, at, taken in stream.packets(self._taken):
                self._add(flow_id, rtp, left, "stream", at, taken, came or left)
        for packet in self._packets.values():
            packet.arrivals.sort(key=lambda arrival: arrival.at)
            yield packet


class _Piece(NamedTuple):
    offset: int
    data: bytes
    crossing: Crossing


class _MediaStream:
    """A unidirectional stream of RTP packets, from the STREAM frames that carried it."""

    def __init__(self) -> None:
        self.pieces: list[_Piece] = []

    def packets(self, taken: Taken) -> Iterator[tuple[int, Rtp, Crossing, Crossing | None, int | None, int | None]]:
        """Flow id, packet, the datagram whose departure completed it, the one whose arrival did, when that came, and when it was taken."""
        data = _joined(self.pieces)
        head = decode_varint_untrusted(data)
        if head is None:
            return
        flow_id, at = head
        arrived = _Prefix((p, p.crossing.arrived) for p in self.pieces)
        read = _Prefix((p, taken(p.crossing) if p.crossing.arrival is not None else None) for p in self.pieces)
        while (length := decode_varint_untrusted(data, at)) is not None:
            end = length[1] + length[0]
            if end > len(data):
                return
            rtp = read_rtp_untrusted(bytes(data[length[1] : end]))
            at = end
            if rtp is None:
                continue
            left = next(p.crossing for p in self.pieces if p.offset < end <= p.offset + len(p.data))
            there, here = arrived.complete(end), read.complete(end)
            yield flow_id, rtp, left, there[1] if there else None, there[0] if there else None, here[0] if here else None


def _joined(pieces: Iterable[_Piece]) -> bytearray:
    """The stream's bytes up to the first hole."""
    data = bytearray()
    for piece in sorted(pieces, key=lambda piece: piece.offset):
        if piece.offset > len(data):
            break
        data += piece.data[len(data) - piece.offset :]
    return data


class _Prefix:
    """When the bytes of a stream were there without a hole up to an offset."""

    def __init__(self, pieces: Iterable[tuple[_Piece, int | None]]) -> None:
        self._steps: list[tuple[int, int, Crossing]] = []  # (bytes there, at, by)
        reached = 0
        early: list[tuple[int, int]] = []
        for piece, at in sorted(((p, t) for p, t in pieces if t is not None), key=lambda one: one[1] or 0):
            early.append((piece.offset, piece.offset + len(piece.data)))
            early.sort()
            before = reached
            while early and early[0][0] <= reached:
                reached = max(reached, early.pop(0)[1])
            if reached > before and at is not None:
                self._steps.append((reached, at, piece.crossing))

    def complete(self, end: int) -> tuple[int, Crossing] | None:
        """When the first ``end`` bytes were there, and with which datagram."""
        return next(((at, by) for reached, at, by in self._steps if reached >= end), None)


def by_direction(packets: Iterable[WirePacket]) -> Mapping[tuple[str, str], list[WirePacket]]:
    """By connection and speaker."""
    found: dict[tuple[str, str], list[WirePacket]] = defaultdict(list)
    for packet in packets:
        found[packet.connection, packet.speaker].append(packet)
    return found
