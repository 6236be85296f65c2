"""The picture that ``--media=video`` sends: its frame's number, large; a bar that runs round once in two seconds; and some snow.

The snow is new in every frame and as high as the bitrate needs: without it an encoder has nothing to say at most bitrates, and a call's
video would be smaller than was asked for.
"""

from __future__ import annotations

import random

from harness.media.glyphs import HIGH, WIDE, rows

WIDTH, HEIGHT = 320, 180
_SCALE = 9
_DIGITS = 5
_TOP = 24
_TRACK = 104
_TRACK_HIGH = 12
_BAR = 32
_TURN = 60
_KBPS_A_ROW = 12
_SNOW_ROWS = range(2, 61)
_PAPER, _INK, _DIM, _BRIGHT = 40, 230, 70, 200


class Picture:
    """Draws frames; ``rng`` makes the snow."""

    def __init__(self, rng: random.Random) -> None:
        self._snow = bytes(70 + byte // 2 for byte in rng.randbytes(WIDTH * (_SNOW_ROWS[-1] + 40)))
        self._digits = {digit: rows(digit, _SCALE, _INK, _PAPER) for digit in "0123456789"}
        self._left = (WIDTH - _DIGITS * (WIDE + 1) * _SCALE) // 2
        self._rng = rng
        canvas = bytearray([_PAPER]) * (WIDTH * HEIGHT)
        canvas[_TRACK * WIDTH : (_TRACK + _TRACK_HIGH) * WIDTH] = bytes([_DIM]) * (_TRACK_HIGH * WIDTH)
        self._canvas = bytes(canvas)

    def draw(self, frame: int, kbps: int) -> bytes:
        """The luma of ``frame``, ``WIDTH × HEIGHT`` bytes, row by row."""
        out = bytearray(self._canvas)
        wide = (WIDE + 1) * _SCALE
        for place, digit in enumerate(f"{frame % 10**_DIGITS:0{_DIGITS}}"):
            at = _TOP * WIDTH + self._left + place * wide
            for row in self._digits[digit]:
                out[at : at + wide] = row
                at += WIDTH
        bar = frame % _TURN * (WIDTH - _BAR) // (_TURN - 1)
        for y in range(_TRACK, _TRACK + _TRACK_HIGH):
            out[y * WIDTH + bar : y * WIDTH + bar + _BAR] = bytes([_BRIGHT]) * _BAR
        snow = min(_SNOW_ROWS[-1], max(_SNOW_ROWS[0], kbps // _KBPS_A_ROW)) * WIDTH
        start = self._rng.randrange(len(self._snow) - snow)
        out[-snow:] = self._snow[start : start + snow]
        return bytes(out)


assert _TOP + HIGH * _SCALE < _TRACK
assert _TRACK + _TRACK_HIGH + _SNOW_ROWS[-1] < HEIGHT
