"""What was really said on the wire: the 1-RTT packets of a capture, opened with the run's key log.

A packet names neither its secret nor its connection.  Which secret opens it is found by trying: AEAD says so with certainty (RFC 9001
§5.3), and with it the sender, since each side has a secret of its own.  QUIC versions 1 and 2, connection ids of any length and of none,
cleared QUIC bits (RFC 9287), key updates.  What no key opens is kept in ``sealed``, so that nobody takes silence for absence: every
datagram with a short header between endpoints of QUIC is either opened or sealed.

Handshake packets are passed over; only what a datagram holds behind them is looked at.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec
from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # public, but re-exported without saying so

from harness.fabric.udp_packets import UdpPacket
from harness.lab.flow_names import FlowNames
from harness.lab.frames import Frame, parse_frames_untrusted
from harness.lab.quic_headers import LONGEST_ID, QUIC_BIT, outside_untrusted
from harness.lab.quic_keys import APPLICATION_SECRETS, Keyring, Opened, Secret, Sender, read_keys
from harness.nesting import too_deep

__all__ = [
    "SIGNALLING_STREAM",
    "Decrypted",
    "Opener",
    "Packet",
    "Sender",
    "Signal",
    "Stream",
    "Unopened",
    "decrypt",
    "read_keys",
    "signals",
]
SIGNALLING_STREAM = 0
"""The client's first bidirectional stream (docs/architecture.md)."""
_RUN = 5
"""Datagrams in a row that no key opens, on a connection of which others were opened, from which its keys no longer open it.  One or two may
be stateless resets (RFC 9000 §10.3), which look like packets with short headers."""
_PATIENCE = 16
"""Datagrams in a row between two endpoints that no key opens, after which only every so many is tried with everything there is."""
_COPIES = 8_192
"""Datagrams of which a copy is known by its bytes."""

