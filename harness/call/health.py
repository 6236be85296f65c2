"""How long a path has been silent, and what that is called: suspected after 2.5 s, disconnected after 5 s, failed after 15 s.

Health is reported beside the call's state and never changes it, except that ``failed`` ends the call.
"""

from __future__ import annotations

from typing import Literal

from harness.call.config import EndpointConfig

Word = Literal["healthy", "suspected", "disconnected", "failed"]


class PathHealth:
    """Watches one connected call from ``began`` on.  Nanoseconds."""

    def __init__(self, config: EndpointConfig, began: int) -> None:
        self._bounds: tuple[tuple[int, Word], ...] = (
            (config.failed.ns, "failed"),
            (config.disconnected.ns, "disconnected"),
            (config.suspected.ns, "suspected"),
        )
        self._heard = began
        self.word: Word = "healthy"

    def observe(self, heard: int | None, now: int) -> list[Word]:
        """What the path has become, given when the last authentic packet came; every step on the way, oldest first."""
        if heard is not None and heard > self._heard:
            self._heard = heard
        silent = now - self._heard
        word: Word = next((word for bound, word in self._bounds if silent >= bound), "healthy")
        if word == self.word:
            return []
        order: list[Word] = ["healthy", "suspected", "disconnected", "failed"]
        was, self.word = self.word, word
        if word == "healthy":
            return [word]
        if order.index(word) < order.index(was):
            # Heard again, and already silent for a while when anybody looked: it was healthy in between.
            return ["healthy", *order[1 : order.index(word) + 1]]
        return order[order.index(was) + 1 : order.index(word) + 1]

    def next_change(self) -> int | None:
        """When silence becomes the next worse word; None after ``failed``."""
        for bound, word in reversed(self._bounds):
            if self._order(word) > self._order(self.word):
                return self._heard + bound
        return None

    @staticmethod
    def _order(word: Word) -> int:
        return ("healthy", "suspected", "disconnected", "failed").index(word)
