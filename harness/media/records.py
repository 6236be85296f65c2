"""What was sent and what arrived, one JSON line per RTP packet and per event, and the join of the two.

An agent writes ``<name>.media.jsonl``: a ``SentRecord`` for every packet that its source gave the stack (also for those that the stack let
expire unsent) and an ``ArrivedRecord`` for every packet that came in.  ``join`` brings the sender's and the receiver's file together: one
``MediaPacket`` per packet *offered*, with all of its arrivals.  Everything in ``harness.media`` that computes a figure starts from those.

* All times are integer nanoseconds of CLOCK_MONOTONIC, which every namespace of one kernel shares: arrival minus sent is the exact one-way
  delay.  The claim does not carry to two machines.
* The files come from the program under test.  Nothing in them is believed before it is checked: a bad line is an ``AgentError`` that names
  the line, and an arrival that no sent packet explains is returned as a ``Stray``, evidence against the agent that wrote it.
* Both sides write a checksum of the packet's bytes (``checksum``).  A copy that came with other bytes than were offered was not heard: it
  is counted (``corrupted``) and is no arrival.
* A sequence number is 16 bits and comes round every 22 minutes of audio: ``MediaPacket.index`` never does.

Pure: the only thing touched is the file object that the caller opened.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal, Protocol
from zlib import crc32

import msgspec

from harness.errors import AgentError

Mode = Literal["datagram", "stream"]
UInt7 = Annotated[int, msgspec.Meta(ge=0, le=0x7F)]
UInt16 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
UInt32 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
Natural = Annotated[int, msgspec.Meta(ge=0)]

CLOCK_SLACK = 500_000
"""Nanoseconds by which an arrival may lie before its own sending: arrivals are kernel stamps of CLOCK_REALTIME, converted by a sampled
offset, and an offset step above 0.5 ms voids the delay figures anyway."""


class SentRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="dir", tag="out"):
    """One RTP packet that the source offered to the stack.

    ``size``: bytes of RTP.  ``pt``: its payload type.  ``crc``: the ``checksum`` of those bytes.  ``offered``: when the source handed it
    over.  ``sent``/``done``: before and after sendmsg of the UDP datagram that carried it; None when it expired in the stack's queue.
    ``udp``: bytes of that datagram's payload.  ``path``/``remote``: the local interface and the "ip:port" it went to (None when it went
    nowhere).  ``frame``: the source's frame index.  ``unsent``: why it never left: the stack's word ("expired", "queue full", "held"), the
    class of its refusal, or the kernel's errno.
    """

    call: str
    flow: str
    ssrc: UInt32
    seq: UInt16
    rtp: UInt32
    pt: UInt7
    frame: Natural
    marker: bool
    size: Natural
    crc: UInt32
    offered: int
    sent: int | None
    done: int | None
    udp: Natural | None
    path: str | None
    remote: str | None
    mode: Mode
    unsent: str | None = None

    def __post_init__(self) -> None:
        if self.unsent is not None and self.sent is not None:
            raise ValueError(f"sent at {self.sent} although {self.unsent}")
        if self.sent is not None and self.sent < self.offered:
            raise ValueError(f"sent at {self.sent}, {self.offered - self.sent} ns before it was offered")
        if self.done is not None and (self.sent is None or self.done < self.sent):
            raise ValueError(f"done at {self.done} although sent at {self.sent}")


class ArrivedRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="dir", tag="in"):
    """One RTP packet that came in; a second copy of a packet is a second record.

    ``pt``, ``size`` and ``crc`` as in SentRecord.  ``arrived``: the kernel's receive stamp on the records' clock.  ``frame``: the frame
    index in the payload, None when there was none.  ``udp``: payload bytes of the UDP datagram that completed it.  ``remote``: "ip:port" it
    came from.
    """

    call: str
    flow: str
    ssrc: UInt32
    seq: UInt16
    rtp: UInt32
    pt: UInt7
    frame: Natural | None
    marker: bool
    size: Natural
    crc: UInt32
    arrived: int
    udp: Natural
    path: str
    remote: str
    mode: Mode


Record = SentRecord | ArrivedRecord

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[SentRecord | ArrivedRecord] = msgspec.json.Decoder(SentRecord | ArrivedRecord)


def checksum(packet: bytes) -> int:
    """CRC-32 of a whole RTP packet: an accident shows (all but one of 2^32), and it costs a microsecond of an agent's 180 a packet."""
    return crc32(packet)


