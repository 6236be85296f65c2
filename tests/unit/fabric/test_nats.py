"""Who translates at each NAT and why; what of a userspace NAT stands in the plan and what in the translator."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from harness.errors import SpecError
from harness.fabric.base import Mapping
from harness.fabric.nats import choose_translators, userspace_links
from harness.fabric.plan import make_plan
from harness.fabric.userspace_nat import translation_of
from harness.spec.nat import Nat, PortForward
from harness.spec.topology import Host, Link, Router, Topology

STRANGE: dict[str, Any] = {"refresh": "outbound"}


def home(**fields: Any) -> Topology:
    return Topology(
        "t",
        (Host("alice"), Host("bob"), Router("home", Nat(outside="wan", **fields))),
        (
            Link("alice/eth", "home/lan", "192.168.1.0/24", "fd00:1::/64"),
            Link("home/wan", "bob/eth", "203.0.113.0/28", "2001:db8:1::/64"),
        ),
    )


def test_auto_takes_nft_where_it_can_say_the_nat() -> None:
    assert choose_translators("auto", home())["home"].executor == "nft"
    chosen = choose_translators("auto", home(**STRANGE))["home"]
    assert chosen.executor == "userspace"
    assert chosen.why.startswith("refresh 'outbound' cannot be said in nft")


def test_what_is_asked_for_is_done_or_refused() -> None:
    assert choose_translators("userspace", home())["home"].executor == "userspace"
    assert choose_translators("nft", home())["home"].why == "asked for"
    with pytest.raises(SpecError) as caught:
        choose_translators("nft", home(**STRANGE))
    assert caught.value.where == "topology t, router home, nat"
    with pytest.raises(SpecError) as caught:
        choose_translators("iptables", home())
    assert str(caught.value) == "--translate: 'iptables' is not known; allowed are auto, nft, userspace"


def test_only_the_relay_carries_its_outside_link() -> None:
    topology = home()
    assert userspace_links(topology, choose_translators("nft", topology)) == {}
    (why,) = userspace_links(topology, choose_translators("userspace", topology)).values()
    assert why == "link home/wan–bob/eth: home translates in userspace, which the relay does"


def test_its_interface_has_no_outside_address_and_everyone_finds_his_way() -> None:
    plans = make_plan(home(spare=2), {"home"})
    wan, eth = plans["home"].ports["wan"], plans["bob"].ports["eth"]
    assert wan.addresses == []
    own = ["203.0.113.2", "203.0.113.3", "203.0.113.4", "2001:db8:1::2", "2001:db8:1::3", "2001:db8:1::4"]
    assert {str(address.ip) for address in wan.translated} == set(own)
    assert {(str(route.network), route.gateway) for route in wan.routes} >= {("203.0.113.0/28", None), ("2001:db8:1::/64", None)}
    assert {str(address) for address, _mac in eth.neighbours} == set(own)
    assert all(mac == wan.mac for _address, mac in eth.neighbours)
    assert {str(address): mac for address, mac in wan.neighbours} == {
        **dict.fromkeys(own, eth.mac),
        "203.0.113.1": eth.mac,
        "2001:db8:1::1": eth.mac,
    }
    assert {str(route.gateway) for route in eth.routes if route.gateway} == {"203.0.113.2", "2001:db8:1::2"}


@pytest.mark.parametrize("fields", [{"ipv6": "firewall"}, {"ipv6": "prefix", "prefix6": "2001:db8:aa::/48"}])
def test_what_is_not_translated_stays_on_the_interface(fields: dict[str, Any]) -> None:
    wan = make_plan(home(**fields), {"home"})["home"].ports["wan"]
    assert [str(address.ip) for address in wan.addresses] == ["2001:db8:1::2"]
    assert all(address.version == 4 for address in wan.translated)
    behind = [route for route in wan.routes if str(route.network) == "2001:db8:aa::/48"]
    assert [str(route.gateway) for route in behind] == (["2001:db8:1::1"] if "prefix6" in fields else [])


def test_with_nft_the_plan_is_what_it_was() -> None:
    assert make_plan(home()) == make_plan(home(), set())
    assert make_plan(home())["home"].ports["wan"].translated == []


def test_the_translator_is_told_addresses_forwards_and_prefixes() -> None:
    topology = home(pool=2, forwards=(PortForward(port=6000, host="alice", to_port=4433),))
    router = topology.routers[0]
    assert router.nat is not None
    told = translation_of(topology, make_plan(topology, {"home"})["home"], router, router.nat)
    assert told.pool == ("203.0.113.2", "203.0.113.3", "2001:db8:1::2", "2001:db8:1::3")
    assert told.spares == ("203.0.113.4", "2001:db8:1::4")
    assert {(one.port, one.address, one.to_port) for one in told.forwards} == {(6000, "192.168.1.2", 4433), (6000, "fd00:1::2", 4433)}
    topology = home(ipv6="prefix", prefix6="2001:db8:aa::/48")
    router = topology.routers[0]
    assert router.nat is not None
    told = translation_of(topology, make_plan(topology, {"home"})["home"], router, router.nat)
    assert told.pool == ("203.0.113.2",)
    assert told.prefixes == (("fd00:1::/64", "2001:db8:aa::/64"),)


def test_a_mapping_is_the_same_whenever_it_was_used() -> None:
    one = Mapping(4, ("192.168.1.2", 1), ("203.0.113.2", 2), ("198.51.100.2", 3), ("198.51.100.2", 3), 7)
    again, other = msgspec.structs.replace(one, used=8), msgspec.structs.replace(one, outside=("203.0.113.2", 9))
    assert one == again != other
    assert len({one, again, other}) == 2
