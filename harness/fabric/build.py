"""The network of one run, inside the keeper: built from a topology, changed by requests, every change answered with what was seen.

``do(op, fields)`` runs the method ``op_…``; its return value is the receipt's raw material.  Nothing here waits for packets: what needs
time (a new mapping that appears with the next packet) is asked for again by the lab.
"""

from __future__ import annotations

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
from harness.fabric.attackers import Attackers
from harness.fabric.base import Direction
from harness.fabric.captures import CaptureSet
from harness.fabric.conntrack import Conntrack
from harness.fabric.kernel_drops import KernelDrops
from harness.fabric.link_ends import End, make_wire
from harness.fabric.links import Carriers, choose
from harness.fabric.nats import Nats, choose_translators, userspace_links
from harness.fabric.netns import Namespace, inside, mount_fresh_proc, new_namespace, write_ipv6_forwarding
from harness.fabric.nft_nat import NftNat
from harness.fabric.plan import DEFAULT, PREFERRED_METRIC, NodePlan, PortPlan, make_plan
from harness.fabric.relay_ends import choose_ends
from harness.fabric.userspace_nat import UserspaceNat, translation_of
from harness.fabric.vantage import own_ports
from harness.spec.link import Impairment
from harness.spec.topology import Link, Port, Topology, from_text
from harness.units import Duration
from harness.wire.translator import Translation


@dataclass(slots=True)
class Node:
    """A built node: its namespace and its plan."""

    namespace: Namespace
    plan: NodePlan


