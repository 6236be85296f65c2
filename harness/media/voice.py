"""A counting voice, synthesised wholly by this module; nobody's recording is in it.  ``make speech`` writes ``speech.ogg`` beside it.

A voice that counts is the best probe of a call, since whoever listens hears which number is missing.  It is a source and filter in the
manner of Klatt (1980): a train of glottal pulses and some noise, through four resonators in a row whose frequencies move from target to
target; consonants that hiss have a band of noise of their own.  A soft steady noise lies under it, so that a hole between two words is
heard, and seen in a spectrogram, as well as one inside a word.

Why not espeak-ng: it is GPL-3.0-or-later, whose §2 covers a program's output only where "the output, given its content, constitutes a
covered work"; but its consonants are recordings that belong to the program and end up in what it says, which leaves a doubt that an MIT
project need not have.

``python -m harness.media.voice FILE`` writes the file: Ogg Opus, mono, ``SECONDS`` long.  Needs numpy and PyAV (the extra ``media``).
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Signal = NDArray[np.float64]

RATE = 16_000
WORD_S = 0.6
"""From the beginning of one number to that of the next."""
WORDS = 10
SECONDS = WORD_S * WORDS
FILE_KBPS = 32
MOVE_MS = 25
"""How long before and after the border between two sounds the formants move."""
_SEED = 1


class Sound(NamedTuple):
    """A target: how long (ms), four formants (Hz), how loud the voice and the breath through them, a hiss (its middle and width, Hz)."""

    ms: int
    formants: tuple[int, int, int, int]
    voice: float
    breath: float = 0.0
    hiss: tuple[int, int, float] | None = None


def _vowel(ms: int, f1: int, f2: int, f3: int, voice: float = 1.0) -> Sound:
    return Sound(ms, (f1, f2, f3, 3500), voice)


def _closed(ms: int) -> Sound:
    """The silence before a plosive."""
    return Sound(ms, (300, 1700, 2600, 3500), 0.0)


def _hiss(ms: int, middle: int, width: int, loud: float, voice: float = 0.0) -> Sound:
    return Sound(ms, (300, 1700, 2600, 3500), voice, 0.0, (middle, width, loud))


_N = Sound(95, (260, 1250, 2400, 3300), 0.38)
_T = (_closed(45), _hiss(25, 4300, 2600, 0.6), Sound(40, (450, 1800, 2600, 3500), 0.0, 0.06))

# Formants after Peterson and Barney (1952), men, rounded; consonants' loci after Klatt (1980).
_COUNT: tuple[tuple[Sound, ...], ...] = (
    (_vowel(75, 300, 650, 2200, 0.6), _vowel(190, 640, 1190, 2390), _N),
    (*_T, _vowel(60, 330, 1500, 2300), _vowel(200, 300, 870, 2240)),
    (_hiss(95, 5600, 4500, 0.16), _vowel(65, 330, 1100, 1550, 0.7), _vowel(220, 270, 2290, 3010)),
    (_hiss(95, 5200, 5000, 0.17), _vowel(190, 540, 860, 2410), _vowel(110, 460, 1200, 1600, 0.8)),
    (_hiss(90, 5200, 5000, 0.17), _vowel(130, 730, 1150, 2450), _vowel(110, 350, 2100, 2700), _hiss(85, 4800, 4500, 0.08, 0.35)),
    (_hiss(115, 5900, 2200, 0.60), _vowel(100, 390, 1990, 2550), _closed(50), _hiss(20, 2100, 1400, 0.45), _hiss(115, 5900, 2200, 0.55)),
    (
        _hiss(105, 5900, 2200, 0.60),
        _vowel(110, 530, 1840, 2480),
        _hiss(55, 4800, 4500, 0.05, 0.30),
        _vowel(75, 500, 1400, 2400, 0.8),
        _N,
    ),
    (_vowel(110, 530, 1840, 2480), _vowel(110, 330, 2200, 2800), *_T),
    (
        Sound(90, (300, 1800, 2700, 3500), 0.8),
        _vowel(60, 600, 1500, 2450, 0.9),
        _vowel(90, 730, 1200, 2450),
        _vowel(100, 380, 2050, 2650),
        _N,
    ),
    (*_T, _vowel(150, 530, 1840, 2480), _N),
)
_WIDTHS = (70, 100, 140, 220)


def counting() -> bytes:
    """The voice counting from one to ten: 16-bit mono samples at ``RATE``, little-endian, the same on every machine's numpy."""
    import numpy as np

    rng = np.random.default_rng(_SEED)
    out = np.zeros(round(SECONDS * RATE))
    for number, sounds in enumerate(_COUNT):
        said = _word(sounds, rng)
        start = round(number * WORD_S * RATE)
        out[start : start + len(said)] += said[: len(out) - start]
    out = 0.5 * out / np.abs(out).max()
    out += 0.004 * _band(rng.standard_normal(len(out)), 1500, 2600)
    samples: bytes = np.round(out.clip(-1, 1) * 32767).astype("<i2").tobytes()
    return samples


