"""The links that the kernel carries: a veth with sch_netem at both ends, each end's egress one direction."""

from __future__ import annotations

from typing import Any

from harness.errors import SpecError
from harness.fabric import netem
from harness.fabric.base import DIRECTIONS, Direction
from harness.fabric.link_ends import End, impairment_of, make_wire, plain
from harness.spec.link import Impairment
from harness.spec.topology import Link


class NetemExecutor:
    """All its links in the kernel."""

    name = "netem"

    def __init__(self) -> None:
        self._ends: dict[tuple[str, Direction], tuple[End, Impairment]] = {}
        self._zero: dict[tuple[str, Direction], netem.NetemCounters] = {}

    def make(self, link: Link, a: End, b: End) -> None:
        """A veth."""
        make_wire(link, a, b)
        for direction, end in (("a_to_b", a), ("b_to_a", b)):
            self._ends[link.name, direction] = (end, impairment_of(link, direction))  # type: ignore[index,arg-type]

    def start(self) -> None:
        """Install netem, doing nothing where nothing is asked, so that a later change finds it."""
        for end, impairment in self._ends.values():
            netem.install(end.namespace.rtnl, end.plan.index, impairment)

    def change(self, link: Link, direction: Direction, impairment: Impairment) -> dict[str, Any]:
        """Change the qdisc in place."""
        reason = netem.can_say(impairment)
        if reason is not None:
            raise SpecError(f"link {link.name}, {direction}", reason)
        end, was = self._ends[link.name, direction]
        before = netem.change(end.namespace.rtnl, end.plan.index, impairment)
        self._ends[link.name, direction] = (end, impairment)
        return plain({"link": link.name, "direction": direction, "was": was, "now": impairment, "before": before})

    def counters(self) -> dict[str, Any]:
        """As the qdiscs counted them since ``start`` or ``reset``."""
        links: dict[str, dict[str, Any]] = {}
        for (name, direction), (end, _impairment) in self._ends.items():
            now, zero = netem.counters(end.namespace.rtnl, end.plan.index), self._zero.get((name, direction))
            links.setdefault(name, {})[direction] = {
                "delivered": now.delivered - (zero.delivered if zero else 0),
                "dropped": now.dropped - (zero.dropped if zero else 0),
                "in_flight": now.in_flight,
            }
        return {"links": links}

    def in_force(self, link: Link) -> dict[Direction, dict[str, Any]]:
        """As the kernel's qdiscs tell."""
        ends = {way: self._ends[link.name, way][0] for way in DIRECTIONS}
        return {way: netem.read_back(end.namespace.rtnl, end.plan.index) for way, end in ends.items()}

    def reset(self) -> None:
        """Count from here.  netem's generators have no seed, so there is nothing else to put back."""
        self._zero = {key: netem.counters(end.namespace.rtnl, end.plan.index) for key, (end, _impairment) in self._ends.items()}

    def shortfalls(self) -> list[str]:
        """None: the kernel does not tell."""
        return []

    def stalls(self) -> list[tuple[int, int]]:
        """None: the kernel does not tell."""
        return []
