"""How long a path has been silent, and what that is called: suspected after 2.5 s, disconnected after 5 s, failed after 15 s.

Health is reported beside the call's state and never changes it, except that ``failed`` ends the call.
"""

from __future__ import annotations

from typing import Literal

from harness.call.config import EndpointConfig

Word = Literal["healthy", "suspected", "disconnected", "failed"]

_WORSE: dict[Word, Word] = {"healthy": "suspected", "suspected": "disconnected", "disconnected": "failed"}


class PathHealth:
    """Watches one connected call from ``began`` on.  Nanoseconds."""

    def __init__(self, config: EndpointConfig, began: int) -> None:
        self._after: dict[Word, int] = {
            "failed": config.failed.ns,
            "disconnected": config.disconnected.ns,
            "suspected": config.suspected.ns,
        }
        self._heard = began
        self.word: Word = "healthy"

    def observe(self, heard: int | None, now: int) -> list[Word]:
        """What the path has become, given when the last authentic packet came; every step on the way, oldest first."""
        if heard is not None and heard > self._heard:
            self._heard = heard
        silent = now - self._heard
        word: Word = next((word for word, bound in self._after.items() if silent >= bound), "healthy")
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
        worse = _WORSE.get(self.word)
        return None if worse is None else self._heard + self._after[worse]
