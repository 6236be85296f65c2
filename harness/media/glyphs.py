"""Digits and a few capitals, five dots by seven, for pictures that the project draws itself."""

from __future__ import annotations

WIDE, HIGH = 5, 7

_DRAWN = """
0 .###. #...# #..## #.#.# ##..# #...# .###.
1 ..#.. .##.. ..#.. ..#.. ..#.. ..#.. .###.
2 .###. #...# ....# ...#. ..#.. .#... #####
3 .###. #...# ....# ..##. ....# #...# .###.
4 ...#. ..##. .#.#. #..#. ##### ...#. ...#.
5 ##### #.... ####. ....# ....# #...# .###.
6 ..##. .#... #.... ####. #...# #...# .###.
7 ##### ....# ...#. ..#.. .#... .#... .#...
8 .###. #...# #...# .###. #...# #...# .###.
9 .###. #...# #...# .#### ....# ...#. .##..
. ..... ..... ..... ..... ..... .##.. .##..
A .###. #...# #...# ##### #...# #...# #...#
D ####. #...# #...# #...# #...# #...# ####.
E ##### #.... #.... ####. #.... #.... #####
F ##### #.... #.... ####. #.... #.... #....
G .###. #...# #.... #.### #...# #...# .####
M #...# ##.## #.#.# #.#.# #...# #...# #...#
N #...# ##..# #.#.# #..## #...# #...# #...#
O .###. #...# #...# #...# #...# #...# .###.
R ####. #...# #...# ####. #.#.. #..#. #...#
S .#### #.... #.... .###. ....# ....# ####.
Z ##### ....# ...#. ..#.. .#... #.... #####
"""
GLYPHS: dict[str, tuple[str, ...]] = {line[0]: tuple(line[2:].split()) for line in _DRAWN.strip().splitlines()}
GLYPHS[" "] = ("." * WIDE,) * HIGH


def rows(text: str, scale: int, ink: int, paper: int) -> list[bytes]:
    """``text`` as rows of pixels, each dot ``scale`` wide and high, a column of paper after each letter.

    KeyError for a letter that has no drawing.
    """
    lines = []
    for row in range(HIGH):
        dots = "".join(GLYPHS[letter][row] + "." for letter in text)
        lines += [b"".join(bytes([ink if dot == "#" else paper]) * scale for dot in dots)] * scale
    return lines
