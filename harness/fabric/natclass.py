"""What class a NAT is, seen from outside: RFC 4787's behaviours, by RFC 5780's method.

A host inside sends from one socket to two ports each of two addresses outside: where it seems to come from tells the mapping.  From a
fresh socket to one of them only, and the others try to answer: who gets in tells the filtering.  The one that was spoken to sends last, and
its packet closes the test; those before it had the same way to go.  Several sockets at once tell how ports and addresses are given out.
Two sockets that send to each other's outside endpoints tell whether the NAT hairpins.

Behind another NAT only both together can be seen, and the stricter of the two rules: an endpoint-independent NAT behind a symmetric one
looks symmetric.  So what is measured is compared with the strictest of the NATs on the way out.  How long a mapping lives is too slow to
measure before every run: tests/conformance/test_nats.py does.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from itertools import pairwise
from typing import TYPE_CHECKING, Any, get_args

import trio

from harness.fabric.plan import nodes_inside, visible_links
from harness.fabric.vantage import receive, udp
from harness.spec import nptv6
from harness.spec.nat import Behaviour, Nat, Pooling, Ports
from harness.spec.topology import Host, Router

if TYPE_CHECKING:
    from harness.fabric.build import Build

_TIME_LIMIT_S = 10.0
_RETRY_S = 0.25
_LAST_PACKET_S = 0.03  # after the closing packet, for those that took a slower way
_FEW_SOCKETS, _MANY_SOCKETS = 4, 16  # many where there is a pool: 16 drawn at random from two addresses are all alike once in 32,768
_CONTIGUOUS_SPAN = 32  # others probe at the same time and take ports in between; four random ports rise within so few once in 10⁹

_NUMBERS = itertools.count()

Place = tuple[str, str]
"""A node and one of its addresses."""


async def classify(build: Build, router: Router, nat: Nat, result: dict[str, Any]) -> None:
    """Classify one NAT into ``result["nats"]``; name it in ``result["differs"]`` when it is not what the spec says.

    A NAT without a host directly inside, or with fewer than two addresses outside to be seen from, is left unclassified, by name.
    """
    way_out = _on_the_way_out(build, router, nat)
    async with trio.open_nursery() as nursery:
        for version in (4, 6):
            inside = _host_inside(build, router, version)
            places = _places_outside(build, router, version)
            if inside is not None and len(places) >= 2:
                asked = _asked(build, router, [one for _name, one in way_out], version, inside)
                seen: dict[str, Any] = {"asked": asked, **dict.fromkeys(asked), "from": inside[0]}
                result["nats"][f"{router.name}/ipv{version}"] = seen
                nursery.start_soon(_classify, build, f"NAT {router.name}, IPv{version}", inside, places, seen, result["differs"])
    if not any(key.startswith(f"{router.name}/") for key in result["nats"]):
        result["nats"][router.name] = "unclassified: it has no host directly inside, or fewer than two addresses outside to be seen from"


def _asked(build: Build, router: Router, way_out: list[Nat], version: int, inside: Place) -> dict[str, Any]:
    """What the spec says of everything that can be seen through all the NATs on the way out, innermost first."""
    translating = [nat for nat in way_out if version == 4 or nat.ipv6 == "translate"]
    asked: dict[str, Any] = {"filtering": _strictest(nat.filtering for nat in way_out)}
    if translating:
        asked["mapping"] = _strictest(nat.mapping for nat in translating)
        asked["ports"] = next((nat.ports for nat in reversed(translating) if nat.ports != "preserve"), "preserve")
        if translating[-1].pool > 1:
            asked["pooling"] = translating[-1].pooling
        if len(way_out) == 1 and (translating[0].mapping, translating[0].pooling) == ("endpoint-independent", "paired"):
            asked["hairpinning"] = translating[0].hairpinning
    elif len(way_out) == 1:
        asked["seen as"] = _untranslated(build, router, inside[1])
    return asked


def _untranslated(build: Build, router: Router, address: str) -> str:
    """How an inside address is seen outside a firewall (as itself) or NPTv6."""
    own = IPv6Address(address)
    for here, there in build.topology.prefixes(router):
        if own in here:
            return str(nptv6.translate(own, here, there))
    return address


async def _classify(build: Build, name: str, inside: Place, places: list[Place], seen: dict[str, Any], differs: list[str]) -> None:
    """One address family; all at once, since each is asked from sockets, and so mappings, of its own."""
    view = _View(build, inside, places)
    asked: dict[str, Any] = seen["asked"]
    measures: dict[str, Callable[[], Coroutine[Any, Any, dict[str, Any]]]] = {
        "mapping": view.mapping,
        "filtering": view.filtering,
        "ports": lambda: view.several(_MANY_SOCKETS if "pooling" in asked else _FEW_SOCKETS),
        "hairpinning": view.hairpinning,
        "seen as": view.address,
    }

    async def measure(what: str) -> None:
        seen.update(await measures[what]())

    with trio.move_on_after(_TIME_LIMIT_S):
        async with trio.open_nursery() as nursery:
            for what in measures.keys() & asked.keys():
                nursery.start_soon(measure, what)
    seen["preserved"] = seen.get("ports") == "preserve"
    for what, wanted in asked.items():
        if seen[what] != wanted:
            differs.append(f"{name}, {what}: asked {wanted}, measured {'nothing' if seen[what] is None else seen[what]}")


# -- who is where --------------------------------------------------------------------------------------------------------------------------


def _on_the_way_out(build: Build, router: Router, nat: Nat) -> list[tuple[str, Nat]]:
    """The NAT itself and those that it stands behind, outwards."""
    outer = [
        (len(within), other.name, other.nat)
        for other in build.topology.routers
        if other.nat is not None and router.name in (within := nodes_inside(build.topology, other))
    ]
    return [(router.name, nat), *((name, other) for _size, name, other in sorted(outer, key=lambda one: one[:2]))]


def _strictest(behaviours: Iterable[Behaviour]) -> Behaviour:
    return max(behaviours, key=get_args(Behaviour).index)


def _host_inside(build: Build, router: Router, version: int) -> Place | None:
    """A host on a link of the router's inside, and its address there."""
    assert router.nat is not None
    for port in build.topology.ports(router.name):
        peer = build.topology.port(port.peer)
        address = peer.v4 if version == 4 else peer.v6
        if port.name != router.nat.outside and isinstance(build.topology.node(peer.node), Host) and address is not None:
            return peer.node, str(address.ip)
    return None


