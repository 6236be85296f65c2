from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.call.roq import encode_varint
from harness.call.signaling import (
    MAX_MESSAGE,
    Bye,
    CapabilityExchange,
    ConnectionConfirm,
    ConnectionReady,
    Decoder,
    MediaUpdate,
    SignalError,
    encode,
    parse_untrusted,
)

EXCHANGE = CapabilityExchange("s-1", audio=True, video=False, data_channel=True, max_bandwidth_kbps=128, quic_endpoint="[2001:db8::1]:4433")
MESSAGES = [
    EXCHANGE,
    ConnectionConfirm("s-1", audio=True, video=True, data_channel=False, max_bandwidth_kbps=2500),
    ConnectionReady("s-1"),
    Bye("s-1", reason="späť"),
    Bye("s-1"),
    MediaUpdate("s-1", audio=True, video=False, screen_share=False),
]


def framed(text: str | bytes) -> bytes:
    body = text.encode() if isinstance(text, str) else text
    return encode_varint(len(body)) + body


def test_the_shape_on_the_wire() -> None:
    wire = encode(EXCHANGE)
    assert json.loads(wire[2:]) == {
        "type": "capability_exchange",
        "session_id": "s-1",
        "audio": True,
        "video": False,
        "data_channel": True,
        "max_bandwidth_kbps": 128,
        "quic_endpoint": "[2001:db8::1]:4433",
    }
    assert int.from_bytes(wire[:2], "big") == 0x4000 | len(wire) - 2
    update = MediaUpdate("x", audio=True, video=False, screen_share=True)
    assert json.loads(encode(update)[2:]) == {
        "type": "media_update",
        "session_id": "x",
        "audio": True,
        "video": False,
        "screen_share": True,
    }
    assert json.loads(encode(Bye("x"))[1:]) == {"type": "bye", "session_id": "x", "reason": None}


def test_every_split_point() -> None:
    wire = b"".join(encode(message) for message in MESSAGES)
    for split in range(len(wire) + 1):
        decoder = Decoder()
        assert decoder.feed_untrusted(wire[:split], 0) + decoder.feed_untrusted(wire[split:], 0) == MESSAGES
    decoder = Decoder()
    assert [found for at in range(len(wire)) for found in decoder.feed_untrusted(wire[at : at + 1], 0)] == MESSAGES


def test_unknown_fields_are_ignored_and_optional_ones_may_be_absent() -> None:
    text = '{"colour":[1,{"deep":null}],"session_id":"a","type":"bye"}'
    assert parse_untrusted(text.encode()) == Bye("a")


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"hello","session_id":"a"}',
        '{"session_id":"a"}',
        '{"type":"bye","session_id":7}',
        '{"type":"bye","session_id":"a","reason":7}',
        '{"type":"bye"}',
        '{"type":"capability_exchange","session_id":"a","audio":1,"video":false,"data_channel":true,"max_bandwidth_kbps":1}',
        '{"type":"capability_exchange","session_id":"a","audio":true,"video":false,"data_channel":true,"max_bandwidth_kbps":-1}',
        '{"type":"capability_exchange","session_id":"a","audio":true,"video":false,"data_channel":true,"max_bandwidth_kbps":4294967296}',
        "[]",
        "7",
        "",
        "{",
        "[" * 60_000,
        b"\xff\xfe",
        '{"type":"bye","session_id":"\\ud800"}',
    ],
)
def test_what_is_not_understood_is_one_clear_error_and_the_stream_goes_on(text: str | bytes) -> None:
    found = Decoder().feed_untrusted(framed(text) + encode(Bye("next")), 0)
    assert isinstance(found[0], SignalError)
    assert not found[0].fatal
    assert str(found[0])
    assert found[1:] == [Bye("next")]


def test_limits() -> None:
    assert isinstance(Decoder().feed_untrusted(encode(Bye("é" * 128)), 0)[0], Bye)
    too_long = Decoder().feed_untrusted(encode(Bye("é" * 128 + "x")), 0)[0]
    assert "257 bytes" in str(too_long)
    full = framed('{"type":"bye","session_id":"a","x":"' + "y" * (MAX_MESSAGE - 38) + '"}')
    assert Decoder().feed_untrusted(full, 0) == [Bye("a")]
    decoder = Decoder()
    found = decoder.feed_untrusted(encode_varint(MAX_MESSAGE + 1), 0)
    assert isinstance(found[0], SignalError)
    assert found[0].fatal
    assert decoder.feed_untrusted(encode(Bye("a")), 0) == []


def test_a_hundred_messages_a_second_and_no_more() -> None:
    decoder = Decoder()
    for second in range(3):
        assert len(decoder.feed_untrusted(encode(Bye("a")) * 100, second * 1_000_000_000)) == 100
    found = decoder.feed_untrusted(encode(Bye("a")) * 2, 2_900_000_000)
    assert [str(error) for error in found] == ["more than 100 messages in a second"]
    assert isinstance(found[0], SignalError)
    assert found[0].fatal


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_any_bytes_give_messages_or_errors_and_nothing_is_raised(pieces: list[bytes]) -> None:
    decoder = Decoder()
    for piece in pieces:
        decoder.feed_untrusted(piece, 0)
