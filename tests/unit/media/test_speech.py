"""The voice and its source: what is in the file, and that the schedule is any audio source's."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest

from harness.media import kinds
from harness.media.ogg import read_opus, write_opus
from harness.media.opus import FRAME_BYTES, SAMPLES, OpusDecoder, duration
from harness.media.source import AUDIO_INTERVAL
from harness.media.speech import FILE, SpeechAudio, voice
from harness.media.voice import SECONDS, WORD_S, WORDS, counting
from harness.rtp.packet import parse_rtp_untrusted

RATE = 48_000
START = 5_000_000_000


def loudness(samples: np.ndarray) -> float:
    return float(np.sqrt((samples.astype(float) ** 2).mean()))


def test_the_file_is_the_voice_that_this_code_makes() -> None:
    made = np.frombuffer(counting(), "<i2").astype(float)
    kept = np.frombuffer(voice(), "<i2")[::3].astype(float)
    assert len((files("harness.media") / FILE).read_bytes()) <= 200_000
    assert len(made) / 16_000 == pytest.approx(SECONDS)
    whole = min(len(made), len(kept)) // 320 * 320
    envelopes = [np.abs(one[:whole]).reshape(-1, 320).mean(axis=1) for one in (made, kept)]
    assert np.corrcoef(*envelopes)[0, 1] > 0.98


def test_ten_words_stand_out_of_a_soft_noise_that_never_stops() -> None:
    pcm = np.frombuffer(voice(), "<i2")
    for number in range(WORDS):
        begins = round(number * WORD_S * RATE)
        word, rest = pcm[begins : begins + round(0.3 * RATE)], pcm[begins + round(0.53 * RATE) : begins + round(0.58 * RATE)]
        assert loudness(word) > 10 * loudness(rest) > 10 * 20


def test_the_source_sends_opus_on_the_schedule_of_any_audio() -> None:
    pcm = voice()
    source = SpeechAudio(start=START, ssrc=7, sequence=65_530, timestamp=2**32 - 960, pcm=pcm)
    packets = source.take(START + 99 * AUDIO_INTERVAL)
    assert [packet.due for packet in packets] == [START + n * AUDIO_INTERVAL for n in range(100)]
    assert [packet.sequence for packet in packets] == [(65_530 + n) & 0xFFFF for n in range(100)]
    assert [packet.timestamp for packet in packets] == [(2**32 - 960 + n * 960) & 0xFFFF_FFFF for n in range(100)]
    assert [packet.frame for packet in packets] == list(range(100))
    assert [packet.marker for packet in packets] == [True] + [False] * 99
    payloads = [parse_rtp_untrusted(packet.data).payload for packet in packets]
    assert {duration(payload) for payload in payloads} == {SAMPLES}
    assert 12 < sum(map(len, payloads)) * 8 / 2000 < 36, "kbit/s"
    decoder = OpusDecoder()
    heard = np.frombuffer(b"".join(decoder.decode(payload) or b"" for payload in payloads), "<i2")
    said = np.frombuffer(pcm[: 100 * FRAME_BYTES], "<i2")
    envelopes = [np.abs(one.astype(float)).reshape(100, -1).mean(axis=1) for one in (heard, said)]
    assert np.corrcoef(*envelopes)[0, 1] > 0.95


def test_after_a_pause_the_voice_goes_on_where_it_stopped() -> None:
    source = SpeechAudio(start=START, ssrc=7, sequence=0, timestamp=0, pcm=voice())
    source.take(START)
    source.go_on(START + 50 * AUDIO_INTERVAL)
    (packet,) = source.take(START + 50 * AUDIO_INTERVAL)
    assert (packet.frame, packet.marker, packet.timestamp) == (1, True, 50 * 960)


def test_nothing_is_lacking_here_and_what_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kinds.lacking() == ""
    monkeypatch.setattr(kinds, "find_spec", lambda name: None)
    assert (
        kinds.lacking()
        == "PyAV and numpy cannot be imported; the extra `media` brings what is needed: pip install 'quic-call-harness[media]'"
    )


def test_an_ogg_file_comes_back() -> None:
    pcm = voice()
    again = read_opus(write_opus(pcm, rate=RATE, kbps=24))
    assert len(again) == pytest.approx(len(pcm), abs=2 * 2 * SAMPLES)
    assert len(write_opus(pcm, rate=RATE, kbps=24)) < 4096 * SECONDS


@pytest.mark.parametrize("samples", [0, 1, 100, 961])
def test_the_shortest_sound_is_a_file_too(samples: int) -> None:
    assert len(read_opus(write_opus(bytes(2 * samples), rate=RATE, kbps=24))) >= 2 * samples
