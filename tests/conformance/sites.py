"""Networks made for these tests: customers behind every kind of NAT, and a phone with two radios on short links."""

from __future__ import annotations

from collections.abc import Sequence

from harness.spec.link import CLEAR
from harness.spec.nat import Nat, PortForward
from harness.spec.topology import Host, Link, Router, Topology

HOME = Nat(outside="wan")
CONE = Nat(outside="wan", filtering="endpoint-independent")
SYMMETRIC = Nat(outside="wan", mapping="address-and-port-dependent", ports="random")
NATS = {"home": HOME, "cone": CONE, "symmetric": SYMMETRIC}


def sites(chains: Sequence[tuple[Nat, ...]], *, name: str = "sites", mtu: int = 1500) -> Topology:
    """Host ``h0`` behind ``chains[0]`` (innermost NAT first), ``h1`` behind ``chains[1]`` …, and ``bob`` in the open; IPv4 and IPv6."""
    nodes: list[Host | Router] = [Host("bob")]
    routers: list[Host | Router] = [Router("internet")]
    links = [Link("bob/eth", "internet/bob", "198.51.100.0/28", "2001:db8:b::/64", mtu=mtu)]
    for n, chain in enumerate(chains):
        nodes.append(Host(f"h{n}"))
        end = f"h{n}/eth"
        for level, nat in enumerate(chain):
            routers.append(Router(f"n{n}_{level}", nat))
            links.append(Link(end, f"n{n}_{level}/lan", f"10.{level}.0.0/28", f"fd00:{n}:{level}::/64"))
            end = f"n{n}_{level}/wan"
        links.append(Link(end, f"internet/s{n}", f"203.0.{113 + n}.0/28", f"2001:db8:{n + 1}::/64"))
    return Topology(name, (*nodes, *routers), tuple(links))


def homes(nats: Sequence[Nat]) -> Topology:
    """Hosts ``a0`` and ``b0``, each on a link of its own, behind ``nats[0]`` (router ``n0``) …, and ``bob`` and ``carol`` in the open."""
    nodes: list[Host | Router] = [Host("bob"), Host("carol")]
    links = [
        Link("bob/eth", "internet/bob", "198.51.100.0/28", "2001:db8:b::/64"),
        Link("carol/eth", "internet/carol", "198.51.100.16/28", "2001:db8:c::/64"),
    ]
    for n, nat in enumerate(nats):
        nodes += [Host(f"a{n}"), Host(f"b{n}"), Router(f"n{n}", nat)]
        links += [
            Link(f"a{n}/eth", f"n{n}/a", "10.0.0.0/28", f"fd00:{n}:a::/64"),
            Link(f"b{n}/eth", f"n{n}/b", "10.0.1.0/28", f"fd00:{n}:b::/64"),
            Link(f"n{n}/wan", f"internet/s{n}", f"203.0.{113 + n}.0/28", f"2001:db8:{n + 1}::/64"),
        ]
    return Topology("homes", (*nodes, Router("internet")), tuple(links))


def two_radios() -> Topology:
    """alice with Wi-Fi and LTE, each by a NAT of its own, and bob in the open.  alice/wifi can be impaired; alice/lte is a plain wire."""
    return Topology(
        "radios",
        (Host("alice"), Host("bob"), Router("home", HOME), Router("carrier", HOME), Router("internet")),
        (
            Link("alice/wifi", "home/lan", "192.168.1.0/24", "fd00:1::/64", CLEAR, CLEAR),
            Link("alice/lte", "carrier/ran", "10.64.0.0/24", "fd00:2::/64"),
            Link("home/wan", "internet/home", "203.0.113.0/28", "2001:db8:1::/64"),
            Link("carrier/wan", "internet/carrier", "198.51.100.0/28", "2001:db8:2::/64"),
            Link("bob/eth", "internet/bob", "198.51.100.64/28", "2001:db8:3::/64"),
        ),
    )


def wire() -> Topology:
    """alice and bob on one plain wire."""
    return Topology("wire", (Host("alice"), Host("bob")), (Link("alice/eth", "bob/eth", "10.0.0.0/30"),))


def nested_forwards() -> Topology:
    """bob is reached through the carrier's forward to the home's, and the home's to him, over both families."""
    return Topology(
        "nested",
        (
            Host("alice"),
            Host("bob"),
            Router("home", Nat(outside="wan", forwards=(PortForward(port=5000, host="bob", to_port=4433),))),
            Router("carrier", Nat(outside="wan", forwards=(PortForward(port=6000, host="home", to_port=5000),))),
        ),
        (
            Link("bob/eth", "home/lan", "192.168.1.0/24", "fd00:1::/64"),
            Link("home/wan", "carrier/ran", "100.64.0.0/28", "fd00:2::/64"),
            Link("carrier/wan", "alice/eth", "203.0.113.0/28", "2001:db8::/64"),
        ),
    )
