"""What the relay must know of an Ethernet frame: whether it is the link's housekeeping, how large a datagram is in it, where to harm it."""

from __future__ import annotations

from harness.fabric.udp_packets import datagram_untrusted

HEADER = 14
"""Bytes before the IP packet."""


def is_chatter(frame: bytes) -> bool:
    """Whether ``frame`` is the link's own housekeeping: not IP, to a group (ARP, MLD, router solicitation), or neighbour discovery."""
    if not frame or frame[0] & 1:
        return True
    kind = frame[12:14]
    if kind == b"\x86\xdd":
        return len(frame) > 54 and frame[20] == 58 and 133 <= frame[54] <= 137  # RFC 4861's ICMPv6 types
    return kind != b"\x08\x00"


def harmed(frame: bytes, share: float) -> bytes:
    """``frame`` with one bit of its IP packet flipped, that at ``share`` (0 ≤ share < 1) of its length.

    The IP header is part of it, so that some are misrouted or dropped on the way; what reaches a socket, its checksum betrays.  netem flips
    a bit anywhere in the frame, the Ethernet header included, where one in the source address harms nothing.
    """
    if len(frame) <= HEADER:
        return frame  # there is nothing to harm
    at, bit = divmod(int(share * 8 * (len(frame) - HEADER)), 8)
    changed = bytearray(frame)
    changed[HEADER + at] ^= 1 << bit
    return bytes(changed)


def datagram_size(frame: bytes) -> int | None:
    """The bytes of UDP payload in an Ethernet frame; None when it is no UDP."""
    found = datagram_untrusted(frame)
    return None if found is None else found[0]
