"""A link whose rate was recorded: when it could send, packet by packet (mahimahi's format, Netravali et al., USENIX ATC 2015).

A mahimahi trace has one line per *delivery opportunity*: the millisecond, counted from the trace's start, at which the link may send 1500
bytes.  It never decreases; the same millisecond twice is two opportunities.  After the last line the trace begins again, that line's time
later, so the last time is the trace's period.
"""

from __future__ import annotations

import zlib
from array import array
from base64 import b64decode, b64encode
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path

import msgspec

from harness.errors import SpecError
from harness.units import Duration, Rate

OPPORTUNITY = 1500
"""Bytes of IP packet that one delivery opportunity takes.  (mahimahi counts 1504: these and its TUN device's header of 4.)"""

MOST_OPPORTUNITIES = 2_000_000
LONGEST = 24 * 3_600_000  # ms

LARGEST_FILE = 64 << 20
"""Bytes of a recording in a file: three times what the most opportunities take."""
_LONGEST_NUMBER = 18  # digits of a time
_MORE = 255  # in the packed form: 255 ms, and more follows for the same opportunity


class RateTrace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):  # dict: for the unpacked times
    """A recorded rate.  ``name``: where it is from, for reports.  ``packed``: the opportunities, as ``pack`` writes them.

    Packed, 2 minutes at 12 Mbit/s (120,000 opportunities) are some 200 bytes when they are regular and 40,000 when they are random.
    """

    name: str
    packed: str

    def __str__(self) -> str:
        return f"{self.name} ({self.opportunities} opportunities in {self.period}, {self.mean_rate} in the mean)"

    @cached_property
    def times(self) -> array[int]:
        """The opportunities, ms from the start, in order.  Raises ValueError when ``packed`` cannot be read."""
        return unpack(self.packed)

    @property
    def opportunities(self) -> int:
        """How many there are in a period."""
        return len(self.times)

    @property
    def period(self) -> Duration:
        """How long the trace is, and after how long it begins again."""
        return Duration(self.times[-1] * 1_000_000)

    @property
    def mean_rate(self) -> Rate:
        """What it lets through when every opportunity is used."""
        return Rate(8 * OPPORTUNITY * len(self.times) * 1_000 // self.times[-1])

    @property
    def longest_pause(self) -> Duration:
        """The longest time without an opportunity, that from the last to the first of the next period included."""
        pauses = (after - before for before, after in pairwise((0, *self.times)))
        return Duration(max(pauses) * 1_000_000)

    def validate(self, where: str) -> None:
        """Raise SpecError that names ``where``, the field, the value and what is allowed."""
        if not isinstance(self.name, str) or not isinstance(self.packed, str):
            raise SpecError(where, f"{self!r:.60} is no trace; read one with mahimahi(…)")
        try:
            times = self.times
        except ValueError as error:
            raise SpecError(f"{where}, packed", str(error)) from None
        if reason := _unfit(times):
            raise SpecError(where, reason)


def rate_trace(times: Sequence[int], name: str) -> RateTrace:
    """The trace with opportunities at ``times`` (whole ms from its start); SpecError naming ``name`` and what is wrong with them."""
    for before, after in pairwise((0, *times)):
        if after < before:
            raise SpecError(name, f"{after} ms comes after {before} ms: times never go back, and none is below 0")
    if reason := _unfit(times):
        raise SpecError(name, reason)
    return RateTrace(name, pack(times))


def mahimahi(source: Path | str) -> RateTrace:
    """The mahimahi trace in a file; a ``str`` with a newline in it is such a trace itself.  SpecError names file, line and value."""
    name, lines = read_lines(source)
    times: list[int] = []
    for number, line in enumerate(lines, 1):
        where = f"{name}, line {number}"
        text = line.strip()
        if not text.removeprefix("-").isdecimal():
            what = "it is empty" if not text else f"{text!r:.60} is not a whole number"
            raise SpecError(where, f"{what}; a mahimahi trace has one time per line, in whole ms from its start")
        if len(text) > _LONGEST_NUMBER:
            raise SpecError(where, f"{text:.20}… ms has {len(text)} digits; allowed is up to {LONGEST} (24 hours)")
        time = int(text)
        if time < 0:
            raise SpecError(where, f"{time} ms is negative; allowed is 0 or more")
        if times and time < times[-1]:
            raise SpecError(where, f"{time} ms goes back, before line {number - 1}'s {times[-1]} ms; allowed is the same or more")
        times.append(time)
    if reason := _unfit(times):
        raise SpecError(name, reason)
    return RateTrace(name, pack(times))


def read_lines(source: Path | str) -> tuple[str, list[str]]:
    """Name and lines of a text file, or of the text itself: a ``str`` with a newline.  SpecError when it cannot be read."""
    if isinstance(source, str) and "\n" in source:
        return "the text", source.splitlines()
    path = Path(source)
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise SpecError(str(path), f"it is larger than {LARGEST_FILE >> 20} MiB, which no recording is")
        return path.name, data.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise SpecError(str(path), f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SpecError(str(path), f"it is no text: byte {error.start} is not UTF-8") from None
    except ValueError as error:
        raise SpecError(repr(str(path)), f"it is no file's name: {error}") from None


def _unfit(times: Sequence[int]) -> str | None:
    if not times:
        return "it is empty; a trace has one opportunity or more"
    if times[-1] == 0:
        return "it takes no time at all: its last opportunity is at 0 ms, and that is its period"
    if times[-1] > LONGEST:
        return f"it takes {times[-1]} ms; allowed is up to {LONGEST} (24 hours)"
    if len(times) > MOST_OPPORTUNITIES:
        return f"it has {len(times)} opportunities; allowed is up to {MOST_OPPORTUNITIES}"
    return None


def pack(times: Sequence[int]) -> str:
    """Whole, ascending ``times`` as text: each one's distance from the one before in one byte (255: and more), deflated, in base64."""
    distances = bytearray()
    for before, after in pairwise((0, *times)):
        more, rest = divmod(after - before, _MORE)
        distances += bytes([_MORE] * more + [rest])
    return b64encode(zlib.compress(bytes(distances), 9)).decode()


def unpack(text: str) -> array[int]:
    """What ``pack`` packed; ValueError when it did not."""
    most = 2 * MOST_OPPORTUNITIES + LONGEST // _MORE
    try:
        inflated = zlib.decompressobj()
        distances = inflated.decompress(b64decode(text, validate=True), most)
    except (zlib.error, ValueError) as error:
        raise ValueError(f"{text!r:.40} is no packed trace: {error}") from None
    if not inflated.eof or inflated.unused_data or distances[-1:] == bytes([_MORE]):
        raise ValueError(f"{text!r:.40} is no packed trace: it is cut short, or above {MOST_OPPORTUNITIES} opportunities")
    times = accumulate(distances)
    if _MORE not in distances:
        return array("L", times)
    return array("L", (time for time, distance in zip(times, distances, strict=True) if distance != _MORE))
