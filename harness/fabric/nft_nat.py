"""A NAT by nftables and connection tracking: the ruleset of ``nft``, its receipts from ``conntrack``."""

from __future__ import annotations

import time
from random import Random
from typing import Any

from harness.errors import SpecError
from harness.fabric import rtnl as nl
from harness.fabric.base import Mapping
from harness.fabric.conntrack import Conntrack
from harness.fabric.nats import Rebinding, Rebound
from harness.fabric.netns import Namespace, inside
from harness.fabric.nft import Nftables, is_cone, move_mapping, nat_ruleset
from harness.fabric.plan import NodePlan
from harness.spec.nat import Nat
from harness.spec.topology import Topology

_LOWEST_MOVED_PORT = 20_000
_HIGHEST_MOVED_PORT = 60_000


class NftNat:
    """The NAT ``nat`` of one router, in force once this is made.  ``ports`` draws the outside ports of rebinds."""

    source = "conntrack"

    def __init__(self, topology: Topology, plan: NodePlan, nat: Nat, namespace: Namespace, ports: Random) -> None:
        self._router = plan.node.name
        self._nat = nat
        self._outside = plan.ports[nat.outside].addresses
        self._ports = ports
        self._moved: set[tuple[int, str, int]] = set()
        self._dead: set[tuple[int, int]] = set()
        with inside(namespace.fd):
            self._nft = Nftables()
            self._conntrack = Conntrack()
        self._nft.run(nat_ruleset(topology, plan, nat))

    def mappings(self) -> list[Mapping]:
        """The UDP flows, from conntrack."""
        return self._conntrack.udp()

    def mapping(self, version: int, inside: tuple[str, int], remote: tuple[str, int]) -> Mapping | None:
        """One UDP flow, or None."""
        return self._conntrack.lookup(version, inside, remote)

    def forget(self) -> None:
        """Delete every UDP flow's entry."""
        for mapping in self._conntrack.udp():
            self._forget(mapping)

    def _forget(self, mapping: Mapping) -> None:
        try:
            self._conntrack.forget(mapping)
        except nl.NetlinkRefused:
            return  # it timed out by itself in between

    def rebind(self, rebinding: Rebinding) -> Rebound:
        """The new mapping is in force before the old entry is deleted, so no packet finds neither."""
        if rebinding.linger_ns or rebinding.icmp:
            raise SpecError(f"NAT {self._router}", "a mapping that lingers, and ICMP from a dead one, are not built for nft yet")
        flows = self._conntrack.udp()
        before = [mapping for mapping in flows if mapping.inside[0] in rebinding.inside]
        if not before:
            raise SpecError(f"NAT {self._router}", f"{rebinding.host} has no UDP flow through it, so there is nothing to rebind")
        used = {mapping.outside for mapping in flows}
        targets: dict[tuple[str, int], tuple[str, int]] = {}
        for mapping in before:
            if mapping.inside not in targets:
                targets[mapping.inside] = self._new_outside(mapping, used, rebinding.address)
            replaces = (mapping.version, *mapping.inside) in self._moved
            dead = mapping.outside[1] if is_cone(self._nat) else None
            self._nft.run(move_mapping(mapping.version, mapping.inside, targets[mapping.inside], replaces=replaces, dead=dead))
            self._dead.add((mapping.version, mapping.outside[1]))
            self._moved.add((mapping.version, *mapping.inside))
        at = time.monotonic_ns()
        for mapping in before:
            self._forget(mapping)
        left = [self._conntrack.lookup(mapping.version, mapping.inside, mapping.remote) for mapping in before]
        return Rebound(
            before=before,
            expected=[Mapping(m.version, m.inside, targets[m.inside], m.remote, m.reached) for m in before],
            old_gone=all(now is None or now.outside != old.outside for now, old in zip(left, before, strict=True)),
            at=at,
            took_ns=time.monotonic_ns() - at,
        )

    def reboot(self) -> Rebound:
        """Not built yet."""
        raise SpecError(f"NAT {self._router}", "a reboot is not built for nft yet")

    def counters(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def _new_outside(self, mapping: Mapping, used: set[tuple[str, int]], address: bool) -> tuple[str, int]:
        here = mapping.outside[0]
        if address:
            others = [str(a.ip) for a in self._outside if a.version == mapping.version and str(a.ip) != here]
            if not others:
                raise SpecError(f"NAT {self._router}", "it has no spare outside address; give it spare=1 or more")
            here = others[self._ports.randrange(len(others))]
        while True:
            port = self._ports.randint(_LOWEST_MOVED_PORT, _HIGHEST_MOVED_PORT)
            if (here, port) not in used and port != mapping.outside[1] and (mapping.version, port) not in self._dead:
                used.add((here, port))
                return here, port
