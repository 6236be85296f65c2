from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from harness.media.source import (
    AUDIO_INTERVAL,
    SECOND,
    SourcePacket,
    SyntheticAudio,
    SyntheticVideo,
    read_payload,
)
from harness.rtp.packet import parse_rtp_untrusted

START = 5_000_000_000


def audio(seed: int = 1, **changes: int) -> SyntheticAudio:
    settings = {"start": START, "ssrc": 0xA0, "sequence": 65_530, "timestamp": 0xFFFF_FF00, **changes}
    return SyntheticAudio(rng=random.Random(seed), **settings)


def video(seed: int = 1, **changes: int) -> SyntheticVideo:
    settings = {"start": START, "ssrc": 0xB0, "sequence": 10, "timestamp": 0, **changes}
    return SyntheticVideo(rng=random.Random(seed), **settings)


def drain(source: SyntheticAudio | SyntheticVideo, until: int) -> list[SourcePacket]:
    packets: list[SourcePacket] = []
    while source.due <= until:
        packets += source.take(source.due)
    return packets


def test_a_second_of_audio_is_fifty_rtp_packets_of_eighty_payload_bytes() -> None:
    packets = drain(audio(), START + SECOND - 1)
    assert len(packets) == 50
    for number, packet in enumerate(packets):
        rtp = parse_rtp_untrusted(packet.data)
        assert (rtp.sequence, rtp.timestamp) == ((65_530 + number) % 65_536, (0xFFFF_FF00 + 960 * number) % 2**32)
        assert (packet.sequence, packet.timestamp, packet.marker) == (rtp.sequence, rtp.timestamp, rtp.marker)
        assert (rtp.ssrc, rtp.payload_type, rtp.marker, len(rtp.payload)) == (0xA0, 111, number == 0, 80)
        stamp = read_payload(rtp.payload)
        assert stamp is not None
        assert (stamp.kind, stamp.frame, stamp.offered) == ("audio", number, START + number * AUDIO_INTERVAL)


def test_a_late_wake_up_hands_over_all_that_is_owed_and_moves_nothing_after_it() -> None:
    source = audio()
    assert source.take(START - 1) == []
    assert [packet.frame for packet in source.take(START)] == [0]
    late = START + 65_000_000
    packets = source.take(late)
    assert [(packet.frame, packet.due - START, packet.offered) for packet in packets] == [
        (1, 20_000_000, late),
        (2, 40_000_000, late),
        (3, 60_000_000, late),
    ]
    assert source.due == START + 80_000_000
    assert source.take(late) == []
    for packet in packets:
        stamp = read_payload(parse_rtp_untrusted(packet.data).payload)
        assert stamp is not None
        assert stamp.offered == late


def test_video_does_not_drift_although_a_thirtieth_of_a_second_is_no_whole_number() -> None:
    source = video()
    packets = drain(source, START + 600 * SECOND)
    assert packets[-1].frame == 600 * 30
    assert packets[-1].due == START + 600 * SECOND
    assert packets[-1].timestamp == 600 * 90_000 % 2**32


def test_a_video_frame_is_whole_and_only_its_last_packet_has_the_marker() -> None:
    packets = drain(video(), START + 4 * SECOND - 1)
    frames: dict[int, list[SourcePacket]] = {}
    for packet in packets:
        frames.setdefault(packet.frame, []).append(packet)
    assert list(frames) == list(range(120))
    for frame, parts in frames.items():
        assert [part.marker for part in parts] == [False] * (len(parts) - 1) + [True]
        assert {part.timestamp for part in parts} == {3000 * frame}
        assert all(len(part.data) <= 1100 for part in parts)
    assert [packet.sequence for packet in packets] == [(10 + number) % 65_536 for number in range(len(packets))]


def test_video_comes_to_its_bitrate_and_has_a_key_frame_of_three_times_the_size_every_two_seconds() -> None:
    packets = drain(video(), START + 4 * SECOND - 1)
    payloads = [(packet.frame, parse_rtp_untrusted(packet.data).payload) for packet in packets]
    sizes: dict[int, int] = {}
    kinds: dict[int, str] = {}
    for frame, payload in payloads:
        sizes[frame] = sizes.get(frame, 0) + len(payload)
        stamp = read_payload(payload)
        assert stamp is not None
        kinds[frame] = stamp.kind
    assert [frame for frame, kind in kinds.items() if kind == "key"] == [0, 60]
    assert sizes[0] == 3 * sizes[1]
    assert sum(sizes.values()) * 8 / 4 == pytest.approx(400_000, rel=0.001)


