"""What every translator must do, nft and the userspace one alike: RFC 4787's behaviours seen from outside, and every kind of rebind.

Many NATs stand around one internet, so that each network is built once.  There is no delay on these paths.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
import trio

from harness.errors import SpecError
from harness.fabric.nat_handle import NatHandle
from harness.fabric.network import Network
from harness.fabric.pcapng import Reader
from harness.fabric.receipts import Observation
from harness.spec.nat import Behaviour, Nat, PortForward, Ports
from harness.units import Duration, ms, s
from tests.conformance.networks import Talker, opened, talking, within_deadline
from tests.conformance.sites import homes, sites

EXECUTORS = ("nft", "userspace")
INDEPENDENT, BY_ADDRESS, BY_PORT = get_args(Behaviour)
BOB = {4: "198.51.100.2", 6: "2001:db8:b::2"}
CAROL = {4: "198.51.100.18", 6: "2001:db8:c::2"}
EVERY = 0.004
ALL = list(product(get_args(Behaviour), repeat=2))
BEYOND_NFT = {(BY_ADDRESS, INDEPENDENT), (BY_PORT, INDEPENDENT), (BY_PORT, BY_ADDRESS)}


def nat(**fields: Any) -> Nat:
    return Nat(outside="wan", **fields)


def said(executor: str, nats: list[Nat]) -> list[Nat]:
    """Those of them that the executor can do, as this suite has it."""
    if executor == "userspace":
        return nats
    return [
        one
        for one in nats
        if (one.mapping, one.filtering) not in BEYOND_NFT
        and not (one.hairpinning and one.filtering != INDEPENDENT)
        and one.refresh == "both"
        and one.ipv6 != "prefix"
    ]


# -- classes -------------------------------------------------------------------------------------------------------------------------------

NINE = [nat(mapping=mapping, filtering=filtering) for mapping, filtering in ALL]
PORTS = [nat(mapping=mapping, ports=ports) for mapping, ports in product((INDEPENDENT, BY_PORT), get_args(Ports)) if ports != "preserve"]
HAIRPINS = [nat(filtering=filtering, hairpinning=True) for filtering in get_args(Behaviour)]
POOLS = [nat(pool=3), nat(pool=3, pooling="arbitrary"), nat(pool=2, pooling="arbitrary", ports="random")]
V6 = [nat(filtering=filtering, ipv6="firewall") for filtering in get_args(Behaviour)]
V6 += [nat(filtering=filtering, ipv6="prefix", prefix6=f"2001:db8:aa0{n}::/48") for n, filtering in enumerate(get_args(Behaviour))]
CLASSES = {"the nine": NINE, "ports": PORTS, "hairpinning": HAIRPINS, "pools": POOLS, "IPv6": V6}


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("group", CLASSES)
def test_what_is_asked_is_seen_from_outside(tmp_path: Path, executor: str, group: str) -> None:
    nats = said(executor, CLASSES[group])

    async def main() -> None:
        async with opened(homes(nats), tmp_path, translate=executor) as network:
            probed = await network.probe()  # raises when anything differs
            assert {one["executor"] for one in network.report["nats"].values()} == {executor}
        for n, one in enumerate(nats):
            for version in (4, 6):
                seen = probed["nats"][f"n{n}/ipv{version}"]
                assert seen["filtering"] == one.filtering
                if version == 6 and one.ipv6 != "translate":
                    assert "mapping" not in seen
                    assert seen["seen as"].startswith(one.prefix6[:-5] if one.prefix6 else f"fd00:{n}:a::2")
                    continue
                assert (seen["mapping"], seen["ports"]) == (one.mapping, one.ports)
                assert len(seen["addresses"]) == (one.pool if one.pooling == "arbitrary" else 1)
                assert seen.get("hairpinning", False) == (one.hairpinning and one.mapping == INDEPENDENT)

    within_deadline(main)


REFUSED = [
    *(
        ({"mapping": mapping, "filtering": filtering}, f"mapping {mapping} with filtering {filtering} cannot")
        for mapping, filtering in sorted(BEYOND_NFT)
    ),
    ({"hairpinning": True}, f"hairpinning with filtering {BY_PORT} cannot"),
    ({"refresh": "outbound"}, "refresh 'outbound' cannot"),
    ({"ipv6": "prefix", "prefix6": "2001:db8:aa::/48"}, "ipv6 'prefix' cannot"),
]


@pytest.mark.parametrize(("fields", "why"), REFUSED, ids=[why.replace(" ", "-") for _fields, why in REFUSED])
def test_what_nft_cannot_do_exactly_it_refuses_by_name(tmp_path: Path, fields: dict[str, Any], why: str) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with opened(homes([nat(**fields)]), tmp_path, translate="nft"):
                raise AssertionError("it was built")
        (error,) = caught.value.exceptions
        assert isinstance(error, SpecError)
        assert error.where == "topology homes, router n0, nat"
        assert error.what.startswith(f"{why} be said in nft")

    within_deadline(main)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_carrier_behind_a_home(tmp_path: Path, executor: str) -> None:
    """Two NATs in a row look like the stricter of both."""
    outer = said(executor, [nat(mapping=mapping, filtering=mapping) for mapping in get_args(Behaviour)])
    chains = list(product((nat(), nat(filtering=INDEPENDENT)), outer))

    async def main() -> None:
        async with opened(sites(chains), tmp_path, translate=executor) as network:
            probed = await network.probe()
        order = get_args(Behaviour).index
        for n, chain in enumerate(chains):
            seen = probed["nats"][f"n{n}_0/ipv4"]
            assert seen["mapping"] == max((one.mapping for one in chain), key=order)
            assert seen["filtering"] == max((one.filtering for one in chain), key=order)

    within_deadline(main)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_forwards_and_pinholes_lead_in(tmp_path: Path, executor: str) -> None:
    forwards = (PortForward(port=5000, host="a0", to_port=4433),)
    others = tuple(PortForward(port=5000, host=f"a{n}", to_port=4433) for n in (1, 2))
    nats = [nat(forwards=forwards), nat(forwards=others[:1], ipv6="firewall")]
    nats += [nat(forwards=others[1:], ipv6="prefix", prefix6="2001:db8:aa::/48")] * (executor == "userspace")

    async def main() -> None:
        async with opened(homes(nats), tmp_path, translate=executor) as network:
            probed = await network.probe()
            ways = {(way["to"], way["ip"], way["port"]) for way in probed["reach"] if way["from"] == "bob"}
            assert ("a0", "203.0.113.2", 5000) in ways
            assert ("a0", "2001:db8:1::2", 5000) in ways
            assert ("a1", "fd00:1:a::2", 4433) in ways, "a pinhole of the firewall"
            if executor == "userspace":
                assert ("a2", network.reach("bob", "a2", 4433, 6)[0], 4433) in ways

    within_deadline(main)


# -- mappings ------------------------------------------------------------------------------------------------------------------------------


async def seen_at(talker: Talker, name: str, far: Talker, target: list[Any], text: str) -> tuple[str, int]:
    """Where a packet of socket ``name`` seems to come from at ``far``'s socket of the same name."""
    await talker.ask("poke", name=name, to=target, text=text)
    address, port = (await far.ask("heard", name=name, text=text))["from"][text]
    return address, port


