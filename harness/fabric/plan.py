"""From a topology to what each namespace must hold: indexes, MAC addresses, neighbours, routes, policy rules.  Pure: nothing is built here.

Routes are shortest paths over links.  A NAT hides what is inside it from outside; only in IPv6 a firewall routes the inside as it is, and
NPTv6 its ``prefix6``.  From inside, everything outside is visible.  A host has a
default route by each of its interfaces, the first one preferred, and one routing table per interface which packets from that interface's
address use: a socket's bound address picks its way out, as on a phone.  That table ends in "unreachable": when the interface is down its
packets go nowhere, where Linux would else send them out by another interface with the wrong source, and a dead path would seem to live.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address, ip_network

from harness.errors import SpecError
from harness.spec import nptv6
from harness.spec.nat import Nat
from harness.spec.topology import Host, Link, Port, Router, Topology

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

_FIRST_INDEX = 100  # interface indexes are unique over the whole run, so that a capture's or receipt's index names one interface
_FIRST_TABLE = 100
_METRIC_STEP = 100
PREFERRED_METRIC = 10
DEFAULT: dict[int, Network] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}


@dataclass(frozen=True, slots=True)
class Route:
    """A static route by the interface that it belongs to; ``gateway`` None means on-link; ``table`` None means the main table."""

    network: Network
    gateway: Address | None
    metric: int = 0
    table: int | None = None


@dataclass(slots=True)
class PortPlan:
    """What one interface gets.

    ``translated``: addresses that a userspace NAT has on this link, and the interface has not; peers send to them all the same.
    """

    port: Port
    index: int
    mac: str
    addresses: list[Interface]
    translated: list[Interface] = field(default_factory=list)
    neighbours: list[tuple[Address, str]] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    rules: list[tuple[Address, int]] = field(default_factory=list)
    """(source address, table): that table and no other serves packets from the address."""


@dataclass(slots=True)
class NodePlan:
    """What one namespace gets."""

    node: Host | Router
    ports: dict[str, PortPlan]
    forwards: bool


def make_plan(topology: Topology, userspace: Collection[str] = ()) -> dict[str, NodePlan]:
    """A NodePlan per node name; ``userspace``: the routers whose NAT is no affair of their kernel's."""
    plans = {node.name: NodePlan(node, {}, isinstance(node, Router)) for node in topology.nodes}
    for number, link in enumerate(topology.links):
        for side, end in enumerate((link.a, link.b)):
            port = topology.port(end)
            index = _FIRST_INDEX + 2 * number + side
            addresses: list[Interface] = [address for address in (port.v4, port.v6) if address is not None]
            node = topology.node(port.node)
            if isinstance(node, Router) and node.nat is not None and node.nat.outside == port.name:
                for family in (*topology.pool(node), *topology.spares(node)):
                    addresses += [address for address in family if address not in addresses]
            plans[port.node].ports[port.name] = PortPlan(port, index, _mac(index), addresses)
            if isinstance(node, Router) and node.nat is not None and node.nat.outside == port.name and node.name in userspace:
                _leave_to_userspace(plans[port.node].ports[port.name], node.nat)
    for plan in plans.values():
        for mine in plan.ports.values():
            peer = _peer(plans, mine)
            _lead_back(mine, peer, plan.node, userspace)
            # Its own addresses too, where the interface has them not: a packet to them goes out to the NAT, which sends it back.
            mine.neighbours = [(address.ip, peer.mac) for address in (*peer.addresses, *peer.translated, *mine.translated)]
        (_route_router if plan.forwards else _route_host)(topology, plans, plan)
    return plans


def _leave_to_userspace(port: PortPlan, nat: Nat) -> None:
    """The interface has none of the addresses that are translated to; what they made on-link is said by routes."""
    port.translated = [address for address in port.addresses if address.version == 4 or nat.ipv6 == "translate"]
    port.addresses = [address for address in port.addresses if address not in port.translated]
    port.routes += [Route(network, None) for network in dict.fromkeys(address.network for address in port.translated)]