def _word(sounds: tuple[Sound, ...], rng: np.random.Generator) -> Signal:
    """One word: targets joined by straight lines, the pitch falling a little."""
    import numpy as np

    edges = np.cumsum([0, *(sound.ms for sound in sounds)]) * RATE // 1000
    total = int(edges[-1])
    move = MOVE_MS * RATE // 1000
    turns = [
        turn for start, end in pairwise(edges) for turn in (start + min(move, (end - start) // 2), end - min(move, (end - start) // 2))
    ]
    formants = [np.interp(np.arange(total), turns, np.repeat([sound.formants[n] for sound in sounds], 2)) for n in range(4)]

    voice = _smooth(np.repeat([sound.voice for sound in sounds], np.diff(edges)), 12)
    breath = _smooth(np.repeat([sound.breath for sound in sounds], np.diff(edges)), 5)
    pitch = np.linspace(128, 98, total)
    phase = np.cumsum(pitch) / RATE
    # Rosenberg's pulse: opens for 40 %, closes for 16 % of a period; its slope is what the ear gets.
    part = phase % 1
    opening, closing = part < 0.40, (part >= 0.40) & (part < 0.56)
    flow = np.where(opening, 0.5 * (1 - np.cos(np.pi * part / 0.40)), np.where(closing, np.cos(np.pi * (part - 0.40) / 0.32), 0))
    source = np.diff(flow, prepend=0.0) * 4 * voice + rng.standard_normal(total) * breath
    spoken = source
    for track, width in zip(formants, _WIDTHS, strict=True):
        spoken = _resonate(spoken, track, width)
    spoken /= max(1e-9, float(np.abs(spoken).max()))

    for sound, start, end in zip(sounds, edges[:-1], edges[1:], strict=True):
        if sound.hiss is not None:
            middle, width, loud = sound.hiss
            noise = _band(rng.standard_normal(int(end - start)), middle, width)
            spoken[start:end] += loud * noise / 3 * _edges(int(end - start), 6 if sound.ms > 30 else 2)
    result: Signal = spoken * _edges(total, 8)
    return result


def _resonate(signal: Signal, frequency: Signal, width: float) -> Signal:
    """Klatt's second-order resonator with a moving frequency, unity gain at 0 Hz."""
    import numpy as np

    radius = np.exp(-np.pi * width / RATE)
    c = -(radius**2)
    b = 2 * radius * np.cos(2 * np.pi * frequency / RATE)
    a = 1 - b - c
    out = np.zeros_like(signal)
    one = two = 0.0
    for n, (x, an, bn) in enumerate(zip(signal, a, b, strict=True)):
        one, two = an * x + bn * one + c * two, one
        out[n] = one
    return out


def _band(noise: Signal, middle: float, width: float) -> Signal:
    """Noise shaped to a bell of ``width`` around ``middle``, its loudness 1."""
    import numpy as np

    spectrum = np.fft.rfft(noise)
    frequency = np.fft.rfftfreq(len(noise), 1 / RATE)
    shaped = np.fft.irfft(spectrum * np.exp(-(((frequency - middle) / (width / 2)) ** 2)), len(noise))
    result: Signal = shaped / max(1e-9, float(np.sqrt(np.mean(shaped**2))))
    return result


def _smooth(values: Signal, ms: int) -> Signal:
    import numpy as np

    size = ms * RATE // 1000
    padded = np.concatenate([np.full(size, values[0]), values, np.full(size, values[-1])])
    return np.convolve(padded, np.ones(size) / size, "same")[size:-size]


def _edges(length: int, ms: int) -> Signal:
    """1, but rising and falling over ``ms`` at its ends."""
    import numpy as np

    size = min(length // 2, ms * RATE // 1000)
    shape = np.ones(length)
    shape[:size] = np.linspace(0, 1, size, endpoint=False)
    shape[length - size :] = shape[:size][::-1]
    return shape


def main(argv: list[str]) -> int:
    """Write the file named in ``argv``."""
    from harness.media.ogg import write_opus

    if len(argv) != 1:
        print("usage: python -m harness.media.voice FILE", file=sys.stderr)
        return 2
    Path(argv[0]).write_bytes(write_opus(counting(), rate=RATE, kbps=FILE_KBPS))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