class BinaryWriter(Protocol):
    """What a writer needs of a binary file object."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""

    def flush(self) -> object:
        """Hand what is buffered to the kernel."""


def encode(record: Record) -> bytes:
    """The record as one line of JSON, newline included."""
    return _encoder.encode(record) + b"\n"


def decode(line: bytes | str) -> Record:
    """The record that ``line`` holds; ``msgspec.DecodeError`` (a ValueError) that says what is wrong with it."""
    return _decoder.decode(line)


class RecordWriter:
    """Writes records one line at a time to a binary file that somebody else opened, and will close.

    Every line goes to the file object whole, in one write, so that a kill can tear only the last line.
    """

    def __init__(self, file: BinaryWriter) -> None:
        self._file = file
        self.written = 0

    def write(self, record: Record) -> None:
        """Append one record."""
        self._file.write(_encoder.encode(record) + b"\n")
        self.written += 1

    def flush(self) -> None:
        """Flush the file object: after it, a kill of the process loses nothing written so far."""
        self._file.flush()


def read(lines: Iterable[bytes | str], agent: str, *, killed: bool = False, first: int = 1) -> Iterator[Record]:
    """The records of one agent's file, in file order.

    ``lines`` keep their newlines (an open file does).  AgentError, blamed on ``agent``, names the line number of the first bad line.
    ``first``: the number of the first of them.  ``killed``: this agent was killed on purpose, so a last line without its newline was torn
    by the kill and is left out.
    """
    for number, line in enumerate(lines, start=first):
        ended = line.endswith(b"\n") if isinstance(line, bytes) else line.endswith("\n")
        if killed and not ended:
            return
        try:
            yield _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            shown = repr(line[:120])
            raise AgentError(agent, f"media record, line {number}: {error}; the line is {shown}") from None


class Arrival(msgspec.Struct, frozen=True):
    """One copy of a packet coming in: when (ns), over which local path, from which "ip:port", in a UDP payload of how many bytes."""

    at: int
    path: str
    remote: str
    udp: int


class MediaPacket(msgspec.Struct, frozen=True, kw_only=True):
    """One RTP packet that a source offered, with everything known of its fate; fields as in SentRecord.

    ``index``: the sequence number without wrap, counted from the first packet of its SSRC.  ``arrivals``: by time; empty when lost.
    ``corrupted``: copies that came with other bytes, which are no arrivals.  ``crc``: of the bytes that were offered.
    """

    call: str
    flow: str
    ssrc: int
    seq: int
    index: int
    rtp: int
    pt: int
    frame: int
    marker: bool
    size: int
    offered: int
    sent: int | None
    path: str | None
    remote: str | None
    udp: int | None
    mode: Mode
    unsent: str | None = None
    arrivals: tuple[Arrival, ...] = ()
    corrupted: int = 0
    crc: int = 0

    @property
    def arrived(self) -> int | None:
        """When its first copy came in (ns); None when none did."""
        return self.arrivals[0].at if self.arrivals else None

    def heard_by(self, deadline_ns: int | None) -> bool:
        """Whether a copy came in at most ``deadline_ns`` after the source offered it (at all, when None): in time to be played."""
        return bool(self.arrivals) and (deadline_ns is None or self.arrivals[0].at - self.offered <= deadline_ns)


class Stray(msgspec.Struct, frozen=True):
    """An arrival that no sent packet explains, and why: evidence against the agent that recorded it."""

    record: ArrivedRecord
    why: str


class Joined(msgspec.Struct, frozen=True):
    """``packets``: one for each packet offered, in that order (those offered at once by number).

    ``strays``: arrivals that match none of them, in order of arrival.
    """

    packets: list[MediaPacket]
    strays: list[Stray]


def join(sent: Iterable[SentRecord], arrived: Iterable[ArrivedRecord], *, slack: int = CLOCK_SLACK, sender_killed: bool = False) -> Joined:
    """Match every arrival with the latest packet of its SSRC and sequence number that had been sent by then (``slack`` ns granted).

    Give it one direction of one call: what one agent sent in that call, and what the other one says arrived in it.  An arrival that matches
    by number but has another checksum is a corrupted copy.  One of another call, flow or mode is a stray, and so is one whose checksum is
    right and whose timestamp, payload type, marker, frame or size is not: the record contradicts itself.  ``sender_killed``: on purpose,
    and its last records died with it, so what came after the last packet that it wrote of is no stray.
    """
    offered = sorted(sent, key=lambda record: record.offered)
    departures: dict[tuple[int, int], list[tuple[int, int]]] = {}  # (ssrc, seq16) -> [(sent, position)], ascending
    for position, record in enumerate(offered):
        if record.sent is not None:
            departures.setdefault((record.ssrc, record.seq), []).append((record.sent, position))
    for times in departures.values():
        times.sort()

    arrivals: dict[int, list[Arrival]] = {}
    corrupted: Counter[int] = Counter()
    strays: list[Stray] = []
    for came in sorted(arrived, key=lambda record: record.arrived):
        times = departures.get((came.ssrc, came.seq), [])
        found = bisect_right(times, (came.arrived + slack, len(offered))) - 1
        if found < 0:
            what = "before any packet with this number was sent" if times else "no packet with this number was ever sent"
            strays.append(Stray(came, f"ssrc {came.ssrc:#010x} seq {came.seq}: {what}"))
            continue
        position = times[found][1]
        differences = _differences(offered[position], came)
        if differences:
            strays.append(Stray(came, f"ssrc {came.ssrc:#010x} seq {came.seq}: {differences}"))
            continue
        if came.crc != offered[position].crc:
            corrupted[position] += 1
            continue
        arrivals.setdefault(position, []).append(Arrival(came.arrived, came.path, came.remote, came.udp))

    if sender_killed:
        written = max((record.sent for record in offered if record.sent is not None), default=0)
        strays = [stray for stray in strays if stray.record.arrived <= written]

    last: dict[int, int] = {}  # ssrc -> extended index of its previous packet
    packets: list[MediaPacket] = []
    for position, record in enumerate(offered):
        index = _unwrap(record.seq, last.get(record.ssrc, record.seq))
        last[record.ssrc] = index
        packets.append(_packet(record, index, tuple(arrivals.get(position, ())), corrupted[position]))
    packets.sort(key=lambda packet: (packet.offered, packet.index))  # records are written as packets leave, whatever their order was
    return Joined(packets, strays)


def _unwrap(seq: int, near: int) -> int:
    """The number equal to ``seq`` modulo 2^16 that is nearest to ``near``."""
    step = (seq - near) & 0xFFFF
    return near + step - (0x10000 if step >= 0x8000 else 0)


def _differences(sent: SentRecord, came: ArrivedRecord) -> str:
    intact = came.crc == sent.crc
    fields = ("call", "flow", "mode", "rtp", "pt", "marker", "size") if intact else ("call", "flow", "mode")
    wrong = [
        f"{name} {getattr(sent, name)!r} became {getattr(came, name)!r}" for name in fields if getattr(sent, name) != getattr(came, name)
    ]
    if intact and came.frame is not None and came.frame != sent.frame:
        wrong.append(f"frame {sent.frame} became {came.frame}")
    return ", ".join(wrong)


def _packet(record: SentRecord, index: int, arrivals: tuple[Arrival, ...], corrupted: int) -> MediaPacket:
    return MediaPacket(
        call=record.call,
        flow=record.flow,
        ssrc=record.ssrc,
        seq=record.seq,
        index=index,
        rtp=record.rtp,
        pt=record.pt,
        frame=record.frame,
        marker=record.marker,
        size=record.size,
        offered=record.offered,
        sent=record.sent,
        path=record.path,
        remote=record.remote,
        udp=record.udp,
        mode=record.mode,
        unsent=record.unsent,
        arrivals=arrivals,
        corrupted=corrupted,
        crc=record.crc,
    )


class MediaLine(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from", "receiver": "to"}):
    """A line of ``media.jsonl``: one RTP packet of one direction; fields as in MediaPacket.

    ``arrived``: its first copy, or null, and ``came_by`` the receiver's path by which that one came.  ``copies``: how many came.
    """

    call: str
    flow: str
    sender: str
    receiver: str
    ssrc: int
    seq: int
    index: int
    frame: int
    marker: bool
    size: int
    offered: int
    sent: int | None
    arrived: int | None
    copies: int
    path: str | None
    came_by: str | None = None
    unsent: str | None = None


def media_line(packet: MediaPacket, *, sender: str, receiver: str) -> bytes:
    """``packet`` as one line of ``media.jsonl``, newline included."""
    line = MediaLine(
        call=packet.call,
        flow=packet.flow,
        sender=sender,
        receiver=receiver,
        ssrc=packet.ssrc,
        seq=packet.seq,
        index=packet.index,
        frame=packet.frame,
        marker=packet.marker,
        size=packet.size,
        offered=packet.offered,
        sent=packet.sent,
        arrived=packet.arrived,
        copies=len(packet.arrivals),
        path=packet.path,
        came_by=packet.arrivals[0].path if packet.arrivals else None,
        unsent=packet.unsent,
    )
    return _encoder.encode(line) + b"\n"