def _lead_back(mine: PortPlan, peer: PortPlan, node: Host | Router, userspace: Collection[str]) -> None:
    """What is inside is also behind the outside interface under NPTv6's prefix, where the NAT sends it back."""
    nat = node.nat if isinstance(node, Router) and node.name in userspace else None
    if nat is not None and nat.prefix6 is not None and nat.outside == mine.port.name:
        mine.routes.append(Route(IPv6Network(nat.prefix6), _gateway(peer, 6)))


def reach(topology: Topology, caller: str, callee: str, port: int, version: int) -> tuple[str, int]:
    """The address and port at which ``caller`` reaches ``callee``'s UDP ``port``: its own, or that of a port forward (or forwards) to it.

    For IPv6 a forward of a firewall is a pinhole to the host's own address, and of NPTv6 to its address of the outside prefix, each at
    ``to_port``.  Raises SpecError when there is no way in: ICE and hole punching are out.
    """
    ways = {way.link.name: way for way in _explore(topology, caller, version)}
    for mine in topology.ports(callee):
        address = mine.v4 if version == 4 else mine.v6
        way = ways.get(mine.link.name)
        if address is not None and way is not None and all(_pinhole(topology, name, callee, port) for name in way.firewalls):
            return str(address.ip), port
    for router in topology.routers:
        nat = router.nat
        for forward in nat.forwards if nat is not None and router.name != callee else ():
            if nat is None or (forward.host, forward.to_port) != (callee, port):
                continue
            if version == 4 or nat.ipv6 == "translate":
                return reach(topology, caller, router.name, forward.port, version)
            outside = ways.get(topology.link(f"{router.name}/{nat.outside}").name)
            seen = _seen_by_prefix(topology, router, callee)
            if seen is not None and outside is not None and all(_pinhole(topology, name, callee, port) for name in outside.firewalls):
                return seen, port
    raise SpecError(f"topology {topology.name}", f"{caller} cannot reach {callee} UDP {port} over IPv{version}: give a NAT a port forward")


def _pinhole(topology: Topology, firewall: str, host: str, port: int) -> bool:
    router = topology.node(firewall)
    nat = router.nat if isinstance(router, Router) else None
    return nat is not None and any((forward.host, forward.to_port) == (host, port) for forward in nat.forwards)


def _seen_by_prefix(topology: Topology, router: Router, host: str) -> str | None:
    """The address by which NPTv6 at ``router`` shows a host that is inside; None when it shows it by none."""
    for here, there in topology.prefixes(router):
        for port in topology.ports(host):
            if port.v6 is not None and port.v6.ip in here:
                seen = nptv6.translate(port.v6.ip, here, there)
                return None if seen is None else str(seen)
    return None


def visible_links(topology: Topology, node: str, version: int = 4) -> list[str]:
    """The names of the links whose addresses of this IP version ``node`` can send to (a firewall may still refuse), nearest first."""
    return [way.link.name for way in _explore(topology, node, version)]


def nodes_inside(topology: Topology, router: Host | Router) -> set[str]:
    """The nodes that stand on the inner side of a NAT router, those behind further NATs there included; none for other nodes."""
    if isinstance(router, Host) or router.nat is None:
        return set()
    found: set[str] = set()
    queue = [port.peer for port in topology.ports(router.name) if port.name != router.nat.outside]
    while queue:
        entered = topology.port(queue.pop())
        if entered.node in found or entered.node == router.name:
            continue
        found.add(entered.node)
        if isinstance(topology.node(entered.node), Router):
            queue += [port.peer for port in topology.ports(entered.node) if port.name != entered.name]
    return found


@dataclass(frozen=True, slots=True)
class _Way:
    """A link that can be reached: from the port ``first`` of where we start, inwards through these ``firewalls`` (routers' names)."""

    link: Link
    first: Port
    firewalls: tuple[str, ...] = ()


