"""A NAT rebinds with traffic both ways: the new mapping in force, really different, the old one dead, nothing lost that could arrive.

There is no delay on these paths, so all that can be lost is what the peer sent to a mapping that was dead when it got there.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest

from harness.errors import SpecError
from harness.fabric.network import Network
from harness.fabric.receipts import Observation
from harness.spec.nat import Nat
from harness.units import ms
from tests.conformance.networks import Talker, exactly, opened, talking, within_deadline
from tests.conformance.sites import HOME, NATS, sites

REBINDS = 20
EVERY = 0.004
PORTS = {4: 4004, 6: 4006}
BOB = {4: "198.51.100.2", 6: "2001:db8:b::2"}
REBOUND = {name: ((nat,), 0) for name, nat in NATS.items()} | {"behind a carrier": ((HOME, HOME), 0), "at a carrier": ((HOME, HOME), 1)}


@contextlib.asynccontextmanager
async def two_flows(network: Network) -> AsyncIterator[tuple[Talker, Talker]]:
    """h0 and bob talk over IPv4 and IPv6 (sockets "4" and "6" at each): numbered packets both ways."""
    async with talking(network, "h0") as near, talking(network, "bob") as far:
        for version in (4, 6):
            await far.ask("open", name=str(version), bind=[BOB[version], PORTS[version]], every=EVERY)
            port = network.topology.port("h0/eth")
            own = port.v4 if version == 4 else port.v6
            assert own is not None
            to = [BOB[version], PORTS[version]]
            await near.ask("open", name=str(version), bind=[str(own.ip), PORTS[version]], to=to, every=EVERY)
        for talker, name in product((near, far), "46"):
            assert (await talker.ask("heard", name=name, count=5))["count"] >= 5
        yield near, far


async def outside_now(network: Network, router: str) -> dict[int, tuple[str, int]]:
    """Where the NAT shows each family's flow to bob."""
    flows = await network.nat(router).mappings()
    return {flow.version: flow.outside for flow in flows if flow.remote == (BOB[flow.version], PORTS[flow.version])}


@pytest.mark.parametrize("translate", ["nft", "userspace"])
@pytest.mark.parametrize(("chain", "level"), REBOUND.values(), ids=REBOUND)
def test_twenty_rebinds_with_traffic_both_ways(tmp_path: Path, chain: tuple[Nat, ...], level: int, translate: str) -> None:
    router, outermost = f"n0_{level}", level == len(chain) - 1
    receipts: list[Observation] = []

    async def main() -> None:
        async with opened(sites([chain]), tmp_path, translate=translate, seen=receipts) as network, two_flows(network) as (near, far):
            history = [await outside_now(network, router)]
            for n in range(REBINDS):
                receipt = await network.nat(router).rebind("h0", address=n % 2 == 1)
                assert receipt.taken, receipt
                assert receipt.kind == ("rebind address and port" if n % 2 else "rebind port")
                heard = {v: (await far.ask("heard", name=v))["count"] for v in "46"}
                for version in "46":  # a packet of each family by the new mapping, so that each rebind meets traffic
                    await far.ask("heard", name=version, count=heard[version] + 3)
                history.append(await outside_now(network, router))
            assert len(receipts) == REBINDS
            check_history(history)
            await check_traffic(near, far, history, outermost)

    within_deadline(main)


def check_history(history: list[dict[int, tuple[str, int]]]) -> None:
    """Every rebind gave a port never had before, every second one another address too, in both families."""
    assert all(set(outside) == {4, 6} for outside in history)
    for version in (4, 6):
        outside = [mapping[version] for mapping in history]
        assert len({port for _address, port in outside}) == REBINDS + 1
        for n, (before, after) in enumerate(pairwise(outside)):
            assert (before[0] != after[0]) == (n % 2 == 1)


async def check_traffic(near: Talker, far: Talker, history: list[dict[int, tuple[str, int]]], outermost: bool) -> None:
    """Nothing that h0 sent is lost, and of what bob sent only what went to a mapping that was dead; the dead stay dead; no ICMP."""
    said = {"near": await near.ask("quiet"), "far": await far.ask("quiet")}
    for version in "46":
        sent = said["near"][version][-1][1] + 1
        heard = await far.ask("heard", name=version, count=sent)
        assert (heard["count"], heard["twice"], heard["refused"]) == (sent, 0, 0), "nothing lost on the way out"
        sources = list(dict.fromkeys(tuple(source) for _first, _last, source in heard["runs"]))
        assert len(sources) == REBINDS + 1
        assert len(heard["runs"]) == REBINDS + 1, "none came by a mapping once the next had been seen"
        if outermost:
            assert sources == [outside[int(version)] for outside in history], "bob sees what the NAT says"
        for number, old in enumerate(sources[:-1]):
            await far.ask("poke", name=version, to=old, text=f"old {number}")
        await far.ask("poke", name=version, to=sources[-1], text="new")
        came = await near.ask("heard", name=version, text="new")
        assert came["texts"] == ["new"], "what is sent to an old mapping arrives nowhere"
        check_way_in(said["far"][version], came["runs"], sources[-1])
        assert (came["twice"], came["refused"]) == (0, 0)
    for talker in (near, far):
        assert (await talker.ask("where"))["icmp"] == {"ipv4": 0, "ipv6": 0}


def check_way_in(sent: list[Any], came: list[Any], last: tuple[str, int]) -> None:
    """Of each run of packets to one mapping, only the tail may be missing: those that met it dead; of the last mapping none."""
    arrived = {number for first, end, _source in came for number in range(first, end + 1)}
    for first, end, to in sent:
        there = [number in arrived for number in range(first, end + 1)]
        assert there == sorted(there, reverse=True), "a hole"
        if tuple(to) == last:
            assert all(there)


@pytest.mark.parametrize("translate", ["nft", "userspace"])
def test_of_a_host_that_sends_nothing_no_new_mapping_can_be_seen(tmp_path: Path, translate: str) -> None:
    async def main() -> None:
        async with opened(sites([(HOME,)]), tmp_path, translate=translate) as network, two_flows(network) as (near, _far):
            talking_still = await network.nat("n0_0").rebind("h0")
            await near.ask("quiet")
            silent = await network.nat("n0_0").rebind("h0", within=300 * ms)
        assert talking_still.taken
        assert talking_still.seen["flows now"] > 0
        assert silent.taken
        assert (silent.seen["after"], silent.seen["old mapping gone"], silent.seen["flows now"]) == ([], True, 0)

    within_deadline(main)


@pytest.mark.parametrize("translate", ["nft", "userspace"])
def test_what_cannot_be_rebound_is_told(tmp_path: Path, translate: str) -> None:
    async def main() -> None:
        bare = Nat(outside="wan", spare=0)
        async with opened(sites([(bare,)]), tmp_path, translate=translate) as network:
            with pytest.raises(SpecError, match=exactly("NAT n0_0: h0 has no UDP flow through it, so there is nothing to rebind")):
                await network.nat("n0_0").rebind("h0")
            with pytest.raises(SpecError, match=r"^NAT internet: there is no "):
                await network.nat("internet").rebind("h0")
            with pytest.raises(SpecError, match="there is no node 'nobody'"):
                network.nat("nobody")
            async with two_flows(network):
                with pytest.raises(SpecError, match=exactly("NAT n0_0: it has no spare outside address; give it spare=1 or more")):
                    await network.nat("n0_0").rebind("h0", address=True)

    within_deadline(main)
