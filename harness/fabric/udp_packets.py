"""The UDP packets in a capture: who sent what size to whom, and when; for judging agents by what was on the wire."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from harness.fabric.pcapng import Packet

_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
_UDP = 17
_FRAGMENT = 44
_EXTENSIONS = (0, 43, 60)  # hop-by-hop, routing, destination options: (next header, length in 8 bytes less one)


@dataclass(frozen=True, slots=True)
class UdpPacket:
    """One UDP packet: ``source`` and ``destination`` are (IP address as text, port), ``size`` its payload in bytes by its own header.

    ``time``: ns of CLOCK_REALTIME; ``monotonic``: of CLOCK_MONOTONIC, None when unknown; ``outgoing``: sent by the interface's host.
    ``payload``: as much of it as was captured.
    """

    interface: str
    time: int
    monotonic: int | None
    outgoing: bool | None
    source: tuple[str, int]
    destination: tuple[str, int]
    size: int
    payload: bytes


def udp_packets(packets: Iterable[Packet]) -> Iterator[UdpPacket]:
    """The UDP packets among ``packets`` (a ``pcapng.Reader``), in their order; of a fragmented one the first fragment only."""
    for packet in packets:
        found = _udp_untrusted(packet.data)
        if found is not None:
            source, destination, at = found
            from_port, to_port, length = struct.unpack_from("!HHH", packet.data, at)
            payload = packet.data[at + 8 : at + length]
            yield UdpPacket(
                packet.interface,
                packet.time,
                packet.monotonic,
                packet.outgoing,
                _endpoint(source, from_port),
                _endpoint(destination, to_port),
                max(length - 8, 0),
                payload,
            )


def datagram_untrusted(frame: bytes) -> tuple[int, bytes] | None:
    """The bytes of UDP payload that an Ethernet frame announces, and as much of it as is there; None for anything else."""
    found = _udp_untrusted(frame)
    if found is None:
        return None
    at = found[2]
    length = int.from_bytes(frame[at + 4 : at + 6], "big")
    return max(length - 8, 0), frame[at + 8 : at + length]


def endpoints_untrusted(frame: bytes) -> tuple[tuple[str, int], tuple[str, int], bytes] | None:
    """Source, destination and payload of a UDP packet in an Ethernet frame; None for anything else."""
    found = _udp_untrusted(frame)
    if found is None:
        return None
    source, destination, at = found
    from_port, to_port, length = struct.unpack_from("!HHH", frame, at)
    return _endpoint(source, from_port), _endpoint(destination, to_port), frame[at + 8 : at + length]


@lru_cache(1024)
def _endpoint(packed: bytes, port: int) -> tuple[str, int]:
    """One object for all packets of an endpoint; a capture of a long call has few of these, and very many packets."""
    return str(ip_address(packed)), port


def _udp_untrusted(frame: bytes) -> tuple[bytes, bytes, int] | None:
    """Source, destination (packed) and where the UDP header begins; None for anything else, malformed frames included."""
    kind = frame[12:14]
    if kind == _IPV4 and len(frame) >= 34:
        header = (frame[14] & 15) * 4
        fragment = int.from_bytes(frame[20:22], "big") & 0x1FFF
        at = 14 + header
        if frame[23] != _UDP or fragment or header < 20 or len(frame) < at + 8:
            return None
        return frame[26:30], frame[30:34], at
    if kind == _IPV6 and len(frame) >= 54:
        following, at = frame[20], 54
        while following != _UDP:
            if len(frame) < at + 8:
                return None
            if following in _EXTENSIONS:
                following, at = frame[at], at + 8 * (frame[at + 1] + 1)
            elif following == _FRAGMENT and not int.from_bytes(frame[at + 2 : at + 4], "big") & 0xFFF8:
                following, at = frame[at], at + 8
            else:
                return None
        if len(frame) < at + 8:
            return None
        return frame[22:38], frame[38:54], at
    return None
