from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.rtp.packet import PacketError, RtpPacket, parse_rtp_untrusted


def test_the_header_bit_by_bit() -> None:
    packet = RtpPacket(payload_type=96, sequence=0x1234, timestamp=0x89ABCDEF, ssrc=0xDEADBEEF, payload=b"hi", marker=True)
    assert packet.encode().hex() == "80e0123489abcdefdeadbeef" + b"hi".hex()
    full = RtpPacket(payload_type=0, sequence=1, timestamp=2, ssrc=3, payload=b"p", csrcs=(4, 5), extension=(0xBEDE, b"abcd"), padding=3)
    assert full.encode().hex() == "b200000100000002000000030000000400000005bede00016162636470000003"
    assert parse_rtp_untrusted(full.encode()) == full


packets = st.builds(
    RtpPacket,
    payload_type=st.integers(0, 127),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=50),
    marker=st.booleans(),
    csrcs=st.lists(st.integers(0, 0xFFFFFFFF), max_size=15).map(tuple),
    extension=st.none() | st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=8).map(lambda data: data[: len(data) // 4 * 4])),
    padding=st.integers(0, 255),
)


@given(packets)
def test_what_is_encoded_comes_back(packet: RtpPacket) -> None:
    assert parse_rtp_untrusted(packet.encode()) == packet


@given(st.binary(max_size=100))
def test_any_bytes_are_a_packet_or_a_packet_error(data: bytes) -> None:
    with contextlib.suppress(PacketError):
        assert len(parse_rtp_untrusted(data).encode()) == len(data)


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        ("80", "1 bytes are too few"),
        ("40e0123489abcdefdeadbeef", "version 1"),
        ("81e0123489abcdefdeadbeef", "inside the list of 1 CSRCs"),
        ("90e0123489abcdefdeadbeef", "inside the header extension"),
        ("90e0123489abcdefdeadbeefbede0001", "inside a header extension of 4"),
        ("a0e0123489abcdefdeadbeef00", "padding of 0"),
        ("a0e0123489abcdefdeadbeef02", "padding of 2 bytes in a payload of 1"),
    ],
)
def test_what_is_wrong_is_said(wire: str, why: str) -> None:
    with pytest.raises(PacketError, match=why):
        parse_rtp_untrusted(bytes.fromhex(wire))


def test_fields_that_do_not_fit() -> None:
    good = {"payload_type": 96, "sequence": 1, "timestamp": 1, "ssrc": 1}
    for field, value in (("payload_type", 128), ("sequence", 1 << 16), ("timestamp", -1), ("ssrc", 1 << 32)):
        with pytest.raises(PacketError, match=field):
            RtpPacket(**{**good, field: value}).encode()
    for extra in ({"csrcs": (1,) * 16}, {"extension": (1, b"abc")}, {"padding": 256}):
        with pytest.raises(PacketError):
            RtpPacket(**good, **extra).encode()
