"""Datagrams between two hosts as captures and keys show them, made in memory: alice is the client, bob the server; times in ns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from harness.call.roq import encode_varint
from harness.fabric.udp_packets import UdpPacket
from harness.lab.crossings import Crossing, crossings
from harness.lab.decrypted import Packet, Sender
from harness.lab.frames import Frame
from harness.rtp.packet import RtpPacket

MS = 1_000_000
AUDIO, VIDEO, SCREEN, RTCP = 0x20, 0x21, 0x22, 0x23
ALICE, BOB = ("192.0.2.1", 5000), ("192.0.2.2", 4433)
ADDRESSES = {"alice": ALICE, "bob": BOB}


def rtp(number: int, *, ssrc: int = 7, kind: int = 111, ticks: int = 960, marker: bool = False, payload: bytes | None = None) -> bytes:
    """RTP packet ``number`` of a source that stamps ``ticks`` further each time; its payload differs from packet to packet."""
    return RtpPacket(
        payload_type=kind,
        sequence=number & 0xFFFF,
        timestamp=number * ticks & 0xFFFF_FFFF,
        ssrc=ssrc,
        marker=marker,
        payload=number.to_bytes(4, "big") * 20 + b"end" if payload is None else payload,
    ).encode()


def datagram(packet: bytes, flow: int = AUDIO) -> Frame:
    """A DATAGRAM frame with an RTP packet."""
    return Frame("DATAGRAM", {"data": encode_varint(flow) + packet})


def piece(stream: int, offset: int, data: bytes, *, fin: bool = False) -> Frame:
    """A STREAM frame."""
    return Frame("STREAM", {"stream": stream, "offset": offset, "data": data, "fin": fin})


def ack(*ranges: tuple[int, int]) -> Frame:
    """An ACK frame."""
    return Frame("ACK", {"ranges": list(ranges)})


def media_stream(packets: Iterable[bytes], flow: int = AUDIO) -> bytes:
    """All bytes of a stream with these RTP packets."""
    return encode_varint(flow) + b"".join(encode_varint(len(packet)) + packet for packet in packets)


def udp(
    host: str, at: int, payload: bytes, *, outgoing: bool, size: int = 0, path: str = "eth", peer: tuple[str, int] | None = None
) -> UdpPacket:
    """One captured UDP packet at ``host``; ``peer``: the other end's address there, as translated."""
    mine = ADDRESSES[host]
    other = peer or ADDRESSES["bob" if host == "alice" else "alice"]
    ends = (mine, other) if outgoing else (other, mine)
    return UdpPacket(f"{host}/{path}", at, at, outgoing, *ends, size or len(payload), payload)


@dataclass
class Wire:
    """What passed at both hosts, and the packets in it opened."""

    connection: str = "c1"
    sent: list[Packet] = field(default_factory=list)
    came: list[tuple[str, UdpPacket]] = field(default_factory=list)
    _offsets: dict[Sender, int] = field(default_factory=lambda: {"client": 0, "server": 0})

    def send(
        self,
        at: int,
        *frames: Frame,
        came: int | None = None,
        speaker: str = "alice",
        number: int | None = None,
        path: str = "eth",
        by: str = "eth",
        size: int = 0,
        peer: tuple[str, int] | None = None,
    ) -> Packet:
        """A 1-RTT packet leaves ``speaker`` by ``path`` at ``at``, and comes to the other side by ``by`` at ``came``, if ever."""
        number = len(self.sent) if number is None else number
        payload = f"{self.connection} {speaker} {number}".encode()
        sender: Sender = "client" if speaker == "alice" else "server"
        packet = Packet(udp(speaker, at, payload, outgoing=True, size=size, path=path), sender, self.connection, number, b"", tuple(frames))
        self.sent.append(packet)
        if came is not None:
            self.arrive(packet, came, by=by, peer=peer)
        return packet

    def arrive(self, packet: Packet, at: int, *, by: str = "eth", peer: tuple[str, int] | None = None) -> UdpPacket:
        """One copy of the datagram comes to the other side."""
        listener = "bob" if packet.sender == "client" else "alice"
        found = udp(listener, at, packet.udp.payload, outgoing=False, size=packet.udp.size, path=by, peer=peer)
        self.came.append((listener, found))
        return found

    def say(self, at: int, kind: str, *, came: int | None, speaker: str = "alice", call: str = "X") -> Packet:
        """A signalling message."""
        body = msgspec.json.encode({"type": kind, "session_id": call})
        data = encode_varint(len(body)) + body
        sender: Sender = "client" if speaker == "alice" else "server"
        offset = self._offsets[sender]
        self._offsets[sender] += len(data)
        return self.send(at, piece(0, offset, data), came=came, speaker=speaker)

    @property
    def captured(self) -> dict[str, list[UdpPacket]]:
        """By host, by time."""
        found: dict[str, list[UdpPacket]] = {"alice": [], "bob": []}
        for packet in self.sent:
            found["alice" if packet.sender == "client" else "bob"].append(packet.udp)
        for host, one in self.came:
            found[host].append(one)
        return {host: sorted(packets, key=lambda one: one.time) for host, packets in found.items()}

    def crossed(self, **held: int) -> list[Crossing]:
        """The packets on their way, by departure."""
        return crossings(self.captured, self.sent, {name.replace("_", "/"): time for name, time in held.items()})
