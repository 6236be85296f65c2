"""The ports that places of one network take."""

from __future__ import annotations

from itertools import islice, pairwise

from harness.fabric.netns import EPHEMERAL
from harness.fabric.vantage import own_ports
from harness.spec.nat import Nat, PortForward
from harness.spec.topology import Host, Link, Router, Topology

TO_THE_EDGE = PortForward(port=EPHEMERAL[0], host="bob", to_port=EPHEMERAL[1])
BELOW = PortForward(port=443, host="bob", to_port=EPHEMERAL[-1])


def network(*forwards: PortForward) -> Topology:
    nodes = (Host("alice"), Host("bob"), Router("home", Nat(outside="wan", forwards=forwards)))
    return Topology("one_home", nodes, (Link("alice/eth", "home/wan", "203.0.113.0/28"), Link("bob/eth", "home/lan", "10.0.0.0/28")))


def test_each_place_has_a_port_of_its_own_until_there_are_no_more() -> None:
    assert sorted(islice(own_ports(network()), len(EPHEMERAL))) == list(EPHEMERAL)


def test_a_port_that_a_nat_forwards_is_nobodys() -> None:
    taken = set(islice(own_ports(network(TO_THE_EDGE, BELOW)), len(EPHEMERAL)))
    assert set(EPHEMERAL) - taken == {EPHEMERAL[0], EPHEMERAL[1], EPHEMERAL[-1]}


def test_the_ports_of_one_host_do_not_look_contiguous() -> None:
    assert min(abs(one - other) for one, other in pairwise(islice(own_ports(network()), 1000))) > 1000
