"""The outside of QUIC packets: what tells a datagram's connection, and the answer to a version that is not spoken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # public, but re-exported without saying so
from aioquic.quic.packet import QuicPacketType, encode_quic_version_negotiation, pull_quic_header

CID_LENGTH = 8
"""Of the connection ids that this stack gives out."""
FIXED_BIT = 0x40
"""All that the first byte of a 1-RTT packet's two highest bits may be (RFC 9000 §17.3.1): no long header, and QUIC."""
MIN_INITIAL = 1200
"""Bytes below which a datagram cannot begin a connection (RFC 9000 §14.1)."""


class Header(NamedTuple):
    """What demultiplexing needs of a datagram's first packet."""

    destination: bytes
    source: bytes
    version: int | None
    initial: bool
    negotiation: bool
    token: bytes = b""
    retry: bool = False
    sealed_at: int = 0
    ends_at: int = 0
    """Where what is encrypted begins and ends, of a long header."""


def peek_untrusted(data: bytes) -> Header | None:
    """The header of the first QUIC packet in ``data``, bytes from the network; None for what is no QUIC packet."""
    if len(data) > CID_LENGTH and data[0] & 0xC0 == FIXED_BIT:
        return Header(data[1 : 1 + CID_LENGTH], b"", None, False, False)
    buf = Buffer(data=data)
    try:
        header = pull_quic_header(buf, host_cid_length=CID_LENGTH)
    except ValueError:
        return None
    return Header(
        header.destination_cid,
        header.source_cid,
        header.version,
        header.packet_type == QuicPacketType.INITIAL,
        header.packet_type == QuicPacketType.VERSION_NEGOTIATION,
        header.token,
        header.packet_type == QuicPacketType.RETRY,
        buf.tell(),
        header.packet_length,
    )


def version_negotiation(header: Header, versions: Sequence[int]) -> bytes:
    """The answer to a client that speaks none of ``versions`` (RFC 9000 §6.1)."""
    return encode_quic_version_negotiation(source_cid=header.destination, destination_cid=header.source, supported_versions=list(versions))
