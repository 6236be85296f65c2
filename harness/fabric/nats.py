"""The NATs of a run: who translates at each router, and one interface over both ways of doing it.

A NAT is wholly nft with conntrack (``nft_nat``), or wholly the userspace translator in the relay.  ``auto`` takes nft where it can say the
Nat, else the translator; which and why stands in the run's report.  Both answer in the same words, so receipts have one schema.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from harness.errors import SpecError
from harness.fabric import nft
from harness.fabric.base import TRANSLATE_CHOICES, Mapping, MappingHistory
from harness.fabric.conntrack import Conntrack
from harness.fabric.plan import NodePlan, nodes_inside
from harness.spec.topology import Router, Topology

Executor = Literal["nft", "userspace"]


@dataclass(frozen=True, slots=True)
class Choice:
    """Who translates at a router, and ``why`` in words."""

    executor: Executor
    why: str


@dataclass(frozen=True, slots=True)
class Rebinding:
    """What is to become of the flows of one ``host``, which the NAT knows by the addresses ``inside``.

    Each gets a new outside port, and with ``address`` another outside address too.  The old mapping is dead at once, or goes on letting
    packets in for ``linger_ns``.  A packet to a dead mapping is dropped silently, or, with ``icmp``, answered by port unreachable.
    """

    host: str
    inside: frozenset[str]
    address: bool = False
    linger_ns: int = 0
    icmp: bool = False


@dataclass(frozen=True, slots=True)
class Rebound:
    """What a rebind, or a reboot, did: the flows ``before`` and where each must now appear (nothing is ``expected`` after a reboot).

    ``old_gone``: no old mapping is used for new packets any more.  ``at``: when the last of it was in force, ns; ``took_ns``: until the
    old mappings were seen to be gone.
    """

    before: list[Mapping]
    expected: list[Mapping]
    old_gone: bool
    at: int
    took_ns: int


class NatExecutor(Protocol):
    """One NAT.  ``source`` names the instrument of its receipts."""

    source: str

    @property
    def conntrack(self) -> Conntrack | None:
        """The kernel's table in which it keeps its flows, if it does."""

    def mappings(self) -> list[Mapping]:
        """The UDP flows that it maps now."""

    def mapping(self, version: int, inside: tuple[str, int], remote: tuple[str, int]) -> Mapping | None:
        """The one flow from ``inside`` to ``remote``, or None."""

    def holds(self, mapping: Mapping) -> bool:
        """Whether the inside endpoint would be mapped as before if it sent to the remote one now: that the NAT has not forgotten it."""

    def lingers(self, mapping: Mapping) -> bool:
        """Whether packets of the remote endpoint to this outside one, which was rebound away, are still let in."""

    def history(self) -> MappingHistory:
        """What became of its mappings since it was built, or told to forget."""

    def icmp_sent(self) -> int:
        """How many ICMP errors (destination unreachable) it has sent outwards since it was built or rebooted."""

    def forget(self) -> None:
        """Drop every UDP mapping, and draw what is random from the beginning: as just built."""

    def rebind(self, rebinding: Rebinding) -> Rebound:
        """Move the flows, the new mapping in force before the old is dead.  SpecError when there are none, or no address is left."""

    def reboot(self) -> Rebound:
        """Lose all mappings at once."""

    def counters(self) -> dict[str, Any]:
        """What it counted, for the report; an executor that counts nothing gives nothing."""


def choose_translators(translate: str, topology: Topology) -> dict[str, Choice]:
    """Who translates at each NAT router, as ``translate`` (auto, nft, userspace) asks; SpecError names the NAT that nft cannot say."""
    if translate not in TRANSLATE_CHOICES:
        raise SpecError("--translate", f"{translate!r} is not known; allowed are {', '.join(TRANSLATE_CHOICES)}")
    chosen = {}
    for router in topology.routers:
        if router.nat is None:
            continue
        unsaid = nft.can_say(router.nat)
        if translate == "nft" and unsaid is not None:
            raise SpecError(f"topology {topology.name}, router {router.name}, nat", unsaid)
        if translate != "auto":
            chosen[router.name] = Choice("nft" if translate == "nft" else "userspace", "asked for")
        else:
            chosen[router.name] = Choice("nft", "nft can say it") if unsaid is None else Choice("userspace", unsaid)
    return chosen


def userspace_links(topology: Topology, choices: dict[str, Choice]) -> dict[str, str]:
    """By name the links that only the relay can carry, since a userspace NAT stands on them, and why."""
    found = {}
    for router in topology.routers:
        if router.nat is not None and choices[router.name].executor == "userspace":
            link = topology.link(f"{router.name}/{router.nat.outside}")
            found[link.name] = f"link {link.name}: {router.name} translates in userspace, which the relay does"
    return found


