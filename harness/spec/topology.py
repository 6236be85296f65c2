"""A network as frozen data: hosts, routers, and links with a separate impairment for each direction.

Addresses follow from the links.  On a link with subnet ``net4`` the far end ``b`` (by custom the side nearer the core) has the first
address, the near end ``a`` the second; the further outside addresses of a NAT router, first
those of its pool and then the spare ones, come after these.  IPv6 likewise in ``net6``.

A *realm* is a set of links between which addresses are routed without translation.  The same private subnet may be used in two homes, since
a NAT stands between; within one realm every address is unique, and a NAT that leads back into its own realm is refused.  In IPv6 a NAT that
is only a firewall joins its inside and its outside.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cached_property
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network
from typing import Any, TypeVar

import msgspec

from harness.errors import SpecError
from harness.spec.link import Impairment
from harness.spec.nat import Nat
from harness.units import Quantity

SCHEMA = 1
MOST_NODES, MOST_LINKS = 1_000, 2_000
MOST_OPPORTUNITIES = 16_000_000
"""Of all recorded rates together: 128 MB of memory, which a few packed kilobytes can ask for."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
_INTERFACE = re.compile(r"[a-z][a-z0-9_-]{0,14}")  # IFNAMSIZ less the final NUL


class Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An end system.  Its first link is its default way out; it forwards nothing."""

    name: str


class Router(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A node that forwards, with shortest-path static routes, and translates where ``nat`` says so."""

    name: str
    nat: Nat | None = None


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A wire between two interfaces written ``node/interface``.

    ``a_to_b`` and ``b_to_a`` are None for a plain wire that can never be impaired, an ``Impairment`` (``CLEAR`` included) for one that can.
    ``mtu``: bytes of IP packet.  ``starts_up`` False: the link is built, and down until a fault or the scenario takes it up.
    """

    a: str
    b: str
    net4: str | None = None
    net6: str | None = None
    a_to_b: Impairment | None = None
    b_to_a: Impairment | None = None
    mtu: int = 1500
    starts_up: bool = True

    @property
    def name(self) -> str:
        """The link's name in messages: ``alice/wifi–home/lan``."""
        return f"{self.a}–{self.b}"

    @property
    def impairable(self) -> bool:
        """Whether an executor stands in this link; both directions or none."""
        return self.a_to_b is not None or self.b_to_a is not None


class Port(msgspec.Struct, frozen=True):
    """One end of a link, resolved: the interface ``name`` of ``node`` with its addresses, and the port at the other end."""

    node: str
    name: str
    link: Link
    v4: IPv4Interface | None
    v6: IPv6Interface | None
    peer: str

    @property
    def path(self) -> str:
        """``node/interface``."""
        return f"{self.node}/{self.name}"


