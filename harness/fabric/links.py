"""Who carries the impairable links of a run: kernel netem on veths, or the userspace relay between TAPs.

A link is one executor in both directions, and one run has one executor.  ``auto`` takes netem where the kernel has sch_netem and every
impairment can be said in it, else the relay; the run says which on its first line.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, Protocol

import msgspec

from harness.errors import HarnessError, SpecError
from harness.fabric import netem, relay, seqpacket
from harness.fabric import rtnl as nl
from harness.fabric.netns import Namespace, inside
from harness.fabric.plan import PortPlan
from harness.spec.link import CLEAR, Impairment
from harness.spec.topology import Link, Topology

Direction = Literal["a_to_b", "b_to_a"]
DIRECTIONS: tuple[Direction, Direction] = ("a_to_b", "b_to_a")
IMPAIR_CHOICES = ("auto", "netem", "relay")


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
        self._process: subprocess.Popen[bytes] | None = None

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
        end.plan.index = end.namespace.rtnl.request(nl.get_link_named(end.plan.port.name))[0]["index"]
        end.namespace.rtnl.batch([nl.set_link(end.plan.index, mac=end.plan.mac, mtu=link.mtu, queue=relay.TX_QUEUE)])
        return fd

    def start(self) -> None:
        """Start the relay process with all the TAPs."""
        if not self._links:
            return
        ours, theirs = seqpacket.pair()
        fds = [theirs.fileno(), *(fd for link in self._links for fd in (link.fd_a, link.fd_b))]
        self._process = subprocess.Popen(relay.argv(theirs.fileno()), stdin=subprocess.DEVNULL, pass_fds=fds)
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

    def close_taps(self) -> None:
        """Leave the TAPs to the relay alone."""
        for link in self._links:
            os.close(link.fd_a)
            os.close(link.fd_b)


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value, enc_hook=str)


class CaptureSet:
    """The capture process with one AF_PACKET socket per interface of the run."""

    def __init__(self, folder: Path, ends: list[End]) -> None:
        raise NotImplementedError

    def finish(self): ...
    files: list[str]