def _places_outside(build: Build, router: Router, version: int) -> list[Place]:
    """(node, address) outside that translate nothing themselves, two addresses of one node if there is one that has them."""
    within = nodes_inside(build.topology, router) | {router.name}
    visible = set(visible_links(build.topology, router.name))
    found = []
    for node in build.topology.nodes:
        if node.name in within or (isinstance(node, Router) and node.nat is not None):
            continue
        for port in build.topology.ports(node.name):
            address = port.v4 if version == 4 else port.v6
            if address is not None and port.link.name in visible:
                found.append((node.name, str(address.ip)))
    per_node = Counter(node for node, _address in found)
    return sorted(found, key=lambda place: -per_node[place[0]])[:2]


# -- what is seen --------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _View:
    """One host inside, and two places outside that look at it."""

    build: Build
    inside: Place
    places: list[Place]

    async def address(self) -> dict[str, Any]:
        """By which address the host is seen."""
        async with udp(self.build, *self.inside) as here, udp(self.build, *self.places[0]) as there:
            return {"seen as": (await _seen_at(here, there))[0]}

    @contextlib.asynccontextmanager
    async def _sockets(self) -> AsyncIterator[tuple[trio.socket.SocketType, ...]]:
        """One inside; outside two at one address and one at another."""
        first_place, other_place = self.places
        async with (
            udp(self.build, *self.inside) as here,
            udp(self.build, *first_place) as first,
            udp(self.build, *first_place) as same_address,
            udp(self.build, *other_place) as other_address,
        ):
            yield here, first, same_address, other_address

    async def mapping(self) -> dict[str, Any]:
        """From where one socket is seen at two ports of each of two addresses; two random draws are alike once in 64,512."""
        async with self._sockets() as (here, first, same_address, other_address), udp(self.build, *self.places[1]) as its_other:
            outside = [await _seen_at(here, there) for there in (first, same_address, other_address, its_other)]
        if len(set(outside)) == 1:
            found: Behaviour = "endpoint-independent"
        else:
            per_address = outside[0] == outside[1] and outside[2] == outside[3]
            found = "address-dependent" if per_address else "address-and-port-dependent"
        return {"mapping": found}

    async def filtering(self) -> dict[str, Any]:
        """Who gets in beside the one that was spoken to."""
        async with self._sockets() as (here, spoken_to, same_address, other_address):
            outside = await _seen_at(here, spoken_to)
            heard: set[bytes] = set()
            while b"spoken to" not in heard:
                for end, name in ((other_address, b"other address"), (same_address, b"same address"), (spoken_to, b"spoken to")):
                    await end.sendto(name, outside)
                with trio.move_on_after(_RETRY_S):
                    while b"spoken to" not in heard:
                        heard.add((await receive(here))[0])
            heard |= await _last_packets(here)
        if b"other address" in heard:
            found: Behaviour = "endpoint-independent"
        else:
            found = "address-dependent" if b"same address" in heard else "address-and-port-dependent"
        return {"filtering": found}

    async def several(self, count: int) -> dict[str, Any]:
        """How ports, and addresses of a pool, are given to ``count`` sockets that send one after the other."""
        async with udp(self.build, *self.places[0]) as there, _sockets(self.build, self.inside, count) as ends:
            outside: dict[int, tuple[str, int]] = {}
            while len(outside) < count:
                for n, end in enumerate(ends):
                    if n not in outside:
                        await end.sendto(bytes([n]), there.getsockname()[:2])
                with trio.move_on_after(_RETRY_S):
                    while len(outside) < count:
                        data, _arrived, source = await receive(there)
                        outside[data[0]] = source
            own = [end.getsockname()[1] for end in ends]
        addresses = sorted({ip for ip, _port in outside.values()})
        pooling: Pooling = "paired" if len(addresses) == 1 else "arbitrary"
        # Each address of a pool counts for itself.
        ports = [[outside[n][1] for n in range(count) if outside[n][0] == ip] for ip in addresses]
        return {"ports": _given_out(own, [outside[n][1] for n in range(count)], ports), "pooling": pooling, "addresses": addresses}

    async def hairpinning(self) -> dict[str, Any]:
        """Whether two sockets inside hear each other at their outside endpoints, and as that endpoint.

        Both send, since filtering may let in only who was sent to; a packet by way of the outside closes the test.
        """
        async with udp(self.build, *self.places[0]) as there, _sockets(self.build, self.inside, 2) as (one, other):
            outside = [await _seen_at(end, there) for end in (one, other)]
            heard: set[tuple[bytes, tuple[str, int]]] = set()
            while not any(data == b"closing" for data, _source in heard):
                for _ in range(2):  # the first of either may only open the other's filter
                    await one.sendto(b"hairpin", outside[1])
                    await other.sendto(b"hairpin", outside[0])
                await there.sendto(b"closing", outside[1])
                with trio.move_on_after(_RETRY_S):
                    while not any(data == b"closing" for data, _source in heard):
                        data, _arrived, source = await receive(other)
                        heard.add((data, source))
            with trio.move_on_after(_LAST_PACKET_S):
                while True:
                    data, _arrived, source = await receive(other)
                    heard.add((data, source))
        sources = {source for data, source in heard if data == b"hairpin"}
        return {"hairpinning": bool(sources) if sources <= {outside[0]} else f"seen from {sorted(sources)} and not from {outside[0]}"}


def _given_out(own: list[int], outside: list[int], per_address: list[list[int]]) -> Ports:
    if own == outside:
        return "preserve"
    rising = all(0 < later - earlier <= _CONTIGUOUS_SPAN for ports in per_address for earlier, later in pairwise(ports))
    return "contiguous" if rising and any(len(ports) > 1 for ports in per_address) else "random"


@contextlib.asynccontextmanager
async def _sockets(build: Build, place: Place, count: int) -> AsyncIterator[list[trio.socket.SocketType]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(udp(build, *place)) for _ in range(count)]


async def _last_packets(end: trio.socket.SocketType) -> set[bytes]:
    heard = set()
    with trio.move_on_after(_LAST_PACKET_S):
        while True:
            heard.add((await receive(end))[0])
    return heard


async def _seen_at(here: trio.socket.SocketType, there: trio.socket.SocketType) -> tuple[str, int]:
    """Where packets from ``here`` seem to come from at ``there``: known by a number of their own, since a link may double any packet."""
    own = b"map %d" % next(_NUMBERS)
    while True:
        await here.sendto(own, there.getsockname()[:2])
        with trio.move_on_after(_RETRY_S):
            while True:
                data, _arrived, source = await receive(there)
                if data == own:
                    return source
