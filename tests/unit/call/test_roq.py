from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.call.roq import (
    FLOW_IDS,
    RoqCode,
    RoqError,
    StreamDecoder,
    decode_datagram_untrusted,
    decode_varint_untrusted,
    encode_datagram,
    encode_stream_packet,
    encode_varint,
)


@pytest.mark.parametrize(
    ("value", "wire"),
    [  # RFC 9000 A.1
        (37, "25"),
        (15293, "7bbd"),
        (494_878_333, "9d7f3e7d"),
        (151_288_809_941_952_652, "c2197c5eff14e88c"),
    ],
)
def test_varints_of_the_rfc(value: int, wire: str) -> None:
    assert encode_varint(value).hex() == wire
    assert decode_varint_untrusted(bytes.fromhex(wire)) == (value, len(wire) // 2)
    assert all(decode_varint_untrusted(bytes.fromhex(wire)[:end]) is None for end in range(len(wire) // 2))


@given(st.integers(0, (1 << 62) - 1))
def test_varints_come_back(value: int) -> None:
    assert decode_varint_untrusted(b"x" + encode_varint(value) + b"y", 1) == (value, 1 + len(encode_varint(value)))


def test_varints_out_of_range() -> None:
    for value in (-1, 1 << 62):
        with pytest.raises(ValueError, match="does not fit"):
            encode_varint(value)


def test_flow_ids_and_codes() -> None:
    assert FLOW_IDS == {"audio": 0x20, "video": 0x21, "screen": 0x22, "rtcp": 0x23, "data": 0x24}
    assert [code.value for code in RoqCode] == list(range(8))


def test_datagram() -> None:
    assert encode_datagram(0x20, b"abc") == b"\x20abc"
    assert decode_datagram_untrusted(b"\x20abc") == (0x20, b"abc")
    assert decode_datagram_untrusted(b"\x40\x20abc") == (0x20, b"abc")
    for data in (b"", b"\x40", b"\xc0\x00\x00"):
        with pytest.raises(RoqError) as caught:
            decode_datagram_untrusted(data)
        assert caught.value.code == RoqCode.PACKET


def test_stream_at_every_split_point() -> None:
    packets = [b"", b"a", bytes(100), bytes(range(256)) * 4]
    wire = encode_varint(0x21) + b"".join(encode_stream_packet(packet) for packet in packets)
    for split in range(len(wire) + 1):
        decoder = StreamDecoder()
        assert decoder.feed_untrusted(wire[:split]) + decoder.feed_untrusted(wire[split:]) == packets
        assert decoder.flow == 0x21
        assert not decoder.partial


def test_stream_that_ends_early_and_a_packet_beyond_reason() -> None:
    decoder = StreamDecoder()
    assert decoder.partial
    assert decoder.feed_untrusted(b"\x20\x05ab") == []
    assert decoder.partial
    with pytest.raises(RoqError, match="65536 bytes announced"):
        StreamDecoder().feed_untrusted(b"\x20" + encode_varint(65_536))
