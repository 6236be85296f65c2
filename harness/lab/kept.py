"""Values that a run of hours collects and nobody reads before its end: kept as bytes, which take half of what the objects do."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Values in the order in which they came; what iterating gives is made anew each time, and equal to what came.

    Pickled, since they never leave the process, and an observed text may be one that JSON cannot say.
    """

    def __init__(self) -> None:
        self._pickles: list[bytes] = []

    def append(self, value: T) -> None:
        """One more."""
        self._pickles.append(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))

    def extend(self, values: Iterable[T]) -> None:
        """Some more."""
        for value in values:
            self.append(value)

    def replace(self, place: int, value: T) -> None:
        """Keep ``value`` in the place of what was appended as number ``place``, from 0 on."""
        self._pickles[place] = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def __iter__(self) -> Iterator[T]:
        return map(pickle.loads, self._pickles)

    def __len__(self) -> int:
        return len(self._pickles)
