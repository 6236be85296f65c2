"""Capture files in pcapng (draft-ietf-opsawg-pcapng): a writer, and a reader for what the writer wrote.

One section, little-endian, Ethernet, nanoseconds of CLOCK_REALTIME.  A packet carries its direction (epb_flags).  An interface statistics
block, written at least every second, carries what the kernel counted, and in its comment the offset of CLOCK_REALTIME against
CLOCK_MONOTONIC, so that the reader can give every packet's time on the clock that the rest of a run uses.

Whole blocks are written in one go, so that a file whose writer was killed ends at a block, or within the last one, which the reader leaves
out.
"""

from __future__ import annotations

import io
import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from harness.errors import HarnessError

SECTION, INTERFACE, STATISTICS, PACKET, SECRETS = 0x0A0D0D0A, 1, 5, 6, 10
_MAGIC = 0x1A2B3C4D
_END, _COMMENT = 0, 1
_SHB_USERAPPL = 4
_IF_NAME, _IF_TSRESOL = 2, 9
_EPB_FLAGS = 2
_ISB_IFRECV, _ISB_OSDROP, _ISB_USRDELIV = 4, 7, 8
_INBOUND, _OUTBOUND = 1, 2
_LINKTYPE_ETHERNET = 1
_TLS_KEY_LOG = 0x544C534B
LARGEST = 1 << 24
"""Bytes of a block at most: no frame is as long."""
OFFSET = re.compile(r"CLOCK_REALTIME - CLOCK_MONOTONIC = (-?[0-9]{1,19}) ns")

_HEAD = struct.Struct("<II")
_FLAGS_ALONE = struct.pack("<HH", _EPB_FLAGS, 4)
_PACKET = struct.Struct("<IIIII")
_STATISTICS = struct.Struct("<III")
_EPB = struct.Struct("<IIIIIII")  # block header and body's head in one
_DIRECTED_END = {outgoing: struct.pack("<HHIHH", _EPB_FLAGS, 4, flag, _END, 0) for outgoing, flag in ((True, _OUTBOUND), (False, _INBOUND))}
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


