"""Every frame type of RFC 9000 §19, RFC 9221 §4 and of the extensions that are read, byte by byte, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from harness.lab.frames import Frame, parse_frames_untrusted

EIGHT, SIXTEEN = bytes(range(8)), bytes(range(16))

FRAMES: list[tuple[str, str, dict[str, Any]]] = [
    ("000000", "PADDING", {"length": 3}),
    ("01", "PING", {}),
    ("02 05 40c8 00 02", "ACK", {"delay": 200, "ranges": ((3, 5),)}),
    ("02 14 00 02 01 03 02 00 04", "ACK", {"delay": 0, "ranges": ((19, 20), (12, 14), (6, 10))}),
    ("03 05 00 00 05 01 02 03", "ACK", {"delay": 0, "ranges": ((0, 5),), "ecn": (1, 2, 3)}),
    ("04 04 05 4400", "RESET_STREAM", {"stream": 4, "error": 5, "final_size": 1024}),
    ("05 04 06", "STOP_SENDING", {"stream": 4, "error": 6}),
    ("06 02 03 616263", "CRYPTO", {"offset": 2, "data": b"abc"}),
    ("07 03 616263", "NEW_TOKEN", {"token": b"abc"}),
    ("08 04 616263", "STREAM", {"stream": 4, "offset": 0, "data": b"abc", "fin": False}),
    ("09 04 616263", "STREAM", {"stream": 4, "offset": 0, "data": b"abc", "fin": True}),
    ("0a 04 02 6162", "STREAM", {"stream": 4, "offset": 0, "data": b"ab", "fin": False}),
    ("0b 04 00", "STREAM", {"stream": 4, "offset": 0, "data": b"", "fin": True}),
    ("0c 04 07 6162", "STREAM", {"stream": 4, "offset": 7, "data": b"ab", "fin": False}),
    ("0d 04 07 6162", "STREAM", {"stream": 4, "offset": 7, "data": b"ab", "fin": True}),
    ("0e 04 07 02 6162", "STREAM", {"stream": 4, "offset": 7, "data": b"ab", "fin": False}),
    ("0f 04 07 02 6162", "STREAM", {"stream": 4, "offset": 7, "data": b"ab", "fin": True}),
    ("10 80010000", "MAX_DATA", {"maximum": 65536}),
    ("11 04 80010000", "MAX_STREAM_DATA", {"stream": 4, "maximum": 65536}),
    ("12 10", "MAX_STREAMS_BIDI", {"maximum": 16}),
    ("13 10", "MAX_STREAMS_UNI", {"maximum": 16}),
    ("14 c000000100000000", "DATA_BLOCKED", {"maximum": 1 << 32}),
    ("15 04 10", "STREAM_DATA_BLOCKED", {"stream": 4, "maximum": 16}),
    ("16 10", "STREAMS_BLOCKED_BIDI", {"maximum": 16}),
    ("17 10", "STREAMS_BLOCKED_UNI", {"maximum": 16}),
    (
        f"18 02 01 08 {EIGHT.hex()} {SIXTEEN.hex()}",
        "NEW_CONNECTION_ID",
        {"sequence": 2, "retire_prior_to": 1, "connection_id": EIGHT, "reset_token": SIXTEEN},
    ),
    ("19 02", "RETIRE_CONNECTION_ID", {"sequence": 2}),
    (f"1a {EIGHT.hex()}", "PATH_CHALLENGE", {"data": EIGHT}),
    (f"1b {EIGHT.hex()}", "PATH_RESPONSE", {"data": EIGHT}),
    ("1c 0a 06 02 6e6f", "CONNECTION_CLOSE", {"error": 10, "frame_type": 6, "reason": b"no"}),
    ("1d 00 02 6e6f", "APPLICATION_CLOSE", {"error": 0, "reason": b"no"}),
    ("1e", "HANDSHAKE_DONE", {}),
    ("1f", "IMMEDIATE_ACK", {}),
    ("24 04 05 4400 07", "RESET_STREAM_AT", {"stream": 4, "error": 5, "final_size": 1024, "reliable_size": 7}),
    ("40af 01 02 8000c350 03", "ACK_FREQUENCY", {"sequence": 1, "threshold": 2, "max_ack_delay": 50000, "reordering": 3}),
    ("42f5 4400", "TIMESTAMP", {"timestamp": 1024}),
    ("809f81a6 05 c0000201 1151", "OBSERVED_ADDRESS", {"sequence": 5, "address": bytes([192, 0, 2, 1]), "port": b"\x11\x51"}),
    (f"809f81a7 05 {SIXTEEN.hex()} 1151", "OBSERVED_ADDRESS", {"sequence": 5, "address": SIXTEEN, "port": b"\x11\x51"}),
    ("3e 01 05 00 00 02", "PATH_ACK", {"path": 1, "delay": 0, "ranges": ((3, 5),)}),
    ("95228c01 01 05 00 00 05 01 02 03", "PATH_ACK", {"path": 1, "delay": 0, "ranges": ((0, 5),), "ecn": (1, 2, 3)}),
    ("7e75 01 02", "PATH_ABANDON", {"path": 1, "error": 2}),
    ("95228c07 01 02", "PATH_STATUS_BACKUP", {"path": 1, "sequence": 2}),
    ("7e77 01 02", "PATH_STATUS_AVAILABLE", {"path": 1, "sequence": 2}),
    (
        f"7e78 01 02 00 08 {EIGHT.hex()} {SIXTEEN.hex()}",
        "PATH_NEW_CONNECTION_ID",
        {"path": 1, "sequence": 2, "retire_prior_to": 0, "connection_id": EIGHT, "reset_token": SIXTEEN},
    ),
    ("7e79 01 02", "PATH_RETIRE_CONNECTION_ID", {"path": 1, "sequence": 2}),
    ("7e7a 04", "MAX_PATH_ID", {"maximum": 4}),
    ("7e7b 04", "PATHS_BLOCKED", {"maximum": 4}),
    ("7e7c 01 04", "PATH_CIDS_BLOCKED", {"path": 1, "sequence": 4}),
    ("30 616263", "DATAGRAM", {"data": b"abc"}),
    ("31 02 6162", "DATAGRAM", {"data": b"ab"}),
]
TO_THE_END = {"08", "09", "0c", "0d", "30"}


@pytest.mark.parametrize(("text", "name", "fields"), FRAMES, ids=[f"{text[:2]}-{name}" for text, name, _ in FRAMES])
def test_a_frame(text: str, name: str, fields: dict[str, Any]) -> None:
    data = bytes.fromhex(text)
    assert parse_frames_untrusted(data) == (Frame(name, fields),)
    if text[:2] not in TO_THE_END:
        assert parse_frames_untrusted(data + b"\x01") == (Frame(name, fields), Frame("PING", {}))


@pytest.mark.parametrize(("text", "name"), [(text, name) for text, name, fields in FRAMES if fields and name != "PADDING"])
def test_a_frame_that_is_cut_short_is_unreadable(text: str, name: str) -> None:
    cut = bytes.fromhex(text)[:-1]
    (found,) = parse_frames_untrusted(cut)
    if text[:2] in TO_THE_END:
        assert found.name == name
    else:
        assert found.name == "UNREADABLE"
        assert found.fields["data"] == cut


def test_behind_an_unknown_frame_nothing_is_told() -> None:
    assert parse_frames_untrusted(bytes.fromhex("01 40ff 01 01")) == (
        Frame("PING", {}),
        Frame("UNREADABLE", {"why": "frame type 0xff is not known", "data": bytes.fromhex("40ff0101")}),
    )


def test_an_ack_range_below_zero_is_unreadable() -> None:
    (found,) = parse_frames_untrusted(bytes.fromhex("02 01 00 00 02"))
    assert found.fields["why"] == "an ACK range goes down to packet -1"


def test_no_payload_has_no_frames() -> None:
    assert parse_frames_untrusted(b"") == ()
