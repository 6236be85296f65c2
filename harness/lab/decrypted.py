"""What was really said on the wire: the 1-RTT packets of a capture, opened with the run's key log.

The key log names secrets and not connections, and a packet names neither.  Which secret opens a packet is found by trying: AEAD says so
with certainty (RFC 9001 §5.3), and with it the sender, since each side has a secret of its own.  The lengths of connection ids are learnt
from the long headers; a key update is followed.  What no key opens is kept in ``sealed``, so that nobody takes silence for absence.

Handshake packets are passed over; only what a datagram holds behind them is looked at.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import msgspec
from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # public, but re-exported without saying so
from aioquic.quic.crypto import CryptoContext, CryptoError, apply_key_phase, next_key_phase  # type: ignore[attr-defined]  # as Buffer
from aioquic.quic.packet import QuicPacketType, QuicProtocolVersion, pull_quic_header
from aioquic.tls import CipherSuite

from harness.call.headers import CID_LENGTH
from harness.call.roq import FLOW_IDS, encode_varint
from harness.fabric.udp_packets import UdpPacket
from harness.lab.frames import Frame, parse_frames_untrusted
from harness.nesting import too_deep

Sender = Literal["client", "server"]

SIGNALLING_STREAM = 0
"""The client's first bidirectional stream (docs/architecture.md)."""
_LABELS: dict[str, Sender] = {"CLIENT_TRAFFIC_SECRET_0": "client", "SERVER_TRAFFIC_SECRET_0": "server"}
HANDSHAKE_SECRETS: dict[str, Sender] = {"CLIENT_HANDSHAKE_TRAFFIC_SECRET": "client", "SERVER_HANDSHAKE_TRAFFIC_SECRET": "server"}
_SUITES = {  # by the length of the secret, which is its hash's; the key log does not tell the suite
    32: (CipherSuite.AES_128_GCM_SHA256, CipherSuite.CHACHA20_POLY1305_SHA256),
    48: (CipherSuite.AES_256_GCM_SHA384,),
}
_LONG_HEADER = 0x80


@dataclass(frozen=True, slots=True)
class Packet:
    """One 1-RTT packet: the UDP packet that brought it, who made it, of which connection (its TLS client random, in hex).

    ``number``: the packet number.  ``destination``: the connection id that it is addressed to.
    """

    udp: UdpPacket
    sender: Sender
    connection: str
    number: int
    destination: bytes
    frames: tuple[Frame, ...]

    @property
    def at(self) -> int:
        """When it was captured: ns of CLOCK_MONOTONIC."""
        assert self.udp.monotonic is not None
        return self.udp.monotonic

    def having(self, name: str) -> list[Frame]:
        """Its frames of that name."""
        return [frame for frame in self.frames if frame.name == name]


@dataclass(frozen=True)
class Decrypted:
    """``packets``: those that a key opened, in the order of the capture; ``sealed``: UDP packets with a 1-RTT packet that none did."""

    packets: list[Packet]
    sealed: list[UdpPacket]

    @property
    def connections(self) -> list[str]:
        """All connections, in the order of their first packets."""
        return list(dict.fromkeys(packet.connection for packet in self.packets))

    def spare_ids(self, connection: str, sender: Sender) -> int:
        """How many of the connection ids that the other side gave to ``sender`` it had not used by the end: what is left for new paths."""
        mine = [packet for packet in self.packets if packet.connection == connection]
        used = {packet.destination for packet in mine if packet.sender == sender}
        given = {f.fields["connection_id"] for p in mine if p.sender != sender for f in p.having("NEW_CONNECTION_ID")}
        return len(given - used)

    def signals(self, connection: str) -> list[Signal]:
        """The signalling messages of both sides, in the order in which they were whole where the capture was made."""
        both = [one for sender in _LABELS.values() for one in signals(self.stream(connection, sender, SIGNALLING_STREAM))]
        return sorted(both, key=lambda one: one.packet.at)

    def datagrams(self, *flows: str) -> list[tuple[Packet, bytes]]:
        """The RTP or RTCP packets of ``flows`` that DATAGRAM frames carried, each with its QUIC packet, in the order of the capture."""
        ids = {encode_varint(FLOW_IDS[flow]) for flow in flows}
        frames = [(packet, frame.fields["data"]) for packet in self.packets for frame in packet.having("DATAGRAM")]
        return [(packet, data[1:]) for packet, data in frames if data[:1] in ids]  # every flow id takes one byte

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


