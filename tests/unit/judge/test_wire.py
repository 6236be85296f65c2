"""What the judge reads of tshark's fields: rows, RTP in datagrams and on streams, and signalling."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.judge import tshark, wire
from tests.judge.tshark import FIELDS, Frame, StreamPart

CALL = "85b2cccc"
FRAME = Frame(1000, "alice/eth", True, ("192.0.2.1", 4433), ("192.0.2.2", 4433), 120, True, 0, True)


def rtp(sequence: int, timestamp: int = 960, *, kind: int = 111, ssrc: int = 7, first: int = 0x80, payload: bytes = b"voice") -> bytes:
    head = bytes([first, kind]) + sequence.to_bytes(2, "big") + timestamp.to_bytes(4, "big") + ssrc.to_bytes(4, "big")
    return head + payload


def message(**fields: object) -> bytes:
    data = json.dumps(fields).encode()
    return (0x4000 | len(data)).to_bytes(2, "big") + data


def hello(at: int = 0, *, outgoing: bool = True, **more: object) -> Frame:
    part = StreamPart(0, 0, message(type="capability_exchange", session_id=CALL, **more))
    return replace(FRAME, time=at, outgoing=outgoing, parts=(part,))


def carrying(at: int, *datagrams: bytes, **fields: object) -> Frame:
    return replace(FRAME, time=at, datagrams=datagrams, **fields)  # type: ignore[arg-type]


def stream(at: int, number: int, offset: int, data: bytes, *, outgoing: bool = True) -> Frame:
    return replace(FRAME, time=at, outgoing=outgoing, parts=(StreamPart(number, offset, data),))


def row(**fields: str) -> str:
    known = {
        "frame.time_epoch": "1796070113.504870199",
        "frame.interface_name": "alice/eth",
        "frame.packet_flags_direction": "0x00000002",
        "ip.src": "192.0.2.1",
        "ip.dst": "192.0.2.2",
        "ip.len": "120",
        "udp.srcport": "4433",
        "udp.dstport": "4434",
    }
    known |= {name.replace("__", "."): value for name, value in fields.items()}
    return "\t".join(known.get(name, "") for name in FIELDS)


def test_a_row() -> None:
    (frame,) = tshark.rows(row(quic__connection__number="3,3", quic__dg="2001,2102", quic__frame_type="49,49"))
    assert frame.time == 1796070113504870199
    assert (frame.outgoing, frame.intact, frame.opened, frame.connection) == (True, True, True, 3)
    assert (frame.source, frame.destination, frame.size) == (("192.0.2.1", 4433), ("192.0.2.2", 4434), 120)
    assert frame.datagrams == (b"\x20\x01", b"\x21\x02")


def test_a_row_of_ipv6_that_came_damaged() -> None:
    fields = {"ip__src": "", "ip__dst": "", "ip__len": "", "ipv6__src": "2001:db8::1", "ipv6__dst": "2001:db8::2", "ipv6__plen": "80"}
    (frame,) = tshark.rows(
        row(**fields, frame__packet_flags_direction="0x00000001", udp__checksum__status="0", quic__decryption_failed="1")
    )
    assert (frame.source[0], frame.size, frame.outgoing, frame.intact, frame.opened) == ("2001:db8::1", 120, False, False, False)


def test_stream_frames_without_offset_and_without_data() -> None:
    fields = {
        "quic__frame_type": "2,10,15,4",
        "quic__stream__stream_id": "0,6",
        "quic__stream__offset": "176",
        "quic__stream_data": "ab12,<MISSING>",
    }
    (frame,) = tshark.rows(row(**fields))
    assert frame.parts == (StreamPart(0, 0, b"\xab\x12"), StreamPart(6, 176, b""))


def test_the_random_of_a_client_hello_and_not_of_a_server_hello() -> None:
    (both,) = tshark.rows(row(tls__handshake__type="1,2,8", tls__handshake__random="aa,bb"))
    (server,) = tshark.rows(row(tls__handshake__type="2", tls__handshake__random="bb"))
    assert (both.client_hellos, server.client_hellos) == (("aa",), ())


def test_rtp_in_datagrams() -> None:
    found = wire.read([hello(), carrying(5, b"\x20" + rtp(1), b"\x21" + rtp(2, kind=96))], [CALL])
    assert [(one.flow, one.sequence, one.at) for one in found.packets] == [("audio", 1, 5), ("video", 2, 5)]
    assert found.calls == {0: CALL}


@pytest.mark.parametrize(
    "data",
    [b"\x23" + rtp(1, kind=200 & 0x7F), b"\x21" + rtp(1, first=0xA0, payload=b"\0\0\3"), b"\x20\x80", b"", b"\x20" + rtp(1, first=0)],
)
def test_what_is_no_media(data: bytes) -> None:
    assert wire.read([hello(), carrying(5, data)], [CALL]).packets == []


def test_other_flow_ids_are_told_apart_by_payload_type() -> None:
    found = wire.read([hello(), carrying(5, b"\x01" + rtp(1), b"\x02" + rtp(2, kind=96), b"\x03" + rtp(3, kind=73))], [CALL])
    assert [one.flow for one in found.packets] == ["audio", "video"]


def test_only_the_first_copy_counts_and_damaged_ones_do_not() -> None:
    packet = b"\x20" + rtp(1)
    frames = [hello(0, outgoing=False)]
    frames += [carrying(5, packet, outgoing=False, intact=False), carrying(6, packet, outgoing=False), carrying(9, packet, outgoing=False)]
    assert [one.at for one in wire.read(frames, [CALL]).packets] == [6]


def test_a_sequence_number_that_has_come_round_is_another_packet() -> None:
    found = wire.read([hello(), carrying(5, b"\x20" + rtp(1, 960)), carrying(9, b"\x20" + rtp(1, 960 * 65537))], [CALL])
    assert [one.at for one in found.packets] == [5, 9]


def test_packets_of_a_connection_of_no_call_are_left_out() -> None:
    assert wire.read([hello(), carrying(5, b"\x20" + rtp(1), connection=1)], [CALL]).packets == []


def on_stream(*packets: bytes) -> bytes:
    return b"\x20" + b"".join(bytes([len(packet)]) + packet for packet in packets)


def test_a_packet_on_a_stream_arrives_when_all_before_its_end_has() -> None:
    data = on_stream(rtp(1), rtp(2), rtp(3))
    cut, end = 10, len(on_stream(rtp(1), rtp(2)))
    frames = [hello(0, outgoing=False), stream(1, 3, 0, data[:cut], outgoing=False), stream(2, 3, end, data[end:], outgoing=False)]
    frames += [stream(7, 3, cut, data[cut:end], outgoing=False)]
    assert [(one.sequence, one.at) for one in wire.read(frames, [CALL]).packets] == [(1, 7), (2, 7), (3, 7)]


def test_a_packet_on_a_stream_departs_when_its_last_byte_first_does() -> None:
    data = on_stream(rtp(1), rtp(2))
    half = len(on_stream(rtp(1)))
    frames = [hello(), stream(1, 3, 0, data[:half]), stream(2, 3, half, data[half:]), stream(7, 3, 0, data)]
    assert [(one.sequence, one.at) for one in wire.read(frames, [CALL]).packets] == [(1, 1), (2, 2)]


def test_a_stream_that_is_never_whole_gives_what_came_before_its_hole() -> None:
    data = on_stream(rtp(1), rtp(2), rtp(3))
    half = len(on_stream(rtp(1)))
    frames = [
        hello(0, outgoing=False),
        stream(1, 3, 0, data[:half], outgoing=False),
        stream(2, 3, half + 5, data[half + 5 :], outgoing=False),
    ]
    assert [one.sequence for one in wire.read(frames, [CALL]).packets] == [1]


def test_signals_in_both_directions() -> None:
    offer = message(type="capability_exchange", session_id=CALL)
    frames = [stream(1, 0, 0, offer), stream(4, 0, 0, message(type="hold", session_id=CALL), outgoing=False)]
    frames += [stream(6, 0, len(offer), message(type="bye", session_id=CALL))]
    signals = wire.read(frames, [CALL]).signals[CALL]
    assert [(one.at, one.outgoing, one.message["type"]) for one in signals] == [
        (1, True, "capability_exchange"),
        (4, False, "hold"),
        (6, True, "bye"),
    ]


def test_what_is_no_signalling_is_of_no_call() -> None:
    found = wire.read([stream(1, 0, 0, b"\x05hello"), stream(2, 0, 6, message(type="hold", session_id=CALL))], [CALL])
    assert (found.signals, found.calls) == ({}, {})


def test_packets_that_no_key_opens_are_counted() -> None:
    assert wire.read([hello(), replace(FRAME, opened=False), replace(FRAME, opened=False, connection=4)], [CALL]).sealed == 1
