"""What a router answers when a packet is larger than the next hop takes: how a sender learns the path's MTU.

IPv4: ICMP type 3 code 4 with the next hop's MTU (RFC 792, RFC 1191 §4), with as much of the packet as fits into 576 bytes (RFC 1812
§4.3.2.3).  IPv6: ICMPv6 type 2 (RFC 4443 §3.2), with as much as fits into 1280.  Every such packet is answered: Linux's routers exempt just
these answers from their rate limits, since path MTU discovery would break (net/ipv4/icmp.c and net/ipv6/icmp.c: "don't limit PMTU
discovery").
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address

_ETHERNET, _V4, _V6 = 14, 20, 40
_ICMP, _ICMPV6 = 1, 58
_V4_ERRORS = (3, 4, 5, 11, 12)  # types that are never answered (RFC 1122 §3.2.2)
_V4_LARGEST, _V6_LARGEST = 576, 1280
_DONT_FRAGMENT = 0x4000


def answer_untrusted(frame: bytes, mtu: int, router: Mapping[int, IPv4Address | IPv6Address]) -> bytes | None:
    """The frame that tells the sender of ``frame`` that it is above ``mtu`` bytes; ``router``: per IP version who tells it.

    None where there is nobody to tell or nothing to be told: without an address of ``router`` in the packet's family, for packets to a
    group, fragments but the first, ICMP errors, and IPv4 packets without DF.  Those a router would fragment; here they are just gone.
    """
    version = {b"\x08\x00": 4, b"\x86\xdd": 6}.get(frame[12:14])
    if version is None or version not in router or frame[0] & 1:
        return None
    packet = frame[_ETHERNET:]
    make = _v4 if version == 4 else _v6
    answer = make(packet, mtu, router[version].packed)
    return None if answer is None else frame[6:12] + frame[0:6] + frame[12:14] + answer


def _v4(packet: bytes, mtu: int, source: bytes) -> bytes | None:
    header = (packet[0] & 15) * 4 if packet else 0
    if header < _V4 or len(packet) < header + 8:
        return None
    fragment = int.from_bytes(packet[6:8], "big")
    if not fragment & _DONT_FRAGMENT or fragment & 0x1FFF or (packet[9] == _ICMP and packet[header] in _V4_ERRORS):
        return None
    quoted = packet[: _V4_LARGEST - _V4 - 8]
    message = _summed(b"\3\4\0\0\0\0" + mtu.to_bytes(2, "big") + quoted, 2)
    # Precedence "internetwork control", as routers mark their ICMP errors (RFC 1812 §4.3.2.5).
    head = b"\x45\xc0" + (_V4 + len(message)).to_bytes(2, "big") + b"\0\0\0\0" + bytes([64, _ICMP]) + b"\0\0" + source + packet[12:16]
    return _summed(head, 10) + message


def _v6(packet: bytes, mtu: int, source: bytes) -> bytes | None:
    if len(packet) < _V6 + 8 or (packet[6] == _ICMPV6 and packet[_V6] < 128):  # errors are the types below 128
        return None
    quoted = packet[: _V6_LARGEST - _V6 - 8]
    message = b"\2\0\0\0" + mtu.to_bytes(4, "big") + quoted
    destination = packet[8:24]
    length = len(message)
    pseudo_header = source + destination + length.to_bytes(4, "big") + bytes([0, 0, 0, _ICMPV6])
    message = _summed(pseudo_header + message, len(pseudo_header) + 2)[len(pseudo_header) :]
    return b"\x60\0\0\0" + length.to_bytes(2, "big") + bytes([_ICMPV6, 64]) + source + destination + message


def _summed(data: bytes, at: int) -> bytes:
    """``data`` with its internet checksum (RFC 1071) at ``at``, where it has been 0."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(padded[n : n + 2], "big") for n in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return data[:at] + (0xFFFF - total).to_bytes(2, "big") + data[at + 2 :]
