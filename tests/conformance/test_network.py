"""Built networks, looked at from inside: NAT classes, links, routes, and the processes in them.

Each network lives in anonymous namespaces through the keeper; tests/conformance/test_left_behind.py shows that the host is not touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import trio

from harness.errors import HarnessError, SpecError
from harness.fabric.base import Dropped
from harness.fabric.network import Network
from harness.fabric.pcapng import Reader
from harness.fabric.receipts import Observation
from harness.fabric.udp_packets import udp_packets
from harness.spec.link import CLEAR, Impairment, Pick
from harness.spec.nat import Behaviour, Nat
from harness.spec.topology import Topology
from harness.units import mbit, ms, percent
from tests.conformance import remains
from tests.conformance.networks import Talker, exactly, opened, run_in, talking, within_deadline
from tests.conformance.sites import HOME, NATS, homes, nested_forwards, sites, two_radios, wire

ROOT = Path(__file__).parents[2]
EVERY = 0.004  # s between the packets of a flow
STRICTNESS = get_args(Behaviour)


# -- NAT classes ---


def test_every_class_alone_and_behind_every_other_is_what_the_spec_says(tmp_path: Path) -> None:
    chains: list[tuple[Nat, ...]] = [(nat,) for nat in NATS.values()] + list(product(NATS.values(), repeat=2))

    async def main() -> None:
        async with opened(sites(chains), tmp_path) as network:
            probed = await network.probe()
        for n, chain in enumerate(chains):
            for version in (4, 6):
                seen = probed["nats"][f"n{n}_0/ipv{version}"]
                assert seen["mapping"] == max((nat.mapping for nat in chain), key=STRICTNESS.index)
                assert seen["filtering"] == max((nat.filtering for nat in chain), key=STRICTNESS.index)
                assert seen["preserved"] == all(nat.ports == "preserve" for nat in chain)
        assert {(way["from"], way["to"]) for way in probed["reach"]} >= {(f"h{n}", "bob") for n in range(len(chains))}

    within_deadline(main)


def test_whatever_probes_has_a_port_of_its_own(tmp_path: Path) -> None:
    """Two hosts behind one NAT, or a host and the NAT, with one port cannot both keep it: a NAT that preserves ports would seem not to."""

    async def main() -> None:
        async with opened(homes([HOME] * 9), tmp_path, captures=True) as network:
            await network.capture()
            await network.probe()
            await network.flush()

    within_deadline(main)
    senders: dict[int, set[str]] = defaultdict(set)
    for file in (tmp_path / "capture").glob("*.eth.pcapng"):
        for packet in udp_packets(Reader(file)):
            if packet.outgoing:
                senders[packet.source[1]].add(f"{packet.interface} {packet.source[0]}")
    assert {"bob/eth 198.51.100.2", "carol/eth 2001:db8:c::2"} <= senders.pop(7), "everyone's echo"
    assert len(senders) > 200
    assert not {port: ends for port, ends in senders.items() if len(ends) > 1}


def test_a_forward_through_a_forward_leads_in(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(nested_forwards(), tmp_path) as network:
            probed = await network.probe()
        ways = {(way["from"], way["to"], way["ip"], way["port"]) for way in probed["reach"]}
        assert {("alice", "bob", "203.0.113.2", 6000), ("alice", "bob", "2001:db8::2", 6000)} <= ways

    within_deadline(main)


def judged(*pairs: tuple[Topology, Topology]) -> list[list[str]]:
    """What the probe says of each network that was built from the first topology and is judged by the second."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.misjudged"],
        input=json.dumps([[built.to_json(), wanted.to_json()] for built, wanted in pairs]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return list(json.loads(done.stdout))


def test_a_wrong_expectation_is_caught_by_name() -> None:
    """Each class once in the place of each other; a smaller MTU; a delay that is not there; a rate that is not."""
    chains = [(one,) for one, other in product(NATS.values(), repeat=2) if one != other]
    others = [(other,) for one, other in product(NATS.values(), repeat=2) if one != other]
    expected = []
    for n, ((one,), (other,)) in enumerate(zip(chains, others, strict=True)):
        for version, what in [(v, w) for v in (4, 6) for w in ("mapping", "filtering", "ports")]:
            measured, asked = getattr(one, what), getattr(other, what)
            if measured != asked:
                expected.append(f"NAT n{n}_0, IPv{version}, {what}: asked {asked}, measured {measured}")

    def impaired(impairment: Impairment) -> Topology:
        return msgspec.structs.replace(wire(), links=tuple(msgspec.structs.replace(link, a_to_b=impairment) for link in wire().links))

    nats, mtu, delay, rate = judged(
        (sites(chains), sites(others)),
        (sites([(HOME,)], mtu=1400), sites([(HOME,)])),
        (wire(), impaired(Impairment(delay=20 * ms))),
        (wire(), impaired(Impairment(rate=2 * mbit))),
    )
    assert nats == sorted(expected)
    assert mtu == [f"link bob/eth–internet/bob, {way}: no packet of its MTU, 1500 bytes, passes" for way in ("a_to_b", "b_to_a")]
    assert len(delay) == 1
    assert delay[0].startswith("link alice/eth–bob/eth, a_to_b: asked 20.000 ms of least delay, measured 0.")
    assert len(rate) == 1
    assert re.fullmatch(r"link alice/eth–bob/eth, a_to_b: asked a rate of 2mbit, measured \d+\.\d kbit/s", rate[0])


# -- links and routes ---

LOOK = """
import json, sys
from pyroute2 import IPRoute
def plain(message, *names):
    return [str(message.get(name, message.get_attr(name))) for name in names]
with IPRoute() as ip:
    found = {
        "addresses": [plain(m, "family", "prefixlen", "IFA_ADDRESS", "flags", "index") for m in ip.get_addr()],
        "routes": [plain(m, "family", "dst_len", "RTA_DST", "RTA_GATEWAY", "RTA_OIF", "RTA_PRIORITY", "RTA_TABLE", "type")
                   for family in (2, 10) for m in ip.get_routes(family=family) if m.get_attr("RTA_TABLE") != 255],
        "rules": [plain(m, "family", "FRA_SRC", "FRA_TABLE", "FRA_PRIORITY") for family in (2, 10) for m in ip.get_rules(family=family)],
        "neighbours": [plain(m, "NDA_DST", "NDA_LLADDR", "state", "ifindex") for m in ip.get_neighbours() if m["state"] == 0x80],
    }
print(json.dumps({name: sorted(rows) for name, rows in found.items()}))
"""


async def look(network: Network, *nodes: str) -> dict[str, dict[str, list[list[str]]]]:
    """Addresses, routes of all tables, rules and permanent neighbours of nodes, by pyroute2's own sockets from inside."""
    found: dict[str, dict[str, list[list[str]]]] = {}

    async def one(node: str) -> None:
        code, out = await run_in(network, node, [sys.executable, "-c", LOOK])
        assert code == 0
        found[node] = json.loads(out)

    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(one, node)
    return found


def changes(before: list[list[str]], after: list[list[str]]) -> list[list[str]]:
    """The rows that are in one and not in the other, less link-local addresses: these the kernel makes, and finishes in its own time."""
    differ = [row for row in before if row not in after] + [row for row in after if row not in before]
    return [row for row in differ if not any(value.startswith(("fe80", "ff00")) for value in row)]


def test_a_link_goes_down_and_comes_back_with_everything(tmp_path: Path) -> None:
    receipts: list[Observation] = []
    bob = {"4": "198.51.100.66", "6": "2001:db8:3::2"}
    mine = {"4": "10.64.0.2", "6": "fd00:2::2"}

    async def main() -> None:
        async with opened(two_radios(), tmp_path, seen=receipts) as network:
            before = await look(network, "alice", "carrier")
            async with talking(network, "alice") as alice, talking(network, "bob") as far:
                for version in "46":
                    await far.ask("open", name=version, bind=[bob[version], 4433])
                    await alice.ask("open", name=version, bind=[mine[version], 4433], to=[bob[version], 4433], every=EVERY)
                    assert (await far.ask("heard", name=version, count=5))["count"] >= 5
                await network.link("alice/lte").down()
                counts = {version: (await far.ask("heard", name=version))["count"] for version in "46"}
                for version in "46":
                    assert isinstance(await alice.ask("poke", name=version, to=[bob[version], 4433], text="down"), str), "an error, no way"
                await network.link("alice/lte").up()
                for version in "46":
                    count = counts[version] + 5
                    assert (await far.ask("heard", name=version, count=count))["count"] >= count
                    assert (await far.ask("heard", name=version))["texts"] == []
            after = await look(network, "alice", "carrier")
            for node in ("alice", "carrier"):
                for what in ("addresses", "rules", "neighbours", "routes"):
                    assert changes(before[node][what], after[node][what]) == []

    within_deadline(main)
    assert [(receipt.fault, receipt.kind, receipt.taken, receipt.source) for receipt in receipts] == [
        ("alice/lte down", "link", True, "rtnetlink"),
        ("alice/lte up", "link", True, "rtnetlink"),
    ]
    for receipt, (was, now) in zip(receipts, (("up", "down"), ("down", "up")), strict=True):
        assert set(receipt.seen) == {"alice/lte", "carrier/ran"}
        assert all(text.startswith(f"{was} after ") and f"→ {now} after " in text for text in receipt.seen.values())


def test_an_impairment_changes_while_running_and_back_to_nothing(tmp_path: Path) -> None:
    receipts: list[Observation] = []
    delay = Impairment(delay=60 * ms)

    async def main() -> None:
        async with (
            opened(two_radios(), tmp_path, seen=receipts) as network,
            talking(network, "alice") as alice,
            talking(network, "bob") as bob,
        ):
            await bob.ask("open", name="4", bind=["198.51.100.66", 4433], every=EVERY)
            await alice.ask("open", name="4", bind=["192.168.1.2", 4433], to=["198.51.100.66", 4433], every=EVERY)

            async def least(talker: Talker, fits: Any) -> bool:
                """Whether among the packets to come there is one, and at last only such, whose delay fits."""
                await talker.ask("heard", name="4")
                for _ in range(50):
                    count = (await talker.ask("heard", name="4"))["count"] + 10
                    if fits((await talker.ask("heard", name="4", count=count))["least"]):
                        return True
                return False

            assert await least(bob, lambda s: s < 0.06)
            await network.link("alice/wifi").impair(a_to_b=delay)
            assert await least(bob, lambda s: s >= 0.06), "one direction …"
            assert await least(alice, lambda s: s < 0.06), "… and not the other"
            await network.link("alice/wifi").impair(delay)
            assert await least(alice, lambda s: s >= 0.06)
            await network.link("alice/wifi").impair(CLEAR)
            assert await least(bob, lambda s: s < 0.06)
            assert await least(alice, lambda s: s < 0.06)
            counters = await network.link("alice/wifi").counters()
            assert set(counters) >= {"a_to_b", "b_to_a"}

    within_deadline(main)
    assert [receipt.fault for receipt in receipts] == [
        "alice/wifi a_to_b delay 60ms",
        "alice/wifi a_to_b delay 60ms",
        "alice/wifi b_to_a delay 60ms",
        "alice/wifi a_to_b clear",
        "alice/wifi b_to_a clear",
    ]
    assert all(receipt.taken and receipt.kind == "impair" for receipt in receipts)


def test_a_link_goes_dark_while_it_stays_up_and_a_nat_tells_whom_it_carries(tmp_path: Path) -> None:
    receipts: list[Observation] = []

    async def main() -> None:
        async with (
            opened(two_radios(), tmp_path, seen=receipts) as network,
            talking(network, "alice") as alice,
            talking(network, "bob") as bob,
        ):
            with pytest.raises(HarnessError, match=exactly("NAT home: no UDP flow of alice within 50ms")):
                await network.nat("home").carries("alice", within=50 * ms)
            await bob.ask("open", name="4", bind=["198.51.100.66", 4433], every=EVERY)
            await alice.ask("open", name="4", bind=["192.168.1.2", 4433], to=["198.51.100.66", 4433], every=EVERY)
            await network.nat("home").carries("alice")
            await bob.ask("heard", name="4", count=10)
            wifi = network.link("alice/wifi")
            await wifi.dark()
            before, dropped = (await bob.ask("heard", name="4"))["count"], await wifi.drops()
            assert (await bob.ask("heard", name="4", count=before + 1, within=0.3))["count"] == before
            assert await wifi.drops() >= dropped + 20
            await wifi.light()
            assert (await bob.ask("heard", name="4", count=before + 10))["count"] >= before + 10

    within_deadline(main)
    assert [receipt.fault for receipt in receipts] == [
        "alice/wifi a_to_b loss 100%",
        "alice/wifi b_to_a loss 100%",
        "alice/wifi a_to_b clear",
        "alice/wifi b_to_a clear",
    ]
    assert all(receipt.taken for receipt in receipts)


def test_a_packet_picked_by_number_is_dropped_and_told(tmp_path: Path) -> None:
    receipts: list[Observation] = []
    met: list[Dropped] = []
    pick = Pick(3, min_bytes=1)

    async def main() -> None:
        async with (
            opened(two_radios(), tmp_path, impair="relay", seen=receipts) as network,
            talking(network, "alice") as alice,
            talking(network, "bob") as bob,
        ):
            await bob.ask("open", name="4", bind=["198.51.100.66", 4433], every=EVERY)
            await alice.ask("open", name="4", bind=["192.168.1.2", 4433], to=["198.51.100.66", 4433], every=EVERY)
            link = network.link("alice/wifi")
            await link.impair(a_to_b=Impairment(drop=(pick,)))
            met.extend(await link.dropped("a_to_b"))
            await link.impair(a_to_b=Impairment(drop=(Pick(1, min_bytes=5000),)))
            assert await link.dropped("a_to_b", within=100 * ms) == []

    within_deadline(main)
    (found,) = met
    assert (found.pick, found.number, found.udp) == (pick, 3, True)
    assert [(receipt.fault, receipt.kind, receipt.taken) for receipt in receipts] == [
        ("alice/wifi a_to_b drop #3 ≥ 1 B", "impair", True),
        ("alice/wifi a_to_b drops #3 ≥ 1 B", "drop", True),
        ("alice/wifi a_to_b drop #1 ≥ 5000 B", "impair", True),
        ("alice/wifi a_to_b drops nothing", "drop", False),
    ]
    drops = receipts[1::2]
    assert drops[0].at == found.at
    assert drops[0].seen["dropped"][0]["begins"] == found.begins
    assert drops[1].seen["awaited"] == 1


def test_what_cannot_be_done_to_a_link_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(two_radios(), tmp_path) as network:
            with pytest.raises(SpecError) as caught:
                await network.link("alice/lte").impair(Impairment(delay=20 * ms))
            assert (caught.value.where, caught.value.what) == (
                "link alice/lte–carrier/ran",
                "it was built as a plain wire; give it an impairment in the topology (CLEAR will do)",
            )
            with pytest.raises(
                SpecError, match=exactly("link alice/wifi: impair() was given no impairment; to set back to nothing give CLEAR")
            ):
                await network.link("alice/wifi").impair()
            with pytest.raises(SpecError, match=exactly("link alice/wifi–home/lan, a_to_b, delay: -1ms is negative; allowed is 0 or more")):
                await network.link("alice/wifi").impair(Impairment(delay=-1 * ms))
            with pytest.raises(SpecError, match=re.escape("there is no interface 'alice/5g'; there are alice/wifi, home/lan, ")):
                network.link("alice/5g")

    within_deadline(main)


def test_the_way_out_is_switched(tmp_path: Path) -> None:
    receipts: list[Observation] = []
    wifi, lte = ("192.168.1.2", "fd00:1::2"), ("10.64.0.2", "fd00:2::2")

    async def main() -> None:
        async with opened(two_radios(), tmp_path, seen=receipts) as network, talking(network, "alice") as alice:

            async def source() -> tuple[str, ...]:
                return tuple([await alice.ask("source", to=to) for to in ("198.51.100.66", "2001:db8:3::2")])

            assert await source() == wifi
            await network.route("alice", "lte")
            assert await source() == lte
            await network.link("alice/lte").down()
            assert await source() == wifi, "the other one takes over"
            await network.link("alice/lte").up()
            assert await source() == lte, "and it is chosen again when it comes back"
            await network.route("alice", "wifi")
            assert await source() == wifi
            with pytest.raises(SpecError, match="there is no interface 'alice/5g'"):
                await network.route("alice", "5g")

    within_deadline(main)
    switched = [receipt for receipt in receipts if receipt.kind == "route"]
    assert [(one.fault, one.taken, one.seen["before"], one.seen["after"]) for one in switched] == [
        ("alice routes by lte", True, "wifi", "lte"),
        ("alice routes by wifi", True, "lte", "wifi"),
    ]


# -- processes ---


def test_a_process_is_in_its_nodes_namespace(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(wire(), tmp_path) as network, talking(network, "alice") as alice, talking(network, "bob") as bob:
            spaces = network.report["namespaces"]
            assert len({spaces["alice"], spaces["bob"], os.stat("/proc/self/ns/net").st_ino}) == 3
            for name, talker in (("alice", alice), ("bob", bob)):
                inside = await talker.ask("where")
                assert inside["namespace"] == spaces[name]
                assert os.stat(f"/proc/{talker.process.pid}/ns/net").st_ino == spaces[name], "from outside too"
                assert inside["pid"] != talker.process.pid, "its PID namespace is the run's own"
                assert os.readlink(f"/proc/{talker.process.pid}/ns/pid") != os.readlink("/proc/self/ns/pid")

    within_deadline(main)


def test_how_a_process_ends_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(wire(), tmp_path) as network:
            assert await run_in(network, "alice", [sys.executable, "-c", "print('out'); raise SystemExit(3)"]) == (3, "out\n")
            async with talking(network, "bob") as bob:
                bob.process.signal(signal.SIGKILL)
                await bob.process.ended.wait()
                assert bob.process.code == -signal.SIGKILL
                bob.process.signal(signal.SIGKILL)  # nobody's process by now

    within_deadline(main)


def test_a_process_that_is_killed_is_seen_to_be_gone(tmp_path: Path) -> None:
    receipts: list[Observation] = []

    async def main() -> None:
        async with opened(wire(), tmp_path, seen=receipts) as network, talking(network, "bob") as bob:
            await network.kill(bob.process)
            assert bob.process.ended.is_set()
            quick = await network.spawn("alice", ["/bin/true"], stdin=0, stdout=1, stderr=2)
            await quick.ended.wait()
            await network.kill(quick)

    within_deadline(main)
    assert [(one.fault, one.taken, one.seen["exit code"]) for one in receipts] == [
        ("bob is killed", True, -9),
        ("alice is killed", False, 0),
    ]


def test_what_a_link_drops_is_counted(tmp_path: Path) -> None:
    receipts: list[Observation] = []

    async def main() -> None:
        async with (
            opened(two_radios(), tmp_path, seen=receipts) as network,
            talking(network, "alice") as alice,
            talking(network, "bob") as bob,
        ):
            link = network.link("alice/wifi")
            await bob.ask("open", name="4", bind=["198.51.100.66", 4433], every=EVERY)
            await alice.ask("open", name="4", bind=["192.168.1.2", 4433], to=["198.51.100.66", 4433], every=EVERY)
            await bob.ask("heard", name="4", count=10)
            before = await link.drops()
            assert await link.show_drops(since=before) == 0
            await link.impair(Impairment(loss=50 * percent))
            so_far = (await bob.ask("heard", name="4"))["count"]
            await bob.ask("heard", name="4", count=so_far + 50)  # about as many were lost
            assert await link.show_drops(since=before) >= 20

    within_deadline(main)
    assert [one.taken for one in receipts if one.kind == "drop counter"] == [False, True]


def test_what_cannot_be_started_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "plain").write_text("")
        before = remains.descriptors()
        async with opened(wire(), tmp_path) as network:
            with pytest.raises(HarnessError, match=exactly("/no/such/agent could not be started in alice: No such file or directory")):
                await run_in(network, "alice", ["/no/such/agent"])
            with pytest.raises(HarnessError, match="plain could not be started in bob: Permission denied"):
                await run_in(network, "bob", [str(tmp_path / "plain")])
            with pytest.raises(SpecError, match=exactly("topology wire: there is no node 'carol'; there are alice, bob")):
                await run_in(network, "carol", ["true"])
            assert (await run_in(network, "alice", ["true"]))[0] == 0, "and it goes on"
        assert set(remains.descriptors()) - set(before) == set()

    within_deadline(main)


def test_an_unknown_request_is_told_and_the_keeper_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(wire(), tmp_path) as network:
            with pytest.raises(HarnessError, match=exactly("the keeper knows no request 'dance'")):
                await network.ask("dance")
            assert (await network.ask("interface", end="alice/eth"))["up"]

    within_deadline(main)


def test_two_networks_of_one_topology_never_meet(tmp_path: Path) -> None:
    async def main() -> None:
        folders = [tmp_path / name for name in ("one", "other")]
        for folder in folders:
            folder.mkdir()
        async with opened(two_radios(), folders[0]) as one, opened(two_radios(), folders[1]) as other:
            assert not set(one.report["namespaces"].values()) & set(other.report["namespaces"].values())
            async with contextlib.AsyncExitStack() as stack:
                for network, text in ((one, "one"), (other, "other")):
                    alice = await stack.enter_async_context(talking(network, "alice"))
                    bob = await stack.enter_async_context(talking(network, "bob"))
                    await bob.ask("open", name="4", bind=["198.51.100.66", 4433])
                    await alice.ask("open", name="4", bind=["192.168.1.2", 4433], to=["198.51.100.66", 4433])
                    for _ in range(3):
                        await alice.ask("poke", name="4", to=["198.51.100.66", 4433], text=text)
                    assert (await bob.ask("heard", name="4", text=text))["texts"][0] == text
                    heard = await bob.ask("heard", name="4")
                    assert set(heard["texts"]) == {text}

    within_deadline(main)
