"""A picture of at most 256 colours as PNG (W3C PNG, third edition): one byte a pixel, palette, no filter."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

Colour = tuple[int, int, int]


def encode(width: int, height: int, pixels: bytes, palette: Sequence[Colour]) -> bytes:
    """``pixels``: ``width × height`` places in ``palette``, row by row from the top.  ValueError when there are more or fewer."""
    if len(pixels) != width * height or not 0 < len(palette) <= 256:
        raise ValueError(
            f"{len(pixels)} pixels and {len(palette)} colours; {width}×{height} has {width * height}, and 1 to 256 are allowed"
        )
    rows = b"".join(b"\0" + pixels[at : at + width] for at in range(0, len(pixels), width))
    head = struct.pack("!IIBBBBB", width, height, 8, 3, 0, 0, 0)
    colours = b"".join(map(bytes, palette))
    chunks = ((b"IHDR", head), (b"PLTE", colours), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))
