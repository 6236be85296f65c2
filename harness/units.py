"""Quantities with their units: ``20 * ms``, ``5 * mbit``, ``1 * percent``.

A bare number is refused wherever a unit is meant, so that no one ever waits 20 seconds for 20 milliseconds.  Inside the pure cores time is
an ``int`` of nanoseconds on CLOCK_MONOTONIC; these types are what people write and what JSON holds.

Text form (tc's words; used in JSON, on the command line and in reports): ``20ms`` ``1.5s`` ``300us``, ``5mbit`` ``300kbit``, ``1%``.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import ClassVar, Self, TypeVar, overload

MOST = 1 << 63
"""Of the smallest unit, what no quantity in words reaches: 292 years in ns."""
_LONGEST = 60  # characters of a quantity in words
_TEXT = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*([a-zA-Z%µ/]+)\s*")


class Quantity:
    """An exact integer count of the smallest unit, of one dimension.  Arithmetic across dimensions is a TypeError.

    Immutable by custom and hashable.  Not a dataclass: msgspec would write those as objects, and JSON should hold ``"20ms"``.
    """

    __slots__ = ("count",)

    units: ClassVar[dict[str, int]] = {}

    def __init__(self, count: int) -> None:
        self.count = count

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    def __hash__(self) -> int:
        return hash((type(self), self.count))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Quantity) and self.count == other.count

    def __lt__(self, other: Self) -> bool:
        return self.count < other.count if type(other) is type(self) else NotImplemented

    def __le__(self, other: Self) -> bool:
        return self.count <= other.count if type(other) is type(self) else NotImplemented

    def __gt__(self, other: Self) -> bool:
        return self.count > other.count if type(other) is type(self) else NotImplemented

    def __ge__(self, other: Self) -> bool:
        return self.count >= other.count if type(other) is type(self) else NotImplemented

    def __mul__(self, factor: float) -> Self:
        if not isinstance(factor, int | float):
            return NotImplemented
        if not math.isfinite(factor):
            raise ValueError(f"{factor!r} {type(self).__name__.lower()} is not a finite quantity")
        return type(self)(round(self.count * Fraction(factor)))

    __rmul__ = __mul__

    def __add__(self, other: Self) -> Self:
        if type(other) is not type(self):
            return NotImplemented
        return type(self)(self.count + other.count)

    def __sub__(self, other: Self) -> Self:
        if type(other) is not type(self):
            return NotImplemented
        return type(self)(self.count - other.count)

    def __neg__(self) -> Self:
        return type(self)(-self.count)

    @overload
    def __truediv__(self, other: Self) -> float: ...
    @overload
    def __truediv__(self, other: float) -> Self: ...
    def __truediv__(self, other: Self | float) -> Self | float:
        if type(other) is type(self):
            return self.count / other.count
        if isinstance(other, int | float):
            return type(self)(round(self.count / Fraction(other)))
        return NotImplemented

    @classmethod
    def parse(cls, text: str) -> Self:
        """The quantity that ``text`` names; ValueError (naming the text and the units allowed) on anything else, bare numbers included.

        So on a number beyond ``MOST``: no float, and nothing that is computed with it, would hold it.
        """
        match = _TEXT.fullmatch(text) if isinstance(text, str) and len(text) <= _LONGEST else None
        if match is None or match[2].lower() not in cls.units:
            raise ValueError(f"{text!r:.80} is not a {cls.__name__.lower()}: write a number with one of {', '.join(cls.units)}")
        found = cls(round(Fraction(match[1]) * cls.units[match[2].lower()]))
        if abs(found.count) >= MOST:
            unit = min(cls.units, key=lambda name: cls.units[name])
            raise ValueError(f"{text!r} is too much of a {cls.__name__.lower()}: allowed is below 2^63 {unit}")
        return found

    def __str__(self) -> str:
        for unit, size in sorted(self.units.items(), key=lambda item: -item[1]):
            if self.count == 0 or abs(self.count) >= size:
                return f"{_decimal(self.count, size)}{unit}"
        unit, size = min(self.units.items(), key=lambda item: item[1])
        return f"{_decimal(self.count, size)}{unit}"


def _decimal(count: int, size: int) -> str:
    """``count / size`` with all its digits; ``size`` is a power of ten.  No float: above 2**53 it would not read back to the same."""
    whole, rest = divmod(abs(count), size)
    digits = f"{rest:0{len(str(size)) - 1}d}".rstrip("0")
    return f"{'-' * (count < 0)}{whole}" + (f".{digits}" if digits else "")


class Duration(Quantity):
    """A length of time; ``count`` is nanoseconds."""

    __slots__ = ()
    units: ClassVar[dict[str, int]] = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}

    @property
    def ns(self) -> int:
        """Nanoseconds, exact."""
        return self.count

    @property
    def ms(self) -> float:
        """Milliseconds."""
        return self.count / 1e6

    @property
    def s(self) -> float:
        """Seconds."""
        return self.count / 1e9


class Rate(Quantity):
    """Bits per second on the wire (tc's kbit and mbit: powers of 1000)."""

    __slots__ = ()
    units: ClassVar[dict[str, int]] = {"gbit": 1_000_000_000, "mbit": 1_000_000, "kbit": 1_000, "bit": 1}

    @property
    def bits_per_second(self) -> int:
        """Bits per second, exact."""
        return self.count


class Ratio(Quantity):
    """A share of a whole; ``count`` is parts per million million, so 1 % of 1 % is exact."""

    __slots__ = ()
    units: ClassVar[dict[str, int]] = {"%": 10_000_000_000, "ppm": 1_000_000}

    @property
    def fraction(self) -> float:
        """0.01 for 1 %."""
        return self.count / 1e12

    @property
    def percent(self) -> float:
        """1.0 for 1 %."""
        return self.count / 1e10


class Count(Quantity):
    """A number of things (packets, handshakes, frames): the unit for verdicts on counts."""

    __slots__ = ()
    units: ClassVar[dict[str, int]] = {"packets": 1}

    def __str__(self) -> str:
        return str(self.count)


ns = Duration(1)
us = Duration(1_000)
ms = Duration(1_000_000)
s = Duration(1_000_000_000)
minutes = Duration(60_000_000_000)
bit = Rate(1)
kbit = Rate(1_000)
mbit = Rate(1_000_000)
gbit = Rate(1_000_000_000)
percent = Ratio(10_000_000_000)
packets = Count(1)

Q = TypeVar("Q", bound=Quantity)


def many(count: int, what: str) -> str:
    """``count`` of ``what`` in words: "no packets", "1 packet", "2 packets"."""
    return f"{count or 'no'} {what}{'s' * (count != 1)}"


def expect(kind: type[Q], value: object, where: str) -> Q:
    """``value`` if it is a ``kind``; else TypeError that says which unit is missing at ``where``."""
    if not isinstance(value, kind):
        raise TypeError(f"{where}: {value!r} has no unit; a {kind.__name__.lower()} is meant, for example {_EXAMPLE[kind]}")
    return value


_EXAMPLE: dict[type[Quantity], str] = {Duration: "20 * ms", Rate: "5 * mbit", Ratio: "1 * percent", Count: "3 * packets"}
