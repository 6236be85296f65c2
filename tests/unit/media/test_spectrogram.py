"""The picture of a sound: a tone has its line where it should, and what was made up is marked where it was."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.media import png
from harness.media.listening import RATE, Listened, SoundFigures
from harness.media.spectrogram import BIN_HZ, GREEN, RED, ROWS, STRIP, WIDEST, spectrogram

S = 1_000_000_000
START = 77 * S


def pixels(picture: bytes) -> np.ndarray:
    """The places in the palette, by row and column; the file is taken apart by its own lengths and checksums."""
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    at, found = 8, {}
    while at < len(picture):
        (size,) = struct.unpack_from("!I", picture, at)
        kind, data = picture[at + 4 : at + 8], picture[at + 8 : at + 8 + size]
        assert struct.unpack_from("!I", picture, at + 8 + size)[0] == zlib.crc32(kind + data)
        found[kind] = data
        at += 12 + size
    width, height, *rest = struct.unpack("!IIBBBBB", found[b"IHDR"])
    assert rest == [8, 3, 0, 0, 0]
    rows = np.frombuffer(zlib.decompress(found[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    assert rows[:, 1:].max() < len(found[b"PLTE"]) // 3
    return rows[:, 1:]


def sound(pcm: bytes, concealed: tuple[tuple[int, int], ...] = ()) -> Listened:
    whole = ((START, START + len(pcm) // 2 * S // RATE),)
    return Listened(pcm=pcm, starts=START, spoken=whole, concealed=concealed, figures=SoundFigures())


def tone(hertz: float, seconds: float) -> bytes:
    return (1000 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype("<i2").tobytes()


@pytest.mark.parametrize("hertz", [100, 440, 1000, 3000, 7900])
def test_a_tone_has_its_line_where_it_should(hertz: int) -> None:
    picture = pixels(spectrogram(sound(tone(hertz, 2))))[STRIP:]
    assert picture.shape == (ROWS, 200)
    brightest = ROWS - 1 - picture[:, 50:150].astype(int).sum(axis=1).argmax()
    assert brightest == pytest.approx(hertz / BIN_HZ, abs=1)


def test_what_was_made_up_is_red_where_it_was() -> None:
    strip = pixels(spectrogram(sound(tone(440, 10), ((START + 4 * S, START + 5 * S),))))[0]
    assert len(strip) == 1000
    assert set(strip[400:500]) == {RED}
    assert set(strip[:400]) == set(strip[500:]) == {GREEN}


def test_a_single_frame_of_an_hour_is_still_marked_and_the_picture_no_wider() -> None:
    at = START + 20 * S
    picture = spectrogram(sound(tone(440, 60), ((at, at + 20_000_000),)))
    assert (pixels(picture)[0] == RED).sum() in (1, 2)
    assert pixels(picture).shape[1] == WIDEST


def test_noise_for_a_minute_is_100_kb_at_most() -> None:
    noise = np.random.default_rng(1).integers(-9000, 9000, 60 * RATE).astype("<i2").tobytes()
    assert len(spectrogram(sound(noise))) <= 100_000


@pytest.mark.parametrize("samples", [0, 1, 479, 48_000])
def test_short_and_silent_sounds_have_a_picture_too(samples: int) -> None:
    assert pixels(spectrogram(sound(bytes(2 * samples)))).shape[0] == STRIP + ROWS


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_a_png_holds_what_it_was_given(width: int, height: int, data: st.DataObject) -> None:
    body = data.draw(st.binary(min_size=width * height, max_size=width * height).map(lambda raw: bytes(byte % 7 for byte in raw)))
    assert pixels(png.encode(width, height, body, [(1, 2, 3)] * 7)).tobytes() == body


def test_a_png_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="5 pixels and 1 colours; 2×2 has 4"):
        png.encode(2, 2, bytes(5), [(0, 0, 0)])