@dataclass(frozen=True, slots=True)
class Packet:
    """One captured frame.  ``time``: ns of CLOCK_REALTIME; ``monotonic``: the same moment on CLOCK_MONOTONIC, None when unknown.

    ``original``: bytes on the wire, ``data`` may be fewer.  ``outgoing``: sent by the interface's host; None when unknown.
    """

    interface: str
    time: int
    monotonic: int | None
    data: bytes
    original: int
    outgoing: bool | None
    comment: str | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was counted on ``interface`` by ``time``: seen by the kernel, dropped by it for want of room, and written to the file."""

    interface: str
    time: int
    received: int
    dropped: int
    written: int
    comment: str


class Writer:
    """Appends to ``file`` (binary, best unbuffered), a block at a time on ``flush``.  Interfaces are numbered in the order given."""

    def __init__(self, file: BinaryIO | io.RawIOBase, interfaces: Sequence[str], snap: int) -> None:
        self._file = file
        self._blocks: list[bytes] = []
        self.size = 0
        self._put(section())
        for name in interfaces:
            self._put(interface(name, snap))
        self.flush()

    def packet(
        self, interface: int, time: int, data: bytes, original: int, outgoing: bool | None = None, comment: str | None = None
    ) -> None:
        """Add one frame: ``time`` in ns of CLOCK_REALTIME, ``original`` its length on the wire."""
        if comment is None and outgoing is not None:
            options = _DIRECTED_END[outgoing]
        else:
            options = b"" if outgoing is None else _DIRECTED_END[outgoing][:-4]
            options += b"" if comment is None else option(_COMMENT, comment.encode())
            options += b"\0\0\0\0" if options else b""
        captured = len(data)
        padding = _PADDING[captured & 3]
        length = 32 + captured + len(padding) + len(options)
        head = _EPB.pack(PACKET, length, interface, time >> 32, time & 0xFFFFFFFF, captured, original)
        self._blocks.append(b"".join((head, data, padding, options, length.to_bytes(4, "little"))))
        self.size += length

    def statistics(
        self, interface: int, time: int, *, received: int, dropped: int, written: int, offset: int | None = None, note: str = ""
    ) -> None:
        """Add what was counted so far; ``offset``: CLOCK_REALTIME - CLOCK_MONOTONIC in ns."""
        comments = [note] if note else []
        if offset is not None:
            comments.append(f"CLOCK_REALTIME - CLOCK_MONOTONIC = {offset} ns")
        options = b"".join(option(_COMMENT, comment.encode()) for comment in comments)
        for code, value in ((_ISB_IFRECV, received), (_ISB_OSDROP, dropped), (_ISB_USRDELIV, written)):
            options += option(code, struct.pack("<Q", value))
        self._put(block(STATISTICS, _STATISTICS.pack(interface, time >> 32, time & 0xFFFFFFFF), options))

    @property
    def is_flushed(self) -> bool:
        """Whether the file holds everything."""
        return not self._blocks

    def flush(self) -> None:
        """Give all blocks to the file; OSError as the file gives it, the blocks are then gone."""
        data, self._blocks = memoryview(b"".join(self._blocks)), []
        while data:  # an unbuffered file may take less than it is given
            data = data[self._file.write(data) :]
        self._file.flush()

    def _put(self, whole: bytes) -> None:
        self._blocks.append(whole)
        self.size += len(whole)


def option(code: int, value: bytes) -> bytes:
    """One option of a block."""
    return struct.pack("<HH", code, len(value)) + value + _PADDING[len(value) & 3]


def block(kind: int, body: bytes, options: bytes = b"") -> bytes:
    """A whole block; ``body`` is what stands before its options."""
    inside = body + _PADDING[len(body) & 3] + options + b"\0\0\0\0"  # opt_endofopt
    length = 12 + len(inside)
    return _HEAD.pack(kind, length) + inside + length.to_bytes(4, "little")


def section(comment: str = "") -> bytes:
    """The block that begins a file."""
    said = option(_COMMENT, comment.encode()) if comment else b""
    return block(SECTION, struct.pack("<IHHq", _MAGIC, 1, 0, -1), said + option(_SHB_USERAPPL, b"quic-call-harness"))


def interface(name: str, snap: int, options: bytes = b"") -> bytes:
    """The block of one interface, of whose frames ``snap`` bytes at most are kept."""
    named = option(_IF_NAME, name.encode()) + options + option(_IF_TSRESOL, b"\x09")
    return block(INTERFACE, struct.pack("<HHI", _LINKTYPE_ETHERNET, 0, snap), named)


def secrets(log: bytes) -> bytes:
    """A Decryption Secrets Block (§4.7) of the lines of a TLS key log; it opens the packets that come after it."""
    return block(SECRETS, struct.pack("<II", _TLS_KEY_LOG, len(log)) + log)


def commented(packet: bytes, comments: Sequence[str]) -> bytes:
    """A whole packet block with ``comments`` more."""
    end = 28 + (int.from_bytes(packet[20:24], "little") + 3 & ~3)
    options = b"".join(option(_COMMENT, text.encode()) for text in comments) + (packet[end:-4] or b"\0\0\0\0")
    length = (end + len(options) + 4).to_bytes(4, "little")
    return packet[:4] + length + packet[8:end] + options + length


class Reader:
    """A capture file that our writer wrote, perhaps still being written: iterate for its packets, as often as liked.

    On construction reads all but the packets.  ``truncated``: the file ends within a block.  Raises HarnessError that names the file and
    the byte on anything that the writer would not have written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.interfaces: list[str] = []
        self.statistics: list[Statistics] = []
        self.truncated = False
        self._clock: list[tuple[int, int]] = []
        self._whole = self._fresh_from = 0
        self._look(0)

    def _look(self, start: int) -> None:
        """Take in all but the packets, from the block at byte ``start`` on."""
        for at, kind, body in self._blocks(with_packets=False, start=start):
            if kind == INTERFACE:
                options = dict(_options(body[8:]))
                if options.get(_IF_TSRESOL) != b"\x09":
                    raise HarnessError(f"{self.path}: an interface without nanosecond times; only captures of this harness are read")
                self.interfaces.append(options.get(_IF_NAME, b"").decode(errors="replace"))
            elif kind == STATISTICS:
                self._note(at, body)

    @property
    def largest_clock_step(self) -> int:
        """The most by which CLOCK_REALTIME moved against CLOCK_MONOTONIC between two samples, ns."""
        offsets = [offset for _, offset in self._clock]
        return max((abs(b - a) for a, b in pairwise(offsets)), default=0)

    def monotonic(self, time: int) -> int | None:
        """A CLOCK_REALTIME moment on CLOCK_MONOTONIC, by the last offset sampled before it (else the first); None without any."""
        if not self._clock:
            return None
        place = bisect_right(self._clock, (time, 1 << 63)) - 1
        return time - self._clock[max(place, 0)][1]

    def __iter__(self) -> Iterator[Packet]:
        return self._packets(0)

    def fresh(self) -> Iterator[Packet]:
        """The packets written since the last call (since the beginning, the first time); what was counted before is let go.

        Take them before the next call.
        """
        start = self._fresh_from
        if start:
            self.truncated = False
            del self.statistics[:-1], self._clock[:-1]
            self._look(start)
        self._fresh_from = self._whole
        return self._packets(start, self._whole)

    def _packets(self, start: int, end: int | None = None) -> Iterator[Packet]:
        for at, kind, body in self._blocks(with_packets=True, start=start, end=end):
            if kind != PACKET:
                continue
            if len(body) < _PACKET.size:
                raise HarnessError(f"{self.path}: the packet at byte {at} has {len(body)} bytes; its head alone has {_PACKET.size}")
            interface, high, low, captured, original = _PACKET.unpack_from(body)
            if captured > len(body) - _PACKET.size:
                raise HarnessError(f"{self.path}: the packet at byte {at} says that it holds {captured} bytes; its block has {len(body)}")
            rest = body[20 + captured + len(_PADDING[captured & 3]) :]
            alone = len(rest) == 12 and rest[:4] == _FLAGS_ALONE  # as nearly all have it: nothing need be looked for
            options = {_EPB_FLAGS: rest[4:8]} if alone else dict(_options(rest))
            flags, comment = options.get(_EPB_FLAGS), options.get(_COMMENT)
            direction = int.from_bytes(flags, "little") & 3 if flags else 0
            time = high << 32 | low
            yield Packet(
                self._interface(at, interface),
                time,
                self.monotonic(time),
                body[20 : 20 + captured],
                original,
                direction == _OUTBOUND if direction else None,
                comment.decode(errors="replace") if comment is not None else None,
            )

    def _interface(self, at: int, number: int) -> str:
        if number >= len(self.interfaces):
            raise HarnessError(f"{self.path}: the block at byte {at} is of interface {number}; there are {len(self.interfaces)}")
        return self.interfaces[number]

    def _note(self, at: int, body: bytes) -> None:
        if len(body) < _STATISTICS.size:
            raise HarnessError(f"{self.path}: the statistics at byte {at} have {len(body)} bytes; their head alone has {_STATISTICS.size}")
        interface, high, low = _STATISTICS.unpack_from(body)
        options = list(_options(body[12:]))
        numbers = {code: int.from_bytes(value, "little") for code, value in options if code != _COMMENT}
        comment = "; ".join(value.decode(errors="replace") for code, value in options if code == _COMMENT)
        found = OFFSET.search(comment)
        time = high << 32 | low
        if found:
            self._clock.append((time, int(found[1])))
        received, dropped, written = (numbers.get(code, 0) for code in (_ISB_IFRECV, _ISB_OSDROP, _ISB_USRDELIV))
        self.statistics.append(Statistics(self._interface(at, interface), time, received, dropped, written, comment))

    def _blocks(self, *, with_packets: bool, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, bytes]]:
        """Where each whole block begins, its type, and what is in it; of packets only when asked for."""
        with self.path.open("rb") as file:
            file.seek(start)
            at = start
            while (end is None or at < end) and (head := file.read(8)):
                kind, length = _HEAD.unpack(head) if len(head) == 8 else (0, 0)
                if len(head) == 8 and (length < 12 or length % 4 or length > LARGEST or (at == 0 and kind != SECTION)):
                    raise HarnessError(f"{self.path}: byte {at} begins no block of a pcapng file of this harness")
                skipped = kind == PACKET and not with_packets
                if skipped:
                    file.seek(length - 12, io.SEEK_CUR)
                wanted = 4 if skipped else length - 8
                rest = file.read(max(wanted, 0))
                if len(rest) != wanted:
                    self.truncated = True
                    return
                body = rest[:-4]
                if rest[-4:] != length.to_bytes(4, "little"):
                    raise HarnessError(f"{self.path}: the block at byte {at} does not end with its length")
                if kind == SECTION and body[:4] != _MAGIC.to_bytes(4, "little"):
                    raise HarnessError(f"{self.path}: another byte order; only captures of this harness are read")
                self._whole = at + length
                yield at, kind, body
                at += length


def _options(raw: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(raw):
        code, length = struct.unpack_from("<HH", raw, at)
        if code == _END:
            return
        yield code, raw[at + 4 : at + 4 + length]
        at += 4 + length + len(_PADDING[length & 3])