@pytest.mark.parametrize("executor", EXECUTORS)
def test_two_hosts_with_one_port_keep_apart(tmp_path: Path, executor: str) -> None:
    """No port overloading (RFC 4787 REQ-3): each has its own outside endpoint, towards everybody."""
    nats = said(executor, [nat(filtering=filtering) for filtering in get_args(Behaviour)] + [nat(ports="random"), nat(ports="contiguous")])

    async def main() -> None:
        async with opened(homes(nats), tmp_path, translate=executor) as network, contextlib.AsyncExitStack() as stack:
            bob, carol = [await stack.enter_async_context(talking(network, who)) for who in ("bob", "carol")]
            for n, version in product(range(len(nats)), (4, 6)):
                outside = {}
                for host in (f"a{n}", f"b{n}"):
                    talker, name = await stack.enter_async_context(talking(network, host)), f"{host} {version}"
                    port = network.topology.port(f"{host}/eth")
                    own = port.v4 if version == 4 else port.v6
                    assert own is not None
                    await talker.ask("open", name=name, bind=[str(own.ip), 5004], to=[BOB[version], 9])
                    for far, address in ((bob, BOB[version]), (carol, CAROL[version])):
                        bound = await far.ask("open", name=name, bind=[address, 0])
                        outside[host, address] = await seen_at(talker, name, far, bound, "where")
                ends = [{outside[host, address] for address in (BOB[version], CAROL[version])} for host in (f"a{n}", f"b{n}")]
                assert [len(one) for one in ends] == [1, 1], "each looks alike to both"
                assert not ends[0] & ends[1], "and not like the other"

    within_deadline(main)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_symmetric_nat_rebinds_each_remote_apart(tmp_path: Path, executor: str) -> None:
    nats = said(executor, [nat(mapping=BY_PORT, ports=ports) for ports in get_args(Ports)] + [nat(mapping=BY_ADDRESS)])

    async def main() -> None:
        async with opened(homes(nats), tmp_path, translate=executor) as network, contextlib.AsyncExitStack() as stack:
            bob, carol = [await stack.enter_async_context(talking(network, who)) for who in ("bob", "carol")]
            for n in range(len(nats)):
                talker = await stack.enter_async_context(talking(network, f"a{n}"))
                await talker.ask("open", name=f"s{n}", bind=["10.0.0.2", 5004], to=[BOB[4], 9])
                bound = [await far.ask("open", name=f"s{n}", bind=[address, 0]) for far, address in ((bob, BOB[4]), (carol, CAROL[4]))]
                ways = list(zip((bob, carol), bound, strict=True))
                before = [await seen_at(talker, f"s{n}", far, to, "before") for far, to in ways]
                receipt = await network.nat(f"n{n}").rebind(f"a{n}", within=1 * ms)  # it sends nothing, so no new one can be seen
                assert receipt.taken
                after = [await seen_at(talker, f"s{n}", far, to, "after") for far, to in ways]
                assert len({*before, *after}) == 4

    within_deadline(main)