class Key:
    """One side's secret of one connection, under one cipher suite that it may have been for."""

    def __init__(self, connection: str, sender: Sender, secret: bytes, suite: CipherSuite) -> None:
        self.connection = connection
        self.sender: Sender = sender
        self.largest = -1
        self._context = CryptoContext()
        self._context.setup(cipher_suite=suite, secret=secret, version=QuicProtocolVersion.VERSION_1)

    def open(self, packet: bytes, header: int) -> tuple[int, bytes] | None:
        """The packet number and the payload behind ``header`` bytes; None when this is not the key."""
        try:
            _plain, payload, number, updated = self._context.decrypt_packet(packet, header, self.largest + 1)
        except CryptoError:
            return None
        if updated:
            apply_key_phase(self._context, next_key_phase(self._context), "remote_update")
        self.largest = max(self.largest, number)
        return number, payload


class Keyring:
    """Keys in the order of their log, of which the probable are tried first.

    That is the one that opened the last packet to the same connection id, then those from the newest that opened anything on: connections
    come one after the other.
    """

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = keys
        self._newest = 0
        self._by_id: dict[bytes, int] = {}

    def __contains__(self, destination: bytes) -> bool:
        """Whether a packet to that connection id was opened."""
        return destination in self._by_id

    def open(self, packet: bytes, header: int, destination: bytes) -> tuple[Key, int, bytes] | None:
        """The key of ``packet``, which is to ``destination``, its number, and the payload behind ``header`` bytes; None without a key."""
        known = self._by_id.get(destination)
        probable = [] if known is None else [known]
        for place in chain(probable, range(self._newest, len(self._keys)), range(self._newest)):
            opened = self._keys[place].open(packet, header)
            if opened is not None:
                self._by_id[destination] = place
                self._newest = max(self._newest, place)
                return self._keys[place], *opened
        return None


def read_keys(log: Path, labels: Mapping[str, Sender] = _LABELS) -> list[Key]:
    """The application secrets of a key log (SSLKEYLOGFILE lines), or those of ``labels``; both sides may have written the same one.

    ValueError for bad hex.
    """
    lines = dict.fromkeys(tuple(line.split()) for line in log.read_text(encoding="ascii").splitlines())
    found = []
    for line in lines:
        if len(line) == 3 and line[0] in labels:
            secret = bytes.fromhex(line[2])
            found += [Key(line[1], labels[line[0]], secret, suite) for suite in _SUITES.get(len(secret), ())]
    return found


def decrypt(packets: Iterable[UdpPacket], keys: list[Key]) -> Decrypted:
    """Open what ``keys`` (``read_keys``, fresh) open of ``packets``, which are whole, in order of time, with their clock known."""
    ring = Keyring(keys)
    lengths = {CID_LENGTH}
    found = Decrypted([], [])
    for udp in packets:
        data = _short_header_untrusted(udp.payload, lengths)
        if data is None:
            continue
        for destination in sorted((data[1 : 1 + length] for length in lengths), key=lambda one: (one not in ring, len(one))):
            opened = ring.open(data, 1 + len(destination), destination)
            if opened is not None:
                key, number, payload = opened
                found.packets.append(Packet(udp, key.sender, key.connection, number, destination, parse_frames_untrusted(payload)))
                break
        else:
            found.sealed.append(udp)
    return found


def _short_header_untrusted(data: bytes, lengths: set[int]) -> bytes | None:
    """The 1-RTT packet in a datagram (always its last), or None; learns ``lengths`` of connection ids from the long headers before it."""
    buffer = Buffer(data=data)
    try:
        while not buffer.eof() and data[buffer.tell()] & _LONG_HEADER:
            start = buffer.tell()
            header = pull_quic_header(buffer)
            if header.packet_type is QuicPacketType.VERSION_NEGOTIATION:
                return None
            lengths.add(len(header.source_cid))
            buffer.seek(start + header.packet_length)
    except ValueError:
        return None
    rest = data[buffer.tell() :]
    return rest if rest and rest[0] & 0x40 else None