def _explore(topology: Topology, start: str, version: int = 4) -> list[_Way]:
    """Every link that ``start`` can reach, breadth first."""
    found: dict[str, _Way] = {}
    queue: deque[tuple[Port, Port, tuple[str, ...]]] = deque((port, port, ()) for port in topology.ports(start))
    while queue:
        port, first, firewalls = queue.popleft()  # ``port``: an end from whose node we look out over its link
        if port.link.name in found:
            continue
        found[port.link.name] = _Way(port.link, first, firewalls)
        entered = topology.port(port.peer)
        node = topology.node(entered.node)
        if isinstance(node, Host):
            continue
        if node.nat is not None and node.nat.outside == entered.name:
            if version == 4 or node.nat.ipv6 != "firewall":
                continue
            firewalls = (*firewalls, node.name)
        queue.extend((other, first, firewalls) for other in topology.ports(node.name) if other.name != entered.name)
    return list(found.values())


def _route_router(topology: Topology, plans: dict[str, NodePlan], plan: NodePlan) -> None:
    own = [address.network for port in plan.ports.values() for address in (*port.addresses, *port.translated)]
    connected = {str(network) for network in own}  # asked first: comparing each link with each of a star's hub's is slow
    for version, way in _ways(topology, plan.node.name):
        mine = plan.ports[way.first.name]
        net = way.link.net4 if version == 4 else way.link.net6
        for text in (net, *_prefixes_behind(topology, plan.node.name, way.link, version)):
            if text is None or text in connected:
                continue
            network = ip_network(text)
            if any(network.version == net.version and network.overlaps(net) for net in own):
                continue
            gateway = _gateway(_peer(plans, mine), network.version)
            if gateway is not None:
                mine.routes.append(Route(network, gateway))


def _ways(topology: Topology, start: str) -> list[tuple[int, _Way]]:
    """What ``start`` can reach and over which IP version; looked for once where no firewall makes a difference."""
    ways = _explore(topology, start)
    if any(router.nat is not None and router.nat.ipv6 == "firewall" for router in topology.routers):
        return [*((4, way) for way in ways), *((6, way) for way in _explore(topology, start, 6))]
    return [(version, way) for way in ways for version in (4, 6)]


def _prefixes_behind(topology: Topology, start: str, link: Link, version: int) -> list[str]:
    """The prefixes by which NPTv6 routers, whose outside is on ``link``, show what is inside them."""
    if version == 4:
        return []
    found = []
    for end in (link.a, link.b):
        name, _, interface = end.partition("/")
        node = topology.node(name)
        if name != start and isinstance(node, Router) and node.nat is not None and node.nat.prefix6 and node.nat.outside == interface:
            found.append(node.nat.prefix6)
    return found


def _route_host(topology: Topology, plans: dict[str, NodePlan], plan: NodePlan) -> None:
    for position, mine in enumerate(plan.ports.values()):
        peer = _peer(plans, mine)
        table = _FIRST_TABLE + position
        for address in mine.addresses:
            gateway = _gateway(peer, address.version) if isinstance(topology.node(peer.port.node), Router) else None
            if gateway is not None:
                default = DEFAULT[address.version]
                mine.routes.append(Route(default, gateway, metric=_METRIC_STEP * (position + 1)))
                mine.routes.append(Route(address.network, None, table=table))
                mine.routes.append(Route(default, gateway, table=table))
                mine.rules.append((address.ip, table))


def _peer(plans: dict[str, NodePlan], mine: PortPlan) -> PortPlan:
    node, _, name = mine.port.peer.partition("/")
    return plans[node].ports[name]


def _gateway(peer: PortPlan, version: int) -> Address | None:
    return next((ip_address(str(address.ip)) for address in (*peer.addresses, *peer.translated) if address.version == version), None)


def _mac(index: int) -> str:
    """A locally administered MAC address that says which interface it is."""
    return f"02:00:00:00:{index >> 8:02x}:{index & 255:02x}"
