"""RTP packets as they were on the wire: in datagrams and streams, whatever their flow ids."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.call.quality import PADDING_PAYLOAD_TYPE
from harness.lab.crossings import Crossing
from harness.lab.flow_names import FlowNames
from harness.lab.wire_media import WirePacket, by_direction, read_rtp_untrusted, wire_packets
from harness.media.source import AUDIO_PAYLOAD_TYPE, VIDEO_PAYLOAD_TYPE
from tests.unit.lab.wire import AUDIO, MS, RTCP, SCREEN, VIDEO, Wire, datagram, media_stream, piece, rtp


def taken(one: Crossing) -> int | None:
    return one.arrived


def read(wire: Wire) -> list[WirePacket]:
    return wire_packets(wire.crossed(), taken)


# -- datagrams -----------------------------------------------------------------------------------------------------------------------------


def test_a_packet_in_a_datagram_has_its_header_its_ways_and_its_times() -> None:
    wire = Wire()
    wire.send(10 * MS, datagram(rtp(7, marker=True)), came=30 * MS, path="lte", by="eth", size=150)
    (found,) = read(wire)
    data = rtp(7, marker=True)
    assert (found.rtp.seq, found.rtp.timestamp, found.rtp.ssrc, found.rtp.payload_type, found.rtp.marker) == (7, 6720, 7, 111, True)
    assert found.rtp.size == len(data)
    assert (found.flow, found.mode, found.index, found.connection) == ("audio", "datagram", 7, "c1")
    assert (found.speaker, found.path, found.departed, found.udp) == ("alice", "lte", 10 * MS, 150)
    assert found.remote == "192.0.2.2:4433"
    (arrival,) = found.arrivals
    assert (found.listener, arrival.path, arrival.at, arrival.udp, arrival.remote) == ("bob", "eth", 30 * MS, 150, "192.0.2.1:5000")
    assert found.taken == 30 * MS


def test_one_that_never_came_has_no_arrival_and_was_not_taken() -> None:
    wire = Wire()
    wire.send(10 * MS, datagram(rtp(7)))
    (found,) = read(wire)
    assert (found.arrivals, found.taken, found.listener) == ([], None, "")


def test_several_in_one_datagram_and_both_directions_are_all_read() -> None:
    wire = Wire()
    wire.send(10 * MS, datagram(rtp(1)), datagram(rtp(9, ssrc=8, kind=96), VIDEO), came=30 * MS)
    wire.send(11 * MS, datagram(rtp(5, ssrc=9)), came=31 * MS, speaker="bob")
    found = by_direction(read(wire))
    assert {key: [one.flow for one in its] for key, its in found.items()} == {("c1", "alice"): ["audio", "video"], ("c1", "bob"): ["audio"]}


def test_sequence_numbers_go_on_over_their_end_in_any_order() -> None:
    wire = Wire()
    for n, number in enumerate((65_534, 65_535, 1, 0, 2, 65_533)):
        wire.send(n * MS, datagram(rtp(number)), came=n * MS + 5 * MS)
    assert [one.index for one in read(wire)] == [65_534, 65_535, 65_537, 65_536, 65_538, 65_533]


# -- which flow ----------------------------------------------------------------------------------------------------------------------------


def test_padding_and_rtcp_are_no_media() -> None:
    wire = Wire()
    wire.send(0, datagram(rtp(1, kind=PADDING_PAYLOAD_TYPE), VIDEO), came=5 * MS)
    sender_report = b"\x80\xc8\x00\x06" + bytes(24)
    receiver_report = b"\x81\xc9\x00\x07" + bytes(28)
    wire.send(1 * MS, datagram(sender_report, RTCP), datagram(receiver_report, AUDIO), came=6 * MS)
    wire.send(2 * MS, datagram(b"\x80", AUDIO), datagram(b"", AUDIO), datagram(b"\x00" * 40, AUDIO), came=7 * MS)
    assert read(wire) == []


def test_an_unfinished_flow_id_is_no_packet() -> None:
    wire = Wire()
    frame = datagram(rtp(1))
    wire.send(0, frame._replace(fields={"data": b"\xc0\x00"}), frame._replace(fields={"data": b""}), came=5 * MS)
    assert read(wire) == []


@pytest.mark.parametrize(("audio", "video", "screen"), [(AUDIO, VIDEO, SCREEN), (0, 1, 2), (70_000, 4, 1 << 40)])
def test_flow_ids_may_be_any(audio: int, video: int, screen: int) -> None:
    wire = Wire()
    for n in range(3):
        wire.send(3 * n * MS, datagram(rtp(n), audio), came=3 * n * MS + 5 * MS)
        wire.send((3 * n + 1) * MS, datagram(rtp(n, ssrc=8, kind=96), video), came=3 * n * MS + 6 * MS)
        wire.send((3 * n + 2) * MS, datagram(rtp(n, ssrc=9, kind=96), screen), came=3 * n * MS + 7 * MS)
    assert [one.flow for one in read(wire)] == ["audio", "video", "screen"] * 3


def test_what_has_neither_a_known_flow_nor_a_known_payload_type_is_no_media() -> None:
    names = FlowNames()
    assert names.name(99, 100) is None
    assert names.name(RTCP, 100) is None
    assert names.name(99, AUDIO_PAYLOAD_TYPE) == "audio"
    assert names.name(98, VIDEO_PAYLOAD_TYPE) == "video"
    assert names.name(97, VIDEO_PAYLOAD_TYPE) == "screen"
    assert names.name(98, VIDEO_PAYLOAD_TYPE) == "video"
    assert names.name(VIDEO, 100) == "video"


# -- copies --------------------------------------------------------------------------------------------------------------------------------


def test_a_quic_packet_number_counts_once() -> None:
    wire = Wire()
    packet = wire.send(10 * MS, datagram(rtp(7)), came=30 * MS, number=4)
    wire.send(12 * MS, datagram(rtp(7)), came=32 * MS, number=4)
    wire.arrive(packet, 35 * MS)
    (found,) = read(wire)
    assert [arrival.at for arrival in found.arrivals] == [30 * MS]


def test_the_same_packet_in_two_quic_packets_came_twice_and_was_taken_first_of_both() -> None:
    wire = Wire()
    wire.send(10 * MS, datagram(rtp(7)), came=90 * MS, path="wifi")
    wire.send(11 * MS, datagram(rtp(7)), came=31 * MS, path="lte")
    (found,) = read(wire)
    assert [arrival.at for arrival in found.arrivals] == [31 * MS, 90 * MS]
    assert (found.departed, found.path, found.taken) == (10 * MS, "wifi", 31 * MS)


def test_a_second_copy_fills_in_for_a_first_that_was_lost() -> None:
    wire = Wire()
    wire.send(10 * MS, datagram(rtp(7)))
    wire.send(50 * MS, datagram(rtp(7)), came=70 * MS)
    (found,) = read(wire)
    assert (found.departed, found.taken, len(found.arrivals)) == (10 * MS, 70 * MS, 1)


def test_a_copy_with_other_bytes_is_corrupted_and_no_arrival() -> None:
    wire = Wire()
    wire.send(10 * MS, datagram(rtp(7)), came=30 * MS)
    wire.send(11 * MS, datagram(rtp(7, payload=b"else" * 21)), came=31 * MS)
    wire.send(12 * MS, datagram(rtp(7, marker=True)), came=32 * MS)
    wire.send(13 * MS, datagram(rtp(7, payload=b"lost" * 21)))
    (found,) = read(wire)
    assert (len(found.arrivals), found.corrupted, found.taken) == (1, 2, 30 * MS)


@pytest.mark.parametrize("byte", [b"\x00", b"\xff", b"a"])
def test_a_payload_that_is_one_byte_over_and_over_is_corrupted_and_heard_by_nobody(byte: bytes) -> None:
    wire = Wire()
    wire.send(10 * MS, datagram(rtp(7, payload=byte * 83)), came=30 * MS)
    (found,) = read(wire)
    assert (found.arrivals, found.corrupted, found.taken, found.departed) == ([], 1, None, 10 * MS)


def test_a_short_payload_of_equal_bytes_is_not_judged() -> None:
    wire = Wire()
    wire.send(10 * MS, datagram(rtp(7, payload=bytes(15))), came=30 * MS)
    (found,) = read(wire)
    assert (found.corrupted, found.taken) == (0, 30 * MS)


def test_connections_are_kept_apart() -> None:
    one, other = Wire(), Wire(connection="c2")
    one.send(10 * MS, datagram(rtp(7)), came=30 * MS)
    other.send(11 * MS, datagram(rtp(7)), came=31 * MS)
    one.sent += other.sent
    one.came += other.came
    assert [(packet.connection, len(packet.arrivals)) for packet in read(one)] == [("c1", 1), ("c2", 1)]


# -- streams -------------------------------------------------------------------------------------------------------------------------------


def test_one_stream_a_packet() -> None:
    wire = Wire()
    for number in range(5):
        wire.send(number * 20 * MS, piece(2 + 4 * number, 0, media_stream([rtp(number)]), fin=True), came=number * 20 * MS + 10 * MS)
    found = read(wire)
    assert [(one.index, one.mode, one.departed // MS, one.taken) for one in found] == [
        (number, "stream", 20 * number, (20 * number + 10) * MS) for number in range(5)
    ]


def test_a_packet_in_several_pieces_departs_and_comes_with_its_last_byte() -> None:
    wire, data = Wire(), media_stream([rtp(1)])
    wire.send(0, piece(2, 0, data[:50]), came=40 * MS)
    wire.send(5 * MS, piece(2, 50, data[50:], fin=True), came=15 * MS)
    (found,) = read(wire)
    assert (found.departed, found.arrivals[0].at, found.taken) == (5 * MS, 40 * MS, 40 * MS)


def lossy_stream(packets: int, lost: int, again: int) -> Wire:
    """One stream of frames 20 ms apart, 20 ms on their way; number ``lost`` is lost, and comes again at ``again`` ms."""
    wire = Wire()
    at = len(media_stream([]))
    for number in range(packets):
        data = media_stream([rtp(number)])[1:]
        frame = piece(2, at, data)
        wire.send(
            number * 20 * MS,
            frame if number else piece(2, 0, media_stream([rtp(0)])),
            came=None if number == lost else (number * 20 + 20) * MS,
        )
        if number == lost:
            wire.send((again - 20) * MS, frame, came=again * MS, number=1000)
        at += len(data)
    return wire


def test_one_stream_holds_back_what_came_behind_a_hole() -> None:
    """silence's example 25: frame 10 is lost, its retransmission comes 100 ms after it was due."""
    found = read(lossy_stream(20, lost=10, again=300))
    assert [one.index for one in found] == list(range(20))
    came = [one.arrivals[0].at // MS for one in found]
    assert came == [*(20 * number + 20 for number in range(10)), *([300] * 5), *(20 * number + 20 for number in range(15, 20))][:20]
    assert [one.taken for one in found] == [at * MS for at in came]
    assert [one.departed // MS for one in found] == [20 * number for number in range(20)], "its first departure counts"


def test_what_came_behind_a_hole_that_was_never_filled_never_came() -> None:
    wire = Wire()
    data = [media_stream([rtp(0)]), *(media_stream([rtp(number)])[1:] for number in (1, 2))]
    for number, (offset, part) in enumerate(zip((0, len(data[0]), len(data[0]) + len(data[1])), data, strict=True)):
        wire.send(number * 20 * MS, piece(2, offset, part), came=None if number == 1 else (number * 20 + 20) * MS)
    assert [(one.departed // MS, one.taken) for one in read(wire)] == [(0, 20 * MS), (20, None), (40, None)]


def test_a_packet_that_was_never_whole_was_never_sent() -> None:
    """The stream was reset: its rest never left."""
    wire, data = Wire(), media_stream([rtp(0), rtp(1)])
    wire.send(0, piece(2, 0, data[:-1]), came=20 * MS)
    assert [one.index for one in read(wire)] == [0]


def test_pieces_may_overlap_and_come_in_any_order() -> None:
    wire, data = Wire(), media_stream([rtp(0), rtp(1)])
    wire.send(0, piece(2, 60, data[60:]), came=5 * MS)
    wire.send(1 * MS, piece(2, 0, data[:90]), came=9 * MS)
    wire.send(2 * MS, piece(2, 40, data[40:120]), came=7 * MS)
    assert [(one.index, one.taken) for one in read(wire)] == [(0, 9 * MS), (1, 9 * MS)]


def test_bidirectional_streams_and_streams_without_a_flow_are_no_media() -> None:
    wire = Wire()
    wire.send(0, piece(0, 0, media_stream([rtp(0)])), piece(4, 0, media_stream([rtp(1)])), piece(2, 0, b""), came=9 * MS)
    assert read(wire) == []


def test_rtcp_between_the_packets_of_a_stream_is_passed_over() -> None:
    wire = Wire()
    wire.send(0, piece(2, 0, media_stream([rtp(0), b"\x80\xc8\x00\x06" + bytes(24), rtp(1)])), came=9 * MS)
    assert [one.index for one in read(wire)] == [0, 1]


@given(cuts=st.lists(st.integers(1, 300), max_size=8), order=st.randoms())
def test_however_a_stream_is_cut_all_of_it_is_read(cuts: list[int], order: Random) -> None:
    data = media_stream([rtp(number) for number in range(4)])
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [piece(2, low, data[low:high]) for low, high in pairwise(edges)]
    order.shuffle(pieces)
    wire = Wire()
    for at, one in enumerate(pieces):
        wire.send(at * MS, one, came=at * MS + 5 * MS)
    found = sorted(read(wire), key=lambda one: one.index)
    assert [one.index for one in found] == [0, 1, 2, 3]
    assert [one.taken for one in found] == sorted(one.taken or 0 for one in found)
    assert max(one.taken or 0 for one in found) <= (len(pieces) - 1) * MS + 5 * MS


@given(st.binary(max_size=60))
def test_no_bytes_stop_the_reader(data: bytes) -> None:
    wire = Wire()
    frame = datagram(b"")
    wire.send(0, frame._replace(fields={"data": data}), piece(2, 0, data), piece(6, 0, data[::-1]), came=9 * MS)
    for packet in read(wire):
        assert packet.rtp.size >= 12
    found = read_rtp_untrusted(data)
    assert found is None or found.size == len(data)
