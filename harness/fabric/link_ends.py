"""What the executors of links share: the ends between which they stand, plain wires, and what an executor must do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from harness.fabric import rtnl as nl
from harness.fabric.base import Direction
from harness.fabric.netns import Namespace
from harness.fabric.plan import PortPlan
from harness.spec.link import CLEAR, Impairment
from harness.spec.topology import Link


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

    def change(self, link: Link, direction: Direction, impairment: Impairment) -> dict[str, Any]:
        """Let ``impairment`` rule one direction from now on; answers what was in force, and the counters at the change."""

    def counters(self) -> dict[str, Any]:
        """Per link and direction: packets received, delivered, lost, dropped."""

    def in_force(self, link: Link) -> dict[Direction, dict[str, Any]]:
        """Per direction what the executor itself says that it does now, as plain data in its own words."""

    def reset(self) -> None:
        """Every seeded generator and counter back to its start, as after ``start``."""

    def shortfalls(self) -> list[str]:
        """What it could not do of what its links were asked for since ``reset``, each in words: such a run proves nothing."""

    def stalls(self) -> list[tuple[int, int]]:
        """(start, end) ns of CLOCK_MONOTONIC in which the executor itself ran late."""


def make_wire(link: Link, a: End, b: End) -> None:
    """A veth between two namespaces: the plain wire, and what netem works on."""
    near, far = a.plan, b.plan
    a.namespace.rtnl.batch([nl.new_veth(near.port.name, near.index, near.mac, far.port.name, far.index, far.mac, b.namespace.fd, link.mtu)])


def impairment_of(link: Link, direction: Direction) -> Impairment:
    """The impairment that the topology asks of ``direction``."""
    return (link.a_to_b if direction == "a_to_b" else link.b_to_a) or CLEAR


def plain(value: Any) -> dict[str, Any]:
    """A receipt as plain data, quantities in their text form."""
    return dict(msgspec.to_builtins(value, enc_hook=str))
