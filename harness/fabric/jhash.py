"""The kernel's jhash (include/linux/jhash.h, Bob Jenkins' lookup3), as nftables' ``jhash … mod … seed …`` computes it.

libnftables 1.0.6 aborts on a map that is updated by packets and whose key is longer than 16 bytes, as every IPv6 endpoint is.  Such a map
is keyed by this hash of the endpoint instead; to change it from outside the same number must be computed here.
"""

from __future__ import annotations

import struct

_START = 0xDEADBEEF
_MASK = 0xFFFFFFFF


def nft_jhash(data: bytes, modulus: int, seed: int) -> int:
    """What ``jhash DATA mod MODULUS seed SEED`` gives: the hash scaled to 0 … modulus - 1 (reciprocal_scale).

    ``data``: the registers, so each part in network order and padded with zeros to 4 bytes.
    """
    return jhash(data, seed) * modulus >> 32


def jhash(data: bytes, seed: int) -> int:
    """The 32-bit hash of ``data``."""
    a = b = c = (_START + len(data) + seed) & _MASK
    while len(data) > 12:
        x, y, z = struct.unpack_from("=3I", data)
        a, b, c = _mix(a + x & _MASK, b + y & _MASK, c + z & _MASK)
        data = data[12:]
    if not data:
        return c
    x, y, z = struct.unpack("<3I", data.ljust(12, b"\0"))  # the kernel adds the last bytes one by one, in this order everywhere
    return _final(a + x & _MASK, b + y & _MASK, c + z & _MASK)


def _rotated(value: int, by: int) -> int:
    return (value << by | value >> 32 - by) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for first, second, third in ((4, 6, 8), (16, 19, 4)):
        a = (a - c & _MASK) ^ _rotated(c, first)
        c = c + b & _MASK
        b = (b - a & _MASK) ^ _rotated(a, second)
        a = a + c & _MASK
        c = (c - b & _MASK) ^ _rotated(b, third)
        b = b + a & _MASK
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = (c ^ b) - _rotated(b, 14) & _MASK
    a = (a ^ c) - _rotated(c, 11) & _MASK
    b = (b ^ a) - _rotated(a, 25) & _MASK
    c = (c ^ b) - _rotated(b, 16) & _MASK
    a = (a ^ c) - _rotated(c, 4) & _MASK
    b = (b ^ a) - _rotated(a, 14) & _MASK
    return (c ^ b) - _rotated(b, 24) & _MASK
