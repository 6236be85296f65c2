"""What was heard is where it was, holes included: a cut of known length and place, by samples."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.media.bursts import concealment
from harness.media.listening import Listened, listen, wav
from harness.media.measures import Heard
from harness.media.opus import SAMPLES, OpusEncoder
from harness.media.records import MediaPacket
from harness.media.schedule import FOREVER
from harness.units import Duration
from tests.examples import examples
from tests.unit.media.flows import MS, S, audio

RATE = 48_000
FRAME = 20 * MS
DEADLINE = 200 * MS


@cache
def hum() -> tuple[bytes, ...]:
    """Ten seconds of a hum, which has no silence in it."""
    at = np.arange(SAMPLES * 500) / RATE
    pcm = (6000 * np.sin(2 * np.pi * 200 * at) + 3000 * np.sin(2 * np.pi * 600 * at)).astype("<i2").tobytes()
    encoder = OpusEncoder()
    return tuple(encoder.encode(pcm[start : start + 2 * SAMPLES]) for start in range(0, len(pcm), 2 * SAMPLES))


def heard(packets: list[MediaPacket], payload: Callable[[MediaPacket], bytes | None] | None = None, closed: int = 10 * S) -> Listened:
    whole = payload or (lambda packet: hum()[packet.index % 500])
    return listen(packets, whole, opened=0, closed=closed, deadline=DEADLINE)


def silent(sound: Listened) -> list[tuple[int, int]]:
    """The stretches (ns) of nothing but zeros, of 10 ms and more."""
    loud = np.flatnonzero(np.abs(np.frombuffer(sound.pcm, "<i2")) > 1)
    edges = np.concatenate([[-1], loud, [len(sound.pcm) // 2]])
    return [((a + 1) * S // RATE, b * S // RATE) for a, b in pairwise(edges) if b - a > RATE // 100]


def test_a_whole_flow_is_heard_whole() -> None:
    sound = heard(audio(500))
    assert sound.duration == 10 * S
    assert sound.concealed == ()
    assert sound.figures.played == sound.figures.offered == 500
    assert silent(sound) == [(0, pytest.approx(36 * MS, abs=10 * MS))], "until the first packet is there: its delay and the codec's"


@settings(deadline=None, max_examples=examples(12))
@given(first=st.integers(20, 300), count=st.integers(1, 100), delay=st.integers(0, 190))
def test_a_cut_lies_where_the_verdicts_gap_does(first: int, count: int, delay: int) -> None:
    packets = audio(500, lost=range(first, first + count), delay=delay * MS, own=delay * MS)
    sound = heard(packets)
    (gap,) = Heard(packets, "alice → bob audio", 0, 10 * S, Duration(DEADLINE), free=[(-FOREVER, 0)]).longest_gap().gaps
    assert gap.excess == Duration(count * FRAME)
    ((start, end),) = sound.concealed
    assert start == pytest.approx(gap.start + FRAME, abs=FRAME)
    assert end == pytest.approx(gap.end, abs=FRAME)
    assert end - start == pytest.approx(gap.excess.ns, abs=FRAME)
    holes = [hole for hole in silent(sound) if hole[0] > 0]
    if count > 4:  # 60 ms of it are made up, and fade
        ((low, high),) = holes
        assert low == pytest.approx(start + 60 * MS, abs=FRAME)
        assert high == pytest.approx(end, abs=FRAME)
    else:
        assert all(high - low < 2 * FRAME for low, high in holes)


def test_concealment_is_counted_as_webrtc_stats_does() -> None:
    lost = {*range(50, 60), 100, *range(200, 202)}
    packets = audio(500, lost=lost)
    figures = heard(packets).figures
    wanted = concealment([packet.heard_by(DEADLINE) for packet in packets], packet=Duration(FRAME))
    assert figures.concealed_samples == wanted.concealed_samples == 13 * SAMPLES
    assert figures.concealment_events == wanted.concealment_events == 3
    assert figures.silent_concealed_samples == 7 * SAMPLES, "ten in a row, of which three fade"
    assert figures.played == 487


def test_what_comes_after_the_deadline_is_not_heard() -> None:
    sound = heard(audio(500, delay=lambda index: 201 * MS if index == 250 else 40 * MS))
    assert sound.concealed == ((pytest.approx(250 * FRAME + 40 * MS, abs=MS), pytest.approx(251 * FRAME + 40 * MS, abs=MS)),)


def test_a_slower_path_within_the_deadline_makes_no_hole() -> None:
    sound = heard(audio(500, delay=lambda index: 20 * MS if index < 250 else 150 * MS))
    assert sound.concealed == ()


def test_a_pause_of_the_source_is_silence_and_not_concealed() -> None:
    rtp = [(index * 960 + (48_000 if index >= 100 else 0)) & 0xFFFF_FFFF for index in range(400)]
    packets = [
        MediaPacket(**{name: getattr(packet, name) for name in packet.__struct_fields__ if name != "rtp"}, rtp=rtp[packet.index])
        for packet in audio(400, pauses={100: 1 * S})
    ]
    sound = heard(packets, closed=9 * S)
    assert sound.concealed == ()
    assert len(sound.spoken) == 2
    pause = [hole for hole in silent(sound) if hole[0] > 0]
    assert pause == [(pytest.approx(2 * S + 36 * MS, abs=FRAME), pytest.approx(3 * S + 36 * MS, abs=FRAME))]


def test_a_stalled_source_is_late_and_not_displaced() -> None:
    """Ten packets are offered at once, when the last of them is due: the sound goes on at its own time."""
    packets = audio(500)
    for index in range(200, 210):
        old = packets[index]
        values = {name: getattr(old, name) for name in old.__struct_fields__ if name not in ("offered", "sent")}
        packets[index] = MediaPacket(**values, offered=210 * FRAME - 1, sent=210 * FRAME)
    assert heard(packets).concealed == ()
    assert len(heard(packets).spoken) == 1


def test_a_second_source_of_the_flow_is_another_spurt() -> None:
    later = [
        MediaPacket(**{name: getattr(one, name) for name in one.__struct_fields__ if name not in ("ssrc", "rtp")}, ssrc=2, rtp=77 + one.rtp)
        for one in audio(100, start=4 * S)
    ]
    sound = heard([*audio(100), *later], closed=7 * S)
    assert sound.concealed == ()
    assert [round((end - start) / S, 2) for start, end in sound.spoken] == [2.0, 2.0]


def test_packets_of_which_nothing_was_left_are_told_apart() -> None:
    sound = heard(audio(500), lambda packet: None if packet.index < 5 else hum()[packet.index % 500])
    assert (sound.figures.not_kept, sound.figures.played) == (5, 495)
    assert heard(audio(500), lambda packet: b"\xff\xff").figures.undecodable == 500


def test_nothing_heard_at_all_is_silence() -> None:
    sound = heard(audio(100, lost=range(100)), closed=2 * S)
    assert sound.pcm == bytes(2 * 2 * RATE)
    assert sound.figures.concealment_events == 1
    assert heard([], closed=2 * S).pcm == bytes(2 * 2 * RATE)
    assert heard(audio(3), closed=0).pcm == b""


@settings(deadline=None, max_examples=examples(60))
@given(payloads=st.lists(st.none() | st.binary(max_size=80), min_size=20, max_size=20), drop=st.sets(st.integers(0, 19)))
def test_hostile_payloads_do_not_break_the_loop(payloads: list[bytes | None], drop: set[int]) -> None:
    sound = heard(audio(20, lost=drop), lambda packet: payloads[packet.index], closed=1 * S)
    figures = sound.figures
    assert len(sound.pcm) == 2 * RATE
    assert figures.offered == 20 == figures.played + figures.not_kept + figures.undecodable + len(drop)


def test_the_wav_is_48_khz_16_bit_mono() -> None:
    with wave.open(io.BytesIO(wav(heard(audio(100), closed=2 * S).pcm))) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels(), file.getnframes()) == (RATE, 2, 1, 2 * RATE)
