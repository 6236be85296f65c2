"""From a topology to what each namespace holds: written out for one network, and walked packet by packet through any."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.fabric.plan import Address, NodePlan, PortPlan, make_plan, nodes_inside, reach, visible_links
from harness.spec import nptv6
from harness.spec.nat import Nat, PortForward
from harness.spec.topology import Host, Link, Router, Topology
from tests.examples import examples
from tests.unit.spec.nets import ACCESS, FAR, LAN, net
from topologies.carrier_grade import carrier_grade
from topologies.five_homes import five_homes
from topologies.phone_two_radios import phone_two_radios
from topologies.two_homes import two_homes

HOPS = 64  # no walk may be longer: a loop


def walk(plans: dict[str, NodePlan], start: str, target: Address, *, source: Address | None = None) -> list[str]:
    """The nodes that a packet to ``target`` crosses, by longest prefix, least metric; ``source`` bound picks the table by its rule."""
    node, way = plans[start], [start]
    while not any(target == own.ip for port in node.ports.values() for own in port.addresses):
        assert len(way) < HOPS, f"a loop: {way}"
        tables = [table for port in node.ports.values() for address, table in port.rules if address == source]
        port, gateway = _lookup(node, target, tables[0] if tables and len(way) == 1 else None)
        peer = next(other for plan in plans.values() for other in plan.ports.values() if other.port.path == port.port.peer)
        assert gateway in {address.ip for address in peer.addresses}, f"{gateway} is not at the other end of {port.port.path}"
        assert (gateway, peer.mac) in port.neighbours
        node = plans[peer.port.node]
        way.append(peer.port.node)
    return way


def _lookup(node: NodePlan, target: Address, table: int | None) -> tuple[PortPlan, Address]:
    candidates: list[tuple[int, int, PortPlan, Address]] = []
    for port in node.ports.values():
        if table is None:
            for own in port.addresses:
                if target in own.network:
                    candidates.append((-own.network.prefixlen, 0, port, target))
        for route in port.routes:
            if route.table == table and target.version == route.network.version and target in route.network:
                candidates.append((-route.network.prefixlen, route.metric, port, route.gateway or target))
    assert candidates, f"{node.node.name} has no route to {target}"
    best = min(candidates, key=lambda candidate: candidate[:2])
    return best[2], best[3]


def addresses(topology: Topology, link: Link) -> list[Address]:
    ports = [topology.port(end) for end in (link.a, link.b)]
    return [address.ip for port in ports for address in (port.v4, port.v6) if address is not None]


def check_walks(topology: Topology) -> None:
    """Whatever a host is promised to see, its packets reach; over every interface whose address it binds to."""
    plans = make_plan(topology)
    for host in topology.hosts:
        for link in map(topology.link, (f"{p.node}/{p.name}" for p in topology.ports(host.name))):
            assert link.name in visible_links(topology, host.name)
        seen = set(visible_links(topology, host.name))
        for link in topology.links:
            if link.name not in seen:
                continue
            for target in addresses(topology, link):
                if any(own.ip.version == target.version for own in plans[host.name].ports[first(topology, host)].addresses):
                    walk(plans, host.name, target)


def first(topology: Topology, host: Host) -> str:
    return topology.ports(host.name)[0].name


# -- written out ---------------------------------------------------------------------------------------------------------------------------


def test_a_phone_in_full() -> None:
    alice = make_plan(phone_two_radios())["alice"]
    assert not alice.forwards
    assert [(name, port.index, port.mac) for name, port in alice.ports.items()] == [
        ("wifi", 100, "02:00:00:00:00:64"),
        ("lte", 102, "02:00:00:00:00:66"),
    ]
    lte = alice.ports["lte"]
    assert [str(address) for address in lte.addresses] == ["10.64.0.2/24", "fd00:2::2/64"]
    assert [(str(address), mac) for address, mac in lte.neighbours] == [
        ("10.64.0.1", "02:00:00:00:00:67"),
        ("fd00:2::1", "02:00:00:00:00:67"),
    ]
    assert [(str(route.network), str(route.gateway), route.metric, route.table) for route in lte.routes] == [
        ("0.0.0.0/0", "10.64.0.1", 200, None),
        ("10.64.0.0/24", "None", 0, 101),
        ("0.0.0.0/0", "10.64.0.1", 0, 101),
        ("::/0", "fd00:2::1", 200, None),
        ("fd00:2::/64", "None", 0, 101),
        ("::/0", "fd00:2::1", 0, 101),
    ]
    assert [(str(address), table) for address, table in lte.rules] == [("10.64.0.2", 101), ("fd00:2::2", 101)]


def test_a_nat_owns_its_spares_and_the_other_side_knows_them() -> None:
    plans = make_plan(phone_two_radios())
    home, internet = plans["home"], plans["internet"]
    assert home.forwards
    assert [str(address) for address in home.ports["wan"].addresses] == [
        "203.0.113.2/28",
        "2001:db8:1::2/64",
        "203.0.113.3/28",
        "2001:db8:1::3/64",
    ]
    assert {str(address) for address, _mac in internet.ports["home"].neighbours} == {
        "203.0.113.2",
        "203.0.113.3",
        "2001:db8:1::2",
        "2001:db8:1::3",
    }
    assert [str(route.network) for route in home.ports["wan"].routes] == [
        "198.51.100.0/28",
        "2001:db8:2::/64",
        "198.51.100.64/28",
        "2001:db8:3::/64",
    ]
    assert all(not port.routes for port in internet.ports.values()), "what a NAT hides has no route from outside"


def test_a_bound_source_picks_its_way_out() -> None:
    plans, target = make_plan(phone_two_radios()), ip_address("198.51.100.66")
    assert walk(plans, "alice", target) == ["alice", "home", "internet", "office"]
    assert walk(plans, "alice", target, source=ip_address("192.168.1.2")) == ["alice", "home", "internet", "office"]
    assert walk(plans, "alice", target, source=ip_address("10.64.0.2")) == ["alice", "carrier", "internet", "office"]
    assert walk(plans, "alice", ip_address("2001:db8:3::2"), source=ip_address("fd00:2::2")) == ["alice", "carrier", "internet", "office"]


def test_two_hosts_on_a_wire_need_no_route() -> None:
    plans = make_plan(Topology("wire", (Host("a"), Host("b")), (Link("a/x", "b/x", "10.0.0.0/30"),)))
    assert [port.routes for plan in plans.values() for port in plan.ports.values()] == [[], []]
    assert walk(plans, "a", ip_address("10.0.0.1")) == ["a", "b"]


def test_indexes_and_macs_are_unique_over_the_run() -> None:
    links = tuple(Link(f"h{n}/eth", f"hub/p{n}", f"10.{n >> 8}.{n & 255}.0/24") for n in range(200))
    plans = make_plan(Topology("star", (*(Host(f"h{n}") for n in range(200)), Router("hub")), links))
    ports = [port for plan in plans.values() for port in plan.ports.values()]
    assert len({port.index for port in ports}) == len({port.mac for port in ports}) == 400
    assert all(int(port.mac[:2], 16) & 3 == 2 for port in ports), "locally administered, not multicast"


# -- who sees and reaches whom -------------------------------------------------------------------------------------------------------------


def test_what_is_visible_from_where() -> None:
    topology = carrier_grade()
    lan, cgn, public, far = (link.name for link in topology.links)
    assert visible_links(topology, "alice") == [lan, cgn, public, far]
    assert visible_links(topology, "home") == [lan, cgn, public, far]
    assert visible_links(topology, "carrier") == [cgn, public, far]
    assert visible_links(topology, "bob") == [far, public]


def test_who_is_inside() -> None:
    topology = carrier_grade()
    assert nodes_inside(topology, topology.node("home")) == {"alice"}
    assert nodes_inside(topology, topology.node("carrier")) == {"home", "alice"}
    assert nodes_inside(topology, topology.node("internet")) == set()
    assert nodes_inside(topology, topology.node("alice")) == set()
    phone = phone_two_radios()
    assert nodes_inside(phone, phone.node("home")) == {"alice"}
    assert nodes_inside(phone, phone.node("carrier")) == {"alice"}
    assert nodes_inside(phone, phone.node("office")) == {"bob"}


@pytest.mark.parametrize(
    ("topology", "caller", "callee", "version", "where"),
    [
        (two_homes(), "alice", "bob", 4, ("198.51.100.2", 4433)),
        (two_homes(), "alice", "bob", 6, ("2001:db8:b::2", 4433)),
        (carrier_grade(), "alice", "bob", 4, ("198.51.100.2", 4433)),
        (phone_two_radios(), "alice", "bob", 4, ("198.51.100.66", 4433)),
        (five_homes(), "alice", "erin", 4, ("203.0.113.66", 4433)),
        (five_homes("bob", "carol"), "carol", "bob", 6, ("2001:db8:b::2", 4433)),
    ],
)
def test_reach(topology: Topology, caller: str, callee: str, version: int, where: tuple[str, int]) -> None:
    assert reach(topology, caller, callee, 4433, version) == where


@pytest.mark.parametrize(
    ("topology", "caller", "callee", "port", "version", "what"),
    [
        (two_homes(), "bob", "alice", 4433, 4, "bob cannot reach alice UDP 4433 over IPv4: give a NAT a port forward"),
        (two_homes(), "alice", "bob", 4434, 4, "alice cannot reach bob UDP 4434 over IPv4: give a NAT a port forward"),
        (carrier_grade(), "bob", "alice", 4433, 4, "bob cannot reach alice UDP 4433 over IPv4: give a NAT a port forward"),
        (carrier_grade(), "alice", "bob", 4433, 6, "alice cannot reach bob UDP 4433 over IPv6: give a NAT a port forward"),
    ],
)
def test_there_is_no_way_in_without_a_forward(topology: Topology, caller: str, callee: str, port: int, version: int, what: str) -> None:
    with pytest.raises(SpecError) as caught:
        reach(topology, caller, callee, port, version)
    assert (caught.value.where, caught.value.what) == (f"topology {topology.name}", what)


def behind_two_forwards() -> Topology:
    """bob can be reached through the carrier's forward to the home's, and the home's forward to him."""
    return Topology(
        "nested",
        (
            Host("alice"),
            Host("bob"),
            Router("home", Nat(outside="wan", forwards=(PortForward(port=5000, host="bob", to_port=4433),))),
            Router("carrier", Nat(outside="wan", forwards=(PortForward(port=6000, host="home", to_port=5000),))),
        ),
        (
            Link("bob/eth", "home/lan", "192.168.1.0/24"),
            Link("home/wan", "carrier/ran", "100.64.0.0/28"),
            Link("carrier/wan", "alice/eth", "203.0.113.0/28"),
        ),
    )


