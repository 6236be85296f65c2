"""The kernel's hash, by the vectors of its inventor (lookup3.c, driver5): the same function over bytes."""

from __future__ import annotations

import pytest

from harness.fabric.jhash import jhash, nft_jhash


@pytest.mark.parametrize(
    ("data", "seed", "expected"),
    [
        (b"", 0, 0xDEADBEEF),
        (b"", 0xDEADBEEF, 0xBD5B7DDE),
        (b"Four score and seven years ago", 0, 0x17770551),
        (b"Four score and seven years ago", 1, 0xCD628161),
    ],
)
def test_the_vectors_of_lookup3(data: bytes, seed: int, expected: int) -> None:
    assert jhash(data, seed) == expected


def test_nft_scales_it() -> None:
    assert nft_jhash(b"", 0xFFFFFFFF, 0) == 0xDEADBEEF * 0xFFFFFFFF >> 32
    assert nft_jhash(b"Four score and seven years ago", 10, 0) == 0
