"""The ruleset of a NAT as text: each class has its pieces, and nothing is used that is not declared.  What they do: tests/conformance."""

from __future__ import annotations

import re

import pytest

from harness.fabric.nft import move_mapping, nat_ruleset
from harness.fabric.plan import make_plan
from harness.spec.nat import Nat, PortForward
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
    assert lines(text) == lines(
        """table inet harness {
             map moved4 {
               type ipv4_addr . inet_service : ipv4_addr . inet_service
             }
             map moved6 {
               type ipv6_addr . inet_service : ipv6_addr . inet_service
             }
             chain postrouting {
               type nat hook postrouting priority srcnat
               oifname "wan" meta l4proto udp snat ip to ip saddr . udp sport map @moved4
               oifname "wan" snat ip to 203.0.113.2
               oifname "wan" meta l4proto udp snat ip6 to ip6 saddr . udp sport map @moved6
               oifname "wan" snat ip6 to 2001:db8::2
             }
             chain forward {
               type filter hook forward priority filter
               iifname "wan" ct state new ct status ! dnat counter drop
             }
             chain input {
               type filter hook input priority filter
               iifname "wan" ct state new counter drop
             }
           }"""
    )


def test_a_full_cone_learns_and_lets_in() -> None:
    text = ruleset(net(nat=CONE))
    for version, word in ((4, "ip"), (6, "ip6")):
        assert f"map cone{version} {{\n    type inet_service : ipv{version}_addr\n    flags dynamic,timeout\n    timeout 120s" in text
        assert f"map coneport{version} {{\n    type inet_service : inet_service\n    flags dynamic,timeout\n    timeout 120s" in text
        head = f'iifname "wan" meta nfproto ipv{version}'
        let_in = f"{head} dnat {word} to udp dport map @cone{version} : udp dport map @coneport{version}"
        assert let_in in text
        assert text.index(f"{head} udp dport @dead{version} drop") < text.index(let_in)
        learn = f"update @cone{version} {{ udp sport : ct original {word} saddr }} update @coneport{version} {{ udp sport : ct original"
        assert learn in text
    assert "type filter hook postrouting priority srcnat + 10" in text, "learnt after the source was translated"


def test_a_symmetric_nat_takes_any_port_but_only_where_nothing_was_moved() -> None:
    rules = [line for line in lines(ruleset(net(nat=SYMMETRIC))) if line.startswith('oifname "wan"')]
    assert rules == [
        'oifname "wan" meta l4proto udp snat ip to ip saddr . udp sport map @moved4',
        'oifname "wan" meta l4proto { tcp, udp } snat ip to 203.0.113.2:1024-65535 random,fully-random',
        'oifname "wan" snat ip to 203.0.113.2',
        'oifname "wan" meta l4proto udp snat ip6 to ip6 saddr . udp sport map @moved6',
        'oifname "wan" meta l4proto { tcp, udp } snat ip6 to [2001:db8::2]:1024-65535 random,fully-random',
        'oifname "wan" snat ip6 to 2001:db8::2',
    ]


def test_a_timeout_is_plain_seconds_after_conntrack() -> None:
    text = ruleset(net(nat=Nat(outside="wan", udp_timeout=30 * s)))
    for version, word in ((4, "ip"), (6, "ip6")):
        wanted = f"ct timeout idle{version} {{\n    protocol udp\n    l3proto {word}\n    policy = {{ unreplied : 30, replied : 30 }}"
        assert wanted in text
        assert f'meta nfproto ipv{version} meta l4proto udp ct timeout set "idle{version}"' in text
    assert "type filter hook prerouting priority mangle" in text, "raw is silently ignored"
    assert "ct timeout" not in ruleset(net(nat=Nat(outside="wan")))
    cone = Nat(outside="wan", filtering="endpoint-independent", udp_timeout=7 * s)
    assert "timeout 7s" in ruleset(net(nat=cone)), "a cone forgets when its mapping does"


def test_a_forward() -> None:
    text = ruleset(phone_two_radios(), "office")
    assert "elements = { 4433 : 192.168.7.2 . 4433 }" in text
    assert "elements = { 4433 : fd00:7::2 . 4433 }" in text
    assert 'iifname "wan" meta nfproto ipv4 dnat ip to udp dport map @forwards4' in text


def test_a_forward_comes_before_the_cone() -> None:
    forwards = (PortForward(port=1, host="alice", to_port=2), PortForward(port=3, host="alice", to_port=4))
    text = ruleset(net(nat=Nat(outside="wan", filtering="endpoint-independent", forwards=forwards)))
    assert "elements = { 1 : 192.168.1.2 . 2, 3 : 192.168.1.2 . 4 }" in text
    assert text.index("@forwards4") < text.index("@cone4")


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
    declared = set(re.findall(r"^  (?:map|set|ct timeout) (\w+) \{", text, re.MULTILINE))
    used = set(re.findall(r"@(\w+)", text)) | set(re.findall(r'ct timeout set "(\w+)"', text))
    assert used <= declared
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize(("topology", "router"), TOPOLOGIES)
def test_new_traffic_from_outside_is_dropped_without_a_word(topology: Topology, router: str) -> None:
    text = ruleset(topology, router)
    assert 'iifname "wan" ct state new ct status ! dnat counter drop' in text
    assert 'iifname "wan" ct state new counter drop' in text
    assert "reject" not in text


def test_moving_a_mapping() -> None:
    add = "add element inet harness moved4 { 192.168.1.2 . 4433 : 203.0.113.3 . 50000 }\n"
    assert move_mapping(4, ("192.168.1.2", 4433), ("203.0.113.3", 50000)) == add
    delete = "delete element inet harness moved4 { 192.168.1.2 . 4433 }\n"
    moved = move_mapping(4, ("192.168.1.2", 4433), ("203.0.113.3", 50000), replaces=True, dead=4433)
    assert moved == delete + add + "add element inet harness dead4 { 4433 }\n", "one transaction"
    assert "moved6 { fd00:1::2 . 4433 : 2001:db8::3 . 50000 }" in move_mapping(6, ("fd00:1::2", 4433), ("2001:db8::3", 50000))