def test_reach_through_two_forwards() -> None:
    assert reach(behind_two_forwards(), "alice", "bob", 4433, 4) == ("203.0.113.2", 6000)


# -- what a NAT may be for IPv6 ------------------------------------------------------------------------------------------------------------

PINHOLE = (PortForward(port=5000, host="alice", to_port=4433),)
FIREWALL = Nat(outside="wan", ipv6="firewall", forwards=PINHOLE)
PREFIX = Nat(outside="wan", ipv6="prefix", prefix6="2001:db8:aa::/48", forwards=PINHOLE)


def test_a_firewall_is_seen_through_in_ipv6_alone() -> None:
    topology = net(nat=FIREWALL)
    lan, access, far = (link.name for link in topology.links)
    assert visible_links(topology, "bob") == [far, access]
    assert visible_links(topology, "bob", 6) == [far, access, lan]
    assert walk(make_plan(topology), "bob", ip_address("fd00:1::2")) == ["bob", "internet", "home", "alice"]
    with pytest.raises(AssertionError, match="internet has no route to 192\\.168\\.1\\.2"):
        walk(make_plan(topology), "bob", ip_address("192.168.1.2"))


def test_the_outside_routes_a_prefix_to_who_translates_it() -> None:
    plans = make_plan(net(nat=PREFIX))
    (route,) = [route for route in plans["internet"].ports["a"].routes if str(route.network) == "2001:db8:aa::/48"]
    assert str(route.gateway) == "2001:db8::2"
    assert not any(str(route.network) == "2001:db8:aa::/48" for port in plans["home"].ports.values() for route in port.routes)


