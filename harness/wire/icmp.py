"""ICMP errors: what they quote, the same error about the same packet under other names, and the one error that a translator sends itself.

RFC 5508 (REQ-3 to REQ-7), RFC 792, RFC 4443.
"""

from __future__ import annotations

from harness.wire.ip_packets import (
    ICMP,
    ICMP6,
    ICMPS,
    Endpoint,
    Headers,
    Reason,
    checksum_of,
    parse,
    pseudo_header,
    rewritten,
    weight,
)

_QUOTED_AT = 8  # bytes of ICMP header
_LARGEST = {4: 576, 6: 1280}  # RFC 1812 section 4.3.2.3, RFC 4443 section 2.4 (c)
_PORT_UNREACHABLE = {4: b"\x03\x03", 6: b"\x01\x04"}
_HOPS = 64


def quoted(data: bytes, headers: Headers) -> Headers | Reason:
    """The headers of the packet that an ICMP error quotes, or why it cannot be translated.

    One whose own checksum is wrong is malformed (REQ-4), and so is one that is not addressed to whom it quotes.
    """
    if not headers.whole:
        return Reason.FRAGMENT
    segment = data[headers.at : _end(data)]
    covered = segment
    if headers.version == 6:
        covered = pseudo_header(6, headers.source[0], headers.destination[0], ICMP6, len(segment)) + segment
    if weight(covered):
        return Reason.MALFORMED
    found = parse(segment[_QUOTED_AT:], quoted=True)
    if isinstance(found, Headers):
        if found.version != headers.version or found.source[0] != headers.destination[0]:
            return Reason.MALFORMED
        if found.error:
            return Reason.MALFORMED  # nobody may answer an error with an error (RFC 1122 section 3.2.2)
    return found


def translated(
    data: bytes,
    headers: Headers,
    quote: Headers,
    *,
    source: bytes | None = None,
    destination: bytes | None = None,
    quoted_source: Endpoint | None = None,
    quoted_destination: Endpoint | None = None,
) -> bytes:
    """The error from and to other addresses, about a packet between other endpoints."""
    end = _end(data)
    inner = rewritten(data[headers.at + _QUOTED_AT : end], quote, quoted_source, quoted_destination, quoted=True)
    outer = rewritten(
        data[: headers.at + _QUOTED_AT],
        headers,
        None if source is None else (source, 0),
        None if destination is None else (destination, 0),
    )
    new = bytearray(outer + inner)
    addresses = (new[12:16], new[16:20]) if headers.version == 4 else (new[8:24], new[24:40])
    _sign(new, headers.version, headers.at, bytes(addresses[0]), bytes(addresses[1]))
    return bytes(new) + data[end:]


def port_unreachable(data: bytes, headers: Headers) -> bytes | None:
    """The error that says that nobody is at the destination of a packet, from that destination; None where none may be sent."""
    if headers.error or headers.echo is not None:
        return None
    version, source, destination = headers.version, headers.destination[0], headers.source[0]
    fixed = 20 if version == 4 else 40
    body = _PORT_UNREACHABLE[version] + bytes(6) + data[: _end(data)][: _LARGEST[version] - fixed - _QUOTED_AT]
    if version == 4:
        head = bytearray(
            b"\x45\xc0" + (fixed + len(body)).to_bytes(2, "big") + bytes(4) + bytes((_HOPS, ICMP, 0, 0)) + source + destination
        )
        head[10:12] = checksum_of(bytes(head)).to_bytes(2, "big")
    else:
        head = bytearray(b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes((ICMP6, _HOPS)) + source + destination)
    new = head + body
    _sign(new, version, fixed, source, destination)
    return bytes(new)


def _end(data: bytes) -> int:
    """Where a well-formed IP packet ends; what lies behind is padding of the link."""
    return data[2] << 8 | data[3] if data[0] >> 4 == 4 else 40 + (data[4] << 8 | data[5])


def _sign(packet: bytearray, version: int, at: int, source: bytes, destination: bytes) -> None:
    """Put the ICMP checksum in."""
    packet[at + 2 : at + 4] = b"\0\0"
    segment = bytes(packet[at:])
    if version == 6:
        segment = pseudo_header(6, source, destination, ICMPS[6], len(segment)) + segment
    packet[at + 2 : at + 4] = checksum_of(segment).to_bytes(2, "big")
