"""The outside of the QUIC packets in a datagram, as anybody on the wire sees it: RFC 8999, RFC 9000 §17, RFC 9369 §3.2, RFC 9287.

Long headers are read by the invariants of all versions (RFC 8999 §5.1).  Packet types are known of versions 1 and 2, whose type bits
differ.  The QUIC bit (0x40) means nothing here: an endpoint may clear it in any packet (RFC 9287 §3.1).

It knows nothing of the stack under test.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # public, but re-exported without saying so
from aioquic.quic.packet import QuicProtocolVersion

Kind = Literal["Initial", "0-RTT", "Handshake", "Retry", "Version Negotiation", "long header"]

LONG_HEADER: Final = 0x80
QUIC_BIT: Final = 0x40
VERSIONS: Final = (QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2)
"""Those whose packets can be read, the usual one first."""
LONGEST_ID: Final = 20
"""Bytes of a connection id in versions 1 and 2 (RFC 9000 §17.2)."""

_KINDS: dict[int, tuple[Kind, ...]] = {  # by the two type bits
    QuicProtocolVersion.VERSION_1: ("Initial", "0-RTT", "Handshake", "Retry"),
    QuicProtocolVersion.VERSION_2: ("Retry", "Initial", "0-RTT", "Handshake"),
}


class LongHeader(NamedTuple):
    """One packet with a long header.

    ``start``, ``end``: its first byte, and the one behind its last, in the datagram.  ``sealed``: where its packet number begins, 0 for a
    packet without one.  ``kind``: "long header" for a version that is not known; such a packet takes the whole rest of its datagram.
    """

    kind: Kind
    version: int
    destination: bytes
    source: bytes
    token: bytes
    start: int
    sealed: int
    end: int


class Outside(NamedTuple):
    """What a datagram holds: its packets with long headers, and where behind them a packet with a short header begins, None without one.

    ``damaged``: why it could not be read to its end, "" if it could.
    """

    long: tuple[LongHeader, ...]
    short: int | None
    damaged: str = ""


def outside_untrusted(data: bytes) -> Outside:
    """Take a datagram apart, bytes from the network.  Nothing is raised: what cannot be read is named in ``damaged``."""
    if not data or not data[0] & LONG_HEADER:
        return Outside((), 0 if data and any(data) else None)
    found: list[LongHeader] = []
    at = 0
    try:
        while at < len(data) and data[at] & LONG_HEADER:
            found.append(_long(data, at))
            at = found[-1].end
    except ValueError as error:
        return Outside(tuple(found), None, f"a long header at byte {at} cannot be read: {error}")
    # zeros behind the last packet are padding that some stacks put into the datagram and not into a packet
    return Outside(tuple(found), at if any(data[at:]) else None)


def _long(data: bytes, start: int) -> LongHeader:
    buffer = Buffer(data=data)
    buffer.seek(start)
    first = buffer.pull_uint8()
    version = buffer.pull_uint32()
    destination = buffer.pull_bytes(buffer.pull_uint8())
    source = buffer.pull_bytes(buffer.pull_uint8())
    if version == QuicProtocolVersion.NEGOTIATION:
        return LongHeader("Version Negotiation", version, destination, source, b"", start, 0, len(data))
    if version not in _KINDS:
        return LongHeader("long header", version, destination, source, b"", start, 0, len(data))
    if len(destination) > LONGEST_ID or len(source) > LONGEST_ID:
        raise ValueError(f"a connection id has {max(len(destination), len(source))} bytes")
    kind = _KINDS[version][first >> 4 & 3]
    token = b""
    if kind == "Retry":
        token = buffer.pull_bytes(max(len(data) - buffer.tell() - 16, 0))
        buffer.pull_bytes(16)
        return LongHeader(kind, version, destination, source, token, start, 0, len(data))
    if kind == "Initial":
        token = buffer.pull_bytes(buffer.pull_uint_var())
    length = buffer.pull_uint_var()
    sealed = buffer.tell()
    if sealed + length > len(data):
        raise ValueError(f"{length} bytes are announced, {len(data) - sealed} are there")
    return LongHeader(kind, version, destination, source, token, start, sealed, sealed + length)


def first_initial_untrusted(data: bytes) -> LongHeader | None:
    """The Initial packet that a datagram starts with, of version 1 or 2; else None."""
    if not data or not data[0] & LONG_HEADER:
        return None
    try:
        header = _long(data, 0)
    except ValueError:
        return None
    return header if header.kind == "Initial" else None