class Topology(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, dict=True):  # dict: for the tables
    """The whole network.  Building one validates it: SpecError names the first thing that is wrong."""

    name: str
    nodes: tuple[Host | Router, ...]
    links: tuple[Link, ...]
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise SpecError(f"topology {self.name}, schema", f"{self.schema} is not known; this harness reads {SCHEMA}")
        _validate(self)

    # -- looking things up -------------------------------------------------------------------------------------------------------------

    @cached_property
    def _nodes(self) -> dict[str, Host | Router]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def _links(self) -> dict[str, Link]:
        return {end: link for link in self.links for end in (link.a, link.b)}

    @cached_property
    def _ports(self) -> dict[str, list[Port]]:
        found: dict[str, list[Port]] = defaultdict(list)
        for end in self._links:
            port = self.port(end)
            found[port.node].append(port)
        return dict(found)

    def node(self, name: str) -> Host | Router:
        """The node called ``name``; SpecError lists those there are."""
        node = self._nodes.get(name)
        if node is None:
            raise SpecError(f"topology {self.name}", f"there is no node {name!r}; there are {', '.join(self._nodes)}")
        return node

    def link(self, end: str) -> Link:
        """The link with an end ``node/interface``; SpecError lists the ends there are."""
        link = self._links.get(end)
        if link is None:
            raise SpecError(f"topology {self.name}", f"there is no interface {end!r}; there are {', '.join(self._links)}")
        return link

    def port(self, end: str) -> Port:
        """The resolved interface ``node/interface``."""
        link = self.link(end)
        index, peer = (1, link.b) if end == link.a else (0, link.a)
        node, _, name = end.partition("/")
        v4 = _address(IPv4Network(link.net4), index) if link.net4 else None
        v6 = _address(IPv6Network(link.net6), index) if link.net6 else None
        return Port(node, name, link, v4, v6, peer)

    def ports(self, node: str) -> list[Port]:
        """The interfaces of ``node`` in the order of the links; the first of a host is its default way out."""
        return list(self._ports.get(node, ()))

    def pool(self, router: Router) -> tuple[list[IPv4Interface], list[IPv6Interface]]:
        """The NAT's outside addresses on which it makes mappings, per family, the port's own first.

        Beside that one there are none of IPv6 where it makes no IPv6 mappings.
        """
        if router.nat is None:
            return [], []
        port = self.port(f"{router.name}/{router.nat.outside}")
        v4, v6 = self._further(port.link, range(2, 1 + router.nat.pool), router.nat)
        return [*([port.v4] if port.v4 else ()), *v4], [*([port.v6] if port.v6 else ()), *v6]

    def spares(self, router: Router) -> tuple[list[IPv4Interface], list[IPv6Interface]]:
        """The NAT's outside addresses beyond its pool, per family, to which rebinds move."""
        if router.nat is None:
            return [], []
        first = 1 + router.nat.pool
        return self._further(self.port(f"{router.name}/{router.nat.outside}").link, range(first, first + router.nat.spare), router.nat)

    @staticmethod
    def _further(link: Link, rest: range, nat: Nat) -> tuple[list[IPv4Interface], list[IPv6Interface]]:
        v4 = [_address(IPv4Network(link.net4), n) for n in rest] if link.net4 else []
        v6 = [_address(IPv6Network(link.net6), n) for n in rest] if link.net6 and nat.ipv6 == "translate" else []
        return v4, v6

    def prefixes(self, router: Router) -> list[tuple[IPv6Network, IPv6Network]]:
        """What NPTv6 at ``router`` makes of what: each inside link's /64, in the order of the links, beside its /64 of ``prefix6``."""
        if router.nat is None or router.nat.prefix6 is None:
            return []
        mine = {self.links.index(port.link) for port in self.ports(router.name) if port.name != router.nat.outside}
        inside = {n for members in self.realms(6) if members & mine for n in members}
        nets = [IPv6Network(net6) for n in sorted(inside) if (net6 := self.links[n].net6)]
        return list(zip(nets, IPv6Network(router.nat.prefix6).subnets(new_prefix=64), strict=False))

    @property
    def hosts(self) -> list[Host]:
        """Hosts only, in order."""
        return [node for node in self.nodes if isinstance(node, Host)]

    @property
    def routers(self) -> list[Router]:
        """Routers only, in order."""
        return [node for node in self.nodes if isinstance(node, Router)]

    def realms(self, version: int = 4) -> list[set[int]]:
        """Sets of indexes into ``links`` that share one address space of this IP version.

        A host joins nothing, a NAT joins its inside links only, and a firewall, which is what a NAT may be for IPv6, all its links.
        """
        realm = {n: {n} for n in range(len(self.links))}
        for router in self.routers:
            mine = [n for n, link in enumerate(self.links) for end in (link.a, link.b) if end.partition("/")[0] == router.name]
            if router.nat is not None and not (version == 6 and router.nat.ipv6 == "firewall"):
                outside = self.links.index(self.link(f"{router.name}/{router.nat.outside}"))
                mine = [n for n in mine if n != outside]
            for n in mine[1:]:
                joined = realm[mine[0]] | realm[n]
                for member in joined:
                    realm[member] = joined
        unique: list[set[int]] = []
        for members in realm.values():
            if members not in unique:
                unique.append(members)
        return unique

    # -- JSON --------------------------------------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Indented JSON that ``from_json`` reads back to an equal topology."""
        return msgspec.json.format(msgspec.json.encode(to_plain(self)), indent=2).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Topology:
        """The topology that ``text`` holds; SpecError names the field, the value and what is allowed."""
        try:
            document = msgspec.json.decode(text, type=_Document, dec_hook=from_text)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise SpecError("topology JSON", str(error)) from None
        return Topology(document.name, (*document.hosts, *document.routers), document.links, document.schema)


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON form: hosts and routers apart, so that neither needs a tag."""

    schema: int
    name: str
    hosts: tuple[Host, ...]
    routers: tuple[Router, ...]
    links: tuple[Link, ...]


T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """``value`` as plain JSON types, quantities in their text form."""
    if isinstance(value, Topology):
        value = _Document(value.schema, value.name, tuple(value.hosts), tuple(value.routers), value.links)
    return msgspec.to_builtins(value, enc_hook=str)


def from_text(kind: type[T], text: Any) -> T:
    """Decode hook of msgspec for the quantities; bare numbers are refused with the units that are allowed."""
    if issubclass(kind, Quantity):
        return kind.parse(text)
    raise NotImplementedError(f"{kind} has no text form")


def _address(network: Any, index: int) -> Any:
    host = network.network_address + index + 1
    return (IPv4Interface if network.version == 4 else IPv6Interface)(f"{host}/{network.prefixlen}")


# -- validation ------------------------------------------------------------------------------------------------------------------------


def _validate(topology: Topology) -> None:
    if not _NAME.fullmatch(topology.name):
        raise SpecError(f"topology {topology.name!r}, name", f"allowed is {_NAME.pattern}")
    _validate_nodes(topology)
    opportunities = 0
    for link in topology.links:
        _validate_link(topology, link)
        traces = [way.rate_trace for way in (link.a_to_b, link.b_to_a) if way is not None and way.rate_trace is not None]
        opportunities += sum(trace.opportunities for trace in traces)
        if opportunities > MOST_OPPORTUNITIES:
            raise SpecError(
                f"topology {topology.name}, link {link.name}, rate_trace",
                f"with it the recorded rates have {opportunities} opportunities; allowed is up to {MOST_OPPORTUNITIES} in all",
            )
    _validate_ends(topology)
    for router in topology.routers:
        if router.nat is not None:
            _validate_nat(topology, router, router.nat)
    _validate_addresses(topology)
    for router in topology.routers:
        if router.nat is not None and router.nat.prefix6 is not None:
            _validate_prefix(topology, router, router.nat, router.nat.prefix6)


def _validate_nodes(topology: Topology) -> None:
    where = f"topology {topology.name}"
    for what, count, most in (("nodes", len(topology.nodes), MOST_NODES), ("links", len(topology.links), MOST_LINKS)):
        if count > most:
            raise SpecError(f"{where}, {what}", f"there are {count}; allowed is up to {most}")
    names = [node.name for node in topology.nodes]
    for name in names:
        if not _NAME.fullmatch(name):
            raise SpecError(f"{where}, node {name!r}", f"allowed is {_NAME.pattern}")
        if names.count(name) > 1:
            raise SpecError(f"{where}, node {name}", "the name is used twice")
    if not topology.hosts:
        raise SpecError(where, "there is no host; at least one is needed")


def _validate_link(topology: Topology, link: Link) -> None:
    where = f"topology {topology.name}, link {link.name}"
    for field, end in (("a", link.a), ("b", link.b)):
        node, _, interface = end.partition("/")
        if not node or not _INTERFACE.fullmatch(interface):
            raise SpecError(f"{where}, {field}", f"{end!r} is no end of a link; write node/interface, for example 'alice/wifi'")
        if node not in {n.name for n in topology.nodes}:
            known = ", ".join(n.name for n in topology.nodes)
            raise SpecError(f"{where}, {field}", f"there is no node {node!r}; there are {known}")
    if link.a.partition("/")[0] == link.b.partition("/")[0]:
        raise SpecError(where, "both ends are on one node")
    if link.net4 is None and link.net6 is None:
        raise SpecError(where, "it has neither net4 nor net6, so nobody has an address on it")
    for field, text, version in (("net4", link.net4, 4), ("net6", link.net6, 6)):
        if text is None:
            continue
        try:
            network = ip_network(text)
        except ValueError as error:
            raise SpecError(
                f"{where}, {field}", f"{error}; write for example {'192.0.2.0/24' if version == 4 else 'fd00:1::/64'}"
            ) from None
        if network.version != version or network.num_addresses < 4:
            raise SpecError(f"{where}, {field}", f"{text} is not an IPv{version} subnet with room for both ends")
    if not isinstance(link.mtu, int) or not 1280 <= link.mtu <= 65535:
        raise SpecError(f"{where}, mtu", f"{link.mtu!r} is outside 1280 (RFC 8200's least) to 65535")
    for field, impairment in (("a_to_b", link.a_to_b), ("b_to_a", link.b_to_a)):
        if impairment is not None:
            impairment.validate(f"{where}, {field}")


def _validate_ends(topology: Topology) -> None:
    seen: dict[str, Link] = {}
    for link in topology.links:
        for end in (link.a, link.b):
            if end in seen:
                raise SpecError(f"topology {topology.name}, link {link.name}", f"{end} already ends link {seen[end].name}")
            seen[end] = link
    # Last, so that a node which a link misspells is told as the misspelling.
    linked = {end.partition("/")[0] for end in seen}
    for node in topology.nodes:
        if node.name not in linked:
            raise SpecError(f"topology {topology.name}, node {node.name}", "no link reaches it")


def _validate_nat(topology: Topology, router: Router, nat: Nat) -> None:
    where = f"topology {topology.name}, router {router.name}, nat"
    nat.validate(where)
    mine = [port.name for port in topology.ports(router.name)]
    if nat.outside not in mine:
        raise SpecError(f"{where}, outside", f"{router.name} has no interface {nat.outside!r}; it has {', '.join(mine)}")
    if len(mine) < 2:
        raise SpecError(where, "there is nothing inside: the router's only interface is the outside one")
    realms = topology.realms()
    links = list(topology.links)
    outside = links.index(topology.link(f"{router.name}/{nat.outside}"))
    inside = {links.index(port.link) for port in topology.ports(router.name)} - {outside}
    for members in realms:
        if outside in members and members & inside:
            raise SpecError(where, f"{links[outside].name} leads back inside without translation: a loop of addresses")
    link = links[outside]
    for text in filter(None, (link.net4, link.net6)):
        if ip_network(text).num_addresses < 3 + nat.pool + nat.spare:
            raise SpecError(f"{where}, spare", f"{text} has no room for {nat.pool} outside addresses and {nat.spare} spare ones")
    reachable = {end.partition("/")[0] for members in realms if members & inside for n in members for end in (links[n].a, links[n].b)}
    for forward in nat.forwards:
        if forward.host not in reachable - {router.name}:
            raise SpecError(
                f"{where}, forwards, host", f"{forward.host!r} is not inside; inside are {', '.join(sorted(reachable - {router.name}))}"
            )


def _validate_prefix(topology: Topology, router: Router, nat: Nat, prefix6: str) -> None:
    """NPTv6: an outside with IPv6, a /64 on each inside link (RFC 6296: pairs of one length), no more of them than ``prefix6`` has."""
    where = f"topology {topology.name}, router {router.name}, nat, prefix6"
    outside = topology.link(f"{router.name}/{nat.outside}")
    if outside.net6 is None:
        raise SpecError(where, f"the outside link {outside.name} has no net6 to route it over")
    mine = {topology.links.index(port.link) for port in topology.ports(router.name)} - {topology.links.index(outside)}
    inside = [topology.links[n] for members in topology.realms(6) if members & mine for n in sorted(members) if topology.links[n].net6]
    for link in inside:
        if IPv6Network(link.net6).prefixlen != 64:
            raise SpecError(where, f"the inside link {link.name} has net6 {link.net6}; NPTv6 needs a /64 on each")
    room = 2 ** (64 - IPv6Network(prefix6).prefixlen)
    if len(inside) > room:
        raise SpecError(where, f"{prefix6} has room for {room} of the inside links' {len(inside)} /64s")
    here, there = topology.links.index(outside), IPv6Network(prefix6)
    beside = {n for members in topology.realms(6) if here in members for n in members}
    taken = [(f"link {topology.links[n].name}", text) for n in sorted(beside) if (text := topology.links[n].net6)]
    for other in topology.routers:
        if other is router or other.nat is None or other.nat.prefix6 is None:
            continue
        if topology.links.index(topology.link(f"{other.name}/{other.nat.outside}")) in beside:
            taken.append((f"router {other.name}", other.nat.prefix6))
    for whose, text in taken:
        if there.overlaps(IPv6Network(text)):
            raise SpecError(where, f"{prefix6} overlaps {text} of {whose} in the same realm")


def _validate_addresses(topology: Topology) -> None:
    """Refuse a subnet that overlaps another of the same realm, or of the same node."""
    place = {end: n for n, link in enumerate(topology.links) for end in (link.a, link.b)}
    nodes = [("node", {place[port.path] for port in topology.ports(node.name)}) for node in topology.nodes]
    for field, version in (("net4", 4), ("net6", 6)):
        groups = [*(("realm", realm) for realm in topology.realms(version)), *nodes]
        spans = {n: _span(text) for n, link in enumerate(topology.links) if (text := getattr(link, field))}
        for what, members in groups:
            before = None
            for n in sorted(members & spans.keys(), key=spans.__getitem__):
                if before is not None and spans[before][1] >= spans[n][0]:
                    one, other = (topology.links[m] for m in sorted((before, n)))
                    here, there = getattr(other, field), getattr(one, field)
                    raise SpecError(
                        f"topology {topology.name}, link {other.name}, {field}",
                        f"{here} overlaps {there} of link {one.name} in the same {what}: a loop of addresses",
                    )
                before = n


def _span(text: str) -> tuple[int, int]:
    """The first and the last address of a subnet."""
    network = ip_network(text)
    first = int(network.network_address)
    return first, first + network.num_addresses - 1
