"""A picture of sound: time from left to right, 0 to 8 kHz from bottom to top, and above it what was made up.

The whole width is the whole time, with no margin, so that it can be laid under a time axis.  The strip on top is red where the sound was
concealed, green where it was played, dark where nothing was offered; a tick every second, a longer one every ten.  Needs numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from harness.media.listening import RATE, Listened, Stretch
from harness.media.png import Colour, encode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WIDEST = 1200
ROWS = 160
STRIP = 16
BIN_HZ = 50
"""One row of the picture."""
_WINDOW = RATE // BIN_HZ
_HOP = _WINDOW // 2
_LEVELS = 24
_QUIET_DB, _LOUD_DB = -84.0, -24.0  # against full scale
_STOPS: tuple[Colour, ...] = ((13, 8, 35), (66, 15, 117), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))  # inferno's
DARK, GREEN, RED, WHITE = range(_LEVELS, _LEVELS + 4)
_MARKS: tuple[Colour, ...] = ((40, 40, 48), (46, 160, 67), (230, 40, 40), (240, 240, 240))


def spectrogram(sound: Listened) -> bytes:
    """The picture as PNG, at most ``WIDEST`` pixels wide (one for each 10 ms of a short sound)."""
    import numpy as np

    levels = _levels(np.frombuffer(sound.pcm, "<i2"))
    width = levels.shape[1]
    picture = np.full((STRIP + ROWS, width), DARK, np.uint8)
    picture[STRIP:] = levels
    duration = max(1, sound.duration)
    for stretches, colour in ((sound.spoken, GREEN), (sound.concealed, RED)):
        for start, end in _columns(stretches, sound.starts, duration, width):
            picture[: STRIP - 4, start:end] = colour
    for second in range(1, duration // 1_000_000_000 + 1):
        at = min(width - 1, second * 1_000_000_000 * width // duration)
        picture[STRIP - (8 if second % 10 == 0 else 4) : STRIP, at] = WHITE
    return encode(width, STRIP + ROWS, picture.tobytes(), [*_heat(), *_MARKS])


def _columns(stretches: Sequence[Stretch], starts: int, duration: int, width: int) -> list[tuple[int, int]]:
    """The columns of each stretch, one at least: nothing that was made up is too short to be seen."""
    found = []
    for start, end in stretches:
        first = min(width - 1, (start - starts) * width // duration)
        found.append((first, max(first + 1, -(-(end - starts) * width // duration))))
    return found


def _levels(samples: NDArray[np.int16]) -> NDArray[np.uint8]:
    """``ROWS`` by time: how loud, from 0 to ``_LEVELS`` - 1, the highest frequency first."""
    import numpy as np

    signal = np.concatenate([np.zeros(_HOP), samples / 32768, np.zeros(_WINDOW)])
    count = max(1, len(samples) // _HOP)
    width = min(WIDEST, count)
    shape = np.hanning(_WINDOW)
    edges = np.arange(width + 1) * count // width
    levels = np.empty((ROWS, width), np.uint8)
    for column, (first, last) in enumerate(pairwise(edges)):
        windows = np.stack([signal[n * _HOP : n * _HOP + _WINDOW] for n in range(first, last)])
        power = (np.abs(np.fft.rfft(windows * shape)[:, :ROWS]) ** 2).mean(axis=0) / (shape.sum() / 2) ** 2
        decibels = 10 * np.log10(power + 1e-12)
        scaled = (decibels - _QUIET_DB) / (_LOUD_DB - _QUIET_DB) * _LEVELS
        levels[:, column] = np.clip(scaled, 0, _LEVELS - 1)[::-1]
    return levels


def _heat() -> list[Colour]:
    """``_LEVELS`` colours along ``_STOPS``."""
    colours = []
    for level in range(_LEVELS):
        place = level * (len(_STOPS) - 1) / (_LEVELS - 1)
        low = min(int(place), len(_STOPS) - 2)
        part = place - low
        red, green, blue = (round(a + (b - a) * part) for a, b in zip(_STOPS[low], _STOPS[low + 1], strict=True))
        colours.append((red, green, blue))
    return colours
