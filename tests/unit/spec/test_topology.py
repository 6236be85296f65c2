"""Every way in which a topology can be wrong, with the exact place and words; addresses, realms, and JSON there and back."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.spec.link import CLEAR, Impairment
from harness.spec.nat import Behaviour, Nat, PortForward, Ports
from harness.spec.topology import Host, Link, Router, Topology
from harness.units import Duration, Rate, Ratio, mbit, ms
from tests.examples import examples
from tests.unit.spec.nets import ACCESS, FAR, LAN, NAT, changed, net
from topologies.carrier_grade import carrier_grade
from topologies.five_homes import five_homes
from topologies.phone_two_radios import phone_two_radios
from topologies.two_homes import two_homes

NODES = "alice, bob, home, internet"


def forwarding(host: str) -> Nat:
    return Nat(outside="wan", forwards=(PortForward(port=1, host=host, to_port=1),))


def loop_of_two_nats() -> Topology:
    """a's inside is b's outside and the other way round: going out leads back in."""
    return Topology(
        "loop",
        (Host("h"), Router("a", Nat(outside="wan")), Router("r")),
        (
            Link("h/eth", "a/lan", "10.0.0.0/24"),
            Link("a/wan", "r/one", "10.1.0.0/24"),
            Link("a/lan2", "r/two", "10.2.0.0/24"),
        ),
    )


def two_homes_on_one_host() -> Topology:
    """The same subnet behind two NATs is fine, but not on two interfaces of one host."""
    return Topology(
        "multihomed",
        (Host("h"), Router("a", Nat(outside="wan")), Router("b", Nat(outside="wan")), Router("r")),
        (
            Link("h/one", "a/lan", "192.168.1.0/24"),
            Link("h/two", "b/lan", "192.168.1.0/24"),
            Link("a/wan", "r/a", "10.1.0.0/24"),
            Link("b/wan", "r/b", "10.2.0.0/24"),
        ),
    )


def at(link: Link, field: str = "") -> str:
    return f"topology small, link {link.name}" + (f", {field}" if field else "")


HOME = "topology small, router home, nat"
LONELY = Host("carol")
BAD: dict[str, tuple[Any, str, str]] = {
    "schema": (lambda: net(schema=2), "topology small, schema", "2 is not known; this harness reads 1"),
    "name": (lambda: net(name="Two Homes"), "topology 'Two Homes', name", "allowed is [a-z][a-z0-9_-]{0,30}"),
    "no name": (lambda: net(name=""), "topology '', name", "allowed is [a-z][a-z0-9_-]{0,30}"),
    "node name": (
        lambda: net(nodes=(Host("Alice"), Host("bob"), Router("home", NAT), Router("internet"))),
        "topology small, node 'Alice'",
        "allowed is [a-z][a-z0-9_-]{0,30}",
    ),
    "a node twice": (
        lambda: net(nodes=(Host("alice"), Host("bob"), Router("home", NAT), Router("internet"), Router("bob"))),
        "topology small, node bob",
        "the name is used twice",
    ),
    "no host": (
        lambda: Topology("small", (Router("a"), Router("b")), (Link("a/x", "b/x", "10.0.0.0/24"),)),
        "topology small",
        "there is no host; at least one is needed",
    ),
    "nothing at all": (lambda: Topology("small", (), ()), "topology small", "there is no host; at least one is needed"),
    "a host without a link": (
        lambda: net(nodes=(Host("alice"), Host("bob"), LONELY, Router("home", NAT), Router("internet"))),
        "topology small, node carol",
        "no link reaches it",
    ),
    "unknown node": (
        lambda: changed(FAR, a="carol/eth"),
        "topology small, link carol/eth–internet/b, a",
        f"there is no node 'carol'; there are {NODES}",
    ),
    "unknown node at b": (
        lambda: changed(LAN, b="office/lan"),
        "topology small, link alice/eth–office/lan, b",
        f"there is no node 'office'; there are {NODES}",
    ),
    "no host at a link's end": (
        lambda: changed(FAR, a="/eth"),
        "topology small, link /eth–internet/b, a",
        "'/eth' is no end of a link; write node/interface, for example 'alice/wifi'",
    ),
    "no interface": (
        lambda: changed(FAR, a="bob"),
        "topology small, link bob–internet/b, a",
        "'bob' is no end of a link; write node/interface, for example 'alice/wifi'",
    ),
    "interface too long": (
        lambda: changed(FAR, a="bob/sixteen-letters0"),
        "topology small, link bob/sixteen-letters0–internet/b, a",
        "'bob/sixteen-letters0' is no end of a link; write node/interface, for example 'alice/wifi'",
    ),
    "an end twice": (
        lambda: net(links=(LAN, ACCESS, FAR, msgspec.structs.replace(FAR, b="internet/c", net4="10.9.0.0/24", net6=None))),
        "topology small, link bob/eth–internet/c",
        f"bob/eth already ends link {FAR.name}",
    ),
    "to itself": (
        lambda: changed(FAR, a="internet/x"),
        "topology small, link internet/x–internet/b",
        "both ends are on one node",
    ),
    "no address": (lambda: changed(FAR, net4=None, net6=None), at(FAR), "it has neither net4 nor net6, so nobody has an address on it"),
    "no subnet": (
        lambda: changed(FAR, net4="somewhere"),
        at(FAR, "net4"),
        "'somewhere' does not appear to be an IPv4 or IPv6 network; write for example 192.0.2.0/24",
    ),
    "host bits": (
        lambda: changed(FAR, net4="198.51.100.1/28"),
        at(FAR, "net4"),
        "198.51.100.1/28 has host bits set; write for example 192.0.2.0/24",
    ),
    "IPv6 host bits": (
        lambda: changed(FAR, net6="fd00::1/64"),
        at(FAR, "net6"),
        "fd00::1/64 has host bits set; write for example fd00:1::/64",
    ),
    "the other family": (
        lambda: changed(FAR, net4="fd00::/64"),
        at(FAR, "net4"),
        "fd00::/64 is not an IPv4 subnet with room for both ends",
    ),
    "IPv4 as IPv6": (lambda: changed(FAR, net6="10.0.0.0/8"), at(FAR, "net6"), "10.0.0.0/8 is not an IPv6 subnet with room for both ends"),
    "no room": (
        lambda: changed(FAR, net4="198.51.100.0/31"),
        at(FAR, "net4"),
        "198.51.100.0/31 is not an IPv4 subnet with room for both ends",
    ),
    "mtu": (lambda: changed(FAR, mtu=1279), at(FAR, "mtu"), "1279 is outside 1280 (RFC 8200's least) to 65535"),
    "mtu as text": (lambda: changed(FAR, mtu="1500"), at(FAR, "mtu"), "'1500' is outside 1280 (RFC 8200's least) to 65535"),
    "large mtu": (lambda: changed(FAR, mtu=65536), at(FAR, "mtu"), "65536 is outside 1280 (RFC 8200's least) to 65535"),
    "negative delay": (
        lambda: changed(FAR, a_to_b=Impairment(delay=-20 * ms)),
        at(FAR, "a_to_b, delay"),
        "-20ms is negative; allowed is 0 or more",
    ),
    "a rate without a unit": (
        lambda: changed(FAR, b_to_a=Impairment(rate=5_000_000)),  # type: ignore[arg-type]
        at(FAR, "b_to_a, rate"),
        "5000000 has no unit; a rate is meant, for example 5 * mbit",
    ),
    "a NAT without an outside": (
        lambda: net(nat=Nat(outside="ppp")),
        f"{HOME}, outside",
        "home has no interface 'ppp'; it has lan, wan",
    ),
    "a NAT with no addresses": (
        lambda: net(nat=Nat(outside="wan", pool=0)),
        f"{HOME}, pool",
        "a NAT with no addresses translates to nothing; allowed is 1 to 8",
    ),
    "nothing inside": (
        lambda: Topology(
            "small",
            (Host("h"), Router("home", Nat(outside="wan"))),
            (Link("h/eth", "home/wan", "10.0.0.0/24"),),
        ),
        HOME,
        "there is nothing inside: the router's only interface is the outside one",
    ),
    "no room for the spare": (
        lambda: changed(ACCESS, net4="203.0.113.0/30"),
        f"{HOME}, spare",
        "203.0.113.0/30 has no room for 1 outside addresses and 1 spare ones",
    ),
    "a forward to nobody": (lambda: net(nat=forwarding("carol")), f"{HOME}, forwards, host", "'carol' is not inside; inside are alice"),
    "a forward to the outside": (lambda: net(nat=forwarding("bob")), f"{HOME}, forwards, host", "'bob' is not inside; inside are alice"),
    "a forward to itself": (lambda: net(nat=forwarding("home")), f"{HOME}, forwards, host", "'home' is not inside; inside are alice"),
    "a loop of addresses": (
        lambda: changed(FAR, net4="203.0.113.0/24"),
        at(FAR, "net4"),
        f"203.0.113.0/24 overlaps 203.0.113.0/28 of link {ACCESS.name} in the same realm: a loop of addresses",
    ),
    "a loop of IPv6 addresses": (
        lambda: changed(FAR, net6="2001:db8::/32"),
        at(FAR, "net6"),
        f"2001:db8::/32 overlaps 2001:db8::/64 of link {ACCESS.name} in the same realm: a loop of addresses",
    ),
    "inside as outside": (
        lambda: changed(ACCESS, net4="192.168.0.0/16"),
        at(ACCESS, "net4"),
        f"192.168.0.0/16 overlaps 192.168.1.0/24 of link {LAN.name} in the same node: a loop of addresses",
    ),
    "a NAT that leads back in": (
        loop_of_two_nats,
        "topology loop, router a, nat",
        "a/wan–r/one leads back inside without translation: a loop of addresses",
    ),
    "one subnet on two interfaces": (
        two_homes_on_one_host,
        "topology multihomed, link h/two–b/lan, net4",
        "192.168.1.0/24 overlaps 192.168.1.0/24 of link h/one–a/lan in the same node: a loop of addresses",
    ),
}


@pytest.mark.parametrize(("make", "where", "what"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_named(make: Any, where: str, what: str) -> None:
    with pytest.raises(SpecError) as caught:
        make()
    assert (caught.value.where, caught.value.what) == (where, what)
    assert caught.value.blame == "author"


def test_the_small_network_is_fine() -> None:
    assert [host.name for host in net().hosts] == ["alice", "bob"]
    assert [router.name for router in net().routers] == ["home", "internet"]


def test_addresses() -> None:
    port = net().port("home/wan")
    assert (str(port.v4), str(port.v6), port.peer, port.path) == ("203.0.113.2/28", "2001:db8::2/64", "internet/a", "home/wan")
    assert str(net().port("internet/a").v4) == "203.0.113.1/28"
    assert [port.name for port in net().ports("home")] == ["lan", "wan"]
    v4, v6 = net().spares(Router("home", NAT))
    assert [str(one) for one in (*v4, *v6)] == ["203.0.113.3/28", "2001:db8::3/64"]
    assert net().spares(Router("internet")) == ([], [])


def test_what_is_not_there_is_told_with_what_is() -> None:
    with pytest.raises(SpecError, match=f"^topology small: there is no node 'carol'; there are {NODES}$"):
        net().node("carol")
    with pytest.raises(SpecError, match=r"^topology small: there is no interface 'alice/wifi'; there are alice/eth, home/lan, home/wan, "):
        net().link("alice/wifi")


def test_a_nat_parts_realms_and_a_router_joins_them() -> None:
    assert sorted(map(sorted, net().realms())) == [[0], [1, 2]]
    assert sorted(map(sorted, net(nat=None).realms())) == [[0, 1, 2]]


def test_impairable() -> None:
    assert not LAN.impairable
    assert ACCESS.impairable
    assert Link("a/x", "b/x", "10.0.0.0/24", b_to_a=CLEAR).impairable


# -- JSON --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "topology",
    [
        net(),
        two_homes(),
        two_homes(delay=30 * ms, jitter=5 * ms, loss=Ratio(1), rate=3 * mbit),
        phone_two_radios(),
        carrier_grade(),
        five_homes(),
        net(nat=None, name="bare"),
    ],
    ids=lambda topology: str(topology.name),
)
def test_json_there_and_back(topology: Topology) -> None:
    assert Topology.from_json(topology.to_json()) == topology
    assert Topology.from_json(topology.to_json().encode()) == topology


def test_json_is_what_a_person_would_write() -> None:
    document = json.loads(net().to_json())
    assert document["schema"] == 1
    assert document["hosts"] == [{"name": "alice"}, {"name": "bob"}]
    assert document["routers"][0]["nat"] == {
        "outside": "wan",
        "udp_timeout": "30s",
        "forwards": [{"port": 4433, "host": "alice", "to_port": 4434}],
    }
    assert document["links"][1]["a_to_b"] == {"delay": "10ms", "loss": "1%"}
    assert document["links"][1]["b_to_a"] == {}, "not impaired yet is not the same as a plain wire"
    assert "a_to_b" not in document["links"][0]
    assert document["links"][2]["starts_up"] is False


def said_wrong(change: Any) -> str:
    document = json.loads(net().to_json())
    change(document)
    with pytest.raises(SpecError) as caught:
        Topology.from_json(json.dumps(document))
    assert caught.value.where == "topology JSON"
    return caught.value.what


WRONG_JSON: dict[str, tuple[Any, str]] = {
    "unknown field of the whole": (lambda d: d.update(motto="x"), "Object contains unknown field `motto`"),
    "unknown field of a host": (lambda d: d["hosts"][0].update(os="linux"), "Object contains unknown field `os` - at `$.hosts[0]`"),
    "unknown field of a router": (
        lambda d: d["routers"][0].update(firewall="on"),
        "Object contains unknown field `firewall` - at `$.routers[0]`",
    ),
    "unknown field of a NAT": (
        lambda d: d["routers"][0]["nat"].update(hairpin=True),
        "Object contains unknown field `hairpin` - at `$.routers[0].nat`",
    ),
    "unknown field of a forward": (
        lambda d: d["routers"][0]["nat"]["forwards"][0].update(proto="tcp"),
        "Object contains unknown field `proto` - at `$.routers[0].nat.forwards[0]`",
    ),
    "unknown field of a link": (lambda d: d["links"][0].update(speed="1gbit"), "Object contains unknown field `speed` - at `$.links[0]`"),
    "unknown field of an impairment": (
        lambda d: d["links"][1]["a_to_b"].update(corruption="1%"),
        "Object contains unknown field `corruption` - at `$.links[1].a_to_b`",
    ),
    "a bare delay": (
        lambda d: d["links"][1]["a_to_b"].update(delay=10),
        "10 is not a duration: write a number with one of s, ms, us, ns - at `$.links[1].a_to_b.delay`",
    ),
    "a rate without a unit": (
        lambda d: d["links"][1]["a_to_b"].update(rate="5000000"),
        "'5000000' is not a rate: write a number with one of gbit, mbit, kbit, bit - at `$.links[1].a_to_b.rate`",
    ),
    "a bare timeout": (
        lambda d: d["routers"][0]["nat"].update(udp_timeout=30),
        "30 is not a duration: write a number with one of s, ms, us, ns - at `$.routers[0].nat.udp_timeout`",
    ),
    "an unknown word": (
        lambda d: d["routers"][0]["nat"].update(mapping="full-cone"),
        "Invalid enum value 'full-cone' - at `$.routers[0].nat.mapping`",
    ),
    "no links": (lambda d: d.pop("links"), "Object missing required field `links`"),
    "no name": (lambda d: d["hosts"][0].pop("name"), "Object missing required field `name` - at `$.hosts[0]`"),
    "text for a number": (lambda d: d["links"][0].update(mtu="1500"), "Expected `int`, got `str` - at `$.links[0].mtu`"),
}


@pytest.mark.parametrize(("change", "what"), WRONG_JSON.values(), ids=WRONG_JSON)
def test_json_that_is_wrong_is_refused_with_the_field(change: Any, what: str) -> None:
    assert said_wrong(change) == what


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"net"', b"\xff\xfe{}"])
def test_what_is_no_topology_is_refused(text: str | bytes) -> None:
    with pytest.raises(SpecError) as caught:
        Topology.from_json(text)
    assert caught.value.where == "topology JSON"


def test_json_is_validated_like_what_is_written_in_python() -> None:
    document = json.loads(net().to_json())
    document["links"][2]["a"] = "carol/eth"
    with pytest.raises(SpecError, match="there is no node 'carol'"):
        Topology.from_json(json.dumps(document))


durations = st.integers(0, 10**12).map(Duration)
impairments = st.builds(
    lambda delay, share, **rest: Impairment(
        delay=delay,
        jitter=Duration(delay.count * share // 100) if delay is not None and share is not None else None,
        **rest,
    ),
    delay=st.none() | durations,
    share=st.none() | st.integers(0, 100),
    loss=st.none() | st.integers(0, 10**12).map(Ratio),
    rate=st.none() | st.integers(1, 10**11).map(Rate),
    queue=st.none() | st.integers(1, 1_000_000),
)


@st.composite
def stars(draw: st.DrawFn) -> Topology:
    """Hosts around one router, some of them behind a NAT of their own."""
    nodes: list[Host | Router] = [Router("hub")]
    links: list[Link] = []
    for n in range(draw(st.integers(1, 5))):
        nodes.append(Host(f"h{n}"))
        link = Link(
            f"h{n}/eth",
            f"hub/p{n}",
            f"10.{n}.0.0/24",
            draw(st.none() | st.just(f"fd00:{n}::/64")),
            draw(st.none() | impairments),
            draw(st.none() | impairments),
            draw(st.integers(1280, 65535)),
            draw(st.booleans()),
        )
        if draw(st.booleans()):
            mapping, filtering, ports = (draw(st.sampled_from(get_args(kind))) for kind in (Behaviour, Behaviour, Ports))
            spare, timeout = draw(st.integers(0, 8)), draw(st.none() | st.integers(1, 1000))
            forwards = tuple(PortForward(port=p, host=f"h{n}", to_port=p) for p in draw(st.sets(st.integers(1, 65535), max_size=3)))
            nat = Nat(
                outside="wan",
                mapping=mapping,
                filtering=filtering,
                ports=ports,
                spare=spare,
                udp_timeout=None if timeout is None else Duration(timeout * 10**9),
                forwards=forwards,
            )
            nodes.append(Router(f"n{n}", nat))
            links.append(Link(f"h{n}/eth", f"n{n}/lan", "192.168.0.0/24"))
            link = msgspec.structs.replace(link, a=f"n{n}/wan")
        links.append(link)
    # JSON holds hosts and routers apart, in this order
    return Topology("star", tuple(sorted(nodes, key=lambda node: isinstance(node, Router))), tuple(links))


@settings(max_examples=examples(40))
@given(stars())
def test_any_topology_reads_back_to_itself(topology: Topology) -> None:
    text = topology.to_json()
    again = Topology.from_json(text)
    assert again == topology
    assert again.to_json() == text


# -- what a NAT may be for IPv6 ------------------------------------------------------------------------------------------------------------

PREFIX = Nat(outside="wan", ipv6="prefix", prefix6="2001:db8:aa::/63")
SECOND = Link("carol/eth", "home/lab", "192.168.2.0/24", "fd00:2::/64")
TWO_LANS = (Host("alice"), Host("bob"), Host("carol"), Router("home", PREFIX), Router("internet"))


def test_a_firewall_joins_inside_and_outside_for_ipv6_alone() -> None:
    topology = net(nat=Nat(outside="wan", ipv6="firewall"))
    assert sorted(map(sorted, topology.realms())) == [[0], [1, 2]]
    assert sorted(map(sorted, topology.realms(6))) == [[0, 1, 2]]
    (home,) = [router for router in topology.routers if router.nat]
    assert [list(map(str, family)) for family in topology.pool(home)] == [["203.0.113.2/28"], ["2001:db8::2/64"]]
    assert [list(map(str, family)) for family in topology.spares(home)] == [["203.0.113.3/28"], []]


def test_the_same_private_ipv6_subnet_twice_is_refused_where_only_a_firewall_stands_between() -> None:
    with pytest.raises(SpecError, match="net6: fd00:1::/64 overlaps fd00:1::/64 of link alice/eth–home/lan in the same realm"):
        net(nat=Nat(outside="wan", ipv6="firewall"), links=(LAN, ACCESS, msgspec.structs.replace(FAR, net6="fd00:1::/64")))


def test_each_inside_link_has_its_part_of_the_prefix() -> None:
    topology = net(nodes=TWO_LANS, links=(LAN, SECOND, ACCESS, FAR))
    (home,) = [router for router in topology.routers if router.nat]
    assert [tuple(map(str, pair)) for pair in topology.prefixes(home)] == [
        ("fd00:1::/64", "2001:db8:aa::/64"),
        ("fd00:2::/64", "2001:db8:aa:1::/64"),
    ]


@pytest.mark.parametrize(
    ("prefix6", "links", "what"),
    [
        ("2001:db8:aa::/64", (LAN, SECOND, ACCESS, FAR), "2001:db8:aa::/64 has room for 1 of the inside links' 2 /64s"),
        ("2001:db8::/63", (LAN, SECOND, ACCESS, FAR), "2001:db8::/63 overlaps 2001:db8::/64 of link home/wan–internet/a in the same realm"),
        (
            "2001:db8:aa::/48",
            (LAN, msgspec.structs.replace(SECOND, net6="fd00:2::/60"), ACCESS, FAR),
            "the inside link carol/eth–home/lab has net6 fd00:2::/60; NPTv6 needs a /64 on each",
        ),
        (
            "2001:db8:aa::/48",
            (LAN, SECOND, msgspec.structs.replace(ACCESS, net6=None), FAR),
            "the outside link home/wan–internet/a has no net6 to route it over",
        ),
    ],
)
def test_a_prefix_that_does_not_fit_is_refused(prefix6: str, links: tuple[Link, ...], what: str) -> None:
    nodes = (*TWO_LANS[:3], Router("home", Nat(outside="wan", ipv6="prefix", prefix6=prefix6)), Router("internet"))
    with pytest.raises(SpecError) as caught:
        net(nodes=nodes, links=links)
    assert (caught.value.where, caught.value.what) == ("topology small, router home, nat, prefix6", what)
