"""What became of a translator's UDP mappings: each flow that came to be, and went, with the instant at which it did.

Nothing is asked of the packets of a flow that lives: a flow is noted where it is made, and where it is removed or found to have been idle
for too long, and the instant of that follows from when it was last used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from harness.wire.ip_packets import UDP, Endpoint

if TYPE_CHECKING:
    from harness.wire.mapping_table import Flow

LIMIT = 20_000
"""Changes that are kept; what comes after them is only counted.  A port scan makes as many."""


class Change(NamedTuple):
    """At ``at`` (ns) ``remote`` began to see ``inside`` as ``outside``, or, ``gone``, it did so no more."""

    at: int
    gone: bool
    inside: Endpoint
    outside: Endpoint
    remote: Endpoint


class Journal:
    """The changes of one translator.  ``unlisted``: how many came after the list was full."""

    def __init__(self) -> None:
        self._changes: list[Change] = []
        self.unlisted = 0

    def made(self, flow: Flow, now: int) -> None:
        """``flow`` is used at ``now``, before its record says so: a new one, one that goes on, or one that had been idle too long."""
        if flow.told and now >= flow.dies:
            self.gone(flow, now)
        if not flow.told:
            flow.told = True
            self._note(now, flow, gone=False)

    def gone(self, flow: Flow, now: int) -> None:
        """``flow`` is removed at ``now``, if it had not died of idleness before."""
        if flow.told:
            flow.told = False
            self._note(min(now, flow.dies), flow, gone=True)

    def changes(self, flows: Iterable[Flow], now: int) -> list[Change]:
        """All changes until ``now``, as they were noticed; of ``flows``, which the table holds, some may be idle for too long."""
        for flow in flows:
            if now >= flow.dies:
                self.gone(flow, now)
        return self._changes

    def clear(self) -> None:
        """Begin anew."""
        self._changes.clear()
        self.unlisted = 0

    def _note(self, at: int, flow: Flow, gone: bool) -> None:
        binding = flow.binding
        if binding.protocol != UDP:
            return
        if len(self._changes) >= LIMIT:
            self.unlisted += 1
            return
        self._changes.append(Change(at, gone, binding.inside, binding.outside, flow.remote))
