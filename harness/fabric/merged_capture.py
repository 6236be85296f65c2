"""One capture of a whole run: the captures of all interfaces in one pcapng file, in order of time, with secrets and comments in it.

The one exception to the order is ``handshake_order``'s, without which Wireshark could not open what has passed a NAT.
Blocks are copied as they are but for the interface's number.  Each file is read a piece at a time, and what is surely older than anything
still unread is sorted and written, so that memory does not grow with the length of the run.  A file that ends within a block (its writer
was killed) or has something else in it is taken as far as it goes, and named in the answer; so is one of which parts were let go.

A ``Mark`` is a comment at an instant: on the first packet at or after it, at one of its interfaces if one has any ``SOON``, else at any.
What comes after the last packet of all stands on that one, and says so.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from harness import rotation, whole
from harness.fabric import pcapng
from harness.fabric.base import Direction, brief, impairment_of
from harness.fabric.handshake_order import HandshakeOrder, Record
from harness.spec.topology import Port
from harness.units import Duration, ms, s

SOON = 200 * ms
"""How long after an instant a packet at the interface itself is taken rather than an earlier one elsewhere."""
_PIECE = 1 << 18  # bytes of one file that are read at a time
_SLACK = 10 * ms  # packets of one file may stand so much out of order: two processors stamp them
_ABREAST = 1 * s
_COMMENT_LIMIT = 1_000  # characters
_SECRETS_LIMIT = 1 << 20  # bytes: some 3,000 connections
_SECRET = re.compile(rb"[A-Z][A-Z0-9_]{0,63} [0-9a-fA-F]{64} [0-9a-fA-F]{64,128}")
_IF_DESCRIPTION, _IF_IPV4, _IF_IPV6 = 3, 4, 5
_HEAD = struct.Struct("<IIIII")  # type, length, interface, time's upper and lower half: alike in packets and statistics
_NUMBER = struct.Struct("<I")
_LEAST = _HEAD.size
_LEAST_TIMED = 24
_AROUND = 32  # bytes of a packet's block beside the frame
_TIMED = (pcapng.PACKET, pcapng.STATISTICS)

_Sample = tuple[int, int]
"""CLOCK_MONOTONIC, and by how much CLOCK_REALTIME was ahead of it, ns."""
_time = itemgetter(0)


@dataclass(frozen=True, slots=True)
class Mark:
    """``text`` at the instant ``at`` (ns of CLOCK_MONOTONIC), best at one of ``interfaces`` (``node/interface``)."""

    at: int
    text: str
    interfaces: tuple[str, ...] = ()


@dataclass
class Merged:
    """What was written: packets, the secrets of how many lines, comments, bytes.

    ``cut``: captures of which less was there than was written, and why; ``unplaced``: marks for which there was no packet, or no clock;
    ``secrets_left_out``: lines of the key log that are none, or too many.
    """

    interfaces: list[str] = field(default_factory=list)
    packets: int = 0
    secrets: int = 0
    secrets_left_out: int = 0
    comments: int = 0
    size: int = 0
    cut: dict[str, str] = field(default_factory=dict)
    unplaced: list[Mark] = field(default_factory=list)


def merge(
    captures: Mapping[str, Path],
    out: Path,
    *,
    ports: Mapping[str, Port] | None = None,
    key_log: bytes = b"",
    marks: Sequence[Mark] = (),
    about: str = "",
) -> Merged:
    """Write the ``captures`` (one per interface, which names it) to ``out``, whole or not at all, readable by its owner alone.

    ``ports``: what the interfaces are, for their descriptions.  ``about``: the comment of the whole.  Raises OSError as the files give it.
    """
    merged = Merged(interfaces=list(captures))
    clock: list[_Sample] = []
    sources = [_Source(path, number, clock) for number, path in enumerate(captures.values())]
    try:
        with whole.fresh(out, 0o600) as file:
            file.write(pcapng.section(plain(about)))
            for name, source in zip(captures, sources, strict=True):
                file.write(pcapng.interface(name, source.snap, _described((ports or {}).get(name))))
            lines = _secrets(key_log, merged)
            if lines:
                file.write(pcapng.secrets(lines))
            _Merge(sources, clock, merged, marks, file).run()
            merged.size = file.tell()
    finally:
        for source in sources:
            source.close()
    for (name, path), source in zip(captures.items(), sources, strict=True):
        if why := "; ".join(filter(None, (rotation.gone(path), source.cut))):
            merged.cut[name] = why
    return merged


def plain(text: str) -> str:
    """``text`` as it may stand in a comment: one line of characters that can be seen, and not too many."""
    shown = "".join(c if c.isprintable() else "�" for c in text[: _COMMENT_LIMIT + 1])
    return shown if len(shown) <= _COMMENT_LIMIT else shown[: _COMMENT_LIMIT - 1] + "…"


def _secrets(key_log: bytes, merged: Merged) -> bytes:
    """The lines of a key log that are secrets, each once: both sides of a connection may have written it."""
    lines = [line.strip() for line in key_log.splitlines()]
    found = dict.fromkeys(line for line in lines if _SECRET.fullmatch(line))
    kept, size = [], 0
    for line in found:
        size += len(line) + 1
        if size <= _SECRETS_LIMIT:
            kept.append(line)
    merged.secrets = len(kept)
    merged.secrets_left_out = sum(bool(line) and not line.startswith(b"#") and line not in found for line in lines) + len(found) - len(kept)
    return b"".join(line + b"\n" for line in kept)


def _described(port: Port | None) -> bytes:
    """The options that say what an interface is: its addresses, what it leads to, and what its link was built to do."""
    if port is None:
        return b""
    addresses = [address for address in (port.v4, port.v6) if address is not None]
    words = [f"{port.node}, interface {port.name}", *map(str, addresses), f"linked to {port.peer}"]
    ways: tuple[Direction, Direction] = ("a_to_b", "b_to_a") if port.path == port.link.a else ("b_to_a", "a_to_b")
    for word, way in zip(("out", "in"), ways, strict=True):
        asked = brief(impairment_of(port.link, way))
        words += [f"{word}: {' '.join(f'{key} {value}' for key, value in asked.items())}"] if asked else []
    options = pcapng.option(_IF_DESCRIPTION, plain(", ".join(words)).encode())
    for address in addresses:
        if address.version == 4:
            options += pcapng.option(_IF_IPV4, address.packed + address.netmask.packed)
        else:
            options += pcapng.option(_IF_IPV6, address.packed + bytes([address.network.prefixlen]))
    return options


class _Source:
    """One interface's file with its later parts (``harness.rotation``), read a piece at a time.

    ``latest``: the latest time of what was read so far; ``cut``: why it was not read to its end.  What it tells of the clocks goes to
    ``clock``, which is kept in order.
    """

    def __init__(self, path: Path, number: int, clock: list[_Sample]) -> None:
        first, *self._later = rotation.parts(path) or [path]
        self._file: BinaryIO = first.open("rb")
        self._number = _NUMBER.pack(number), number
        self._rest = b""
        self.latest = -1
        self.ended = False
        self.cut = ""
        self.snap = 0
        self._clock = clock
        self._first = self._more()  # with the file's head in it

    def close(self) -> None:
        self._file.close()

    def read(self) -> list[Record]:
        """The next blocks; there are some until it has ``ended``, and may be some then."""
        records, self._first = self._first, []
        return records or self._more()

    def _more(self) -> list[Record]:
        records: list[Record] = []
        while not records and not self.ended:
            self._piece(records)
        return records

    def _piece(self, records: list[Record]) -> None:
        while not (fresh := self._file.read(_PIECE)) and self._later:
            self._file.close()
            self._file = self._later.pop(0).open("rb")
        begins = self._file.tell() - len(fresh) - len(self._rest)
        data, at, (packed, number), unpack = bytearray(self._rest + fresh), 0, self._number, _HEAD.unpack_from
        while len(data) - at >= _LEAST:
            kind, length, _, high, low = unpack(data, at)
            if not (_LEAST_TIMED if kind in _TIMED else 12) <= length <= pcapng.LARGEST or length % 4:
                self._damaged(begins + at)
                return
            if at + length > len(data):
                break
            if data[at + length - 4 : at + length] != data[at + 4 : at + 8]:
                self._damaged(begins + at)
                return
            if kind == pcapng.PACKET and int.from_bytes(data[at + 20 : at + 24], "little") > length - _AROUND:
                self._damaged(begins + at)
                return
            if kind in _TIMED:
                data[at + 8 : at + 12] = packed
                time = high << 32 | low
                block = data[at : at + length]
                records.append((time, number, block))
                if time > self.latest:
                    self.latest = time
                if kind == pcapng.STATISTICS:
                    self._sample(time, block)
            elif kind == pcapng.INTERFACE:
                self.snap = int.from_bytes(data[at + 12 : at + 16], "little")
            at += length
        self._rest = bytes(data[at:])
        if not fresh:
            self.ended = True
            self.cut = "it ends within a block" if self._rest else ""

    def _damaged(self, at: int) -> None:
        self.ended, self.cut = True, f"byte {at} begins no block of a pcapng file"

    def _sample(self, time: int, block: bytearray) -> None:
        found = pcapng.OFFSET.search(block.decode("latin-1"))
        if found:
            insort(self._clock, (time - int(found[1]), int(found[1])))


class _Merge:
    """The blocks of all ``sources`` into ``file``, in order of time."""

    def __init__(self, sources: list[_Source], clock: list[_Sample], merged: Merged, marks: Sequence[Mark], file: BinaryIO) -> None:
        self._sources = sources
        self._clock = clock
        self._merged = merged
        self._marks = sorted(marks, key=lambda mark: mark.at)
        self._file = file
        self._held: list[Record] = []
        self._order = HandshakeOrder()

    def run(self) -> None:
        """All of it."""
        for source in self._sources:
            self._held += source.read()
        while live := [source for source in self._sources if not source.ended]:
            slowest = min(source.latest for source in live)
            self._held.sort(key=_time)  # what is held is in order already, and so is what is new: they are merged
            self._write(self._safe(slowest - _SLACK.ns))
            for source in live:
                if source.latest <= slowest + _ABREAST.ns:  # the others at once with it: what is held is sorted less often
                    self._held += source.read()
        self._held.sort(key=_time)
        self._write(len(self._held), last=True)

    def _safe(self, until: int) -> int:
        """How many of the blocks held may go: none that decides where a mark stands, nor the last packet, which later marks may need."""
        for mark in reversed(self._marks):
            at = self._instant(mark)
            if at is not None and at <= until < at + SOON.ns:
                until = at - 1
        count = bisect_right(self._held, until, key=_time)
        while count and not any(_is_packet(record) for record in self._held[count:]):
            count -= 1
        return count

    def _write(self, count: int, last: bool = False) -> None:
        batch, self._held = self._held[:count], self._held[count:]
        comments: dict[int, list[str]] = {}
        left = []
        for mark in self._marks:
            place, text = self._place(mark, batch, last)
            if place is None:
                left.append(mark)
            else:
                comments.setdefault(place, []).append(text)
        self._marks = left
        for place, texts in comments.items():
            time, number, block = batch[place]
            batch[place] = time, number, pcapng.commented(bytes(block), texts)
            self._merged.comments += len(texts)
        arranged = self._order.arrange(batch) + (self._order.rest() if last else [])
        self._file.write(b"".join([block for _, _, block in arranged]))
        self._merged.packets += [block[0] for _, _, block in batch].count(pcapng.PACKET)
        if last:
            self._merged.unplaced = left

    def _place(self, mark: Mark, batch: list[Record], last: bool) -> tuple[int | None, str]:
        """Which block of ``batch`` gets the mark, if one does, and in what words."""
        at, text = self._instant(mark), plain(mark.text)
        if at is None or not batch or (at > batch[-1][0] and not last):
            return None, text
        first = bisect_left(batch, at, key=_time)
        wanted = {number for number, name in enumerate(self._merged.interfaces) if name in mark.interfaces}
        packets = [place for place in range(first, bisect_right(batch, at + SOON.ns, key=_time)) if _is_packet(batch[place])]
        found = next((place for place in packets if batch[place][1] in wanted), None)
        if found is None:
            found = next((place for place in range(first, len(batch)) if _is_packet(batch[place])), None)
        if found is None and last:
            found = next((place for place in reversed(range(first)) if _is_packet(batch[place])), None)
            if found is not None:
                text = plain(f"{text} ({Duration(at - batch[found][0])} after this packet, the last)")
        return found, text

    def _instant(self, mark: Mark) -> int | None:
        """A mark's instant on CLOCK_REALTIME, by the last sample of both clocks before it (else the first); None without any."""
        if not self._clock:
            return None
        place = bisect_right(self._clock, (mark.at, 1 << 63)) - 1
        return mark.at + self._clock[max(place, 0)][1]


def _is_packet(record: Record) -> bool:
    return record[2][0] == pcapng.PACKET
