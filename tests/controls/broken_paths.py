"""Agents that are broken in how they find a path, or in what they make of one; see ``sabotage``."""

from __future__ import annotations

from collections.abc import Collection

from harness.call.pathfinder import Local
from harness.call.session import Endpoint


class StaysPut(Endpoint):
    """Moves when it is told to, and for no other reason."""

    def paths_usable(self, usable: Collection[Local], now: int) -> None:
        pass


ENDPOINTS: dict[str, type[Endpoint]] = {
    "stays-put": StaysPut,
}