class Nats:
    """All NATs of a run, by their router's name."""

    def __init__(self, topology: Topology, plans: MappingType[str, NodePlan], choices: dict[str, Choice]) -> None:
        self._topology = topology
        self._plans = plans
        self._choices = choices
        self._executors: dict[str, NatExecutor] = {}

    def install(self, router: str, executor: NatExecutor) -> None:
        """``executor`` is built and translates at ``router``."""
        self._executors[router] = executor

    def report(self) -> dict[str, Any]:
        """Who translates at each router, and why."""
        return {router: {"executor": choice.executor, "why": choice.why} for router, choice in self._choices.items()}

    def of(self, router: str) -> NatExecutor:
        """The NAT of ``router``; SpecError lists those there are."""
        found = self._executors.get(router)
        if found is None:
            raise SpecError(
                f"NAT {router}", f"there is no router of that name with a NAT; there are {', '.join(self._executors) or 'none'}"
            )
        return found

    def forget(self) -> None:
        """All of them as just built."""
        for executor in self._executors.values():
            executor.forget()

    def counters(self) -> dict[str, Any]:
        """Per router what its NAT counted."""
        return {router: executor.counters() for router, executor in self._executors.items()}

    def told(self) -> list[Conntrack]:
        """The connection tracking tables of which the kernel tells by itself; what it tells is to be taken in with ``look``."""
        return [executor.conntrack for executor in self._executors.values() if executor.conntrack is not None]

    def history(self) -> dict[str, Any]:
        """Per router what became of its mappings, as plain data."""
        return {router: msgspec.to_builtins(executor.history()) for router, executor in self._executors.items()}

    def mappings(self, router: str, host: str | None) -> dict[str, Any]:
        """The UDP flows of one NAT, as plain data; with ``host`` only its own."""
        found = self.of(router).mappings()
        inside = None if host is None else self._inside(router, host)
        return {"mappings": [msgspec.to_builtins(one) for one in found if inside is None or one.inside[0] in inside]}

    def flows(self, router: str, flows: list[dict[str, Any]]) -> dict[str, Any]:
        """``now``: each of ``flows`` as it is mapped now, or None; ``icmp``: how many ICMP errors the NAT has sent so far."""
        executor = self.of(router)
        found = [executor.mapping(one.version, one.inside, one.remote) for one in msgspec.convert(flows, list[Mapping])]
        return {"now": [None if one is None else msgspec.to_builtins(one) for one in found], "icmp": executor.icmp_sent()}

    def remembered(self, router: str, flows: list[dict[str, Any]]) -> dict[str, Any]:
        """Per flow whether the NAT ``holds`` its mapping, and whether its outside endpoint, rebound away, ``lingers``."""
        executor, wanted = self.of(router), msgspec.convert(flows, list[Mapping])
        return {"holds": [executor.holds(one) for one in wanted], "lingers": [executor.lingers(one) for one in wanted]}

    def rebind(self, router: str, host: str, address: bool, linger_ns: int, icmp: bool) -> dict[str, Any]:
        """Move every UDP flow of ``host`` through this NAT; the Rebound as plain data."""
        executor = self.of(router)
        told = executor.icmp_sent()
        done = executor.rebind(Rebinding(host, self._inside(router, host), address, linger_ns, icmp))
        answer = {"router": router, "host": host, "source": executor.source, "icmp": told, **msgspec.to_builtins(done)}
        return {**answer, "state": self.flows(router, answer["expected"])}  # where packets flow the new mapping is often there by now

    def reboot(self, router: str) -> dict[str, Any]:
        """Lose all mappings of this NAT; the Rebound as plain data."""
        executor = self.of(router)
        done = executor.reboot()
        return {"router": router, "source": executor.source, "icmp": executor.icmp_sent(), **msgspec.to_builtins(done)}

    def _inside(self, router: str, host: str) -> frozenset[str]:
        """The addresses by which this NAT knows ``host``: the host's own, or, with another NAT between, that NAT's outside ones."""
        self._topology.node(host)
        addresses = [address for port in self._plans[host].ports.values() for address in port.addresses]
        mine = nodes_inside(self._topology, self._plans[router].node)
        for between in self._topology.routers:
            if between.nat is not None and between.name in mine and host in nodes_inside(self._topology, between):
                addresses += _outside_addresses(self._topology, between)
        return frozenset(str(address.ip) for address in addresses)


def _outside_addresses(topology: Topology, router: Router) -> list[Any]:
    """Every address on which the NAT of ``router`` may show a flow."""
    return [address for family in (*topology.pool(router), *topology.spares(router)) for address in family]
