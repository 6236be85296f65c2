"""What became of a NAT's mappings over time, told alike by the kernel's events and by the translator: made, gone, in order, each once."""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from harness.fabric.base import Mapping, MappingHistory
from harness.fabric.network import Network
from harness.spec.nat import Nat
from harness.units import ms, s
from tests.conformance.networks import opened, run_in, talking, within_deadline
from tests.conformance.sites import HOME, sites
from tests.conformance.test_rebinding import BOB, PORTS, outside_now, two_flows

EXECUTORS = pytest.mark.parametrize(("translate", "source"), [("nft", "conntrack"), ("userspace", "translator")])
NAT = "n0_0"
POLL_S = 0.01
TICKS = 20_000_000  # ns; a kernel counts in ticks of up to 10 ms
SEND = """
import socket, sys
for port in range(20000, 20000 + int(sys.argv[2])):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("", port))
        one.sendto(b"x", (sys.argv[1], 9))
"""


def of(history: MappingHistory, version: int) -> list[tuple[bool, tuple[str, int]]]:
    """Whether it was gone, and the outside endpoint, of every change of the flow to bob."""
    assert [change.at for change in history.changes] == sorted(change.at for change in history.changes)
    assert history.unlisted == 0
    return [(change.gone, change.mapping.outside) for change in history.changes if change.mapping.remote == (BOB[version], PORTS[version])]


@EXECUTORS
@pytest.mark.parametrize("ipv6", ["translate", "firewall"])
def test_a_rebind_shows_the_old_gone_and_the_new_made(tmp_path: Path, translate: str, source: str, ipv6: str) -> None:
    async def main() -> None:
        began = time.monotonic_ns()
        nat = Nat(outside="wan", ipv6=ipv6)  # type: ignore[arg-type]
        async with opened(sites([(nat,)]), tmp_path, translate=translate) as network, two_flows(network) as (_near, far):
            outsides = [await outside_now(network, NAT)]
            rebound = []
            for _ in range(3):
                rebound.append((await network.nat(NAT).rebind("h0")).at)
                for name in "46":
                    heard = (await far.ask("heard", name=name))["count"]
                    await far.ask("heard", name=name, count=heard + 3)
                outsides.append(await outside_now(network, NAT))
            history = await network.nat(NAT).history()
            assert history.source == source
            moving = (4, 6) if ipv6 == "translate" else (4,)
            for version in moving:
                expected = [(False, outsides[0][version])]
                for old, new in pairwise(outsides):
                    expected += [(True, old[version]), (False, new[version])]
                assert of(history, version) == expected
            if ipv6 == "firewall":
                assert of(history, 6) == [(False, outsides[0][6])], "what is not translated does not move"
            times = [change.at for change in history.changes]
            assert began < times[0]
            assert times[-1] < time.monotonic_ns()
            again = [change.at for change in history.changes if not change.gone and change.mapping.version == 4][1:]
            assert all(began <= at for began, at in zip([began, *rebound], again, strict=False))
            assert len(again) == len(rebound)

    within_deadline(main)


@EXECUTORS
@pytest.mark.long
def test_a_reboot_shows_all_gone(tmp_path: Path, translate: str, source: str) -> None:
    async def main() -> None:
        async with opened(sites([(HOME,)]), tmp_path, translate=translate) as network, two_flows(network):
            before = await outside_now(network, NAT)
            await network.nat(NAT).reboot()
            after = await outside_now(network, NAT)
            while len(after) < 2:
                await trio.sleep(POLL_S)
                after = await outside_now(network, NAT)
            history = await network.nat(NAT).history()
            for version in (4, 6):
                assert of(history, version) == [(False, before[version]), (True, before[version]), (False, after[version])]

    within_deadline(main)


@EXECUTORS
@pytest.mark.long
def test_what_expired_is_gone_before_it_is_made_anew(tmp_path: Path, translate: str, source: str) -> None:
    async def main() -> None:
        nat = Nat(outside="wan", udp_timeout=1 * s)
        async with opened(sites([(nat,)]), tmp_path, translate=translate) as network, talking(network, "h0") as near:
            at, to = ["10.0.0.2", PORTS[4]], [BOB[4], PORTS[4]]
            await near.ask("open", name="x", bind=at)
            await near.ask("poke", name="x", to=to, text="once")
            await network.nat(NAT).carries("h0")
            await network.nat(NAT).expired("h0")
            await near.ask("poke", name="x", to=to, text="again")
            await network.nat(NAT).carries("h0")
            history = await network.nat(NAT).history()
            assert [gone for gone, _ in of(history, 4)] == [False, True, False]
            made, gone, _again = history.changes
            if source == "translator":
                assert gone.at - made.at == 1_000_000_000
            else:
                assert gone.at - made.at >= 1_000_000_000 - TICKS

    within_deadline(main)


def standing(history: MappingHistory) -> list[Mapping]:
    """What is there at its end."""
    there: list[Mapping] = []
    for change in history.changes:
        if change.gone:
            there.remove(change.mapping)
        else:
            assert change.mapping not in there, "made twice"
            there.append(change.mapping)
    return there


@EXECUTORS
@pytest.mark.long
def test_of_a_flood_of_flows_nothing_is_missing(tmp_path: Path, translate: str, source: str) -> None:
    flows = 600

    async def main() -> None:
        async with opened(sites([(HOME,)]), tmp_path, translate=translate) as network:
            assert await run_in(network, "h0", [sys.executable, "-I", "-c", SEND, BOB[4], str(flows)]) == (0, "")
            mappings = await settled(network, flows)
            history = await network.nat(NAT).history()
            assert history.unlisted == 0
            assert sorted(standing(history), key=repr) == sorted(mappings, key=repr)
            assert (await network.nat(NAT).reboot(within=100 * ms)).taken
            assert standing(await network.nat(NAT).history()) == []

    within_deadline(main)


async def settled(network: Network, flows: int) -> list[Mapping]:
    """The mappings, once there are as many."""
    while True:
        mappings = await network.nat(NAT).mappings()
        if len(mappings) >= flows:
            return mappings
        await trio.sleep(POLL_S)


@EXECUTORS
@pytest.mark.long
def test_probing_is_no_part_of_it(tmp_path: Path, translate: str, source: str) -> None:
    async def main() -> None:
        async with opened(sites([(HOME,)]), tmp_path, translate=translate) as network:
            await network.probe()
            assert (await network.nat(NAT).history()).changes == []

    within_deadline(main)