_Ends = tuple[tuple[str, int], tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Packet:
    """One 1-RTT packet: the UDP packet that brought it, who made it, of which connection (its TLS client random, in hex).

    ``number``: the packet number.  ``destination``: the connection id that it is addressed to.  ``copy``: a packet of this number was
    opened before, be it a duplicate of the network or a replay: a receiver takes nothing from it.
    """

    udp: UdpPacket
    sender: Sender
    connection: str
    number: int
    destination: bytes
    frames: tuple[Frame, ...]
    copy: bool = False

    @property
    def at(self) -> int:
        """When it was captured: ns of CLOCK_MONOTONIC."""
        assert self.udp.monotonic is not None
        return self.udp.monotonic

    def having(self, name: str) -> list[Frame]:
        """Its frames of that name."""
        return [frame for frame in self.frames if frame.name == name]

    @property
    def has_media(self) -> bool:
        """Whether RTP is in it, or bytes of a unidirectional stream, on which a call has nothing but media; padding of a probe is none."""
        if any(frame.fields["stream"] & 2 and frame.fields["data"] for frame in self.having("STREAM")):
            return True
        named = (FlowNames().of_datagram_untrusted(frame.fields["data"]) for frame in self.having("DATAGRAM"))
        return any(one is not None and one[0] != "rtcp" for one in named)

    @property
    def unreadable(self) -> int:
        """How many of its bytes are behind a frame whose layout is not known."""
        return sum(len(frame.fields["data"]) for frame in self.frames if frame.name == "UNREADABLE")


class Unopened(NamedTuple):
    """``datagrams`` that left ``sender`` of ``connection`` in a row, so many, and that no key opens although earlier ones were.

    ``since``, ``until``: when the first and the last of them were captured, ns of CLOCK_MONOTONIC.
    """

    connection: str
    sender: Sender
    since: int
    until: int
    datagrams: int


class Tally(NamedTuple):
    """Of one side of a connection: how many 1-RTT packets were opened and how many were not; of the opened, how many are ``unreadable``.

    Those are packets with a frame whose layout is not known, behind which nothing can be told.
    """

    opened: int
    sealed: int
    unreadable: int


@dataclass(frozen=True)
class Decrypted:
    """``packets``: those that a key opened, in the order of the capture; ``sealed``: UDP packets with a 1-RTT packet that none did.

    ``owners``: whose each sealed one is, as far as its endpoints or its connection id tell: connection and sender, else None.
    """

    packets: list[Packet]
    sealed: list[UdpPacket]
    owners: list[tuple[str, Sender] | None] = field(default_factory=list)

    @property
    def connections(self) -> list[str]:
        """All connections, in the order of their first packets."""
        return list(dict.fromkeys(packet.connection for packet in self.packets))

    def tallies(self) -> dict[tuple[str, Sender], Tally]:
        """What was opened and what was not, by connection and sender; what is nobody's is in none."""
        opened = Counter((packet.connection, packet.sender) for packet in self.packets)
        unreadable = Counter((packet.connection, packet.sender) for packet in self.packets if packet.unreadable)
        sealed = Counter(filter(None, self.owners))
        return {key: Tally(opened[key], sealed[key], unreadable[key]) for key in {**opened, **sealed}}

    def unopened(self) -> list[Unopened]:
        """Where keys that opened a connection's packets open those that its sender sent later no more, each stretch.

        Only what left the host of the capture counts: what comes to it may be anybody's.
        """
        line = [(packet.udp, (packet.connection, packet.sender), True) for packet in self.packets]
        line += [(udp, owner, False) for udp, owner in zip(self.sealed, self.owners, strict=True) if owner is not None]
        line.sort(key=lambda one: one[0].time)
        found: list[Unopened] = []
        runs: dict[tuple[str, Sender], list[UdpPacket]] = {}
        for udp, owner, opened in line:
            if opened:
                found += _stretch(owner, runs.get(owner, []))
                runs[owner] = []
            elif owner in runs and udp.outgoing is not False:
                runs[owner].append(udp)
        for owner, run in runs.items():
            found += _stretch(owner, run)
        return sorted(found, key=lambda one: one.since)

    def spare_ids(self, connection: str, sender: Sender) -> int | None:
        """How many of the connection ids that the other side gave to ``sender`` it had not used by the end: what is left for new paths.

        None where the other side has zero-length ids: it needs none, and cannot give any (RFC 9000 §5.1.1).
        """
        mine = [packet for packet in self.packets if packet.connection == connection]
        used = {packet.destination for packet in mine if packet.sender == sender}
        if used == {b""}:
            return None
        given = {f.fields["connection_id"] for p in mine if p.sender != sender for f in p.having("NEW_CONNECTION_ID")}
        return len(given - used)

    def signals(self, connection: str) -> list[Signal]:
        """The signalling messages of both sides, in the order in which they were whole where the capture was made."""
        both = [one for sender in APPLICATION_SECRETS.values() for one in signals(self.stream(connection, sender, SIGNALLING_STREAM))]
        return sorted(both, key=lambda one: one.packet.at)

    def datagrams(self, *flows: str) -> list[tuple[Packet, bytes]]:
        """The RTP or RTCP packets of ``flows`` that DATAGRAM frames carried, each with its QUIC packet, in the order of the capture."""
        names: dict[tuple[str, Sender], FlowNames] = defaultdict(FlowNames)
        found: list[tuple[Packet, bytes]] = []
        for packet in self.packets:
            for frame in packet.having("DATAGRAM"):
                media = names[packet.connection, packet.sender].of_datagram_untrusted(frame.fields["data"])
                if media is not None and media[0] in flows:
                    found.append((packet, media[1]))
        return found

    def stream(self, connection: str, sender: Sender, number: int) -> Stream:
        """What ``sender`` wrote to stream ``number``, put together."""
        stream = Stream()
        for packet in self.packets:
            if packet.connection == connection and packet.sender == sender:
                for frame in packet.having("STREAM"):
                    if frame.fields["stream"] == number:
                        stream.add(packet, frame)
        return stream


@dataclass
class Stream:
    """A stream's bytes as far as they are without a hole; ``ended`` once its last byte is there too."""

    data: bytearray = field(default_factory=bytearray)
    _pieces: list[tuple[int, Packet]] = field(default_factory=list)
    _early: dict[int, bytes] = field(default_factory=dict)
    _starts: list[int] = field(default_factory=list)
    """Of what is early, as a heap."""
    _final: int | None = None

    @property
    def ended(self) -> bool:
        """Whether all of it is there."""
        return self._final == len(self.data)

    def add(self, packet: Packet, frame: Frame) -> None:
        """Take a STREAM frame that came in ``packet``: in any order, any number of times, overlapping."""
        offset, data = frame.fields["offset"], frame.fields["data"]
        if frame.fields["fin"]:
            self._final = offset + len(data)
        if offset not in self._early:
            heapq.heappush(self._starts, offset)
        if len(data) >= len(self._early.get(offset, b"")):
            self._early[offset] = data
        before = len(self.data)
        while self._starts and self._starts[0] <= len(self.data):
            start = heapq.heappop(self._starts)
            self.data += self._early.pop(start)[len(self.data) - start :]
        if len(self.data) > before:
            self._pieces.append((len(self.data), packet))

    def completed(self, end: int) -> Packet:
        """The packet with which the first ``end`` bytes had come."""
        return next(packet for stop, packet in self._pieces if stop >= end)


@dataclass(frozen=True, slots=True)
class Signal:
    """One signalling message as it stands on the wire, the packet that completed it, and its sender."""

    sender: Sender
    packet: Packet
    message: dict[str, Any]


def signals(stream: Stream) -> list[Signal]:
    """The messages of a signalling stream: JSON objects, each after its length.  ValueError for bytes that are none."""
    buffer = Buffer(data=bytes(stream.data))
    found = []
    while not buffer.eof():
        body = buffer.pull_bytes(buffer.pull_uint_var())
        packet = stream.completed(buffer.tell())
        found.append(Signal(packet.sender, packet, decoded(body)))
    return found


def decoded(body: bytes) -> dict[str, Any]:
    """A signalling message's fields, whatever they are; ValueError for what is no JSON object."""
    if deep := too_deep(body):
        raise ValueError(f"a message cannot be read: {deep}")
    found: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    return found


def _stretch(owner: tuple[str, Sender], run: list[UdpPacket]) -> list[Unopened]:
    if len(run) < _RUN:
        return []
    return [Unopened(*owner, run[0].monotonic or run[0].time, run[-1].monotonic or run[-1].time, len(run))]


def has_short_header(udp: UdpPacket) -> bool:
    """Whether the last packet in a datagram has a short header, or would, were it QUIC."""
    return outside_untrusted(udp.payload).short is not None


class Opener:
    """Opens datagrams one after the other, in order of time, of one host or of several.

    ``secrets`` are used up: take fresh ones (``read_keys``) for each.
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._ring = Keyring(secrets)
        self._lengths: set[int] = set()
        """Of connection ids: of those in long headers and NEW_CONNECTION_ID frames, and of those that packets were opened to."""
        self._last: dict[_Ends, tuple[Secret, int]] = {}
        """By source and destination: what opened the last packet, and the length of its connection id."""
        self._failures: Counter[_Ends] = Counter()
        self._endpoints: set[tuple[str, int]] = set()
        self._recent: dict[bytes, Packet] = {}

    def add(self, secrets: Iterable[Secret]) -> None:
        """Take secrets that were logged since.  Datagrams that could not be opened may be given to ``open`` again."""
        self._ring.add(secrets)
        self._failures.clear()

    def of_quic(self, udp: UdpPacket) -> bool:
        """Whether one of its endpoints is known to speak QUIC: long headers, or packets that were opened."""
        return udp.source in self._endpoints or udp.destination in self._endpoints

    def owner(self, udp: UdpPacket) -> tuple[str, Sender] | None:
        """Whose the packet with a short header in ``udp`` probably is: by its connection id, else by its endpoints."""
        short = outside_untrusted(udp.payload).short
        ends = (udp.source, udp.destination)
        for length in sorted(self._lengths - {0}, reverse=True) if short is not None else ():
            assert short is not None
            secret = self._ring.of_id(udp.payload[short + 1 : short + 1 + length])
            if secret is not None:
                return secret.connection, secret.sender
        known = self._last.get(ends)
        return None if known is None else (known[0].connection, known[0].sender)

    def open(self, udp: UdpPacket) -> Packet | None:
        """The 1-RTT packet in ``udp`` (always its last); None when there is none (``has_short_header``), or no key opens it."""
        data = udp.payload
        outside = outside_untrusted(data)
        for header in outside.long:
            self._endpoints.update((udp.source, udp.destination))
            if header.kind != "Version Negotiation":
                self._lengths.add(len(header.source))
        if outside.short is None:
            return None
        if (known := self._recent.get(data)) is not None:
            return replace(known, udp=udp, copy=True)
        packet = data[outside.short :] if outside.short else data
        found = self._open(packet, (udp.source, udp.destination))
        if found is None:
            return None
        secret, opened, length = found
        frames = parse_frames_untrusted(opened.payload)
        self._learn(secret, frames)
        self._endpoints.update((udp.source, udp.destination))
        made = Packet(udp, secret.sender, secret.connection, opened.number, packet[1 : 1 + length], frames, opened.copy)
        if len(self._recent) >= _COPIES:
            del self._recent[next(iter(self._recent))]
        self._recent[data] = made
        return made

    def decrypt(self, packets: Iterable[UdpPacket]) -> Decrypted:
        """Open ``packets``, which are whole, by time, with their clock known, and come after those of earlier calls.

        What is not opened at first is tried again when all have been seen: the packet that tells the length of its connection id may have
        come later.  What is sealed may be given again in a later call, with secrets that were added since.
        """
        opened: list[tuple[int, Packet]] = []
        sealed: list[tuple[int, UdpPacket]] = []
        for place, udp in enumerate(packets):
            found = self.open(udp)
            if found is not None:
                opened.append((place, found))
            elif has_short_header(udp):
                sealed.append((place, udp))
        self._failures.clear()
        left: list[UdpPacket] = []
        for place, udp in sealed:
            found = self.open(udp)
            if found is not None:
                opened.append((place, found))
            elif self.of_quic(udp) or (not self._endpoints and udp.payload[0] & QUIC_BIT):
                left.append(udp)
        opened.sort(key=lambda one: one[0])
        return Decrypted([packet for _, packet in opened], left, [self.owner(udp) for udp in left])

    def _open(self, packet: bytes, ends: _Ends) -> tuple[Secret, Opened, int] | None:
        last = self._last.get(ends)
        if last is not None and (opened := last[0].open(packet, 1 + last[1])) is not None:
            return last[0], opened, last[1]
        found = self._search(packet, ends)
        if found is None:
            self._failures[ends] += 1
            return None
        secret, _, length = found
        self._failures[ends] = 0
        self._last[ends] = secret, length
        self._lengths.add(length)
        return found

    def _search(self, packet: bytes, ends: _Ends) -> tuple[Secret, Opened, int] | None:
        """With every secret and length of connection ids, the probable first; with those alone that are known, where nothing opens."""
        ids = {length: packet[1 : 1 + length] for length in self._lengths}
        lengths = sorted(ids, key=lambda length: (ids[length] not in self._ring, -length))
        failures = self._failures[ends]
        if failures >= _PATIENCE and failures % _PATIENCE:
            for length in lengths:
                secret = self._ring.of_id(ids[length])
                if secret is not None and (opened := secret.open(packet, 1 + length)) is not None:
                    return secret, opened, length
            return None
        others = [length for length in range(LONGEST_ID + 1) if length not in self._lengths]
        for length in lengths or others:
            found = self._ring.open(packet, 1 + length, packet[1 : 1 + length])
            if found is not None:
                return *found, length
        for length in others if lengths else ():  # an id of another length, given out in a packet that was not captured here
            for secret in self._ring.expected:
                if (opened := secret.open(packet, 1 + length)) is not None:
                    return secret, opened, length
        return None

    def _learn(self, secret: Secret, frames: tuple[Frame, ...]) -> None:
        """The connection ids that a side gives out are those of the packets that come to it."""
        for frame in frames:
            if frame.name in ("NEW_CONNECTION_ID", "PATH_NEW_CONNECTION_ID"):
                issued: bytes = frame.fields["connection_id"]
                self._lengths.add(len(issued))
                if issued and (pair := self._ring.pair(secret)) is not None:
                    self._ring.learn(issued, pair)


def decrypt(packets: Iterable[UdpPacket], keys: Iterable[Secret]) -> Decrypted:
    """Open what ``keys`` (``read_keys``, fresh) open of ``packets``, which are whole, in order of time, with their clock known.

    They may be of one host or what left several.
    """
    return Opener(keys).decrypt(packets)