# -- rebinding -----------------------------------------------------------------------------------------------------------------------------

REBOUND = {
    "home": nat(),
    "cone": nat(filtering=INDEPENDENT),
    "restricted": nat(filtering=BY_ADDRESS, ports="random"),
    "symmetric": nat(mapping=BY_PORT, ports="random"),
}
LINGER = 5 * s  # by far longer than it takes to look at all that linger together


class Pair:
    """One flow in each family between host ``a{n}`` and bob."""

    def __init__(self, network: Network, n: int, near: Talker, far: Talker) -> None:
        self.network, self.n, self.near, self.far = network, n, near, far
        self.nat: NatHandle = network.nat(f"n{n}")
        self.pokes = 0

    async def start(self) -> None:
        for version in (4, 6):
            name, port = f"{self.n} {version}", 4000 + 10 * self.n + version
            own = self.network.topology.port(f"a{self.n}/eth")
            address = own.v4 if version == 4 else own.v6
            assert address is not None
            await self.far.ask("open", name=name, bind=[BOB[version], port], every=EVERY)
            await self.near.ask("open", name=name, bind=[str(address.ip), port], to=[BOB[version], port], every=EVERY)
        await self.flowing()

    async def flowing(self) -> None:
        """Some more packets of each family both ways."""
        for talker, version in product((self.far, self.near), (4, 6)):
            count = (await talker.ask("heard", name=f"{self.n} {version}"))["count"] + 3
            assert (await talker.ask("heard", name=f"{self.n} {version}", count=count))["count"] >= count

    async def outside(self) -> dict[int, list[Any]]:
        """Where bob sees each family come from."""
        return {version: (await self.far.ask("heard", name=f"{self.n} {version}"))["runs"][-1][2] for version in (4, 6)}

    async def gets_in(self, places: dict[int, list[Any]], new: dict[int, list[Any]]) -> set[int]:
        """The families in which what bob sends to ``places`` arrives; a packet to ``new``, sent after it, tells when to stop waiting."""
        self.pokes += 1
        found = set()
        for version in (4, 6):
            name = f"{self.n} {version}"
            await self.far.ask("poke", name=name, to=places[version], text=f"maybe {self.pokes}")
            await self.far.ask("poke", name=name, to=new[version], text=f"surely {self.pokes}")
            texts = (await self.near.ask("heard", name=name, text=f"surely {self.pokes}"))["texts"]
            assert f"surely {self.pokes}" in texts
            if f"maybe {self.pokes}" in texts:
                found.add(version)
        return found


