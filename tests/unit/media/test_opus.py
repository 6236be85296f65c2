"""The codec: there and back, what it makes up, and that bytes from the network can do it no harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.media.opus import FRAME_BYTES, LARGEST_PACKET, SAMPLES, SILENCE, OpusDecoder, OpusEncoder, duration
from tests.examples import examples

RATE = 48_000


def tone(hertz: int, frames: int, loud: float = 8000) -> bytes:
    return (loud * np.sin(2 * np.pi * hertz * np.arange(SAMPLES * frames) / RATE)).astype("<i2").tobytes()


def frames(pcm: bytes) -> list[bytes]:
    return [pcm[at : at + FRAME_BYTES] for at in range(0, len(pcm), FRAME_BYTES)]


def strongest(pcm: bytes) -> float:
    """The frequency (Hz) of the strongest line."""
    samples = np.frombuffer(pcm, "<i2")
    return float(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * RATE / len(samples))


def loudness(pcm: bytes) -> float:
    return float(np.sqrt((np.frombuffer(pcm, "<i2").astype(float) ** 2).mean()))


def test_a_tone_comes_back_as_that_tone() -> None:
    encoder, decoder = OpusEncoder(), OpusDecoder()
    packets = [encoder.encode(frame) for frame in frames(tone(440, 50))]
    assert all(duration(packet) == SAMPLES and len(packet) <= LARGEST_PACKET for packet in packets)
    heard = b"".join(decoder.decode(packet) or b"" for packet in packets)
    assert len(heard) == 50 * FRAME_BYTES
    assert strongest(heard[FRAME_BYTES * 10 :]) == pytest.approx(440, abs=3)
    assert loudness(heard[FRAME_BYTES * 10 :]) == pytest.approx(loudness(tone(440, 40)), rel=0.1)


def test_a_bitrate_is_kept_to() -> None:
    noise = np.random.default_rng(1).integers(-5000, 5000, SAMPLES * 100).astype("<i2").tobytes()
    sizes = {kbps: sum(map(len, map(OpusEncoder(kbps).encode, frames(noise)))) for kbps in (16, 64)}
    assert sizes[16] * 8 / 2000 == pytest.approx(16, rel=0.35)
    assert sizes[64] * 8 / 2000 == pytest.approx(64, rel=0.35)


@pytest.mark.parametrize("kbps", [0, 5, 511])
def test_a_bitrate_that_opus_has_not_is_refused(kbps: int) -> None:
    with pytest.raises(ValueError, match=f"{kbps} kbit/s of Opus; allowed is 6 to 510"):
        OpusEncoder(kbps)


def test_a_missing_frame_is_gone_on_with_and_the_next_is_heard() -> None:
    encoder, decoder = OpusEncoder(), OpusDecoder()
    packets = [encoder.encode(frame) for frame in frames(tone(440, 60))]
    before = [decoder.decode(packet) for packet in packets[:50]]
    concealed = decoder.conceal()
    assert len(concealed) == FRAME_BYTES
    assert loudness(concealed) > 0.3 * loudness(before[-1] or b"")
    assert strongest((before[-1] or b"") + concealed) == pytest.approx(440, abs=30)
    after = b"".join(decoder.decode(packet) or b"" for packet in packets[51:])
    assert strongest(after) == pytest.approx(440, abs=10)


def test_before_anything_was_heard_nothing_is_made_up() -> None:
    assert OpusDecoder().conceal() == SILENCE


@pytest.mark.parametrize("payload", [b"", b"\x10", b"\xff", b"\x7b", b"\x7b\x00", bytes(LARGEST_PACKET + 3)])
def test_what_is_no_packet_of_20_ms_is_none(payload: bytes) -> None:
    assert duration(payload) != SAMPLES or len(payload) > LARGEST_PACKET
    assert OpusDecoder().decode(payload) is None


@settings(deadline=None, max_examples=examples(300))
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=8))
def test_hostile_payloads_harm_nothing(payloads: list[bytes]) -> None:
    """Each gives a whole frame or None, and what is sound is decoded after them."""
    decoder = OpusDecoder()
    for payload in payloads:
        for one in (payload, b"\x78" + payload, b"\x79" + payload, b"\x4b\x01" + payload, b"\x0c" + payload):
            samples = decoder.decode(one)
            assert samples is None or len(samples) == FRAME_BYTES
            assert len(decoder.conceal()) == FRAME_BYTES
    assert decoder.decode(OpusEncoder().encode(tone(440, 1))) is not None
