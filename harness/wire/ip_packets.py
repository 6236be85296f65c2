"""IP packets as a translator sees them: which endpoints they name, and the same packet with others.

Checksums are updated by the difference (RFC 1624, equation 3), so one that was wrong stays wrong and the receiver still finds it out.
Sums of 16-bit words in one's complement are remainders modulo 65535, since 2^16 leaves 1.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
ICMPS = {4: ICMP, 6: ICMP6}
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION = 0, 43, 44, 60
_EXTENSIONS = (_HOP_BY_HOP, _ROUTING, _DESTINATION)
_CHECKSUM_AT = {UDP: 6, TCP: 16, ICMP: 2, ICMP6: 2}
ECHOES = {ICMP: {8: "request", 0: "reply"}, ICMP6: {128: "request", 129: "reply"}}
ERRORS = {ICMP: (3, 11, 12), ICMP6: (1, 2, 3, 4)}
"""Unreachable (with too big), time exceeded, parameter problem: RFC 792, RFC 4443."""

Endpoint = tuple[bytes, int]
"""A packed address and a port; of ICMP echo the identifier."""


class Reason(StrEnum):
    """Why a packet is not let through."""

    MALFORMED = "malformed"
    FRAGMENT = "fragment"
    PROTOCOL = "protocol"
    NO_MAPPING = "no_mapping"
    FILTERED = "filtered"
    REBOUND = "rebound"
    HAIRPIN_OFF = "hairpin_off"
    PORTS_EXHAUSTED = "ports_exhausted"
    NOT_OURS = "not_ours"
    PREFIX = "prefix"


class Headers(NamedTuple):
    """Where things stand in a packet.  ``at``: where its transport header begins.

    ``source`` and ``destination`` are endpoints; of an ICMP echo both have the identifier as port.  ``error``: it is an ICMP error, whose
    endpoints have port 0.  ``echo``: "request" or "reply".  ``whole``: False for a first fragment.
    """

    version: int
    protocol: int
    at: int
    source: Endpoint
    destination: Endpoint
    error: bool = False
    echo: str | None = None
    whole: bool = True


def parse(data: bytes, quoted: bool = False) -> Headers | Reason:
    """The headers of an IP packet, or why there are none that could be translated.

    ``quoted``: it is the beginning of a packet inside an ICMP error, of which 8 bytes behind the IP header are enough.
    """
    if not data:
        return Reason.MALFORMED
    version = data[0] >> 4
    if version == 4:
        found = _transport4(data, quoted)
    elif version == 6:
        found = _transport6(data, quoted)
    else:
        return Reason.MALFORMED
    if isinstance(found, Reason):
        return found
    protocol, at, end, whole = found
    source, destination = (data[12:16], data[16:20]) if version == 4 else (data[8:24], data[24:40])
    room = end - at
    if protocol in (UDP, TCP):
        if room < (8 if quoted or protocol == UDP else 20):
            return Reason.MALFORMED
        ports = int.from_bytes(data[at : at + 4], "big")
        return Headers(version, protocol, at, (source, ports >> 16), (destination, ports & 0xFFFF), whole=whole)
    if protocol == ICMPS[version]:
        if room < 8:
            return Reason.MALFORMED
        kind = data[at]
        if kind in ERRORS[protocol]:
            return Headers(version, protocol, at, (source, 0), (destination, 0), error=True, whole=whole)
        if kind in ECHOES[protocol]:
            identifier = data[at + 4] << 8 | data[at + 5]
            echo = ECHOES[protocol][kind]
            return Headers(version, protocol, at, (source, identifier), (destination, identifier), echo=echo, whole=whole)
    return Reason.PROTOCOL


def _transport4(data: bytes, quoted: bool) -> tuple[int, int, int, bool] | Reason:
    """Protocol, where its header begins, where the packet ends, whether it is a whole one."""
    header = (data[0] & 15) * 4
    if header < 20 or len(data) < header:
        return Reason.MALFORMED
    length = data[2] << 8 | data[3]
    if length < header or (not quoted and length > len(data)):
        return Reason.MALFORMED
    if not quoted and int.from_bytes(data[:header], "big") % 0xFFFF:
        return Reason.MALFORMED  # its header checksum is wrong
    fragment = data[6] << 8 | data[7]
    if fragment & 0x1FFF:
        return Reason.FRAGMENT
    return data[9], header, min(length, len(data)), not fragment & 0x2000


def _transport6(data: bytes, quoted: bool) -> tuple[int, int, int, bool] | Reason:
    if len(data) < 40:
        return Reason.MALFORMED
    end = 40 + (data[4] << 8 | data[5])
    if end > len(data):
        if not quoted:
            return Reason.MALFORMED
        end = len(data)
    following, at, whole = data[6], 40, True
    while following in _EXTENSIONS or following == _FRAGMENT:
        if end < at + 8:
            return Reason.MALFORMED
        if following == _FRAGMENT:
            place = data[at + 2] << 8 | data[at + 3]
            if place & 0xFFF8:
                return Reason.FRAGMENT
            whole = not place & 1
            following, at = data[at], at + 8
        else:
            following, at = data[at], at + 8 * (data[at + 1] + 1)
    if at > end:
        return Reason.MALFORMED
    return following, at, end, whole


def is_for_the_link(data: bytes) -> bool:
    """Whether an IP packet is the link's own affair (link-local unicast or multicast, limited broadcast), which no router passes on."""
    if not data:
        return False
    if data[0] >> 4 == 4:
        return data[16:19] == b"\xe0\0\0" or data[16:20] == b"\xff\xff\xff\xff"
    if data[0] >> 4 == 6 and len(data) >= 40:
        return _link_local(data[8:10]) or _link_local(data[24:26]) or (data[24] == 0xFF and data[25] & 15 in (1, 2))
    return False


