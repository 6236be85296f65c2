"""VP8: RFC 7741's descriptor, packets of a size, key frames when asked for, a bitrate that follows, and bytes from the network."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.media.picture import HEIGHT, WIDTH, Picture
from harness.media.source import SourcePacket
from harness.media.vp8 import Vp8Decoder, Vp8Encoder, Vp8Video, depacketize, describe, is_key_frame, luma, packetize
from harness.rtp.packet import parse_rtp_untrusted
from tests.examples import examples

S = 1_000_000_000


def video(kbps: int = 400, **changes: int) -> Vp8Video:
    return Vp8Video(start=0, ssrc=1, sequence=65_530, timestamp=2**32 - 3000, rng=random.Random(1), kbps=kbps, **changes)


def frames(packets: list[SourcePacket]) -> list[bytes]:
    by_frame: dict[int, list[bytes]] = {}
    for packet in packets:
        by_frame.setdefault(packet.frame, []).append(parse_rtp_untrusted(packet.data).payload)
    return [depacketize(payloads) or b"" for payloads in by_frame.values()]


def test_every_frame_comes_back_and_shows_what_was_drawn() -> None:
    source, decoder = video(), Vp8Decoder()
    drawn = Picture(random.Random(1))
    for number, frame in enumerate(frames(source.take(2 * S - 1))):
        picture = decoder.decode(frame)
        assert picture is not None
        seen = np.frombuffer(luma(picture), np.uint8).reshape(HEIGHT, WIDTH)[:100].astype(int)
        wanted = np.frombuffer(drawn.draw(number, 400), np.uint8).reshape(HEIGHT, WIDTH)[:100].astype(int)
        assert np.abs(seen - wanted).mean() < 12, "the digits are those of this frame"
    assert number == 59


def test_packets_are_of_the_largest_size_at_most_and_numbered_as_rtp_wants() -> None:
    packets = video(2000, largest=500).take(1 * S)
    assert max(len(packet.data) for packet in packets) <= 500
    assert [packet.sequence for packet in packets] == [(65_530 + n) & 0xFFFF for n in range(len(packets))]
    assert {(packet.timestamp - (2**32 - 3000)) % 2**32 - 3000 * packet.frame for packet in packets} == {0}
    ids = []
    for packet, after in zip(packets, [*packets[1:], None], strict=True):
        told = describe(parse_rtp_untrusted(packet.data).payload)
        assert told is not None
        assert packet.marker == (after is None or after.frame != packet.frame)
        ids.append((packet.frame, told.picture_id, told.start))
    first = ids[0][1] or 0
    assert {(picture_id or 0) - frame for frame, picture_id, _ in ids} == {first}
    assert [start for *_, start in ids] == [n == 0 or ids[n - 1][0] != ids[n][0] for n in range(len(ids))]


def test_key_frames_come_every_60_and_when_asked_for() -> None:
    source = video()
    keys = [number for number, frame in enumerate(frames(source.take(4 * S - 1))) if is_key_frame(frame)]
    assert keys == [0, 60]
    source.request_key_frame()
    assert [is_key_frame(frame) for frame in frames(source.take(4 * S + S // 10))][:3] == [True, False, False]


@pytest.mark.parametrize("kbps", [150, 400, 1500])
def test_the_bitrate_is_what_was_asked_for(kbps: int) -> None:
    assert sum(map(len, frames(video(kbps).take(4 * S - 1)))) * 8 / 4000 == pytest.approx(kbps, rel=0.15)


def test_a_new_bitrate_is_followed_from_a_key_frame_on() -> None:
    source = video(1000)
    source.take(2 * S - 1)
    source.kbps = 200
    after = frames(source.take(5 * S - 1))
    assert is_key_frame(after[0])
    assert sum(map(len, after)) * 8 / 3000 == pytest.approx(200, rel=0.2)
    source.kbps = 200
    assert not is_key_frame(frames(source.take(5 * S + S // 30))[0]), "the same again changes nothing"


@given(st.binary(min_size=1, max_size=5000), st.integers(0, 1 << 20), st.integers(30, 1100))
def test_a_frame_in_packets_is_that_frame_again(frame: bytes, picture_id: int, room: int) -> None:
    payloads = packetize(frame, picture_id, room)
    assert max(map(len, payloads)) <= room
    assert depacketize(payloads) == frame
    assert {told.picture_id for payload in payloads if (told := describe(payload))} == {picture_id & 0x7FFF}
    if len(payloads) > 1:
        assert depacketize(payloads[1:]) is None
        assert depacketize(payloads[:1] * 2) is None


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"\x10data", (True, None, 1)),
        (b"\x00data", (False, None, 1)),
        (b"\x11data", (False, None, 1)),  # a later partition
        (b"\x90\x80\x11data", (True, 0x11, 3)),
        (b"\x90\x80\x91\x22data", (True, 0x1122, 4)),
        (b"\x90\xf0\x91\x22\x33\x44data", (True, 0x1122, 6)),  # TL0PICIDX, TID and KEYIDX
        (b"\x90\x40\x33data", (True, None, 3)),
        (b"", None),
        (b"\x90", None),
        (b"\x90\x80\x91", None),
        (b"\x90\x70", None),
    ],
)
def test_the_descriptor_is_rfc_7741s(payload: bytes, told: tuple[bool, int | None, int] | None) -> None:
    assert describe(payload) == told


@settings(deadline=None, max_examples=examples(200))
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6), st.integers(0, 400))
def test_hostile_frames_harm_nothing(raw: list[bytes], cut: int) -> None:
    """Garbage, and real frames cut and spoiled: each gives a picture of the right size or None, and a sound key frame is decoded after."""
    encoder, picture, decoder = Vp8Encoder(200), Picture(random.Random(2)), Vp8Decoder()
    sound = encoder.encode(picture.draw(0, 200), key=True)
    for data in raw:
        describe(data)
        depacketize([data])
        for one in (data, sound[:cut], sound[: cut % 40] + data, data[:1] + sound[1:]):
            shown = decoder.decode(one)
            assert shown is None or len(luma(shown)) == WIDTH * HEIGHT
    again = decoder.decode(encoder.encode(picture.draw(1, 200), key=True))
    assert again is not None
