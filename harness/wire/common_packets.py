"""The quick way for packets as nearly all are: UDP, whole, over IP without options or extension headers.

A packet of a known flow is translated so in half of the time of the general way (``ip_packets``), over IPv6 in a sixth.  The keys are those
of ``mapping_table.flow_key``.
"""

from __future__ import annotations

from harness.wire.ip_packets import UDP, updated

V4 = 0x45
"""The first byte of an IPv4 packet without options."""


def common_key(packet: bytes) -> bytes | None:
    """The flow's key in a common packet; None for any other."""
    if packet[:1] == b"\x45":
        if len(packet) >= 28 and packet[9] == UDP and not (packet[6] & 0x3F or packet[7]) and packet[2] << 8 | packet[3] <= len(packet):
            return b"\x11" + packet[12:24]
    elif packet[6:7] == b"\x11" and len(packet) >= 48 and packet[0] >> 4 == 6 and packet[4] << 8 | packet[5] <= len(packet) - 40:
        return b"\x11" + packet[8:44]
    return None


def renamed4(packet: bytes, ends: bytes, address_shift: int, shift: int) -> bytes:
    """A common packet over IPv4 with other addresses and ports; its sums of words grow by so much."""
    header = updated(packet[10] << 8 | packet[11], address_shift)
    segment = packet[26] << 8 | packet[27]
    if segment:
        segment = updated(segment, shift) or 0xFFFF
    return b"%b%b%b%b%b%b" % (packet[:10], header.to_bytes(2, "big"), ends, packet[24:26], segment.to_bytes(2, "big"), packet[28:])


def renamed6(packet: bytes, ends: bytes, shift: int) -> bytes:
    """The same over IPv6."""
    segment = packet[46] << 8 | packet[47]
    if segment:
        segment = updated(segment, shift) or 0xFFFF
    return b"%b%b%b%b%b" % (packet[:8], ends, packet[44:46], segment.to_bytes(2, "big"), packet[48:])
