"""RTP packets (RFC 3550 §5.1): one value, its bytes, and back.

The parser is for bytes from the network: it raises ``PacketError`` and nothing else, and accepts exactly what ``encode`` can make.
"""

from __future__ import annotations

import struct

import msgspec

VERSION = 2
HEADER = struct.Struct("!BBHII")
AUDIO_CLOCK = 48_000
VIDEO_CLOCK = 90_000


class PacketError(ValueError):
    """Bytes that are not the RTP or RTCP packet they should be; the text says what is wrong at which size."""


class RtpPacket(msgspec.Struct, frozen=True, kw_only=True):
    """One RTP packet.  ``sequence`` 16 bit, ``timestamp`` and ``ssrc`` 32 bit; ``timestamp`` counts the payload's clock.

    ``extension`` is (profile, data) with data a multiple of 4 bytes; ``padding`` counts the padding bytes, the count byte included.
    """

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes = b""
    marker: bool = False
    csrcs: tuple[int, ...] = ()
    extension: tuple[int, bytes] | None = None
    padding: int = 0

    def encode(self) -> bytes:
        """The packet's bytes; PacketError names the field that does not fit."""
        for field, value, bits in (
            ("payload_type", self.payload_type, 7),
            ("sequence", self.sequence, 16),
            ("timestamp", self.timestamp, 32),
            ("ssrc", self.ssrc, 32),
        ):
            if not 0 <= value < 1 << bits:
                raise PacketError(f"{field} {value} does not fit {bits} bits")
        if len(self.csrcs) > 15:
            raise PacketError(f"{len(self.csrcs)} CSRCs; at most 15 fit")
        if not 0 <= self.padding <= 255:
            raise PacketError(f"padding of {self.padding} bytes; allowed is 0 to 255")
        first = VERSION << 6 | bool(self.padding) << 5 | (self.extension is not None) << 4 | len(self.csrcs)
        parts = [
            HEADER.pack(first, self.marker << 7 | self.payload_type, self.sequence, self.timestamp, self.ssrc),
            struct.pack(f"!{len(self.csrcs)}I", *self.csrcs),
        ]
        if self.extension is not None:
            profile, data = self.extension
            if len(data) % 4 or len(data) > 4 * 0xFFFF:
                raise PacketError(f"a header extension of {len(data)} bytes; allowed are multiples of 4 up to {4 * 0xFFFF}")
            parts += [struct.pack("!HH", profile, len(data) // 4), data]
        parts.append(self.payload)
        if self.padding:
            parts.append(bytes(self.padding - 1) + bytes([self.padding]))
        return b"".join(parts)


def parse_rtp_untrusted(data: bytes) -> RtpPacket:
    """The RTP packet in ``data``, bytes from the network; PacketError for anything else."""
    if len(data) < HEADER.size:
        raise PacketError(f"{len(data)} bytes are too few for an RTP header of {HEADER.size}")
    first, second, sequence, timestamp, ssrc = HEADER.unpack_from(data)
    if first >> 6 != VERSION:
        raise PacketError(f"RTP version {first >> 6}; only {VERSION} exists")
    start = HEADER.size
    csrcs: tuple[int, ...] = ()
    if first & 0x0F:
        start += 4 * (first & 0x0F)
        if len(data) < start:
            raise PacketError(f"{len(data)} bytes end inside the list of {first & 0x0F} CSRCs")
        csrcs = struct.unpack_from(f"!{first & 0x0F}I", data, HEADER.size)
    extension: tuple[int, bytes] | None = None
    if first & 0x10:
        if len(data) < start + 4:
            raise PacketError(f"{len(data)} bytes end inside the header extension")
        profile, words = struct.unpack_from("!HH", data, start)
        start += 4
        if len(data) < start + 4 * words:
            raise PacketError(f"{len(data)} bytes end inside a header extension of {4 * words}")
        extension = (profile, data[start : start + 4 * words])
        start += 4 * words
    end = len(data)
    padding = 0
    if first & 0x20:
        padding = data[-1]
        if not 1 <= padding <= end - start:
            raise PacketError(f"padding of {padding} bytes in a payload of {end - start}")
        end -= padding
    return RtpPacket(
        payload_type=second & 0x7F,
        sequence=sequence,
        timestamp=timestamp,
        ssrc=ssrc,
        payload=data[start:end],
        marker=bool(second & 0x80),
        csrcs=csrcs,
        extension=extension,
        padding=padding,
    )


def unwrapped(sequence: int, near: int) -> int:
    """The number equal to the 16-bit ``sequence`` modulo 2^16 that is nearest to ``near``."""
    step = (sequence - near) & 0xFFFF
    return near + step - (0x10000 if step >= 0x8000 else 0)