@contextlib.asynccontextmanager
async def pairs(network: Network) -> AsyncIterator[list[Pair]]:
    async with contextlib.AsyncExitStack() as stack:
        found = []
        far = await stack.enter_async_context(talking(network, "bob"))
        for n in range(len(REBOUND)):
            near = await stack.enter_async_context(talking(network, f"a{n}"))
            found.append(Pair(network, n, near, far))
            await found[-1].start()
        yield found


def icmp_errors(folder: Path) -> int:
    """Destination unreachable and its like, in both families, in all captures of the links to the internet's sites."""
    return sum(_is_icmp_error(packet.data) for path in folder.glob("internet*.pcapng") for packet in Reader(path))


def _is_icmp_error(frame: bytes) -> bool:
    if frame[12:14] == b"\x08\x00":
        return frame[23] == 1 and frame[34] in (3, 11, 12)
    return frame[12:14] == b"\x86\xdd" and frame[20] == 58 and frame[54] < 128


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_rebind_with_traffic_both_ways(tmp_path: Path, executor: str) -> None:
    receipts: list[Observation] = []

    async def main() -> None:
        topology = homes(list(REBOUND.values()))
        async with opened(topology, tmp_path, translate=executor, captures=True, seen=receipts) as network:
            await network.capture()
            async with pairs(network) as found:
                for pair in found:
                    await at_once(pair, address=False)
                    await at_once(pair, address=True)
                await lingering(found)
                for pair in found:
                    await nothing_lost(pair)
                await network.flush()
                assert icmp_errors(tmp_path / "capture") == 0
                for pair in found:
                    await told(pair)
                    await rebooted(pair)

    within_deadline(main)
    assert all(receipt.taken for receipt in receipts), [receipt for receipt in receipts if not receipt.taken]
    assert len(receipts) == 5 * len(REBOUND)


async def at_once(pair: Pair, *, address: bool) -> None:
    old = await pair.outside()
    receipt = await pair.nat.rebind(f"a{pair.n}", address=address)
    await pair.flowing()
    new = await pair.outside()
    assert receipt.seen["icmp errors sent"] == 0
    for version in (4, 6):
        assert new[version][1] != old[version][1]
        assert (new[version][0] != old[version][0]) == address
    assert await pair.gets_in(old, new) == set(), "the old one is dead"


