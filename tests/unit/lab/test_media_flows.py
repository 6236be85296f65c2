"""What the lab's schedule owed, with its fate: of frames of several packets, of packets that never left, of what nobody asked for."""

from __future__ import annotations

from typing import Any

from harness.lab.media_flows import NEVER_DEPARTED, FlowEnds, media_packets
from harness.lab.path_delay import PathDelays
from harness.lab.wire_media import wire_packets
from harness.media.freezes import shown
from harness.media.measures import Heard
from harness.media.records import MediaPacket, SentRecord
from harness.media.schedule import AUDIO, VIDEO, Pace, Schedule, Span
from harness.rtp.packet import RtpPacket
from harness.units import Count, Duration, ms
from tests.unit.lab import wire as w
from tests.unit.lab.wire import MS, Wire, datagram, rtp
from topologies.two_homes import two_homes

WAY = 10 * MS
PARTS = 3


def picture(frame: int, part: int) -> bytes:
    """One of the packets of a picture; they share its timestamp."""
    return RtpPacket(
        payload_type=96,
        sequence=frame * PARTS + part,
        timestamp=frame * 3000,
        ssrc=9,
        marker=part == PARTS - 1,
        payload=f"{frame} {part}".encode() * 9,
    ).encode()


def film(frames: int, *, never: set[tuple[int, int]] = frozenset()) -> Wire:  # type: ignore[assignment]
    """Pictures of three packets; ``never``: (frame, part) of those that never left."""
    wire = Wire()
    for frame in range(frames):
        for part in range(PARTS):
            if (frame, part) not in never:
                at = VIDEO.after(frame) + part * MS
                wire.send(at, datagram(picture(frame, part), w.VIDEO), came=at + WAY)
    return wire


def unsent(frame: int, part: int, *, own: int = 5, why: str = "expired") -> SentRecord:
    """As the sender's stack wrote of it; it counts its frames from ``own`` on."""
    at = VIDEO.after(frame)
    fields: dict[str, Any] = {"call": "c", "flow": "video", "ssrc": 9, "pt": 96, "size": 30, "udp": None, "path": None, "remote": None}
    header: dict[str, Any] = {"seq": frame * PARTS + part, "rtp": frame * 3000, "frame": own + frame, "marker": part == PARTS - 1, "crc": 1}
    return SentRecord(**fields, **header, offered=at, sent=None, done=None, mode="datagram", unsent=why)


def flow(
    wire: Wire, *records: SentRecord, spans: tuple[Span, ...] = (Span(0, 0),), pace: Pace = VIDEO, until: int = VIDEO.after(30) - MS
) -> list[MediaPacket]:
    name = "audio" if pace == AUDIO else "video"
    found = wire_packets(wire.crossed(), lambda one: one.arrived)
    delays = PathDelays(two_homes(delay=Duration(WAY)))
    return media_packets(FlowEnds("c", name, "alice", "bob"), found, records, Schedule(pace, spans), delays, until)


def test_all_packets_of_a_frame_are_due_at_its_place() -> None:
    packets = flow(film(30))
    assert [packet.offered for packet in packets] == [VIDEO.after(frame) for frame in range(30) for _ in range(PARTS)]
    assert [packet.frame for packet in packets] == [frame for frame in range(30) for _ in range(PARTS)]
    assert {packet.delay for packet in packets} == {WAY}
    assert len({(packet.ssrc, packet.index) for packet in packets}) == 90


def test_a_packet_that_never_left_belongs_to_its_frame_whatever_its_sender_numbers_it() -> None:
    packets = flow(film(30, never={(10, 1)}), unsent(10, 1))
    (missing,) = [packet for packet in packets if packet.sent is None]
    assert (missing.offered, missing.frame, missing.unsent, missing.index) == (VIDEO.after(10), 10, "expired", 31)
    assert len(packets) == 90
    heard = Heard(packets, "alice → bob video", 0, VIDEO.after(30), 200 * ms, pace=VIDEO)
    assert len(heard.frames) == 29, "a picture without one of its packets is none"
    assert len(shown(packets, until=VIDEO.after(31)).frames) == 29
    assert heard.expired().value == Count(1)


def test_a_frame_of_which_nothing_left_is_one_frame_at_one_empty_place() -> None:
    packets = flow(film(30, never={(10, part) for part in range(PARTS)}), *(unsent(10, part, why="queue full") for part in range(PARTS)))
    missing = [packet for packet in packets if packet.sent is None]
    assert [(one.offered, one.unsent) for one in missing] == [(VIDEO.after(10), "queue full")] * PARTS
    assert len({one.frame for one in missing}) == 1
    assert missing[0].frame not in {packet.frame for packet in packets if packet.sent is not None}
    assert len(packets) == 90


def test_a_frame_that_was_never_made_is_one_packet_at_its_place() -> None:
    packets = flow(film(30, never={(frame, part) for frame in (10, 11) for part in range(PARTS)}))
    missing = [packet for packet in packets if packet.sent is None]
    assert [(one.offered, one.unsent, one.ssrc, one.size) for one in missing] == [
        (VIDEO.after(10), NEVER_DEPARTED, 0, 0),
        (VIDEO.after(11), NEVER_DEPARTED, 0, 0),
    ]
    assert len({packet.frame for packet in packets}) == 30


def test_the_record_of_a_packet_that_nobody_was_owed_is_left_out() -> None:
    """The call is on hold in the middle: what the stack held back then is no loss."""
    held = {(frame, part) for frame in range(10, 20) for part in range(PARTS)}
    spans = (Span(0, 0, VIDEO.after(10)), Span(VIDEO.after(20), VIDEO.after(20)))
    packets = flow(film(30, never=held), *(unsent(frame, part, why="held") for frame, part in sorted(held)), spans=spans)
    assert [packet for packet in packets if packet.sent is None] == []
    assert len(packets) == 60


def test_records_explain_empty_places_and_make_none() -> None:
    """A stack that writes of more packets than places are empty invents nothing."""
    packets = flow(film(30), unsent(10, 0))
    assert len(packets) == 91
    twice = flow(film(30, never={(10, part) for part in range(PARTS)}), unsent(10, 0), unsent(40, 0))
    assert [packet.offered for packet in twice if packet.sent is None] == [VIDEO.after(10)]


def test_places_are_owed_until_the_end_and_not_after_it() -> None:
    wire = Wire()
    wire.send(0, datagram(rtp(0)), came=WAY)
    packets = flow(wire, pace=AUDIO, until=100 * MS)
    assert [packet.offered // MS for packet in packets] == [0, 20, 40, 60, 80]
    assert [packet.sent is None for packet in packets] == [False, True, True, True, True]


def test_a_lost_packet_has_the_path_s_delay_of_the_last_that_came() -> None:
    wire = Wire()
    for number in range(3):
        wire.send(number * 20 * MS, datagram(rtp(number)), came=None if number == 1 else number * 20 * MS + WAY)
    assert [packet.delay for packet in flow(wire, pace=AUDIO, until=60 * MS)] == [WAY] * 3