def _link_local(beginning: bytes) -> bool:
    return beginning[0] == 0xFE and beginning[1] & 0xC0 == 0x80


def weight(data: bytes) -> int:
    """The sum of 16-bit words in one's complement, 0 to 65534; ``data`` begins at an even place, a last odd byte counts as a high one."""
    return int.from_bytes(data if len(data) % 2 == 0 else data + b"\0", "big") % 0xFFFF


def updated(checksum: int, delta: int) -> int:
    """The checksum after what it covers has grown by ``delta`` (0 to 65534)."""
    total = (checksum ^ 0xFFFF) + delta
    return (total & 0xFFFF) + (total >> 16) ^ 0xFFFF


def checksum_of(data: bytes) -> int:
    """The internet checksum (RFC 1071) of ``data``, whose own checksum field is 0."""
    rest = weight(data)
    return 0xFFFF - rest if rest or not any(data) else 0


def pseudo_header(version: int, source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    """What a transport checksum covers beside the segment (RFC 768, RFC 8200 section 8.1)."""
    if version == 4:
        return source + destination + bytes((0, protocol)) + length.to_bytes(2, "big")
    return source + destination + length.to_bytes(4, "big") + bytes((0, 0, 0, protocol))


def rewritten(
    data: bytes, headers: Headers, source: Endpoint | None = None, destination: Endpoint | None = None, quoted: bool = False
) -> bytes:
    """The packet from ``source`` and to ``destination``, where given, all its checksums updated.

    Of an ICMP error only addresses change here.  ``quoted``: as in ``parse``; what lies behind its end is left alone.
    """
    new = bytearray(data)
    version, protocol, at = headers.version, headers.protocol, headers.at
    addresses = ports = 0
    for end, was, place, port_place in (
        (source, headers.source, 12 if version == 4 else 8, at),
        (destination, headers.destination, 16 if version == 4 else 24, at + 2),
    ):
        if end is None:
            continue
        address, port = end
        addresses += int.from_bytes(address, "big") - int.from_bytes(was[0], "big")
        new[place : place + len(address)] = address
        if protocol in (UDP, TCP):
            ports += port - was[1]
            new[port_place : port_place + 2] = port.to_bytes(2, "big")
        elif headers.echo is not None and port != was[1]:
            ports += port - was[1]
            new[at + 4 : at + 6] = port.to_bytes(2, "big")
    if version == 4:
        _update(new, 10, addresses)
    # ICMP for IPv4 has no pseudo header.
    _update(new, at + _CHECKSUM_AT[protocol], ports if protocol == ICMP else addresses + ports, protocol == UDP)
    return bytes(new)


def _update(packet: bytearray, at: int, delta: int, udp: bool = False) -> None:
    if at + 2 > len(packet):
        return  # a quoted packet that ends before its checksum
    old = packet[at] << 8 | packet[at + 1]
    if udp and old == 0:
        return  # RFC 768: it has none
    now = updated(old, delta % 0xFFFF)
    if udp and now == 0:
        now = 0xFFFF
    packet[at], packet[at + 1] = now >> 8, now & 0xFF