async def lingering(found: list[Pair]) -> None:
    old = [await pair.outside() for pair in found]
    new = list(old)
    receipts: list[Observation] = []

    async def rebind(pair: Pair) -> None:
        receipts.append(await pair.nat.rebind(f"a{pair.n}", linger=LINGER))

    async with trio.open_nursery() as nursery:
        for pair in found:
            nursery.start_soon(rebind, pair)
        for n, pair in enumerate(found):
            while any(new[n][version] == old[n][version] for version in (4, 6)):
                await pair.flowing()
                new[n] = await pair.outside()
            assert await pair.gets_in(old[n], new[n]) == {4, 6}, "what lingers lets in"
        assert not receipts, "they linger still"
    for n, pair in enumerate(found):
        assert await pair.gets_in(old[n], new[n]) == set(), "and then no more"
    assert all(receipt.seen["lingered"].startswith("yes, until ") for receipt in receipts)


async def nothing_lost(pair: Pair) -> None:
    """Nothing of what the host behind the NAT sent is lost or came twice."""
    sent = await pair.near.ask("quiet")
    for version in (4, 6):
        name = f"{pair.n} {version}"
        count = sent[name][-1][1] + 1
        heard = await pair.far.ask("heard", name=name, count=count)
        assert (heard["count"], heard["twice"], heard["refused"]) == (count, 0, 0)
    for version in (4, 6):
        await pair.near.ask("again", name=f"{pair.n} {version}", every=EVERY)
    await pair.flowing()


async def told(pair: Pair) -> None:
    """With ``icmp`` who sends to the dead mapping is told port unreachable."""
    old = await pair.outside()
    await pair.nat.rebind(f"a{pair.n}", icmp=True)
    await pair.flowing()
    before = (await pair.far.ask("where"))["icmp"]
    new = await pair.outside()
    now = before
    while any(now[family] == before[family] for family in ("ipv4", "ipv6")):
        assert await pair.gets_in(old, new) == set()
        now = (await pair.far.ask("where"))["icmp"]


async def rebooted(pair: Pair) -> None:
    before = await pair.nat.mappings()
    receipt = await pair.nat.reboot()
    assert receipt.seen["all mappings gone"]
    assert len(receipt.seen["before"]) == len(before) == 2
    await pair.flowing()


@contextlib.asynccontextmanager
async def heard_by_bob(network: Network) -> AsyncIterator[tuple[Talker, Talker, Talker, list[Any]]]:
    """The host, which sends to bob all the time, bob, carol, who is silent, and where bob sees the host."""
    async with talking(network, "a0") as near, talking(network, "bob") as bob, talking(network, "carol") as carol:
        await bob.ask("open", name="4", bind=[BOB[4], 4004])
        await near.ask("open", name="4", bind=["10.0.0.2", 4004], to=[BOB[4], 4004], every=EVERY)
        await carol.ask("open", name="4", bind=[CAROL[4], 4004])
        yield near, bob, carol, await seen_again(bob)


