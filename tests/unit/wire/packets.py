"""Packets for the translator's tests, made and taken apart by scapy, which knows nothing of our own code."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, ICMPerror, IPerror, UDPerror
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPerror6,
    IPv6,
)

from harness.spec.nat import Nat
from harness.wire.translator import Back, Forwarded, Translation, Translator

__all__ = ["ICMP", "IP", "TCP", "UDP", "ICMPerror", "ICMPv6DestUnreach", "ICMPv6EchoReply", "ICMPv6EchoRequest", "ICMPv6PacketTooBig"]
__all__ += ["ICMPv6TimeExceeded", "IPerror", "IPerror6", "IPv6", "UDPerror"]

End = tuple[str, int]
HOSTS = ("10.0.0.2", "10.0.0.3", "10.0.0.4")
HOSTS6 = ("fd00:1::2", "fd00:1::3")
POOL = ("203.0.113.2", "203.0.113.3", "2001:db8:1::2", "2001:db8:1::3")
SPARES = ("203.0.113.4", "203.0.113.5", "2001:db8:1::4", "2001:db8:1::5")
BOB, CAROL = "198.51.100.2", "198.51.100.3"
BOB6, CAROL6 = "2001:db8:b::2", "2001:db8:b::3"
SECOND = 1_000_000_000


def translator(nat: Nat, *, forwards: tuple[Forwarded, ...] = (), prefixes: Any = (), seed: int = 1) -> Translator:
    """A translator for ``nat`` with as many addresses as it asks for."""
    pool = (*POOL[: min(nat.pool, 2)], *POOL[2 : 2 + min(nat.pool, 2)])
    spares = (*SPARES[: min(nat.spare, 2)], *SPARES[2 : 2 + min(nat.spare, 2)])
    place = Translation(router="home", nat=nat, pool=pool, spares=spares, forwards=forwards, prefixes=prefixes)
    return Translator(place, seed)


def ip(source: str, to: str, **fields: Any) -> Any:
    """scapy's IP layer of the family of ``source``."""
    return IPv6(src=source, dst=to, **fields) if ":" in source else IP(src=source, dst=to, **fields)


def udp(source: End, to: End, payload: bytes = b"payload") -> bytes:
    """A UDP packet."""
    return bytes(ip(source[0], to[0]) / UDP(sport=source[1], dport=to[1]) / payload)


def opened(packet: bytes) -> Any:
    """scapy's view of a packet."""
    return (IPv6 if packet[0] >> 4 == 6 else IP)(packet)


def ends(packet: object) -> tuple[End, End]:
    """Source and destination of a UDP or TCP packet, or of one that is sent back; its checksums must be right."""
    data = packet.packet if isinstance(packet, Back) else packet
    assert isinstance(data, bytes), "it was dropped"
    check(data)
    seen = opened(data)
    layer = seen[TCP] if TCP in seen else seen[UDP]
    return (seen.src, layer.sport), (seen.dst, layer.dport)


def check(packet: bytes) -> None:
    """Every checksum is what scapy computes from scratch; a UDP checksum over IPv4 may be absent."""
    seen = opened(packet)
    again = seen.copy()
    layer = again
    while layer:
        for field in ("chksum", "cksum"):
            if field in layer.fields and not (type(layer) is UDP and layer.fields[field] == 0 and seen.version == 4):
                if isinstance(layer, IPerror | IPerror6 | UDPerror | ICMPerror):
                    continue  # quoted: looked at by the tests themselves
                delattr(layer, field)
        layer = layer.payload
    assert bytes(again) == packet
