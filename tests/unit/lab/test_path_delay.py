"""A path's own delay: what the links on its route were configured to take when the packet departed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from harness.fabric.base import brief
from harness.lab.path_delay import PathDelays
from harness.spec.link import Impairment
from harness.spec.topology import Host, Link, Router, Topology
from harness.units import kbit, mbit, ms, percent
from topologies.both_mobile import both_mobile
from topologies.carrier_grade import carrier_grade
from topologies.phone_two_radios import phone_two_radios
from topologies.side_by_side import side_by_side
from topologies.two_homes import two_homes

MS = 1_000_000


def total(topology: Topology, departs: str, arrives: str, size: int = 0, at: int = 0) -> int:
    return PathDelays(topology).delay(departs, arrives, at, size)


def test_the_links_of_a_route_add_up_through_a_nat_on_either_side() -> None:
    delays = PathDelays(two_homes(delay=30 * ms))
    assert delays.route("alice/eth", "bob/eth") == (
        ("alice/eth", "home_a/lan"),
        ("home_a/wan", "internet/a"),
        ("internet/b", "home_b/wan"),
        ("home_b/lan", "bob/eth"),
    )
    assert delays.delay("alice/eth", "bob/eth", 0, 1200) == 30 * MS
    assert delays.delay("bob/eth", "alice/eth", 0, 1200) == 30 * MS


def test_jitter_and_loss_are_no_part_of_it() -> None:
    assert total(two_homes(delay=30 * ms, jitter=10 * ms, loss=10 * percent), "alice/eth", "bob/eth") == 30 * MS


def test_each_path_of_a_host_has_its_own() -> None:
    delays = PathDelays(phone_two_radios())
    wifi, lte = (delays.delay(f"alice/{radio}", "bob/eth", 0, 100) for radio in ("wifi", "lte"))
    back = delays.delay("bob/eth", "alice/lte", 0, 100)
    assert 0 < wifi < lte == back


@pytest.mark.parametrize(
    "topology", [two_homes(), carrier_grade(), both_mobile(), phone_two_radios(), side_by_side()], ids=lambda t: t.name
)
def test_every_pair_of_hosts_of_every_topology_has_a_route_from_port_to_port_and_none_through_a_host(topology: Topology) -> None:
    delays = PathDelays(topology)
    hosts = [host for host in topology.nodes if isinstance(host, Host)]
    routes = {
        (a.path, b.path): delays.route(a.path, b.path)
        for one in hosts
        for other in hosts
        if one != other
        for a in topology.ports(one.name)
        for b in topology.ports(other.name)
    }
    assert routes
    for (departs, arrives), way in routes.items():
        assert way[0][0] == departs
        assert way[-1][1] == arrives
        inner = {end.partition("/")[0] for _, end in way[:-1]}
        assert not inner & {host.name for host in hosts}
        assert all(before[1].partition("/")[0] == after[0].partition("/")[0] for before, after in pairwise(way))


def test_no_route_is_no_delay() -> None:
    island = Topology("island", (Host("a"), Host("b"), Host("c")), (Link("a/x", "b/x", "10.0.0.0/24"), Link("c/y", "b/y", "10.0.1.0/24")))
    assert total(island, "a/x", "c/y") == 0, "not through another host"


def test_its_own_bytes_count_at_the_rate_of_the_line_headers_included() -> None:
    near = two_homes(delay=20 * ms, rate=200 * kbit)
    assert total(near, "alice/eth", "bob/eth", 172) == 20 * MS + (172 + 28) * 8 * 1_000_000_000 // 200_000
    assert total(two_homes(delay=20 * ms, rate=100 * mbit), "alice/eth", "bob/eth", 1222) == 20 * MS + 100_000


def direction(delay: Any, *, at: int = 0, **more: Any) -> dict[str, Any]:
    """A ruling as the network tells it."""
    return {"at": at, "impairment": brief(Impairment(delay=delay, **more))}


def test_the_delay_in_force_when_it_departed_counts() -> None:
    name = next(link.name for link in two_homes().links if link.a == "home_a/wan")
    history = {
        name: {
            "a_to_b": {"rulings": [direction(5 * ms, at=1000), direction(300 * ms, at=2000), direction(40 * ms, at=3000)]},
            "b_to_a": {"rulings": [direction(7 * ms)]},
        }
    }
    delays = PathDelays(two_homes(delay=10 * ms), history)
    there = [delays.delay("alice/eth", "bob/eth", at, 100) // MS for at in (0, 1000, 1999, 2000, 2999, 3000, 9999)]
    assert there == [10, 10, 10, 305, 305, 45, 45]
    assert delays.delay("bob/eth", "alice/eth", 2500, 100) == 12 * MS


def test_an_impairment_without_a_delay_takes_none_of_a_link() -> None:
    name = next(link.name for link in two_homes().links if link.a == "home_a/wan")
    cleared = {name: {"a_to_b": {"rulings": [direction(5 * ms), {"at": 1000, "impairment": {}}]}}}
    delays = PathDelays(two_homes(delay=10 * ms), cleared)
    assert (delays.delay("alice/eth", "bob/eth", 0, 0), delays.delay("alice/eth", "bob/eth", 1000, 0)) == (10 * MS, 5 * MS)


def test_a_change_of_rate_counts_from_then_on() -> None:
    name = next(link.name for link in two_homes().links if link.a == "home_a/wan")
    narrowed = {name: {"a_to_b": {"rulings": [direction(5 * ms, rate=10 * mbit), direction(5 * ms, at=1000, rate=100 * kbit)]}}}
    delays = PathDelays(two_homes(delay=10 * ms), narrowed)
    assert delays.delay("alice/eth", "bob/eth", 999, 97) == 10 * MS + 100_000
    assert delays.delay("alice/eth", "bob/eth", 1000, 97) == 10 * MS + 10 * MS


def test_of_two_ways_the_one_with_the_fewest_links_is_the_route() -> None:
    slow, fast = Impairment(delay=50 * ms), Impairment(delay=1 * ms)
    net = Topology(
        "square",
        (Host("a"), Host("b"), Router("r"), Router("s"), Router("t")),
        (
            Link("a/x", "r/a", "10.0.0.0/24"),
            Link("r/b", "t/r", "10.0.1.0/24", None, slow, slow),
            Link("r/s", "s/r", "10.0.2.0/24", None, fast, fast),
            Link("s/t", "t/s", "10.0.3.0/24", None, fast, fast),
            Link("t/b", "b/x", "10.0.4.0/24"),
        ),
    )
    assert total(net, "a/x", "b/x") == 50 * MS
