"""A path's own delay: what the links on a packet's route were configured to take, when the packet departed.

Jitter and queues are left out: a queue that the stack fills is no excuse for lateness.  A link's rate counts for the packet's own bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from harness.fabric.base import DIRECTIONS, brief, ends_of, impairment_of
from harness.spec.topology import Host, Topology
from harness.units import Duration, Rate

HEADERS, HEADERS6 = 28, 48
"""Bytes of IPv4 and UDP before the payload; a link's rate counts IP packets."""
_SECOND = 1_000_000_000


class _Period(NamedTuple):
    """From ``at`` (ns) on: the delay (ns) and the rate (bit/s, 0 without a limit)."""

    at: int
    delay: int
    rate: int


class PathDelays:
    """``history``: what each direction of each link was impaired by, from when (``Network.finish``'s ``rulings``); as built without it."""

    def __init__(self, topology: Topology, history: Mapping[str, Any] | None = None) -> None:
        self._topology = topology
        self._ends: dict[str, list[tuple[str, str]]] = {}
        self._periods: dict[tuple[str, str], list[_Period]] = {}
        for link in topology.links:
            for direction in DIRECTIONS:
                asked = impairment_of(link, direction)
                told = (history or {}).get(link.name, {}).get(direction, {}).get("rulings") or [{"at": 0, "impairment": brief(asked)}]
                self._periods[ends_of(link, direction)] = [_period(one) for one in told]
        self.route = cache(self._route)

    def delay(self, departs: str, arrives: str, at: int, size: int, *, version: int = 4) -> int:
        """How long (ns) a packet with ``size`` bytes of UDP payload takes that leaves by the interface ``departs`` at ``at`` (ns).

        Both are ``node/interface``; ``version`` is IP's.  0 when no route leads from the one to the other.
        """
        links = self.links(departs, arrives, at)
        whole = size + (HEADERS if version == 4 else HEADERS6)
        return sum(delay + (whole * 8 * _SECOND // rate if rate else 0) for delay, rate in links)

    def links(self, departs: str, arrives: str, at: int) -> list[tuple[int, int]]:
        """The delay (ns) and the rate (bit/s, 0 without a limit) of each link on that way, in force at ``at`` (ns)."""
        found = []
        for ends in self.route(departs, arrives):
            periods = self._periods[ends]
            period = periods[max(0, bisect_right(periods, at, key=lambda one: one.at) - 1)]
            found.append((period.delay, period.rate))
        return found

    def _route(self, departs: str, arrives: str) -> tuple[tuple[str, str], ...]:
        """The link directions from one interface to another, each as (from end, to end), by the fewest links."""
        start = self._topology.port(departs)
        queue: deque[tuple[tuple[str, str], ...]] = deque([((start.path, start.peer),)])
        seen = {start.path}
        while queue:
            way = queue.popleft()
            entered = way[-1][1]
            if entered == arrives:
                return way
            node = entered.partition("/")[0]
            if entered in seen or isinstance(self._topology.node(node), Host):
                continue
            seen.add(entered)
            queue.extend((*way, (port.path, port.peer)) for port in self._topology.ports(node) if port.path != entered)
        return ()


def _period(told: Mapping[str, Any]) -> _Period:
    impairment = told["impairment"]
    delay = Duration.parse(impairment["delay"]).ns if "delay" in impairment else 0
    rate = Rate.parse(impairment["rate"]).bits_per_second if "rate" in impairment else 0
    return _Period(told["at"], delay, rate)