class Build:
    """A built network.  The constructor builds it whole or raises; the keeper's death unbuilds it."""

    def __init__(self, topology: str, impair: str, seed: int, captures: str | None, translate: str = "auto") -> None:
        started = time.monotonic_ns()
        self.topology = Topology.from_json(topology)
        translators = choose_translators(translate, self.topology)
        userspace = {name for name, choice in translators.items() if choice.executor == "userspace"}
        self.nodes = {name: Node(new_namespace(name), plan) for name, plan in make_plan(self.topology, userspace).items()}
        self._nats = Nats(self.topology, {name: node.plan for name, node in self.nodes.items()}, translators)
        self.probe_ports = own_ports(self.topology)
        self._preferred: dict[str, PortPlan] = {}
        self._taken: dict[tuple[str, str, int], socket.socket] = {}
        self._carriers = Carriers(
            choose(impair, self.topology, userspace_links(self.topology, translators)),
            seed,
            choose_ends(packet=impair == "relay-packet"),
            self._translations(userspace),
        )
        self._make_links()
        for node in self.nodes.values():
            self._configure(node)
        self._forward_ipv6()
        self._install_nats(seed, userspace)
        self._carriers.start()
        for node in self.nodes.values():  # the answer to a query is a barrier: before it first packets were seen to stall 1 s
            node.namespace.rtnl.batch([nl.await_link(port.index) for port in node.plan.ports.values()])
        self.built_ns = time.monotonic_ns() - started
        self._captures: CaptureSet | None = None
        self._attackers = Attackers(self._end)
        self._kernels = KernelDrops({name: node.namespace.fd for name, node in self.nodes.items()})
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

    def _translations(self, userspace: set[str]) -> dict[str, Translation]:
        """By outside end what the userspace NATs are."""
        return {
            f"{router.name}/{router.nat.outside}": translation_of(self.topology, self.nodes[router.name].plan, router, router.nat)
            for router in self.topology.routers
            if router.nat is not None and router.name in userspace
        }

    def _install_nats(self, seed: int, userspace: set[str]) -> None:
        for router in self.topology.routers:
            if router.nat is None:
                continue
            if router.name in userspace:
                self._nats.install(router.name, UserspaceNat(router.name, self._carriers.relay))
                continue
            node = self.nodes[router.name]
            ports = Random(f"{seed}/rebind ports/{router.name}")
            self._nats.install(router.name, NftNat(self.topology, node.plan, router.nat, node.namespace, ports))

    def report(self) -> dict[str, Any]:
        """What was built: namespace inodes per node, the executor, who translates at each NAT, the time it took."""
        return {
            "namespaces": {name: node.namespace.inode for name, node in self.nodes.items()},
            "executor": self._carriers.name,
            "why": self._carriers.why,
            "links": {name: msgspec.to_builtins(choice) for name, choice in self._carriers.chosen.items()},
            "nats": self._nats.report(),
            "built_ns": self.built_ns,
        }

    def in_force(self, link: Link) -> dict[Direction, dict[str, Any]]:
        """Per direction what the executor of ``link`` says that it does now."""
        return self._carriers.in_force(link)

    def source_on(self, port: Port, version: int) -> str | None:
        """The address from which this node sends by ``port``: the port's own, or, where a NAT keeps that to itself, one on its inside."""
        mine = self.nodes[port.node].plan.ports
        for plan in (mine[port.name], *(other for name, other in mine.items() if name != port.name)):
            for address in plan.addresses:
                if address.version == version:
                    return str(address.ip)
        return None

    def do(self, op: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Run request ``op``; its result is plain data."""
        method = getattr(self, f"op_{op}", None)
        if method is None:
            raise HarnessError(f"the keeper knows no request {op!r}")
        return dict(method(**fields))

    # -- probing and going live --------------------------------------------------------------------------------------------------------

    def op_probe(self) -> dict[str, Any]:
        """Measure the built network against its spec, schedules held at their start; then go live.

        Going live puts every seeded generator and counter back to its start, and schedules and rate traces begin.
        """
        self._carriers.hold()
        result = probe.measure(self)
        self._nats.forget()
        self._carriers.reset()
        self._kernels.begin()
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
        return {
            "captures": captures,
            "links": self._carriers.counters()["links"],
            "nats": self._nats.counters(),
            "kernels": self._kernels.counted(),
            "rulings": self._carriers.rulings(),
            "stalls": self._carriers.stalls(),
            "shortfalls": self._carriers.shortfalls(),
            "mappings": self._nats.history(),
        }

    # -- attackers ---------------------------------------------------------------------------------------------------------------------

    def op_attacker(self, interface: str, tap: str, callee: tuple[str, int], addresses: int) -> dict[str, Any]:
        """Put an attacker at ``interface``; answers as ``attack``."""
        self.topology.link(tap)
        return self._attackers.start(interface, tap, (callee[0], callee[1]), addresses)

    def op_attack(self, interface: str, verb: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Have her do something; answers what she has done so far."""
        return self._attackers.ask(interface, verb, **fields)

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
        if not up:
            self._carriers.going_down(link)
        for end in ends:
            end.namespace.rtnl.batch([nl.set_link(end.plan.index, up=up)])
        if up:
            self._carriers.come_up(link)
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

    @property
    def next_step(self) -> int | None:
        """When ``take_steps`` is to be called, ns; None: no schedule waits for it."""
        return self._carriers.next_step

    def take_steps(self) -> None:
        """Take the steps of links' schedules that are due."""
        self._carriers.take_steps()

    def op_rulings(self) -> dict[str, Any]:
        """What has ruled every impairable link and direction since the run went live."""
        return self._carriers.rulings()

    def op_impair(self, end: str, direction: Direction, impairment: dict[str, Any], over: str | None = None) -> dict[str, Any]:
        """Change one direction of a running link; answers the executor's counters at the change."""
        link = self.topology.link(end)
        wanted = msgspec.convert(impairment, Impairment, dec_hook=from_text)
        wanted.validate(f"link {link.name}, {direction}")
        time_for_it = None if over is None else Duration.parse(over)
        return {**self._carriers.change(link, direction, wanted, time_for_it), "at": time.monotonic_ns()}

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

    def op_mappings(self, router: str, host: str | None = None) -> dict[str, Any]:
        """The UDP flows that a NAT maps, of all or of one host."""
        return self._nats.mappings(router, host)

    def op_flows(self, router: str, flows: list[dict[str, Any]]) -> dict[str, Any]:
        """These UDP flows as the NAT maps them now, and the ICMP errors that it has sent."""
        return self._nats.flows(router, flows)

    def op_remembered(self, router: str, flows: list[dict[str, Any]]) -> dict[str, Any]:
        """Which of these UDP flows the NAT still maps, and which it only still lets in."""
        return self._nats.remembered(router, flows)

    def op_history(self) -> dict[str, Any]:
        """What became of the mappings of every NAT since the run went live."""
        return self._nats.history()

    def told(self) -> list[Conntrack]:
        """What the kernel tells of by itself; to be taken in with ``look`` when it is readable."""
        return self._nats.told()

    def op_rebind(self, router: str, host: str, address: bool, linger_ns: int = 0, icmp: bool = False) -> dict[str, Any]:
        """Move every UDP flow of ``host`` through this NAT to a new outside port (and address)."""
        return self._nats.rebind(router, host, address, linger_ns, icmp)

    def op_reboot(self, router: str) -> dict[str, Any]:
        """Lose all mappings of a NAT at once."""
        return self._nats.reboot(router)
