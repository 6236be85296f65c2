from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.rtp.packet import PacketError
from harness.rtp.rtcp import ReceiverReport, ReportBlock, SenderReport, encode_compound, parse_compound_untrusted

BLOCK = ReportBlock(ssrc=7, fraction_lost=10, lost=-3, highest=0x1_0009, jitter=27, last_sr=0x12345678, delay_since_sr=65536)


def test_a_receiver_report_byte_by_byte() -> None:
    wire = ReceiverReport(ssrc=1, blocks=(BLOCK,)).encode()
    assert wire.hex() == "81c9000700000001000000070afffffd000100090000001b1234567800010000"
    assert parse_compound_untrusted(wire) == [ReceiverReport(ssrc=1, blocks=(BLOCK,))]


def test_a_sender_report_comes_back() -> None:
    report = SenderReport(ssrc=1, ntp=0x0123456789ABCDEF, timestamp=5, packets=6, octets=7, blocks=(BLOCK, BLOCK))
    assert report.encode()[:4].hex() == "82c80012"
    assert parse_compound_untrusted(encode_compound([report, ReceiverReport(ssrc=2)])) == [report, ReceiverReport(ssrc=2)]


def test_other_types_are_skipped_but_not_first() -> None:
    goodbye = bytes.fromhex("81cb000100000001")
    assert parse_compound_untrusted(ReceiverReport(ssrc=2).encode() + goodbye) == [ReceiverReport(ssrc=2)]
    with pytest.raises(PacketError, match="begins with type 203"):
        parse_compound_untrusted(goodbye)


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        ("", "empty"),
        ("80c9", "2 bytes left over"),
        ("40c9000100000001", "version 1"),
        ("80c9000200000001", "12 bytes at byte 0 in 8"),
        ("81c9000100000001", "1 blocks in 4 bytes"),
        ("80c8000100000001", "0 blocks in 4 bytes; it takes 24"),
    ],
)
def test_what_is_wrong_is_said(wire: str, why: str) -> None:
    with pytest.raises(PacketError, match=why):
        parse_compound_untrusted(bytes.fromhex(wire))


def test_clamps() -> None:
    wire = ReceiverReport(ssrc=1, blocks=(ReportBlock(ssrc=7, fraction_lost=0, lost=1 << 30, highest=0, jitter=1 << 40),)).encode()
    report = parse_compound_untrusted(wire)[0]
    assert report.blocks[0].lost == (1 << 23) - 1
    assert report.blocks[0].jitter == 0xFFFFFFFF
    with pytest.raises(PacketError, match="32 report blocks"):
        ReceiverReport(ssrc=1, blocks=(BLOCK,) * 32).encode()


@given(st.binary(max_size=120))
def test_any_bytes_are_reports_or_a_packet_error(data: bytes) -> None:
    with contextlib.suppress(PacketError):
        assert parse_compound_untrusted(data)