def test_a_forward_is_a_pinhole_in_ipv6() -> None:
    assert reach(net(nat=FIREWALL), "bob", "alice", 4433, 4) == ("203.0.113.2", 5000)
    assert reach(net(nat=FIREWALL), "bob", "alice", 4433, 6) == ("fd00:1::2", 4433)
    with pytest.raises(SpecError, match="bob cannot reach alice UDP 4434 over IPv6"):
        reach(net(nat=FIREWALL), "bob", "alice", 4434, 6)
    seen = nptv6.translate(IPv6Address("fd00:1::2"), IPv6Network("fd00:1::/64"), IPv6Network("2001:db8:aa::/64"))
    assert reach(net(nat=PREFIX), "bob", "alice", 4433, 6) == (str(seen), 4433)
    with pytest.raises(SpecError, match="bob cannot reach alice UDP 4434 over IPv6"):
        reach(net(nat=PREFIX), "bob", "alice", 4434, 6)


# -- walked --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "topology",
    [two_homes(), phone_two_radios(), carrier_grade(), net(), net(nat=None), behind_two_forwards(), net(nat=FIREWALL), net(nat=PREFIX)],
)
def test_every_packet_finds_its_way(topology: Topology) -> None:
    check_walks(topology)


def test_from_outside_nothing_leads_behind_a_nat() -> None:
    plans = make_plan(net(links=(LAN, ACCESS, FAR)))
    with pytest.raises(AssertionError, match="internet has no route to 192\\.168\\.1\\.2"):
        walk(plans, "bob", ip_address("192.168.1.2"))


@st.composite
def meshes(draw: st.DrawFn) -> Topology:
    """A connected mesh of routers, with rings in it, and a host at each of some of them."""
    size = draw(st.integers(1, 7))
    pairs = {(draw(st.integers(0, n - 1)), n) for n in range(1, size)}  # a tree
    if size > 2:
        pairs |= draw(st.sets(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).filter(lambda p: p[0] < p[1]), max_size=5))
    links = [Link(f"r{a}/to{b}", f"r{b}/to{a}", f"10.{a}.{b}.0/24", f"fd00:{a}:{b}::/64") for a, b in sorted(pairs)]
    homes = sorted(draw(st.sets(st.integers(0, size - 1), min_size=1)) | (set(range(size)) if size == 1 else set()))
    links += [Link(f"h{n}/eth", f"r{n}/lan", f"192.168.{n}.0/24", f"fd01:{n}::/64") for n in homes]
    return Topology("mesh", (*(Host(f"h{n}") for n in homes), *(Router(f"r{n}") for n in range(size))), tuple(links))


@settings(max_examples=examples(40))
@given(meshes())
def test_every_packet_finds_its_way_through_any_mesh(topology: Topology) -> None:
    assert all(len(visible_links(topology, host.name)) == len(topology.links) for host in topology.hosts)
    check_walks(topology)
