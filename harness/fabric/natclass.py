"""What class a NAT is, seen from outside: RFC 4787's mapping and filtering, by RFC 5780's method.

A host inside sends from one socket to two addresses and two ports outside: where it seems to come from tells the mapping.  Then from a
fresh socket to one of them only, and the others try to answer: who gets in tells the filtering.  The one that was spoken to sends last, and
its packet closes the test; those before it had the same way to go.

Behind another NAT only both together can be seen, and the stricter of the two rules: an endpoint-independent NAT behind a symmetric one
looks symmetric.  So what is measured is compared with the strictest of the NATs on the way out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_args

import trio

from harness.fabric.plan import nodes_inside, visible_links
from harness.fabric.vantage import receive, udp
from harness.spec.nat import Behaviour, Nat
from harness.spec.topology import Host, Router

if TYPE_CHECKING:
    from harness.fabric.build import Build

_TIME_LIMIT_S = 10.0
_RETRY_S = 0.25
_LAST_PACKET_S = 0.03  # after the closing packet, for those that took a slower way


async def classify(build: Build, router: Router, nat: Nat, result: dict[str, Any]) -> None:
    """Classify one NAT into ``result["nats"]``; name it in ``result["differs"]`` when it is not what the spec says.

    A NAT without a host directly inside, or with fewer than two addresses outside to be seen from, is left unclassified, by name.
    """
    nats = _on_the_way_out(build, router, nat)
    async with trio.open_nursery() as nursery:
        for version in (4, 6):
            inside = _host_inside(build, router, version)
            places = _places_outside(build, router, version)
            if inside is not None and len(places) >= 2:
                seen = result["nats"][f"{router.name}/ipv{version}"] = {"mapping": None, "filtering": None, "from": inside[0]}
                nursery.start_soon(_classify, build, nats, f"NAT {router.name}, IPv{version}", inside, places, seen, result["differs"])
    if not any(key.startswith(f"{router.name}/") for key in result["nats"]):
        result["nats"][router.name] = "unclassified: it has no host directly inside, or fewer than two addresses outside to be seen from"


async def _classify(
    build: Build,
    nats: list[Nat],
    name: str,
    inside: tuple[str, str],
    places: list[tuple[str, str]],
    seen: dict[str, Any],
    differs: list[str],
) -> None:
    """One address family; mapping and filtering at once, since each is asked from a socket, and so a mapping, of its own."""

    async def mapping() -> None:
        seen["mapping"], seen["preserved"] = await _mapping(build, inside, places)

    async def filtering() -> None:
        seen["filtering"] = await _filtering(build, inside, places)

    with trio.move_on_after(_TIME_LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mapping)
            nursery.start_soon(filtering)
    for what, asked in (("mapping", _strictest(n.mapping for n in nats)), ("filtering", _strictest(n.filtering for n in nats))):
        if seen[what] != asked:
            differs.append(f"{name}, {what}: asked {asked}, measured {seen[what] or 'nothing'}")


def _on_the_way_out(build: Build, router: Router, nat: Nat) -> list[Nat]:
    """The NAT itself and those that it stands behind."""
    outer = [other for other in build.topology.routers if other.nat is not None and router.name in nodes_inside(build.topology, other)]
    return [nat, *(other.nat for other in outer if other.nat is not None)]


def _strictest(behaviours: Iterable[Behaviour]) -> Behaviour:
    return max(behaviours, key=get_args(Behaviour).index)


def _host_inside(build: Build, router: Router, version: int) -> tuple[str, str] | None:
    """A host on a link of the router's inside, and its address there."""
    assert router.nat is not None
    for port in build.topology.ports(router.name):
        peer = build.topology.port(port.peer)
        address = peer.v4 if version == 4 else peer.v6
        if port.name != router.nat.outside and isinstance(build.topology.node(peer.node), Host) and address is not None:
            return peer.node, str(address.ip)
    return None


def _places_outside(build: Build, router: Router, version: int) -> list[tuple[str, str]]:
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


async def _mapping(build: Build, inside: tuple[str, str], places: list[tuple[str, str]]) -> tuple[Behaviour, bool]:
    (node1, address1), (node2, address2) = places
    async with (
        udp(build, *inside) as here,
        udp(build, node1, address1) as first,
        udp(build, node1, address1) as same_address,
        udp(build, node2, address2) as other_address,
    ):
        outside = [await _seen_at(here, there) for there in (first, same_address, other_address)]
        preserved = outside[0][1] == here.getsockname()[1]
    if outside[0] == outside[1] == outside[2]:
        return "endpoint-independent", preserved
    return ("address-dependent" if outside[0] == outside[1] else "address-and-port-dependent"), preserved


async def _seen_at(here: trio.socket.SocketType, there: trio.socket.SocketType) -> tuple[str, int]:
    """Where packets from ``here`` seem to come from at ``there``."""
    while True:
        await here.sendto(b"map", there.getsockname()[:2])
        with trio.move_on_after(_RETRY_S):
            _data, _arrived, source = await receive(there)
            return source


async def _filtering(build: Build, inside: tuple[str, str], places: list[tuple[str, str]]) -> Behaviour:
    (node1, address1), (node2, address2) = places
    async with (
        udp(build, *inside) as here,
        udp(build, node1, address1) as spoken_to,
        udp(build, node1, address1) as same_address,
        udp(build, node2, address2) as other_address,
    ):
        outside = await _seen_at(here, spoken_to)
        heard: set[bytes] = set()
        while b"spoken to" not in heard:
            for end, name in ((other_address, b"other address"), (same_address, b"same address"), (spoken_to, b"spoken to")):
                await end.sendto(name, outside)
            with trio.move_on_after(_RETRY_S):
                while b"spoken to" not in heard:
                    heard.add((await receive(here))[0])
        with trio.move_on_after(_LAST_PACKET_S):
            while True:
                heard.add((await receive(here))[0])
    if b"other address" in heard:
        return "endpoint-independent"
    return "address-dependent" if b"same address" in heard else "address-and-port-dependent"
