"""What the executors of links share: the ends between which they stand, plain wires, and what an executor must do."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import msgspec

from harness.fabric import rtnl as nl
from harness.fabric.base import Direction
from harness.fabric.netns import Namespace
from harness.fabric.plan import PortPlan
from harness.spec.link import Impairment
from harness.spec.topology import Link
from harness.units import Duration


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link while building: the namespace and the plan of its interface."""

    namespace: Namespace
    plan: PortPlan


class LinkExecutor(Protocol):
    """What carries impairable links, each in both directions."""

    name: str

    def make(self, link: Link, a: End, b: End) -> None:
        """Create both interfaces of ``link``; they need not be up."""

    def start(self) -> None:
        """Put the impairments in force; interfaces are up and addressed."""

    def change(self, link: Link, direction: Direction, impairment: Impairment, over: Duration | None = None) -> dict[str, Any]:
        """Let ``impairment`` rule one direction, its schedule from now on; answers what was asked before, and the counters at the change.

        ``over``: get there in a straight line from what rules now, in this time (``harness.spec.ramp``).
        """

    def counters(self) -> dict[str, Any]:
        """Per link and direction: packets received, delivered, lost, dropped."""

    def in_force(self, link: Link) -> dict[Direction, dict[str, Any]]:
        """Per direction what the executor itself says that it does now, as plain data in its own words."""

    def hold(self) -> None:
        """Put every schedule back to its start and hold it there, and let every rate trace wait, as after ``start``: for the probe."""

    def reset(self) -> None:
        """Every seeded generator and counter back to its start; schedules and rate traces begin."""

    @property
    def next_step(self) -> int | None:
        """When the keeper is to call ``take_steps`` (ns), for an executor that does not take its schedules' steps itself."""

    def take_steps(self) -> None:
        """Take the steps of schedules that are due."""

    def rulings(self) -> dict[str, Any]:
        """Per link and direction what was asked for and what has ruled since ``reset`` (``base.rulings_of``)."""

    def going_down(self, link: Link) -> None:
        """The interfaces of ``link`` are about to go down."""

    def come_up(self, link: Link) -> None:
        """The interfaces of ``link`` are up again."""

    def shortfalls(self) -> list[str]:
        """What it could not do of what its links were asked for since ``reset``, each in words: such a run proves nothing."""

    def stalls(self) -> list[tuple[int, int]]:
        """(start, end) ns of CLOCK_MONOTONIC in which the executor itself ran late."""


def seed_of(seed: int, link: str, direction: Direction) -> int:
    """What begins the random choices of one direction of a link in a run of ``seed``; 63 bits."""
    return Random(f"{seed}/{link}/{direction}").getrandbits(63)


def make_wire(link: Link, a: End, b: End) -> None:
    """A veth between two namespaces: the plain wire, and what netem works on."""
    near, far = a.plan, b.plan
    a.namespace.rtnl.batch([nl.new_veth(near.port.name, near.index, near.mac, far.port.name, far.index, far.mac, b.namespace.fd, link.mtu)])


def plain(value: Any) -> dict[str, Any]:
    """A receipt as plain data, quantities in their text form."""
    return dict(msgspec.to_builtins(value, enc_hook=str))
