"""NPTv6: the RFC's own example, and that it goes back and changes no checksum for any address."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from harness.spec.nptv6 import translate


def test_the_example_of_rfc_6296() -> None:
    inside, outside = IPv6Network("fd01:203:405::/48"), IPv6Network("2001:db8:1::/48")
    seen = translate(IPv6Address("fd01:203:405:1::1234"), inside, outside)
    assert seen == IPv6Address("2001:db8:1:d550::1234")
    assert translate(seen, outside, inside) == IPv6Address("fd01:203:405:1::1234")


def checksum(address: IPv6Address) -> int:
    return int(address) % 0xFFFF  # 2^16 is 1 modulo 0xFFFF, so this is the sum of the words


PREFIXES = st.integers(0, 2**64 - 1)


@given(st.sampled_from([48, 52, 56, 60, 64]), PREFIXES, PREFIXES, st.integers(0, 2**128 - 1))
def test_there_and_back_with_the_same_checksum(length: int, here: int, there: int, host: int) -> None:
    one, other = (IPv6Network((number << 64, length), strict=False) for number in (here, there))
    address = IPv6Address(int(one.network_address) | host & int(one.hostmask))
    seen = translate(address, one, other)
    if seen is None:
        return
    assert seen in other
    assert checksum(seen) == checksum(address)
    assert translate(seen, other, one) == address


def test_an_interface_identifier_of_ones_alone_cannot_be_translated() -> None:
    inside, outside = IPv6Network("fd00:1::/64"), IPv6Network("2001:db8:1::/64")
    assert translate(IPv6Address("fd00:1::ffff:ffff:ffff:ffff"), inside, outside) is None
    seen = translate(IPv6Address("fd00:1::ffff:ffff:ffff:1"), inside, outside)
    assert seen is not None
    assert str(seen).startswith("2001:db8:1:0:ffff:ffff:ffff:")
