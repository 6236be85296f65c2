"""What was seen: freezes where the verdicts have them, damage until the next key frame, and a film and a sheet that hold both."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.media.film import COLUMNS, PICTURES, RATE, Seen, watch
from harness.media.freezes import video_report
from harness.media.records import Arrival, MediaPacket
from harness.media.vp8 import Vp8Video
from harness.rtp.packet import parse_rtp_untrusted
from tests.examples import examples
from tests.unit.media.test_spectrogram import pixels

S = 1_000_000_000
MS = 1_000_000
DELAY = 30 * MS


@cache
def offered() -> tuple[tuple[MediaPacket, bytes], ...]:
    """Six seconds of video: each packet as it would be recorded, arrived after 30 ms, and its payload."""
    source = Vp8Video(start=0, ssrc=1, sequence=0, timestamp=0, rng=random.Random(1))
    made = []
    for number, one in enumerate(packet for _ in range(180) for packet in source.take(source.due)):
        packet = MediaPacket(
            call="c",
            flow="video",
            ssrc=1,
            seq=number,
            index=number,
            rtp=one.timestamp,
            pt=96,
            frame=one.frame,
            marker=one.marker,
            size=len(one.data),
            offered=one.due,
            sent=one.due,
            path="eth",
            remote="10.0.0.2:1",
            udp=1,
            mode="datagram",
            arrivals=(Arrival(one.due + DELAY, "eth", "10.0.0.1:1", 1),),
            taken=one.due + DELAY,
            delay=DELAY,
        )
        made.append((packet, parse_rtp_untrusted(one.data).payload))
    return tuple(made)


def lose(*frames: int) -> list[MediaPacket]:
    return [
        MediaPacket(**{name: getattr(packet, name) for name in packet.__struct_fields__ if name not in ("arrivals", "taken")})
        if packet.frame in frames
        else packet
        for packet, _ in offered()
    ]


def seen(packets: list[MediaPacket], payload: Callable[[MediaPacket], bytes | None] | None = None, closed: int = 6 * S) -> Seen:
    return watch(packets, payload or (lambda packet: offered()[packet.index][1]), opened=0, closed=closed)


def pictures(film: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(film)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def is_red(picture: np.ndarray) -> bool:
    red, green, blue = picture[-3:, -40:].reshape(-1, 3).mean(axis=0)
    return bool(red > 150 and green < 90 and blue < 90)


def test_a_whole_flow_is_seen_whole() -> None:
    sound = seen(lose())
    assert (sound.frozen, sound.damaged) == ((), ())
    assert (sound.figures.offered, sound.figures.shown) == (180, 180)
    assert sound.duration == 6 * S
    film = pictures(sound.film)
    assert len(film) == 6 * RATE
    assert not any(map(is_red, film))
    assert len({picture.tobytes() for picture in film}) == len(film), "it moves"


def test_a_freeze_is_the_verdicts_and_stands_in_the_film() -> None:
    packets = lose(*range(60, 90))
    sound = seen(packets)
    report = video_report(packets, since=0, until=6 * S)
    assert [(gap.start, gap.end) for gap in report.freezes] == list(sound.frozen)
    ((start, end),) = sound.frozen
    assert end - start == pytest.approx(31 * S // 30, abs=MS)
    film = pictures(sound.film)
    red = [number for number, picture in enumerate(film) if is_red(picture)]
    assert red == list(range(-(-start * RATE // S), -(-end * RATE // S)))
    still = [film[number][:150].astype(int) for number in red]
    assert max(np.abs(a - b).mean() for a, b in pairwise(still)) < 6


def test_a_lost_frame_damages_what_follows_until_the_next_key_frame() -> None:
    sound = seen(lose(70))
    assert sound.frozen == ()
    ((start, end),) = sound.damaged
    assert start == pytest.approx(71 * S // 30 + DELAY, abs=MS)
    assert end == pytest.approx(120 * S // 30 + DELAY, abs=MS)
    assert sound.figures.damaged == 49


def test_a_flow_that_never_comes_back_is_frozen_to_the_end() -> None:
    sound = seen(lose(*range(100, 180)))
    assert sound.frozen == ((pytest.approx(99 * S // 30 + DELAY, abs=MS), 6 * S),)


def test_a_sheet_has_the_freeze_on_it_and_is_small() -> None:
    sound = seen(lose(*range(60, 90)))
    sheet = pixels(sound.sheet)
    assert sheet.shape == (PICTURES // COLUMNS * 103, COLUMNS * 162)
    assert len(sound.sheet) <= 100_000
    headings = [sheet[row * 103 + 1, column * 162 + 1] for row in range(4) for column in range(COLUMNS)]
    assert headings.count(17) >= 2, "FROZEN is the second colour after the greys"


def test_a_call_without_a_picture_has_a_grey_film() -> None:
    sound = seen(lose(*range(180)), closed=2 * S)
    assert sound.figures.shown == 0
    assert len(pictures(sound.film)) == 2 * RATE
    assert seen([], closed=1 * S).figures.offered == 0


def test_the_shortest_call_has_a_film_too() -> None:
    assert len(pictures(seen([], closed=0).film)) == 1
    assert seen(lose(), closed=1).duration == 1


def test_frames_of_which_nothing_was_left_are_told_apart() -> None:
    sound = seen(lose(), lambda packet: None if packet.frame < 3 else offered()[packet.index][1])
    assert sound.figures.not_kept == 3
    assert seen(lose(), lambda packet: b"\x00").figures.undecodable == 180


@settings(deadline=None, max_examples=examples(8))
@given(st.lists(st.none() | st.binary(max_size=60), min_size=30, max_size=30))
def test_hostile_payloads_do_not_break_the_loop(payloads: list[bytes | None]) -> None:
    sound = seen(lose(), lambda packet: payloads[packet.index % 30], closed=1 * S)
    assert len(pictures(sound.film)) == RATE
