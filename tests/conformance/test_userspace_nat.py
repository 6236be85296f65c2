"""Where the userspace NAT meets the rest: who is chosen and why, links that go dark, ICMP through it, and what it counts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import SpecError
from harness.fabric.receipts import Observation
from harness.spec.link import CLEAR, Impairment
from harness.spec.nat import Nat
from harness.spec.topology import Host, Link, Router, Topology
from harness.units import ms
from tests.conformance.networks import opened, run_in, talking, within_deadline
from tests.conformance.sites import HOME, sites
from tests.conformance.test_path_mtu import ASK, OPTIONS

BOB = {4: "198.51.100.2", 6: "2001:db8:b::2"}
STRANGE = Nat(outside="wan", mapping="address-and-port-dependent", filtering="endpoint-independent", ports="contiguous")
PREFIX = Nat(outside="wan", ipv6="prefix", prefix6="2001:db8:aa::/48", hairpinning=True, filtering="endpoint-independent")


def test_auto_takes_it_where_nft_cannot_say_the_nat_and_tells_why(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(sites([(HOME,), (STRANGE,)]), tmp_path) as network:
            nats, links = network.report["nats"], network.report["links"]
            probed = await network.probe()
        assert nats["n0_0"] == {"executor": "nft", "why": "nft can say it"}
        assert nats["n1_0"]["executor"] == "userspace"
        assert nats["n1_0"]["why"].startswith(
            "mapping address-and-port-dependent with filtering endpoint-independent cannot be said in nft"
        )
        outside = "n1_0/wan–internet/s1"
        assert set(links) == {outside}, "its outside link alone was made one that the relay carries"
        assert links[outside]["executor"] == "relay"
        assert {way["to"] for way in probed["reach"]} == {"bob"}

    within_deadline(main)


def test_netem_cannot_carry_its_link(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with opened(sites([(HOME,)]), tmp_path, impair="netem", translate="userspace"):
                raise AssertionError("it was built")
        assert caught.group_contains(Exception, match="sch_netem|translates in userspace, which the relay does")

    within_deadline(main)


def test_a_nat_that_nft_cannot_say_is_refused_when_nft_is_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with opened(sites([(STRANGE,)]), tmp_path, translate="nft"):
                raise AssertionError("it was built")
        assert caught.group_contains(SpecError, match="router n0_0, nat: mapping .* cannot be said in nft")

    within_deadline(main)


def test_a_rebind_in_the_dark_and_a_link_that_comes_back(tmp_path: Path) -> None:
    """The interface has its routes and neighbours again when it comes up, as if it had addresses."""
    receipts: list[Observation] = []

    async def main() -> None:
        async with (
            opened(sites([(HOME,)]), tmp_path, translate="userspace", seen=receipts) as network,
            talking(network, "h0") as near,
            talking(network, "bob") as bob,
        ):
            for version, own in ((4, "10.0.0.2"), (6, "fd00:0:0::2")):
                await bob.ask("open", name=str(version), bind=[BOB[version], 4000], every=0.004)
                await near.ask("open", name=str(version), bind=[own, 4000], to=[BOB[version], 4000], every=0.004)
                assert (await bob.ask("heard", name=str(version), count=5))["count"] >= 5
            await network.nat("n0_0").rebind("h0", dark=200 * ms)
            for version in "46":
                for talker in (near, bob):
                    count = (await talker.ask("heard", name=version))["count"] + 5
                    assert (await talker.ask("heard", name=version, count=count))["count"] >= count
            counters = (await network.finish())["nats"]["n0_0"]
        assert counters["outbound"]["translated"] > 0
        assert counters["inbound"]["dropped"].keys() <= {"rebound"}

    within_deadline(main)
    assert all(receipt.taken for receipt in receipts)
    assert receipts[-1].source == "translator"


@pytest.mark.parametrize("narrow", ["home/wan", "bob/eth"], ids=["the NAT's own link", "a far link"])
def test_a_host_behind_it_learns_the_mtu_of_a_link(tmp_path: Path, narrow: str) -> None:
    def link(a: str, b: str, net4: str, net6: str) -> Link:
        small: dict[str, Any] = {"a_to_b": CLEAR, "b_to_a": Impairment(mtu=1340, too_big=True)}
        if a == "home/wan":
            small = {"a_to_b": small["b_to_a"], "b_to_a": CLEAR}
        return Link(a, b, net4, net6, **(small if a == narrow else {}))

    topology = Topology(
        "narrow",
        (Host("alice"), Host("bob"), Router("home", HOME), Router("internet")),
        (
            link("alice/eth", "home/lan", "192.168.1.0/24", "fd00:1::/64"),
            link("home/wan", "internet/home", "203.0.113.0/28", "2001:db8:1::/64"),
            link("bob/eth", "internet/bob", "198.51.100.64/28", "2001:db8:3::/64"),
        ),
    )

    async def main() -> None:
        async with opened(topology, tmp_path, translate="userspace") as network:
            for version in (4, 6):
                ends = [topology.port(end) for end in ("alice/eth", "bob/eth")]
                addresses = [str(address.ip) for end in ends if (address := end.v4 if version == 4 else end.v6)]
                command = [sys.executable, "-I", "-c", ASK, *addresses, *OPTIONS[version]]
                assert await run_in(network, "alice", command) == (0, "1340\n"), f"IPv{version}"

    within_deadline(main)


def test_two_hosts_behind_one_prefix_meet_by_it(tmp_path: Path) -> None:
    topology = Topology(
        "prefix",
        (Host("a"), Host("b"), Host("bob"), Router("home", PREFIX), Router("internet")),
        (
            Link("a/eth", "home/a", "192.168.1.0/24", "fd00:1::/64"),
            Link("b/eth", "home/b", "192.168.2.0/24", "fd00:2::/64"),
            Link("home/wan", "internet/home", "203.0.113.0/28", "2001:db8:1::/64"),
            Link("bob/eth", "internet/bob", "198.51.100.0/28", "2001:db8:b::/64"),
        ),
    )

    async def main() -> None:
        async with opened(topology, tmp_path) as network, talking(network, "a") as a, talking(network, "b") as b:
            async with talking(network, "bob") as bob:
                await bob.ask("open", name="6", bind=[BOB[6], 9])
                seen = {}
                for talker, who, own in ((a, "a", "fd00:1::2"), (b, "b", "fd00:2::2")):
                    await talker.ask("open", name="6", bind=[own, 4000])
                    await talker.ask("poke", name="6", to=[BOB[6], 9], text=who)
                    seen[who] = (await bob.ask("heard", name="6", text=who))["from"][who]
                await a.ask("poke", name="6", to=seen["b"], text="hello")
                came = await b.ask("heard", name="6", text="hello")
            assert came["from"]["hello"] == seen["a"], "and is seen as what it is outside"
            assert seen["a"][0].startswith("2001:db8:aa:")

    within_deadline(main)
