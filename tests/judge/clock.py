"""CLOCK_REALTIME, in which a capture's packets are stamped, as CLOCK_MONOTONIC, in which timeline.jsonl and media.jsonl are written.

The capture process writes the offset of the two clocks about once a second into the comment of an interface statistics block (pcapng,
block type 5): ``CLOCK_REALTIME - CLOCK_MONOTONIC = 123 ns``.  tshark prints no field of that block, so the blocks are read here.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

STATISTICS = 5
COMMENT = 1
OFFSET = re.compile(rb"CLOCK_REALTIME - CLOCK_MONOTONIC = (-?[0-9]{1,19}) ns")
LARGEST_STEP = 500_000
"""Nanoseconds by which the offset may change between two samples; above it the figures of time are void (silence.md §3)."""


class ClockError(ValueError):
    """A capture without a clock offset, or whose offset stepped."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Samples of (CLOCK_REALTIME, offset), ns, in order of time."""

    samples: tuple[tuple[int, int], ...]

    def monotonic(self, real: int) -> int:
        """``real`` on CLOCK_MONOTONIC: by the offset between the samples around it, linear; by the nearest one outside them."""
        after = bisect_right(self.samples, (real, 1 << 63))
        if after == 0:
            return real - self.samples[0][1]
        if after == len(self.samples):
            return real - self.samples[-1][1]
        (began, first), (ended, last) = self.samples[after - 1], self.samples[after]
        return real - first - (last - first) * (real - began) // (ended - began)


def clock_of(paths: Sequence[Path]) -> Clock:
    """The clock of the captures at ``paths``; ClockError when they hold no offset, or one that stepped."""
    samples = tuple(sorted({sample for path in paths for sample in offsets(path.read_bytes())}))
    if not samples:
        raise ClockError(f"{', '.join(path.name for path in paths)}: no statistics block gives the offset of the clocks")
    step = max((abs(after[1] - before[1]) for before, after in pairwise(samples)), default=0)
    if step > LARGEST_STEP:
        raise ClockError(f"{paths[0].name}: CLOCK_REALTIME stepped by {step / 1e6:.3f} ms during the run")
    return Clock(samples)


def offsets(data: bytes) -> Iterator[tuple[int, int]]:
    """(CLOCK_REALTIME, offset), ns, of each statistics block of a little-endian pcapng file with times in ns."""
    at = 0
    while at + 12 <= len(data):
        kind, length = struct.unpack_from("<II", data, at)
        if length < 12 or length % 4 or at + length > len(data):
            return  # the file ends within a block: its writer was killed
        if kind == STATISTICS and length >= 24:
            _, high, low = struct.unpack_from("<III", data, at + 8)
            for code, value in _options(data[at + 20 : at + length - 4]):
                if code == COMMENT and (said := OFFSET.fullmatch(value)):
                    yield high << 32 | low, int(said[1])
        at += length


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from("<HH", data, at)
        if code == 0:
            return
        yield code, data[at + 4 : at + 4 + length]
        at += 4 + (length + 3 & ~3)
