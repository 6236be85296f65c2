"""A target: a reader, the inputs that it begins with, and how those are changed into others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

Kind = Literal["bytes", "json", "lines", "framed"]
"""What an input is: bytes, a JSON document, lines of JSON or text, or JSON messages each behind its length."""

Run = Callable[[bytes], None]


class Ready(NamedTuple):
    """A target that is set up: ``run`` takes an input and raises for a defect alone; ``seeds`` are inputs that are in order."""

    run: Run
    seeds: list[bytes]
    state: Callable[[], int] = lambda: 0
    """How much the reader under test holds (connections, buffers, entries): it must not grow from input to input."""


class Target(NamedTuple):
    """``share``: of all inputs, by weight.  ``longest``: bytes of an input.  ``make`` is given a folder of its own."""

    name: str
    kind: Kind
    share: float
    longest: int
    make: Callable[[Path], Ready]


class Defect(AssertionError):  # noqa: N818 - what it is, as read at every raise
    """A reader did what it must not do: it said nothing wrong, and yet what came out is not what went in, or not what it promises."""


TARGETS: dict[str, Target] = {}


def target(
    name: str, kind: Kind = "bytes", *, share: float = 1, longest: int = 2048
) -> Callable[[Callable[[Path], Ready]], Callable[[Path], Ready]]:
    """Enter a function that makes a target under ``name``."""

    def enter(make: Callable[[Path], Ready]) -> Callable[[Path], Ready]:
        assert name not in TARGETS, name
        TARGETS[name] = Target(name, kind, share, longest, make)
        return make

    return enter


@contextmanager
def refusing(*errors: type[Exception]) -> Iterator[None]:
    """The reader may refuse what it is given by raising exactly one of these classes (none derived from them), in words."""
    try:
        yield
    except Exception as error:
        if type(error) not in errors:
            raise
        if not str(error).strip():
            raise Defect(f"{type(error).__name__} without a word of what is wrong") from error


def need(holds: object, what: str) -> None:
    """Raise Defect unless it ``holds``."""
    if not holds:
        raise Defect(what)


class Taken:
    """An input taken apart into numbers and pieces, from its beginning; what is not there any more is 0 or empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def number(self, size: int = 1) -> int:
        """The next ``size`` bytes as a number."""
        return int.from_bytes(self.piece(size), "big")

    def piece(self, size: int) -> bytes:
        """The next ``size`` bytes, or as many as there are."""
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece

    def rest(self) -> bytes:
        """All that is left."""
        return self.piece(len(self._data))
