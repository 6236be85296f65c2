"""Who carries the impairable links of a run: kernel netem on veths, or the userspace relay between TAPs.

A link is one executor in both directions, and one run has one executor.  ``auto`` takes netem where the kernel has sch_netem and every
impairment can be said in it, else the relay; the run says which on its first line.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import msgspec

from harness.errors import HarnessError, SpecError
from harness.fabric import child, netem, relay, relay_process, seqpacket
from harness.fabric import rtnl as nl
from harness.fabric.base import DIRECTIONS, IMPAIR_CHOICES, Direction
from harness.fabric.netns import Namespace, inside
from harness.fabric.plan import PortPlan
from harness.spec.link import CLEAR, Impairment
from harness.spec.topology import Link, Topology


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link while building: the namespace and the plan of its interface."""

    namespace: Namespace
    plan: PortPlan


class LinkExecutor(Protocol):
    """What carries the impairable links.  ``why``: the reason that it was chosen, for the run's first line."""

    name: str
    why: str

    def make(self, link: Link, a: End, b: End) -> None:
        """Create both interfaces of ``link``; they need not be up."""

    def start(self) -> None:
        """Put the impairments in force; interfaces are up and addressed."""

    def change(self, link: Link, direction: Direction, impairment: Impairment) -> dict[str, Any]:
        """Let ``impairment`` rule one direction from now on; answers what was in force, and the counters at the change."""

    def counters(self) -> dict[str, Any]:
        """Per link and direction: packets received, delivered, lost, dropped."""

    def reset(self) -> None:
        """Every seeded generator and counter back to its start, as after ``start``."""

    def stalls(self) -> list[tuple[int, int]]:
        """(start, end) ns of CLOCK_MONOTONIC in which the executor itself ran late."""


def make_wire(link: Link, a: End, b: End) -> None:
    """A veth between two namespaces: the plain wire, and what netem works on."""
    near, far = a.plan, b.plan
    a.namespace.rtnl.batch([nl.new_veth(near.port.name, near.index, near.mac, far.port.name, far.index, far.mac, b.namespace.fd, link.mtu)])


def impairment_of(link: Link, direction: Direction) -> Impairment:
    """The impairment that the topology asks of ``direction``."""
    return (link.a_to_b if direction == "a_to_b" else link.b_to_a) or CLEAR


def choose_executor(impair: str, topology: Topology, seed: int) -> LinkExecutor:
    """The executor that ``impair`` (auto, netem, relay) asks for; EnvironmentUnfit or SpecError when it cannot do this topology."""
    if impair not in IMPAIR_CHOICES:
        raise SpecError("--impair", f"{impair!r} is not known; allowed are {', '.join(IMPAIR_CHOICES)}")
    if impair == "relay":
        return RelayExecutor(seed, "asked for")
    lacking = netem.lacking()
    unsaid = next((reason for reason in _unsaid(topology) if reason), None)
    if impair == "netem":
        if lacking is not None:
            raise netem.unfit(lacking)
        if unsaid is not None:
            raise SpecError("--impair netem", unsaid)
        return NetemExecutor("asked for")
    if lacking is not None:
        return RelayExecutor(seed, lacking)
    return NetemExecutor("the kernel has sch_netem") if unsaid is None else RelayExecutor(seed, unsaid)


def _unsaid(topology: Topology) -> list[str | None]:
    """For every impairable direction, why netem cannot express it, or None."""
    return [
        reason and f"link {link.name}, {direction}: {reason}"
        for link in topology.links
        if link.impairable
        for direction in DIRECTIONS
        for reason in [netem.can_say(impairment_of(link, direction))]
    ]


class RelayExecutor:
    """All impairable links through one relay process, TAP to TAP."""

    name = "relay"

    def __init__(self, seed: int, why: str) -> None:
        self.why = why
        self._seed = seed
        self._links: list[relay.RelayLink] = []
        self._control: relay.RelayControl | None = None

    def make(self, link: Link, a: End, b: End) -> None:
        """Two TAPs; their descriptors wait for ``start``."""
        fds = [self._tap(link, end) for end in (a, b)]
        seeds = [Random(f"{self._seed}/{link.name}/{direction}").getrandbits(63) for direction in DIRECTIONS]
        self._links.append(
            relay.RelayLink(
                name=link.name,
                fd_a=fds[0],
                fd_b=fds[1],
                a_to_b=impairment_of(link, "a_to_b"),
                b_to_a=impairment_of(link, "b_to_a"),
                seed_a_to_b=seeds[0],
                seed_b_to_a=seeds[1],
                mtu=link.mtu,
            )
        )

    @staticmethod
    def _tap(link: Link, end: End) -> int:
        with inside(end.namespace.fd):
            fd = relay.open_tap(end.plan.port.name)
        relay.outlive_descriptor(fd)
        end.plan.index = end.namespace.rtnl.request(nl.get_link_named(end.plan.port.name))[0]["index"]
        end.namespace.rtnl.batch([nl.set_link(end.plan.index, mac=end.plan.mac, mtu=link.mtu, queue=relay.TX_QUEUE)])
        return fd

    def start(self) -> None:
        """Start the relay process with all the TAPs."""
        if not self._links:
            return
        ours, theirs = seqpacket.pair()
        fds = [theirs.fileno(), *(fd for link in self._links for fd in (link.fd_a, link.fd_b))]
        child.start(relay_process.main, theirs.fileno(), fds)
        theirs.close()
        self._control = relay.RelayControl(ours)
        self._control.start(self._links)

    def _relay(self) -> relay.RelayControl:
        if self._control is None:
            raise HarnessError("this topology has no impairable link")
        return self._control

    def change(self, link: Link, direction: Direction, impairment: Impairment) -> dict[str, Any]:
        """One message to the relay."""
        return _plain(self._relay().impair(link.name, direction, impairment))

    def counters(self) -> dict[str, Any]:
        """As the relay counted them."""
        return _plain(self._control.counters()) if self._control is not None else {"links": {}}

    def reset(self) -> None:
        """Begin the shapers anew."""
        if self._control is not None:
            self._control.restart()

    def stalls(self) -> list[tuple[int, int]]:
        """As the relay recorded them."""
        return self._control.stalls() if self._control is not None else []


class NetemExecutor:
    """sch_netem at both ends of a veth: each end's egress is one direction."""

    name = "netem"

    def __init__(self, why: str) -> None:
        self.why = why
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
        return _plain({"link": link.name, "direction": direction, "was": was, "now": impairment, "before": before})

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

    def reset(self) -> None:
        """Count from here.  netem's generators have no seed, so there is nothing else to put back."""
        self._zero = {key: netem.counters(end.namespace.rtnl, end.plan.index) for key, (end, _impairment) in self._ends.items()}

    def stalls(self) -> list[tuple[int, int]]:
        """None: the kernel does not tell."""
        return []


def _plain(value: Any) -> dict[str, Any]:
    return dict(msgspec.to_builtins(value, enc_hook=str))