def test_a_key_frame_comes_when_asked_for_and_the_period_counts_from_it() -> None:
    source = video()
    drain(source, START + 9 * SECOND // 30)
    source.request_key_frame()
    stamps = [read_payload(parse_rtp_untrusted(packet.data).payload) for packet in drain(source, START + 4 * SECOND)]
    assert sorted({stamp.frame for stamp in stamps if stamp is not None and stamp.kind == "key"}) == [10, 70]


def test_the_bitrate_can_be_halved_while_it_runs() -> None:
    source = video()
    drain(source, START + 2 * SECOND - 1)
    source.kbps = 200
    packets = drain(source, START + 4 * SECOND - 1)
    assert sum(len(packet.data) - 12 for packet in packets) * 8 / 2 == pytest.approx(200_000, rel=0.001)


def test_one_seed_gives_one_run_and_another_gives_other_bytes() -> None:
    assert drain(video(7), START + SECOND) == drain(video(7), START + SECOND)
    assert drain(video(7), START + SECOND) != drain(video(8), START + SECOND)
    contents = [packet.data[28:] for packet in drain(audio(), START + 2 * SECOND)]
    assert len(set(contents)) == len(contents)


def test_the_smallest_video_still_carries_its_stamp() -> None:
    packets = drain(video(kbps=1), START + SECOND)
    assert all(read_payload(parse_rtp_untrusted(packet.data).payload) is not None for packet in packets)


@pytest.mark.parametrize("size", [15, 8193])
def test_audio_refuses_a_payload_that_cannot_be_made(size: int) -> None:
    with pytest.raises(ValueError, match=f"payload_bytes {size} is out of range; allowed is 16 to 8192"):
        audio(payload_bytes=size)


def test_video_refuses_no_bitrate_and_packets_without_room() -> None:
    with pytest.raises(ValueError, match="kbps 0 is out of range"):
        video(kbps=0)
    with pytest.raises(ValueError, match="largest 20 is out of range"):
        video(largest=20)


@pytest.mark.parametrize("payload", [b"", b"QCHA", b"OPUS" + bytes(40)])
def test_a_payload_of_another_make_has_no_stamp(payload: bytes) -> None:
    assert read_payload(payload) is None


def test_audio_that_was_paused_owes_nothing_for_the_pause_and_its_numbers_go_on() -> None:
    source = audio()
    before = source.take(START + 45_000_000)
    later = START + 60_000_000 + 2 * SECOND
    source.go_on(later)
    assert source.due == later
    after = source.take(later) + source.take(later + AUDIO_INTERVAL)
    assert [packet.frame for packet in before + after] == [0, 1, 2, 3, 4]
    assert [packet.sequence for packet in after] == [(65_530 + 3) % 65_536, (65_530 + 4) % 65_536]
    assert [packet.marker for packet in before + after] == [True, False, False, True, False]
    assert after[0].timestamp - before[-1].timestamp == 960 + 2 * 48_000
    assert after[1].timestamp - after[0].timestamp == 960


def test_video_that_was_paused_goes_on_with_a_key_frame() -> None:
    source = video()
    before = drain(source, START + SECOND)
    later = source.due + SECOND
    source.go_on(later)
    after = source.take(later)
    stamp = read_payload(parse_rtp_untrusted(after[0].data).payload)
    assert stamp is not None
    assert (stamp.kind, stamp.frame) == ("key", before[-1].frame + 1)
    assert after[0].sequence == before[-1].sequence + 1
    assert after[0].timestamp - before[-1].timestamp == 3000 + 90_000
    assert source.due == later + SECOND // 30


@pytest.mark.parametrize("make", [audio, video])
def test_a_pause_within_one_interval_changes_nothing(make: Callable[[], SyntheticAudio | SyntheticVideo]) -> None:
    source, untouched = make(), make()
    for one in (source, untouched):
        one.take(START)
    source.go_on(START + 5_000_000)
    assert [source.due, *source.take(source.due)] == [untouched.due, *untouched.take(untouched.due)]
