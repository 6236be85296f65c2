"""The network of one run, inside the keeper: built from a topology, changed by requests, every change answered with what was seen.

``do(op, fields)`` runs the method ``op_…``; its return value is the receipt's raw material.  Nothing here waits for packets: what needs
time (a new mapping that appears with the next packet) is asked for again by the lab.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from harness.errors import EnvironmentUnfit, HarnessError, SpecError
from harness.fabric import offloads, probe
from harness.fabric import rtnl as nl
from harness.fabric.base import Direction, Mapping
from harness.fabric.captures import CaptureSet
from harness.fabric.conntrack import Conntrack
from harness.fabric.link_ends import End, make_wire
from harness.fabric.links import Carriers, choose
from harness.fabric.netns import Namespace, inside, mount_fresh_proc, new_namespace
from harness.fabric.nft import Nftables, can_say, is_cone, move_mapping, nat_ruleset
from harness.fabric.plan import DEFAULT, PREFERRED_METRIC, NodePlan, PortPlan, make_plan, nodes_inside
from harness.spec.link import Impairment
from harness.spec.nat import Nat
from harness.spec.topology import Link, Router, Topology, from_text

_LOWEST_MOVED_PORT = 20_000
_HIGHEST_MOVED_PORT = 60_000


@dataclass(slots=True)
class Node:
    """A built node: its namespace, its plan, and for a NAT router its rules and connection tracking."""

    namespace: Namespace
    plan: NodePlan
    nft: Nftables | None = None
    conntrack: Conntrack | None = None


class Build:
    """A built network.  The constructor builds it whole or raises; the keeper's death unbuilds it."""

    def __init__(self, topology: str, impair: str, seed: int, captures: str | None) -> None:
        started = time.monotonic_ns()
        self.topology = Topology.from_json(topology)
        self._ports = Random(f"{seed}/rebind ports")
        self.nodes = {name: Node(new_namespace(name), plan) for name, plan in make_plan(self.topology).items()}
        self._moved: set[tuple[str, int, str, int]] = set()
        self._dead: set[tuple[str, int, int]] = set()
        self._preferred: dict[str, PortPlan] = {}
        self._taken: dict[tuple[str, str, int], socket.socket] = {}
        self._carriers = Carriers(choose(impair, self.topology), seed)
        self._make_links()
        for node in self.nodes.values():
            self._configure(node)
        self._forward_ipv6()
        for name, node in self.nodes.items():
            if isinstance(node.plan.node, Router) and node.plan.node.nat is not None:
                self._install_nat(name, node, node.plan.node.nat)
        self._carriers.start()
        for node in self.nodes.values():  # the answer to a query is a barrier: before it first packets were seen to stall 1 s
            node.namespace.rtnl.batch([nl.await_link(port.index) for port in node.plan.ports.values()])
        self.built_ns = time.monotonic_ns() - started
        self._captures: CaptureSet | None = None
        self._capture_folder = Path(captures) if captures is not None else None
        self._down = {link.name for link in self.topology.links if not link.starts_up}

    # -- building ----------------------------------------------------------------------------------------------------------------------

    def _make_links(self) -> None:
        for link in self.topology.links:
            ends = [self._end(end) for end in (link.a, link.b)]
            if self._carriers.carries(link):
                self._carriers.make(link, *ends)
            else:
                make_wire(link, *ends)

    def _end(self, end: str) -> End:
        node, _, name = end.partition("/")
        return End(self.nodes[node].namespace, self.nodes[node].plan.ports[name])

    def _configure(self, node: Node) -> None:
        messages = [nl.set_link(1, up=True)]
        with inside(node.namespace.fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ethtool:
            for port in node.plan.ports.values():
                offloads.disable(ethtool, port.port.name)
        for port in node.plan.ports.values():
            messages += [nl.set_link(port.index, up=True), *self._port_messages(node, port)]
            for address, table in port.rules:
                messages += [nl.new_source_rule(address, table), nl.new_dead_end(address.version, table)]
        node.namespace.rtnl.batch(messages)

    @staticmethod
    def _port_messages(node: Node, port: PortPlan) -> list[Any]:
        """What an interface needs each time it comes up; the kernel drops routes and IPv6 addresses when it goes down."""
        messages = [nl.set_ipv4_forwarding(port.index)] if node.plan.forwards else []
        messages += [nl.new_address(port.index, address) for address in port.addresses]
        messages += [nl.new_neighbour(port.index, address, mac) for address, mac in port.neighbours]
        for route in port.routes:
            table = {} if route.table is None else {"table": route.table}
            messages.append(nl.new_route(route.network, port.index, route.gateway, metric=route.metric, **table))
        return messages

    def _forward_ipv6(self) -> None:
        """IPv6 forwarding has no netlink way (IFLA_INET6_CONF: EINVAL): /proc/sys, a fresh /proc where that is read-only, or refused."""
        routers = [node for node in self.nodes.values() if node.plan.forwards and any(p.port.v6 for p in node.plan.ports.values())]
        remounted = False
        for node in routers:
            with inside(node.namespace.fd):
                try:
                    write_ipv6_forwarding()
                except OSError as error:
                    if remounted:
                        raise EnvironmentUnfit(f"IPv6 forwarding cannot be switched on: {error.strerror} at {error.filename}") from None
                    try:
                        mount_fresh_proc()
                        write_ipv6_forwarding()
                    except OSError as second:
                        raise EnvironmentUnfit(
                            "IPv6 forwarding cannot be switched on: /proc/sys is read-only and a fresh /proc is refused"
                            f" ({second.strerror}); build with IPv4 alone, or allow mounts (in Docker: --privileged)"
                        ) from None
                    remounted = True

    def _install_nat(self, name: str, node: Node, nat: Nat) -> None:
        reason = can_say(nat)
        if reason is not None:
            raise SpecError(f"topology {self.topology.name}, router {name}, nat", reason)
        with inside(node.namespace.fd):
            node.nft = Nftables()
            node.conntrack = Conntrack()
        node.nft.run(nat_ruleset(self.topology, node.plan, nat))

    def report(self) -> dict[str, Any]:
        """What was built: namespace inodes per node, the executor, the time it took."""
        return {
            "namespaces": {name: node.namespace.inode for name, node in self.nodes.items()},
            "executor": self._carriers.name,
            "why": self._carriers.why,
            "links": {name: msgspec.to_builtins(choice) for name, choice in self._carriers.chosen.items()},
            "built_ns": self.built_ns,
        }

    def do(self, op: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Run request ``op``; its result is plain data."""
        method = getattr(self, f"op_{op}", None)
        if method is None:
            raise HarnessError(f"the keeper knows no request {op!r}")
        return dict(method(**fields))

    # -- probing and going live --------------------------------------------------------------------------------------------------------

    def op_probe(self) -> dict[str, Any]:
        """Measure the built network against its spec, then put every seeded generator and counter back to its start."""
        result = probe.measure(self)
        for node in self.nodes.values():
            if node.conntrack is not None:
                for mapping in node.conntrack.udp():
                    node.conntrack.forget(mapping)
        self._carriers.reset()
        return result

    def op_capture(self) -> dict[str, Any]:
        """Start capturing every interface; answers the files' names."""
        if self._capture_folder is None:
            return {"files": []}
        ends = [End(node.namespace, port) for node in self.nodes.values() for port in node.plan.ports.values()]
        self._captures = CaptureSet(self._capture_folder, ends)
        for name in self._down:
            self._set_link(self._named(name), up=False)
        return {"files": self._captures.files}

    def op_flush(self) -> dict[str, Any]:
        """Put everything captured so far into the files."""
        return {"captures": self._captures.flush() if self._captures is not None else {}}

    def op_finish(self) -> dict[str, Any]:
        """Close the captures and give the last counters; the keeper's end follows."""
        captures = self._captures.finish() if self._captures is not None else {}
        return {"captures": captures, "links": self._carriers.counters()["links"], "stalls": self._carriers.stalls()}

    # -- ports of hosts ----------------------------------------------------------------------------------------------------------------

    def op_take_port(self, node: str, ip: str, port: int) -> dict[str, Any]:
        """Bind a UDP port of ``node``, as another program of that host would."""
        with inside(self.nodes[node].namespace.fd):
            taken = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
        taken.bind((ip, port))
        self._taken[node, ip, port] = taken
        return {"at": time.monotonic_ns(), "bound": list(taken.getsockname()[:2])}

    def op_leave_port(self, node: str, ip: str, port: int) -> dict[str, Any]:
        """Let go of what ``take_port`` took."""
        self._taken.pop((node, ip, port)).close()
        return {"at": time.monotonic_ns()}

    # -- links -------------------------------------------------------------------------------------------------------------------------

    def _named(self, name: str) -> Link:
        return next(link for link in self.topology.links if link.name == name)

    def op_link(self, end: str, up: bool) -> dict[str, Any]:
        """Take both ends of a link up or down; answers the operational state of each end before and after."""
        return self._set_link(self.topology.link(end), up)

    def _set_link(self, link: Link, up: bool) -> dict[str, Any]:
        began = time.monotonic_ns()
        before = self._states(link)
        ends = [self._end(end) for end in (link.a, link.b)]
        for end in ends:
            end.namespace.rtnl.batch([nl.set_link(end.plan.index, up=up)])
        for end in ends if up else ():
            node = end.plan.port.node
            end.namespace.rtnl.batch(self._port_messages(self.nodes[node], end.plan))
            if self._preferred.get(node) is end.plan:
                self._prefer(node, end.plan)
        return {"link": link.name, "before": before, "after": self._states(link), "began": began, "at": time.monotonic_ns()}

    def _states(self, link: Link) -> dict[str, Any]:
        return {end: self._interface(end) for end in (link.a, link.b)}

    def _interface(self, end: str) -> dict[str, Any]:
        here = self._end(end)
        message = here.namespace.rtnl.request(nl.get_link(here.plan.index))[0]
        statistics = message.get_attr("IFLA_STATS64")
        return {
            "up": bool(message["flags"] & 1),
            "running": bool(message["flags"] & 0x40),
            **{key: statistics[key] for key in ("rx_packets", "tx_packets", "rx_dropped", "tx_dropped")},
        }

    def op_interface(self, end: str) -> dict[str, Any]:
        """State and packet counters of one interface."""
        self.topology.link(end)
        return self._interface(end)

    def op_impair(self, end: str, direction: Direction, impairment: dict[str, Any]) -> dict[str, Any]:
        """Change one direction of a running link; answers the executor's counters at the change."""
        link = self.topology.link(end)
        wanted = msgspec.convert(impairment, Impairment, dec_hook=from_text)
        wanted.validate(f"link {link.name}, {direction}")
        return {**self._carriers.change(link, direction, wanted), "at": time.monotonic_ns()}

    def op_counters(self) -> dict[str, Any]:
        """The executor's counters of every impairable link and direction."""
        return self._carriers.counters()

    # -- routes ------------------------------------------------------------------------------------------------------------------------

    def op_route(self, node: str, interface: str) -> dict[str, Any]:
        """Make ``interface`` the way out of ``node`` for whatever is bound to no address; answers the way out before and after."""
        self.topology.link(f"{node}/{interface}")
        port = self.nodes[node].plan.ports[interface]
        if not any(route.table is None and route.gateway is not None for route in port.routes):
            raise SpecError(f"{node}/{interface}", "no router is at its other end, so it is no way out")
        before = self._way_out(node)
        old = self._preferred.pop(node, None)
        if old is not None:
            defaults = [route for route in old.routes if route.network in DEFAULT.values() and route.table is None]
            for route in defaults:
                message = nl.del_route(route.network, old.index, route.gateway, metric=PREFERRED_METRIC)
                try:
                    self.nodes[node].namespace.rtnl.batch([message])
                except nl.NetlinkRefused:
                    continue  # the kernel removed it when the interface went down
        self._prefer(node, port)
        return {"node": node, "before": before, "after": self._way_out(node), "at": time.monotonic_ns()}

    def _prefer(self, node: str, port: PortPlan) -> None:
        defaults = [route for route in port.routes if route.network in DEFAULT.values() and route.table is None]
        self.nodes[node].namespace.rtnl.batch(
            [nl.new_route(route.network, port.index, route.gateway, metric=PREFERRED_METRIC) for route in defaults]
        )
        self._preferred[node] = port

    def _way_out(self, node: str) -> str | None:
        """The interface by which the kernel would send a packet to a documentation address now."""
        rtnl, ports = self.nodes[node].namespace.rtnl, self.nodes[node].plan.ports.values()
        version = 4 if any(port.port.v4 for port in ports) else 6
        try:
            answer = rtnl.request(nl.get_route("198.51.100.254" if version == 4 else "2001:db8:ffff::1"))[0]
        except nl.NetlinkRefused:
            return None
        index = answer.get_attr("RTA_OIF")
        return next((port.port.name for port in ports if port.index == index), None)

    # -- NAT ---------------------------------------------------------------------------------------------------------------------------

    def _nat(self, router: str) -> tuple[Node, Nat]:
        node = self.nodes.get(router)
        if node is None or not isinstance(node.plan.node, Router) or node.plan.node.nat is None:
            nats = ", ".join(r.name for r in self.topology.routers if r.nat is not None)
            raise SpecError(f"NAT {router}", f"there is no router of that name with a NAT; there are {nats or 'none'}")
        return node, node.plan.node.nat

    def op_mappings(self, router: str) -> dict[str, Any]:
        """The NAT's UDP flows, from conntrack."""
        node, _nat = self._nat(router)
        assert node.conntrack is not None
        return {"mappings": [msgspec.to_builtins(mapping) for mapping in node.conntrack.udp()]}

    def op_mapping(self, router: str, version: int, inside: list[Any], remote: list[Any]) -> dict[str, Any]:
        """One UDP flow, or None."""
        node, _nat = self._nat(router)
        assert node.conntrack is not None
        found = node.conntrack.lookup(version, (inside[0], inside[1]), (remote[0], remote[1]))
        return {"mapping": None if found is None else msgspec.to_builtins(found)}

    def op_rebind(self, router: str, host: str, address: bool) -> dict[str, Any]:
        """Move every UDP flow of ``host`` through this NAT to a new outside port (and, when ``address``, a spare outside address).

        The new mapping is in force before the old entry is deleted, so no packet finds neither.  Answers the flows as they were, where each
        must now appear, and that the old entries are gone.  SpecError when the host has no flow here, or no spare address is left.
        """
        node, nat = self._nat(router)
        assert node.conntrack is not None
        assert node.nft is not None
        inside_addresses = {str(a.ip) for a in self._inside_addresses(router, host)}
        flows = node.conntrack.udp()
        before = [mapping for mapping in flows if mapping.inside[0] in inside_addresses]
        if not before:
            raise SpecError(f"NAT {router}", f"{host} has no UDP flow through it, so there is nothing to rebind")
        used = {mapping.outside for mapping in flows}
        targets: dict[tuple[str, int], tuple[str, int]] = {}
        for mapping in before:
            if mapping.inside not in targets:
                targets[mapping.inside] = self._new_outside(router, nat, mapping, used, address)
            outside = targets[mapping.inside]
            replaces = (router, mapping.version, *mapping.inside) in self._moved
            dead = mapping.outside[1] if is_cone(nat) else None
            node.nft.run(move_mapping(mapping.version, mapping.inside, outside, replaces=replaces, dead=dead))
            self._dead.add((router, mapping.version, mapping.outside[1]))
            self._moved.add((router, mapping.version, *mapping.inside))
        at = time.monotonic_ns()
        for mapping in before:
            try:
                node.conntrack.forget(mapping)
            except nl.NetlinkRefused:
                continue  # it timed out by itself in between
        left = [node.conntrack.lookup(mapping.version, mapping.inside, mapping.remote) for mapping in before]
        return {
            "router": router,
            "host": host,
            "before": [msgspec.to_builtins(mapping) for mapping in before],
            "expected": [msgspec.to_builtins(msgspec.structs.replace(m, outside=targets[m.inside])) for m in before],
            "old_gone": all(now is None or now.outside != old.outside for now, old in zip(left, before, strict=True)),
            "at": at,
            "took_ns": time.monotonic_ns() - at,
        }

    def _inside_addresses(self, router: str, host: str) -> list[Any]:
        """The addresses by which this NAT knows ``host``: the host's own, or, with another NAT between, that NAT's outside ones."""
        self.topology.node(host)
        addresses = [a for port in self.nodes[host].plan.ports.values() for a in port.addresses]
        mine = nodes_inside(self.topology, self._nat(router)[0].plan.node)
        for between in self.topology.routers:
            if between.nat is not None and between.name in mine and host in nodes_inside(self.topology, between):
                addresses += self.nodes[between.name].plan.ports[between.nat.outside].addresses
        return addresses

    def _new_outside(self, router: str, nat: Nat, mapping: Mapping, used: set[tuple[str, int]], address: bool) -> tuple[str, int]:
        here = mapping.outside[0]
        if address:
            all_ = [str(a.ip) for a in self.nodes[router].plan.ports[nat.outside].addresses if a.version == mapping.version]
            others = [candidate for candidate in all_ if candidate != here]
            if not others:
                raise SpecError(f"NAT {router}", "it has no spare outside address; give it spare=1 or more")
            here = others[self._ports.randrange(len(others))]
        while True:
            port = self._ports.randint(_LOWEST_MOVED_PORT, _HIGHEST_MOVED_PORT)
            if (here, port) not in used and port != mapping.outside[1] and (router, mapping.version, port) not in self._dead:
                used.add((here, port))
                return here, port


def write_ipv6_forwarding() -> None:
    """Forward IPv6 in the current network namespace; OSError where /proc/sys is read-only."""
    fd = os.open("/proc/sys/net/ipv6/conf/all/forwarding", os.O_WRONLY)
    try:
        os.write(fd, b"1")
    finally:
        os.close(fd)
