from __future__ import annotations

from harness.media.playout import assemble, in_time, late
from harness.media.records import Arrival, MediaPacket

MS = 1_000_000


def packet(frame: int, seq: int, *, offered: int = 0, arrived: int | None = None, ssrc: int = 1) -> MediaPacket:
    arrivals = () if arrived is None else (Arrival(at=arrived, path="eth", remote="192.0.2.1:1", udp=100),)
    return MediaPacket(
        call="c",
        flow="video",
        ssrc=ssrc,
        seq=seq,
        index=seq,
        rtp=0,
        pt=96,
        frame=frame,
        marker=False,
        size=80,
        offered=offered,
        sent=offered,
        path="eth",
        remote="192.0.2.1:1",
        udp=100,
        mode="datagram",
        arrivals=arrivals,
    )


def test_the_deadline_itself_is_in_time_and_a_nanosecond_after_it_is_late() -> None:
    on_time, too_late, lost = packet(0, 0, arrived=150 * MS), packet(0, 1, arrived=150 * MS + 1), packet(0, 2)
    assert [in_time(each) for each in (on_time, too_late, lost)] == [True, False, False]
    assert [late(each) for each in (on_time, too_late, lost)] == [False, True, False]
    assert in_time(too_late, delay=151 * MS)


def test_a_frame_is_rendered_when_its_last_packet_came_in_time() -> None:
    fates = assemble(
        [
            packet(1, 3, offered=33 * MS, arrived=60 * MS),
            packet(0, 1, arrived=90 * MS),
            packet(0, 0, arrived=40 * MS),
            packet(1, 2, offered=33 * MS, arrived=50 * MS),
        ],
        delay=80 * MS,
    )
    assert [(fate.frame, fate.packets, fate.complete, fate.rendered) for fate in fates] == [
        (0, 2, 90 * MS, False),
        (1, 2, 60 * MS, True),
    ]


def test_a_frame_without_its_first_or_last_packet_is_never_whole() -> None:
    fates = assemble([packet(0, 0), packet(0, 1, arrived=5), packet(1, 2, offered=1, arrived=6), packet(1, 3, offered=1)])
    assert [(fate.complete, fate.rendered) for fate in fates] == [(None, False), (None, False)]


def test_two_sources_may_count_their_frames_alike() -> None:
    fates = assemble([packet(0, 0, arrived=5, ssrc=1), packet(0, 0, ssrc=2)])
    assert [(fate.ssrc, fate.rendered) for fate in fates] == [(1, True), (2, False)]
    assert assemble([]) == []
