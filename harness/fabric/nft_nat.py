"""A NAT by nftables and connection tracking: the ruleset of ``nft``, its receipts from ``conntrack``."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable
from ipaddress import IPv6Network, ip_address
from random import Random
from typing import Any

from harness.errors import HarnessError, SpecError
from harness.fabric.base import Mapping, MappingChange, MappingHistory
from harness.fabric.conntrack import Conntrack
from harness.fabric.flow_table import Flow
from harness.fabric.libnftables import Nftables
from harness.fabric.nats import Rebinding, Rebound
from harness.fabric.netns import EPHEMERAL, Namespace, inside
from harness.fabric.nft import TABLE, TOLD, UNADMITTED, Key, admits, forwarded, nat_ruleset, out_key
from harness.fabric.plan import NodePlan, nodes_inside
from harness.spec.nat import Nat
from harness.spec.topology import Topology
from harness.wire.mapping_journal import LIMIT

_LOWEST_MOVED_PORT = EPHEMERAL.stop  # above those that hosts take and NATs preserve, and above those handed out one by one
_HIGHEST_MOVED_PORT = 65_000
_REBOOTING = f"chain {TABLE} rebooting"


class NftNat:
    """The NAT ``nat`` of one router, in force once this is made.  ``ports`` draws the outside ports of rebinds."""

    source = "conntrack"

    def __init__(self, topology: Topology, plan: NodePlan, nat: Nat, namespace: Namespace, ports: Random) -> None:
        self._router = plan.node.name
        self._nat = nat
        self._outside = plan.ports[nat.outside].addresses
        self._forwards = {version: forwarded(topology, plan, nat, version) for version in (4, 6)}
        self._firewalled = _nets_inside(topology, plan) if nat.ipv6 == "firewall" else []
        self._ports = ports
        self._was = ports.getstate()
        self._ruleset = nat_ruleset(topology, plan, nat)
        self._left: set[tuple[str, int]] = set()
        self._marks: dict[tuple[int, tuple[str, int]], int] = {}
        self._moved: dict[Key, tuple[str, int]] = {}
        self._icmp_counts: list[bytes] = []
        self._told = 0
        self._unadmitted = 0
        self._changes: list[tuple[int, Flow, bool]] = []
        self._unlisted = 0
        with inside(namespace.fd):
            # They go on telling of this namespace wherever they are read from.
            self._snmp = [os.open(f"/proc/thread-self/net/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in ("snmp", "snmp6")]
            self._nft = Nftables()
            self.conntrack = Conntrack(self._note, fresh=True)
        self._nft.run(self._ruleset)

    # -- what it maps ------------------------------------------------------------------------------------------------------------------

    def mappings(self) -> list[Mapping]:
        """The UDP flows, from conntrack."""
        return [mapping for flow in self.conntrack.udp() if (mapping := self._mapping(flow)) is not None]

    def mapping(self, version: int, inside: tuple[str, int], remote: tuple[str, int]) -> Mapping | None:
        """One UDP flow, or None."""
        flow = self.conntrack.lookup(version, inside, remote)
        return None if flow is None else self._mapping(flow)

    def _mapping(self, flow: Flow) -> Mapping | None:
        """The flow in a NAT's words; None when it is the router's own."""
        if flow.version == 6 and self._nat.ipv6 == "firewall":
            begun_outside = any(ip_address(flow.target[0]) in net for net in self._firewalled)
        elif flow.snat or flow.dnat:
            begun_outside = not flow.snat
        else:
            return None
        if begun_outside:
            return Mapping(flow.version, flow.answerer, flow.target, flow.source, flow.source)
        return Mapping(flow.version, flow.source, flow.answered, flow.target, flow.answerer)

    def _note(self, flow: Flow, gone: bool) -> None:
        if len(self._changes) < LIMIT:
            self._changes.append((time.monotonic_ns(), flow, gone))
        else:
            self._unlisted += 1

    def history(self) -> MappingHistory:
        """By the kernel's events, each as of when it was read; of a flow that timed out the kernel tells when it sweeps it up."""
        self.conntrack.candidates()
        told = [(at, gone, self._mapping(flow)) for at, flow, gone in self._changes]
        changes = [MappingChange(at, gone, mapping) for at, gone, mapping in told if mapping is not None]
        return MappingHistory(self.source, changes, self._unlisted)

    def holds(self, mapping: Mapping) -> bool:
        """By conntrack's entry, or by what was learnt of the mapping, which is kept for a new one."""
        if self.conntrack.lookup(mapping.version, mapping.inside, mapping.remote) is not None:
            return True
        key = self._key(mapping)
        return any(self._has(f"{name}_addr{mapping.version}", str(key)) for name in ("moved", "out"))

    def lingers(self, mapping: Mapping) -> bool:
        """By the kernel's own clock, which takes the element away."""
        return self._has(f"linger{mapping.version}", self._linger_key(mapping))

    def _has(self, name: str, key: str) -> bool:
        try:
            self._nft.run(f"get element {TABLE} {name} {{ {key} }}\n")
        except HarnessError:
            return False
        return True

    def icmp_sent(self) -> int:
        """As the ruleset counts them, which begins again with a reboot; it is asked (0.8 ms) only when the kernel has sent any at all."""
        sent = [os.pread(fd, 1 << 14, 0) for fd in self._snmp]
        counts = [line for text in sent for line in text.splitlines() if line.startswith((b"Icmp:", b"Icmp6OutDestUnreachs"))]
        if counts != self._icmp_counts:
            self._icmp_counts = counts
            self._told = self._counted(TOLD)
        return self._told

    def _counted(self, counter: str) -> int:
        """Packets, by that counter of the ruleset."""
        found = re.search(r"packets (\d+)", self._nft.run(f"list counter {TABLE} {counter}\n"))
        return int(found[1]) if found else 0

    def counters(self) -> dict[str, Any]:
        """Packets from outside that nothing admitted, those before a reboot included; of nothing else the kernel keeps count."""
        return {"inbound": {"dropped": {UNADMITTED: self._unadmitted + self._counted(UNADMITTED)}}}

    # -- losing everything -------------------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """As just built: no mapping, every generator at its start."""
        self._lose()
        self._ports.setstate(self._was)
        self._left.clear()
        self.conntrack.candidates()
        self._changes.clear()
        self._unlisted = self._unadmitted = 0

    def reboot(self) -> Rebound:
        """Lose all mappings at once; nothing passes for the moment that this takes."""
        before = self.mappings()
        self._unadmitted += self._counted(UNADMITTED)
        began = time.monotonic_ns()
        gone = self._lose()
        return Rebound(before=before, expected=[], old_gone=gone, at=time.monotonic_ns(), took_ns=time.monotonic_ns() - began)

    def _lose(self) -> bool:
        """Whether all entries were seen to go.  Nothing passes meanwhile, or a packet of an old entry would teach its mapping again."""
        dropping = f"add {_REBOOTING} {{ type filter hook forward priority -300; policy drop; }}\n"
        self._nft.run(f"delete table {TABLE}\n{self._ruleset}\n{dropping}")
        flows = self.conntrack.candidates()
        for flow in flows:
            self.conntrack.forget(flow)
        gone = not any(self.conntrack.lookup(flow.version, flow.source, flow.target) for flow in flows)
        self._nft.run(f"delete {_REBOOTING}\n")
        self._icmp_counts.clear()
        self._marks.clear()
        self._moved.clear()
        return gone

    # -- rebinding ---------------------------------------------------------------------------------------------------------------------

    def rebind(self, rebinding: Rebinding) -> Rebound:
        """The new mapping is in force before the old entry is deleted, so no packet finds neither."""
        candidates = self.conntrack.candidates()
        flows = self.conntrack.confirmed(flow for flow in candidates if self._is_of(flow, rebinding))
        before = [mapping for flow in flows if (mapping := self._mapping(flow)) is not None]
        if not before:
            raise SpecError(f"NAT {self._router}", f"{rebinding.host} has no UDP flow through it, so there is nothing to rebind")
        used = {mapping.outside for flow in candidates if (mapping := self._mapping(flow)) is not None}
        targets: dict[Key, tuple[str, int]] = {}
        for mapping in before:
            key = self._key(mapping)
            if key not in targets:
                targets[key] = self._new_outside(mapping, used, rebinding.address)
        self._nft.run("\n".join(self._commands(before, targets, rebinding)) + "\n")
        self._left.update(mapping.outside for mapping in before)
        at = time.monotonic_ns()
        for flow in flows:
            self.conntrack.forget(flow)
        self._unlearn(before)
        left = [self.mapping(mapping.version, mapping.inside, mapping.remote) for mapping in before]
        return Rebound(
            before=before,
            expected=[Mapping(m.version, m.inside, targets[self._key(m)], m.remote, m.reached) for m in before],
            old_gone=all(now is None or now.outside != old.outside for now, old in zip(left, before, strict=True)),
            at=at,
            took_ns=time.monotonic_ns() - at,
        )

    def _key(self, mapping: Mapping) -> Key:
        return out_key(self._nat, mapping.version, mapping.inside, mapping.remote)

    def _is_of(self, flow: Flow, rebinding: Rebinding) -> bool:
        """Whether it has a mapping of the host's that can move: not one that a static forward made, nor one that is not translated."""
        if flow.version == 6 and self._nat.ipv6 == "firewall":
            return False
        mapping = self._mapping(flow)
        return mapping is not None and mapping.inside[0] in rebinding.inside and mapping.outside[1] not in self._forwards[flow.version]

    def _commands(self, before: list[Mapping], targets: dict[Key, tuple[str, int]], rebinding: Rebinding) -> Iterable[str]:
        """One transaction: each mapping to its new place, each old outside endpoint dead, refused or lingering."""
        for key, target in targets.items():
            was = self._moved.get(key)
            for name, part in (("addr", 0), ("port", 1)):
                there = f"element {TABLE} moved_{name}{key.version}"
                if was is not None:  # added first, which changes nothing where it is: it may have expired
                    yield f"add {there} {{ {key} : {was[part]} }}"
                    yield f"delete {there} {{ {key} }}"
                yield f"add {there} {{ {key} : {target[part]} }}"
            self._moved[key] = target
        for version, outside in dict.fromkeys((m.version, m.outside) for m in before):
            place = f"{outside[0]} . {outside[1]}"
            yield f"add element {TABLE} dead{version} {{ {place} }}"
            if rebinding.icmp:
                yield f"add element {TABLE} refused{version} {{ {place} }}"
        if rebinding.linger_ns:
            yield from self._lingering(before, rebinding.linger_ns)

    def _lingering(self, before: list[Mapping], linger_ns: int) -> Iterable[str]:
        ms = max(1, linger_ns // 1_000_000)
        for mapping in before:
            version, (address, port) = mapping.version, mapping.inside
            mark = self._marks.get((version, mapping.inside))
            if mark is None:
                mark = self._marks[version, mapping.inside] = len(self._marks) + 1
                yield f"add element {TABLE} linger_addr{version} {{ {mark} : {address} }}"
                yield f"add element {TABLE} linger_port{version} {{ {mark} : {port} }}"
            yield f"add element {TABLE} linger{version} {{ {self._linger_key(mapping)} timeout {ms}ms : {mark} }}"

    def _linger_key(self, mapping: Mapping) -> str:
        remote = "" if admits(self._nat) else f"{mapping.remote[0]} . {mapping.remote[1]} . "
        return f"{remote}{mapping.outside[0]} . {mapping.outside[1]}"

    def _unlearn(self, before: list[Mapping]) -> None:
        """Delete what packets have taught of the old mappings; that an element has just expired is no error."""
        places = {(f"out_{name}{m.version}", str(self._key(m))) for m in before for name in ("addr", "port")}
        if admits(self._nat):
            places |= {(f"in_{name}{m.version}", str(Key(m.version, m.outside))) for m in before for name in ("addr", "port")}
        commands = [f"delete element {TABLE} {name} {{ {key} }}\n" for name, key in sorted(places)]
        try:
            self._nft.run("".join(commands))
        except HarnessError:
            for command in commands:
                with contextlib.suppress(HarnessError):
                    self._nft.run(command)

    def _new_outside(self, mapping: Mapping, used: set[tuple[str, int]], address: bool) -> tuple[str, int]:
        here = mapping.outside[0]
        if address:
            others = [str(a.ip) for a in self._outside if a.version == mapping.version and str(a.ip) != here]
            if not others:
                raise SpecError(f"NAT {self._router}", "it has no spare outside address; give it spare=1 or more")
            here = others[self._ports.randrange(len(others))]
        while True:
            port = self._ports.randint(_LOWEST_MOVED_PORT, _HIGHEST_MOVED_PORT)
            if (here, port) not in used | self._left and port not in self._forwards[mapping.version]:
                used.add((here, port))
                return here, port


def _nets_inside(topology: Topology, plan: NodePlan) -> list[IPv6Network]:
    """The IPv6 subnets behind a router."""
    within = nodes_inside(topology, plan.node)
    behind = [link for link in topology.links if any(end.partition("/")[0] in within for end in (link.a, link.b))]
    return [IPv6Network(link.net6) for link in behind if link.net6]