async def seen_again(bob: Talker) -> list[Any]:
    """Where bob sees the host, by packets that are still to come."""
    heard = await bob.ask("heard", name="4", count=(await bob.ask("heard", name="4"))["count"] + 3)
    return list(heard["runs"][-1][2])


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_came_in_from_elsewhere_dies_with_the_mapping(tmp_path: Path, executor: str) -> None:
    """A remote that a cone let in, which the host answers, has no flow any more after a rebind but by the host's new packets."""

    async def main() -> None:
        async with (
            opened(homes([REBOUND["cone"]]), tmp_path, translate=executor) as network,
            heard_by_bob(network) as (near, bob, carol, old),
        ):
            await carol.ask("poke", name="4", to=old, text="from carol")
            assert "from carol" in (await near.ask("heard", name="4", text="from carol"))["texts"]
            await near.ask("poke", name="4", to=[CAROL[4], 4004], text="to carol")
            assert "to carol" in (await carol.ask("heard", name="4", text="to carol"))["texts"]
            assert (await network.nat("n0").rebind("a0")).taken
            new = await seen_again(bob)
            await carol.ask("poke", name="4", to=old, text="to the old")
            await carol.ask("poke", name="4", to=new, text="to the new")
            assert "to the old" not in (await near.ask("heard", name="4", text="to the new"))["texts"]

    within_deadline(main)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_nothing_admits_and_nobody_takes_is_counted_also_over_a_reboot(tmp_path: Path, executor: str) -> None:
    async def main() -> None:
        async with (
            opened(homes([REBOUND["home"]]), tmp_path, translate=executor) as network,
            heard_by_bob(network) as (near, bob, carol, outside),
        ):
            await carol.ask("open", name="stranger", bind=[CAROL[4], 5005])
            for uninvited in (3, 2):
                await near.ask("poke", name="4", to=[CAROL[4], 4004], text=f"to carol {uninvited}")
                assert f"to carol {uninvited}" in (await carol.ask("heard", name="4", text=f"to carol {uninvited}"))["texts"]
                for _ in range(uninvited):
                    await carol.ask("poke", name="stranger", to=outside, text="from a stranger")
                await carol.ask("poke", name="4", to=outside, text=f"invited {uninvited}")  # goes the way of those before it
                texts = (await near.ask("heard", name="4", text=f"invited {uninvited}"))["texts"]
                assert f"invited {uninvited}" in texts
                assert "from a stranger" not in texts
                if uninvited == 3:
                    assert (await network.nat("n0").reboot()).taken
                    outside = await seen_again(bob)
            for _ in range(4):
                await carol.ask("poke", name="4", to=[BOB[4], 9], text="to nobody")
            await carol.ask("poke", name="4", to=[BOB[4], 4004], text="to bob")
            assert "to bob" in (await bob.ask("heard", name="4", text="to bob"))["texts"]
            last = await network.finish()
            assert last["nats"]["n0"]["inbound"]["dropped"] == ({"unadmitted": 5} if executor == "nft" else {"filtered": 5})
            assert last["kernels"]["bob"] == {"no_port": 4}
            assert last["kernels"]["n0"] == {}

    within_deadline(main)


# -- timeouts ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_mapping_lives_as_long_as_it_is_refreshed(tmp_path: Path, executor: str) -> None:
    """Idle for ``udp_timeout`` it is forgotten; packets from outside refresh it with ``both``, and with ``outbound`` they do not."""
    nats = said(executor, [nat(udp_timeout=1 * s, ports="random"), nat(udp_timeout=1 * s, ports="random", refresh="outbound")])
    receipts: list[Observation] = []

    async def idle(network: Network, n: int) -> None:
        async with talking(network, f"a{n}") as near, talking(network, "bob") as bob:
            await bob.ask("open", name="4", bind=[BOB[4], 4000 + n], every=0.1)
            await near.ask("open", name="4", bind=["10.0.0.2", 4000], to=[BOB[4], 4000 + n], every=EVERY)
            assert (await bob.ask("heard", name="4", count=5))["count"] >= 5
            old = (await bob.ask("heard", name="4"))["runs"][-1][2]
            await near.ask("quiet")
            count = (await near.ask("heard", name="4"))["count"] + 20  # 2 s of them
            if nats[n].refresh == "both":
                assert (await near.ask("heard", name="4", count=count))["count"] >= count, "kept alive from outside"
                await bob.ask("quiet")
            receipt = await network.nat(f"n{n}").expired(f"a{n}")
            assert Duration.parse(receipt.seen["after"]) >= 0.8 * s, "not before its time"
            count = (await near.ask("heard", name="4"))["count"]
            assert (await near.ask("heard", name="4", count=count + 1, within=0.3))["count"] == count, "nothing gets in any more"
            await near.ask("poke", name="4", to=[BOB[4], 4000 + n], text="again")
            assert (await bob.ask("heard", name="4", text="again"))["from"]["again"] != old

    async def main() -> None:
        async with opened(homes(nats), tmp_path, translate=executor, seen=receipts) as network, trio.open_nursery() as nursery:
            for n in range(len(nats)):
                nursery.start_soon(idle, network, n)

    within_deadline(main)
    assert [receipt.taken for receipt in receipts] == [True] * len(nats)
