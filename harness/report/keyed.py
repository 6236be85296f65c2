"""What makes two runs' verdicts the same figure, so that they can be told beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol, TypeVar

from harness.verdict import Relation

Key = tuple[str, str, str, int]
"""Name, direction, the relation's sign, and the number among those that are alike in these."""


class Named(Protocol):
    """A verdict, or what is kept of one."""

    @property
    def name(self) -> str:
        """The figure's."""

    @property
    def direction(self) -> str:
        """Whose media it is about."""

    @property
    def relation(self) -> Relation:
        """How it must lie to its bound."""


Judged = TypeVar("Judged", bound=Named)


def keyed(verdicts: Iterable[Judged]) -> dict[Key, Judged]:
    """``verdicts`` by their keys, in their order."""
    found: dict[Key, Judged] = {}
    alike: Counter[tuple[str, str, str]] = Counter()
    for one in verdicts:
        key = (one.name, one.direction, one.relation.sign)
        found[*key, alike[key]] = one
        alike[key] += 1
    return found
