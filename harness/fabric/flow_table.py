"""The UDP flows of a connection tracking table, followed by what the kernel tells of it, and every change told once and in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

Endpoint = tuple[str, int]
Key = tuple[int, Endpoint, Endpoint]
"""Version, source and target of a flow's first packet."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A UDP flow: ``source`` sent its first packet to ``target``; packets of ``answerer`` to ``answered`` are its answers."""

    version: int
    source: Endpoint
    target: Endpoint
    answerer: Endpoint
    answered: Endpoint

    @property
    def snat(self) -> bool:
        """Whether its source is translated, to ``answered``."""
        return self.answered != self.source

    @property
    def dnat(self) -> bool:
        """Whether its destination is translated, to ``answerer``."""
        return self.answerer != self.target

    @property
    def key(self) -> Key:
        """What no other flow of the table has."""
        return self.version, self.source, self.target


class FlowTable:
    """``known``: the table, None while it must be walked (``walked``) before it can be followed; ``fresh``: it is known to be empty.

    ``changed`` is called with a flow and whether it is gone.  Of one key, what was there is gone before what takes its place is told, for
    the events of two processors may come in either order.  After a loss (``lose``) all that came of it is told when the table was walked.
    """

    def __init__(self, changed: Callable[[Flow, bool], None], *, fresh: bool) -> None:
        self.known: dict[Key, Flow] | None = {} if fresh else None
        self._told: dict[Key, Flow] = {}
        self._changed = changed

    def event(self, flow: Flow, *, gone: bool) -> None:
        """The kernel tells that ``flow`` is there, or is gone."""
        if self.known is None:
            return
        if not gone:
            self.known[flow.key] = flow
        elif self.known.get(flow.key) == flow:  # and not one that took its place
            del self.known[flow.key]
        self._tell(flow, gone)

    def lose(self) -> None:
        """The kernel told more than was kept."""
        self.known = None

    def walked(self, flows: Iterable[Flow]) -> dict[Key, Flow]:
        """The whole table as it is, which is followed from here on."""
        table = self.known = {flow.key: flow for flow in flows}
        for flow in [flow for key, flow in self._told.items() if table.get(key) != flow]:
            self._tell(flow, gone=True)
        for flow in table.values():
            self._tell(flow, gone=False)
        return table

    def _tell(self, flow: Flow, gone: bool) -> None:
        before = self._told.get(flow.key)
        if (before == flow) is not gone:  # told already
            return
        if before is not None:
            del self._told[flow.key]
            self._changed(before, True)
        if not gone:
            self._told[flow.key] = flow
            self._changed(flow, False)
