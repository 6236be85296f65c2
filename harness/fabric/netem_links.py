"""The links that the kernel carries: a veth with sch_netem at both ends, each end's egress one direction."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from harness.errors import SpecError
from harness.fabric import netem
from harness.fabric.base import DIRECTIONS, Direction, impairment_of, rulings_of
from harness.fabric.link_ends import End, make_wire, plain, seed_of
from harness.spec.link import Impairment
from harness.spec.ramp import ramp
from harness.spec.topology import Link
from harness.units import Duration
from harness.wire.timetable import Timetable


@dataclass
class Way:
    """One direction of a link: the end whose egress it is, what rules it when, the seed of its luck, and the counters at the start."""

    end: End
    timetable: Timetable
    seed: int
    zero: netem.NetemCounters = netem.NetemCounters(delivered=0, dropped=0, in_flight=0)  # noqa: RUF009 - frozen

    def counted(self) -> netem.NetemCounters:
        """The counters of the qdisc."""
        return netem.counters(self.end.namespace.rtnl, self.end.plan.index)

    def received(self) -> int:
        """How many packets have entered since the start."""
        now = self.counted()
        return now.delivered + now.dropped + now.in_flight - self.zero.delivered - self.zero.dropped

    def begin(self) -> None:
        """Put what rules now in force, with its luck from the start where the kernel takes a seed (6.6 and later)."""
        netem.install(self.end.namespace.rtnl, self.end.plan.index, self.timetable.in_force, self.seed)

    def enact(self, impairment: Impairment) -> netem.NetemCounters:
        """Put ``impairment``, which has no schedule, in force; the counters just before."""
        return netem.change(self.end.namespace.rtnl, self.end.plan.index, impairment)


class NetemExecutor:
    """All its links in the kernel."""

    name = "netem"

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._ways: dict[tuple[str, Direction], Way] = {}

    def make(self, link: Link, a: End, b: End) -> None:
        """A veth."""
        make_wire(link, a, b)
        for direction, end in zip(DIRECTIONS, (a, b), strict=True):
            timetable = Timetable(impairment_of(link, direction))
            self._ways[link.name, direction] = Way(end, timetable, seed_of(self._seed, link.name, direction))

    def start(self) -> None:
        """Install netem, doing nothing where nothing is asked, so that a later change finds it."""
        for way in self._ways.values():
            way.begin()

    def change(self, link: Link, direction: Direction, impairment: Impairment, over: Duration | None = None) -> dict[str, Any]:
        """Change the qdisc in place."""
        where, way = f"link {link.name}, {direction}", self._ways[link.name, direction]
        if over is not None:
            impairment = ramp(way.timetable.in_force, impairment, over, where)
        reason = netem.can_say(impairment)
        if reason is not None:
            raise SpecError(where, reason)
        was, received = way.timetable.asked, way.received()
        before = way.enact(impairment.at_start)
        way.timetable.change(impairment, time.monotonic_ns(), received)
        return plain({"link": link.name, "direction": direction, "was": was, "now": impairment, "before": before})

    def counters(self) -> dict[str, Any]:
        """As the qdiscs counted them since ``start`` or ``reset``."""
        links: dict[str, dict[str, Any]] = {}
        for (name, direction), way in self._ways.items():
            now = way.counted()
            links.setdefault(name, {})[direction] = {
                "delivered": now.delivered - way.zero.delivered,
                "dropped": now.dropped - way.zero.dropped,
                "in_flight": now.in_flight,
                "reordered": now.reordered - way.zero.reordered,
            }
        return {"links": links}

    def in_force(self, link: Link) -> dict[Direction, dict[str, Any]]:
        """As the kernel's qdiscs tell."""
        ends = {way: self._ways[link.name, way].end for way in DIRECTIONS}
        return {way: netem.read_back(end.namespace.rtnl, end.plan.index) for way, end in ends.items()}

    def hold(self) -> None:
        """Put every schedule back to its start and hold it there."""
        for way in self._ways.values():
            ruled = way.timetable.in_force
            if way.timetable.hold() != ruled:
                way.enact(way.timetable.in_force)

    def reset(self) -> None:
        """Count from here, begin the schedules, and draw from the seeds again."""
        for way in self._ways.values():
            way.zero = way.counted()
            way.timetable.go_live(time.monotonic_ns(), way.received())
            way.begin()

    @property
    def next_step(self) -> int | None:
        """When the next step of a schedule is to be taken, ns."""
        return min((way.timetable.next for way in self._ways.values() if way.timetable.next is not None), default=None)

    def take_steps(self) -> None:
        """Take the steps of schedules that are due."""
        for way in self._ways.values():
            while way.timetable.next is not None and way.timetable.next <= time.monotonic_ns():
                received = way.received()
                way.enact(way.timetable.step(time.monotonic_ns(), received))

    def rulings(self) -> dict[str, Any]:
        """Per link and direction what was asked for and what has ruled since ``reset``."""
        links: dict[str, dict[str, Any]] = {}
        for (name, direction), way in self._ways.items():
            links.setdefault(name, {})[direction] = rulings_of(way.timetable)
        return links

    def going_down(self, link: Link) -> None:
        """Nothing: netem goes and comes with its interface."""

    def come_up(self, link: Link) -> None:
        """Nothing."""

    def shortfalls(self) -> list[str]:
        """None: the kernel does not tell."""
        return []

    def stalls(self) -> list[tuple[int, int]]:
        """None: the kernel does not tell."""
        return []
