"""RTCP sender and receiver reports (RFC 3550 §6.4), as compound packets.

A compound packet is a sequence of packets, the first of which must be a report (§6.1).  Types other than SR and RR are skipped whole: their
length field is all that is needed to do so.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

from harness.rtp.packet import VERSION, PacketError

SENDER_REPORT = 200
RECEIVER_REPORT = 201
LOST_MIN, LOST_MAX = -(1 << 23), (1 << 23) - 1
_COMMON = struct.Struct("!BBH")
_BLOCK = struct.Struct("!IIIIII")


class ReportBlock(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver says about one source.

    ``fraction_lost`` in 1/256 since the last report, ``lost`` cumulative and signed (clamped to 24 bit), ``highest`` the extended sequence
    number, ``jitter`` in RTP clock units, ``last_sr`` the middle 32 bits of that SR's NTP time, ``delay_since_sr`` in 1/65536 s.
    """

    ssrc: int
    fraction_lost: int
    lost: int
    highest: int
    jitter: int
    last_sr: int = 0
    delay_since_sr: int = 0

    def encode(self) -> bytes:
        """The block's 24 bytes."""
        lost = min(max(self.lost, LOST_MIN), LOST_MAX) & 0xFFFFFF
        word = (self.fraction_lost & 0xFF) << 24 | lost
        return _BLOCK.pack(
            self.ssrc,
            word,
            self.highest & 0xFFFFFFFF,
            min(self.jitter, 0xFFFFFFFF),
            self.last_sr & 0xFFFFFFFF,
            self.delay_since_sr & 0xFFFFFFFF,
        )


class SenderReport(msgspec.Struct, frozen=True, kw_only=True):
    """One source's own figures: ``ntp`` is 32.32 fixed point seconds, ``timestamp`` the same instant on the RTP clock."""

    ssrc: int
    ntp: int
    timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()

    def encode(self) -> bytes:
        """The report's bytes; PacketError for more than 31 blocks."""
        body = struct.pack("!IQIII", self.ssrc, self.ntp, self.timestamp, self.packets & 0xFFFFFFFF, self.octets & 0xFFFFFFFF)
        return _packet(SENDER_REPORT, self.blocks, body)


class ReceiverReport(msgspec.Struct, frozen=True, kw_only=True):
    """What ``ssrc``, which sent nothing lately, has received."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()

    def encode(self) -> bytes:
        """The report's bytes; PacketError for more than 31 blocks."""
        return _packet(RECEIVER_REPORT, self.blocks, struct.pack("!I", self.ssrc))


Report = SenderReport | ReceiverReport


def _packet(kind: int, blocks: Sequence[ReportBlock], body: bytes) -> bytes:
    if len(blocks) > 31:
        raise PacketError(f"{len(blocks)} report blocks; at most 31 fit one packet")
    body += b"".join(block.encode() for block in blocks)
    return _COMMON.pack(VERSION << 6 | len(blocks), kind, len(body) // 4) + body


def encode_compound(reports: Sequence[Report]) -> bytes:
    """The reports as one compound packet."""
    return b"".join(report.encode() for report in reports)


def parse_compound_untrusted(data: bytes) -> list[Report]:
    """The reports in a compound packet from the network, other types skipped; PacketError for what is no valid compound packet."""
    reports: list[Report] = []
    offset = 0
    while offset < len(data):
        if len(data) - offset < _COMMON.size:
            raise PacketError(f"{len(data) - offset} bytes left over after the RTCP packet at {offset}")
        first, kind, words = _COMMON.unpack_from(data, offset)
        end = offset + _COMMON.size + 4 * words
        if first >> 6 != VERSION:
            raise PacketError(f"RTCP version {first >> 6} at byte {offset}; only {VERSION} exists")
        if end > len(data):
            raise PacketError(f"an RTCP packet of {4 * words + 4} bytes at byte {offset} in {len(data)}")
        if offset == 0 and kind not in (SENDER_REPORT, RECEIVER_REPORT):
            raise PacketError(f"a compound packet that begins with type {kind}; it must begin with a report")
        if kind in (SENDER_REPORT, RECEIVER_REPORT):
            reports.append(_report_untrusted(kind, first & 0x1F, data[offset + _COMMON.size : end]))
        offset = end
    if not reports:
        raise PacketError("an empty RTCP packet")
    return reports


def _report_untrusted(kind: int, count: int, body: bytes) -> Report:
    fixed = 24 if kind == SENDER_REPORT else 4
    if len(body) < fixed + count * _BLOCK.size:
        raise PacketError(f"a report with {count} blocks in {len(body)} bytes; it takes {fixed + count * _BLOCK.size}")
    blocks = []
    for index in range(count):
        ssrc, word, highest, jitter, last_sr, delay = _BLOCK.unpack_from(body, fixed + index * _BLOCK.size)
        lost = word & 0xFFFFFF
        blocks.append(
            ReportBlock(
                ssrc=ssrc,
                fraction_lost=word >> 24,
                lost=lost - (1 << 24) if lost & 0x800000 else lost,
                highest=highest,
                jitter=jitter,
                last_sr=last_sr,
                delay_since_sr=delay,
            )
        )
    if kind == RECEIVER_REPORT:
        return ReceiverReport(ssrc=int.from_bytes(body[:4], "big"), blocks=tuple(blocks))
    ssrc, ntp, timestamp, packets, octets = struct.unpack_from("!IQIII", body)
    return SenderReport(ssrc=ssrc, ntp=ntp, timestamp=timestamp, packets=packets, octets=octets, blocks=tuple(blocks))
