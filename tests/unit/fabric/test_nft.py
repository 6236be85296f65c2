"""The ruleset of a NAT as text: each class has its pieces, and nothing is used that is not declared.  What they do: tests/conformance."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from harness.fabric.nft import can_say, nat_ruleset, out_key
from harness.fabric.plan import make_plan
from harness.spec.nat import Behaviour, Nat, Pooling, PortForward, Ports
from harness.spec.topology import Link, Topology
from harness.units import s
from tests.unit.fabric.test_plan import behind_two_forwards
from tests.unit.spec.nets import ACCESS, FAR, LAN, net
from topologies.carrier_grade import carrier_grade
from topologies.phone_two_radios import phone_two_radios
from topologies.two_homes import two_homes

CONE = Nat(outside="wan", filtering="endpoint-independent")
SYMMETRIC = Nat(outside="wan", mapping="address-and-port-dependent", ports="random")


def ruleset(topology: Topology, router: str = "home") -> str:
    plan = make_plan(topology)[router]
    (nat,) = [one.nat for one in topology.routers if one.name == router]
    assert nat is not None
    return nat_ruleset(topology, plan, nat)


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def test_a_home_router() -> None:
    text = ruleset(net(nat=Nat(outside="wan")))
    rules = [line for line in lines(text) if line.startswith(("oifname", "iifname", "meta", "udp", "snat"))]
    outside = "ct reply ip daddr . ct reply proto-dst"
    assert [rule for rule in rules if "6" not in rule] == [
        "meta l4proto udp snat ip to ip saddr . udp sport map @moved_addr4 : ip saddr . udp sport map @moved_port4",
        "meta l4proto udp snat ip to ip saddr . udp sport map @out_addr4 : ip saddr . udp sport map @out_port4",
        "udp sport != @taken4_0 snat ip to 203.0.113.2",
        "snat ip to 203.0.113.2",
        'iifname "wan" meta mark set ip saddr . udp sport . ip daddr . udp dport map @linger4'
        " ip daddr set meta mark map @linger_addr4 udp dport set meta mark map @linger_port4 notrack",
        'oifname "wan" meta nfproto ipv4 goto translate4',
        f"meta nfproto ipv4 meta l4proto udp ct status snat {outside} != @dead4"
        " update @out_addr4 { ct original ip saddr . ct original proto-src : ct reply ip daddr }"
        " update @out_port4 { ct original ip saddr . ct original proto-src : ct reply proto-dst }",
        f"meta nfproto ipv4 meta l4proto udp ct status snat {outside} != @dead4"
        " ct reply ip daddr 203.0.113.2 update @taken4_0 { ct reply proto-dst }",
        'iifname "wan" ct state new ct status ! dnat counter name "unadmitted" drop',
        'iifname "wan" ip daddr . udp dport @refused4 counter name "unadmitted" reject with icmpx type port-unreachable',
        'iifname "wan" ct state new counter name "unadmitted" drop',
        'oifname "wan" icmp type destination-unreachable counter name "told"',
    ]
    assert "type filter hook postrouting priority srcnat + 10" in text, "learnt after the source was translated"


@pytest.mark.parametrize(
    ("mapping", "key", "depends"),
    [
        ("endpoint-independent", "ip saddr . udp sport", "ipv4_addr . inet_service"),
        ("address-dependent", "ip saddr . udp sport . ip daddr", "ipv4_addr . inet_service . ipv4_addr"),
        (
            "address-and-port-dependent",
            "ip saddr . udp sport . ip daddr . udp dport",
            "ipv4_addr . inet_service . ipv4_addr . inet_service",
        ),
    ],
)
def test_a_mapping_is_kept_by_what_it_depends_on(mapping: Behaviour, key: str, depends: str) -> None:
    text = ruleset(net(nat=Nat(outside="wan", mapping=mapping)))
    for name in ("moved", "out"):
        assert f"snat ip to {key} map @{name}_addr4 : {key} map @{name}_port4" in text
        assert f"map {name}_addr4 {{\n    type {depends} : ipv4_addr" in text
    hashed = f"meta mark set jhash {key.replace('ip ', 'ip6 ')} mod 4294967295 seed 1"
    assert f"{hashed} snat ip6 to meta mark map @out_addr6 : meta mark map @out_port6" in text


@pytest.mark.parametrize(
    ("filtering", "spoken"), [("endpoint-independent", ""), ("address-dependent", "ip saddr . ip daddr . udp dport @spoken4 ")]
)
def test_filtering_lets_in_who_was_spoken_to_or_anybody(filtering: Behaviour, spoken: str) -> None:
    text = ruleset(net(nat=Nat(outside="wan", filtering=filtering)))
    head = 'iifname "wan" meta nfproto ipv4 '
    let_in = f"{head}{spoken}dnat ip to ip daddr . udp dport map @in_addr4 : ip daddr . udp dport map @in_port4"
    assert text.index(f"{head}ip daddr . udp dport @dead4 accept") < text.index(let_in)
    assert "update @in_addr4 { ct reply ip daddr . ct reply proto-dst : ct original ip saddr }" in text
    assert ("update @spoken4 { ct original ip daddr . ct reply ip daddr . ct reply proto-dst }" in text) == bool(spoken)


@pytest.mark.parametrize(
    ("ports", "rules"),
    [
        (
            "preserve",
            [
                "udp sport != @taken4_0 snat ip to 203.0.113.2",
                "meta l4proto udp snat ip to 203.0.113.2:1024-65535 random,fully-random",
                "snat ip to 203.0.113.2",
            ],
        ),
        ("random", ["meta l4proto { tcp, udp } snat ip to 203.0.113.2:1024-65535 random,fully-random", "snat ip to 203.0.113.2"]),
        (
            "contiguous",
            [
                "meta l4proto udp snat ip to 203.0.113.2 : numgen inc mod 1000 map { 0 : 20000, 1 : 20001, …",
                "snat ip to 203.0.113.2",
            ],
        ),
    ],
)
def test_a_new_mapping_gets_its_port(ports: Ports, rules: list[str]) -> None:
    text = ruleset(net(nat=Nat(outside="wan", ports=ports)))
    found = [re.sub(r"(map \{ 0 : 20000, 1 : 20001, ).*", r"\1…", line) for line in lines(text) if "snat ip to 203" in line]
    assert found == rules


def test_a_pool() -> None:
    paired, arbitrary = (ruleset(net(nat=Nat(outside="wan", pool=2, pooling=pooling))) for pooling in get_args(Pooling))
    assert "numgen inc mod 2 vmap { 0 : goto pool4_0, 1 : goto pool4_1 }" in paired
    assert "ip saddr @paired4_1 goto pool4_1" in paired
    assert "ct reply ip daddr 203.0.113.3 update @paired4_1 { ct original ip saddr }" in paired
    assert "paired" not in arbitrary


def test_hairpinning_takes_what_comes_from_inside_to_an_outside_address() -> None:
    text = ruleset(net(nat=Nat(outside="wan", filtering="endpoint-independent", hairpinning=True)))
    head = 'iifname != "wan" ip daddr { 203.0.113.2, 203.0.113.3 }'
    assert f"{head} dnat ip to ip daddr . udp dport map @in_addr4 : ip daddr . udp dport map @in_port4" in text
    assert 'iifname != "wan" ct status dnat meta nfproto ipv4 goto translate4' in text
    assert "nd-redirect drop" in text


def test_a_firewall_translates_nothing() -> None:
    pinhole = (PortForward(port=1, host="alice", to_port=2),)
    text = ruleset(net(nat=Nat(outside="wan", filtering="address-dependent", ipv6="firewall", forwards=pinhole)))
    assert "ip6 to" not in text
    assert 'iifname "wan" ip6 daddr fd00:1::2 udp dport 2 accept' in text
    assert 'iifname "wan" ip6 saddr . ip6 daddr . udp dport @spoken6 accept' in text
    assert 'oifname "wan" meta nfproto ipv6 update @spoken6 { ip6 daddr . ip6 saddr . udp sport }' in text


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (
            {"mapping": "address-dependent", "filtering": "endpoint-independent"},
            "mapping address-dependent with filtering endpoint-independent",
        ),
        (
            {"mapping": "address-and-port-dependent", "filtering": "address-dependent"},
            "with filtering address-dependent cannot be said in nft",
        ),
        ({"hairpinning": True}, "hairpinning with filtering address-and-port-dependent cannot be said in nft"),
        ({"refresh": "outbound"}, "refresh 'outbound' cannot be said in nft: conntrack lives by packets of both directions"),
        ({"ipv6": "prefix", "prefix6": "2001:db8:aa::/48"}, "ipv6 'prefix' cannot be said in nft"),
    ],
)
def test_what_cannot_be_said_is_told(fields: dict[str, Any], why: str) -> None:
    assert why in (can_say(Nat(outside="wan", **fields)) or "")


def test_a_timeout_is_plain_seconds_after_conntrack() -> None:
    text = ruleset(net(nat=Nat(outside="wan", udp_timeout=30 * s)))
    for version, word in ((4, "ip"), (6, "ip6")):
        wanted = f"ct timeout idle{version} {{\n    protocol udp\n    l3proto {word}\n    policy = {{ unreplied : 30, replied : 30 }}"
        assert wanted in text
        assert f'meta nfproto ipv{version} meta l4proto udp ct timeout set "idle{version}"' in text
    assert "type filter hook prerouting priority mangle" in text, "raw is silently ignored"
    assert "ct timeout" not in ruleset(net(nat=Nat(outside="wan")))
    cone = Nat(outside="wan", filtering="endpoint-independent", udp_timeout=7 * s)
    assert "timeout 7s" in ruleset(net(nat=cone)), "what is learnt is forgotten when its mapping is"


def test_a_forward() -> None:
    text = ruleset(phone_two_radios(), "office")
    assert "elements = { 4433 : 192.168.7.2 . 4433 }" in text
    assert "elements = { 4433 : fd00:7::2 . 4433 }" in text
    assert 'iifname "wan" meta nfproto ipv4 dnat ip to udp dport map @forwards4' in text


def test_a_forward_comes_before_the_cone() -> None:
    forwards = (PortForward(port=1, host="alice", to_port=2), PortForward(port=3, host="alice", to_port=4))
    text = ruleset(net(nat=Nat(outside="wan", filtering="endpoint-independent", forwards=forwards)))
    assert "elements = { 1 : 192.168.1.2 . 2, 3 : 192.168.1.2 . 4 }" in text
    assert text.index("@forwards4") < text.index("@in_addr4 : ip daddr")


def test_a_forward_to_a_nat_goes_to_its_outside_address() -> None:
    assert "elements = { 6000 : 100.64.0.2 . 5000 }" in ruleset(behind_two_forwards(), "carrier")
    assert "elements = { 5000 : 192.168.1.2 . 4433 }" in ruleset(behind_two_forwards(), "home")


def test_one_family_only() -> None:
    text = ruleset(carrier_grade(), "carrier")
    assert "ip6" not in text
    assert "ipv6" not in text


def without(link: Link, field: str) -> Link:
    return Link(link.a, link.b, None if field == "net4" else link.net4, None if field == "net6" else link.net6)


FORWARD = Nat(outside="wan", forwards=(PortForward(port=1, host="alice", to_port=2),))
TOPOLOGIES = [
    *((two_homes(), name) for name in ("home_a", "home_b")),
    *((phone_two_radios(), name) for name in ("home", "carrier", "office")),
    *((carrier_grade(), name) for name in ("home", "carrier")),
    *((behind_two_forwards(), name) for name in ("home", "carrier")),
    *((net(nat=nat), "home") for nat in (CONE, SYMMETRIC, FORWARD)),
    *((net(nat=FORWARD, links=(without(LAN, field), ACCESS, FAR)), "home") for field in ("net4", "net6")),
    *((net(nat=FORWARD, links=(LAN, without(ACCESS, field), FAR)), "home") for field in ("net4", "net6")),
]


@pytest.mark.parametrize(("topology", "router"), TOPOLOGIES)
def test_what_is_used_is_declared(topology: Topology, router: str) -> None:
    text = ruleset(topology, router)
    declared = set(re.findall(r"^  (?:map|set|ct timeout|chain) (\w+) \{", text, re.MULTILINE))
    used = set(re.findall(r"@(\w+)", text)) | set(re.findall(r'(?:ct timeout set "|goto )(\w+)', text))
    assert used <= declared
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize(("topology", "router"), TOPOLOGIES)
def test_new_traffic_from_outside_is_dropped_without_a_word(topology: Topology, router: str) -> None:
    text = ruleset(topology, router)
    assert 'iifname "wan" ct state new ct status ! dnat counter name "unadmitted" drop' in text
    assert 'iifname "wan" ct state new counter name "unadmitted" drop' in text
    assert all("@refused" in line for line in lines(text) if "reject" in line), "but where a rebind asked for it"


def test_an_endpoint_is_a_key() -> None:
    nat = Nat(outside="wan", mapping="address-dependent")
    assert str(out_key(nat, 4, ("192.168.1.2", 4433), ("198.51.100.2", 53))) == "192.168.1.2 . 4433 . 198.51.100.2"
    hashed = int(str(out_key(nat, 6, ("fd00::2", 4433), ("2001:db8::1", 53))))
    assert 0 <= hashed < 2**32
