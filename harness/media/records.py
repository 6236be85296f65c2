"""Media as data: what agents record of their RTP packets, and one ``MediaPacket`` for each packet that a flow owed, with its fate.

An agent may write ``<name>.media.jsonl``: a ``SentRecord`` for every packet that its source gave the stack (also for those that the stack
let expire unsent) and an ``ArrivedRecord`` for every packet that came in.  No figure rests on them: ``MediaPacket`` is made from captures
and keys (``harness.lab.media_flows``), and what only an agent knows, why a packet never left, is added from its records.

* All times are integer nanoseconds of CLOCK_MONOTONIC, which every namespace of one kernel shares: arrival minus sent is the exact one-way
  delay.  The claim does not carry to two machines.
* The files come from the program under test: a bad line is an ``AgentError`` that names the line.
* A copy that came with other bytes than the first that left is corrupted: it is counted (``corrupted``) and is no arrival.
* A sequence number is 16 bits and comes round every 22 minutes of audio: ``MediaPacket.index`` never does.

Pure: the only thing touched is the file object that the caller opened.
"""

from __future__ import annotations

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
    """One RTP packet that a flow owed, with everything known of its fate; all times in ns.

    ``offered``: when the lab's schedule owed it (its place, ``harness.media.schedule``).  ``sent``: when its first copy passed the sender's
    host, None when it never did; ``unsent`` then says why, by its agent's record, or that no record says so.  ``arrivals``: its copies at
    the listener's host by time; empty when lost.  ``taken``: when the listening process had surely taken the first of them, None when it
    never did.  ``delay``: the configured one-way delay of the path that carried it.  ``index``: the sequence number without wrap.
    ``frame``: counts the flow's frames.  ``corrupted``: copies that came with other bytes, which are no arrivals.  ``crc``: of its bytes.
    The rest as in SentRecord.  A place that nothing filled has SSRC 0 and size 0.
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
    taken: int | None = None
    delay: int = 0
    corrupted: int = 0
    crc: int = 0

    @property
    def arrived(self) -> int | None:
        """When its first copy came to the listener's host (ns); None when none did."""
        return self.arrivals[0].at if self.arrivals else None

    @property
    def late(self) -> int | None:
        """How much later (ns) it was taken than the schedule and its path explain; None when it was not taken."""
        return None if self.taken is None else self.taken - self.offered - self.delay

    def heard_by(self, deadline_ns: int | None) -> bool:
        """Whether it was taken, not late by more than ``deadline_ns`` (at all, when None): in time to be played."""
        late = self.late
        return late is not None and (deadline_ns is None or late <= deadline_ns)


class MediaLine(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from", "receiver": "to"}):
    """A line of ``media.jsonl``: one RTP packet of one direction; fields as in MediaPacket.

    ``arrived``: its first copy at the receiver's host, or null, and ``came_by`` the receiver's path by which that one came; ``taken``:
    when the receiving process had taken it, null for never, not there where only the arrival was known.  ``copies``: how many came.
    ``delay``: the path's own.  Before report.json's schema 4 there was neither ``taken`` nor ``delay``, ``offered`` was when the source
    handed the packet over, and ``arrived`` the receiver's own stamp.
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
    taken: int | msgspec.UnsetType | None = msgspec.UNSET
    delay: int = 0


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
        taken=packet.taken,
        delay=packet.delay,
    )
    return _encoder.encode(line) + b"\n"
