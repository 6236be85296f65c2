"""The client moves, its NAT rebinds, its link goes away: what the call does about it."""

from __future__ import annotations

import itertools

import pytest

from harness.call.connection import Connection
from harness.call.errors import InvalidState
from harness.call.events import Address, CallRejected, PathEvent
from harness.call.session import Endpoint

from .conftest import Identity
from .world import MS, Host, Path, S, World, connect, payload_time


def phone(world: World, *, wifi: int = 10 * MS, lte: int = 30 * MS, **settings: object) -> Host:
    return world.host("alice", Path("wifi", "192.0.2.1", 5000, wifi), Path("lte", "198.51.100.1", 6000, lte), **settings)


def callee(world: World, **settings: object) -> Host:
    return world.host("bob", Path("eth", "203.0.113.1", 4433, 10 * MS), auto_answer=True, **settings)


def dial(world: World, alice: Host, bob: Host) -> str:
    return connect(world, alice, bob, over="wifi")


def gaps(host: Host, since: int, until: int) -> int:
    """Longest time between two packets heard, in ms."""
    times = [event.arrived for event in host.heard() if since <= event.arrived <= until]
    return max(b - a for a, b in itertools.pairwise(times)) // MS


def test_active_migration_keeps_the_old_path_until_the_new_one_has_answered(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    call = dial(world, alice, bob)
    for host in (alice, bob):
        world.talk(host, call)
    world.run(1 * S)
    before = world.now
    odcid = alice.endpoint.stats(call).odcid
    alice.endpoint.migrate(call, "lte", world.now)
    world.run(2 * S)
    kinds = [(event.kind, event.address.path, (event.at - before) // MS) for event in alice.all(PathEvent)]
    assert kinds == [("probing", "lte", 0), ("validated", "lte", 80), ("migrated", "lte", 80)]
    media = [(at, transmit.address.path) for at, transmit in alice.sent if transmit.media]
    assert {path for at, path in media if at <= before + 79 * MS} == {"wifi"}
    assert {path for at, path in media if at > before + 80 * MS} == {"lte"}
    assert bob.path_kinds()[0] == "peer_moved"
    assert bob.path_kinds()[-1] == "validated"
    assert bob.all(PathEvent)[-1].address == Address("eth", "198.51.100.1", 6000)
    world.hush(alice)
    world.hush(bob)
    world.run(1 * S)
    assert len(alice.heard()) == len(alice.offered)
    assert len(bob.heard()) == len(alice.offered)
    assert gaps(alice, before, world.now) <= 20 + 40 + 1
    assert alice.endpoint.stats(call).odcid == odcid
    assert alice.endpoint.stats(call).handshakes == bob.endpoint.stats(call).handshakes == 1


def test_no_connection_id_is_seen_on_two_paths(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    call = dial(world, alice, bob)
    for host in (alice, bob):
        world.talk(host, call)
    for path in ("lte", "wifi", "lte", "wifi"):
        world.run(1 * S)
        alice.endpoint.migrate(call, path, world.now)
    world.run(1 * S)
    assert alice.path_kinds().count("migrated") == 4
    paths_of: dict[bytes, set[str]] = {}
    for _, transmit in alice.sent:
        if not transmit.data[0] & 0x80:
            paths_of.setdefault(transmit.data[1:9], set()).add(transmit.address.path)
    assert all(len(paths) == 1 for paths in paths_of.values())
    remotes_of: dict[bytes, set[str]] = {}
    for _, transmit in bob.sent:
        if not transmit.data[0] & 0x80:
            remotes_of.setdefault(transmit.data[1:9], set()).add(transmit.address.ip)
    assert all(len(remotes) == 1 for remotes in remotes_of.values())


def test_late_packets_of_a_slow_old_path_burn_no_connection_ids(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world, wifi=10 * MS, lte=300 * MS), callee(world)
    call = dial(world, alice, bob)
    for host in (alice, bob):
        world.talk(host, call, life=2 * S)
    world.run(1 * S)
    alice.endpoint.migrate(call, "lte", world.now)
    world.run(2 * S)
    alice.endpoint.migrate(call, "wifi", world.now)
    world.run(3 * S)
    world.hush(alice)
    world.hush(bob)
    world.run(1 * S)
    assert len(bob.heard()) == len(alice.offered)
    assert len(alice.heard()) == len(bob.offered)
    used = {transmit.data[1:9] for _, transmit in bob.sent if not transmit.data[0] & 0x80}
    assert len(used) <= 4  # the first, one for each move, and one for an answered probe


def test_a_lost_probe_is_repeated(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    call = dial(world, alice, bob)
    world.talk(alice, call)
    world.run(1 * S)
    lost = iter([True, True])
    alice.paths["lte"].drop = lambda data, outward: outward and next(lost, False)
    before = world.now
    alice.endpoint.migrate(call, "lte", world.now)
    world.run(2 * S)
    assert [(event.kind, (event.at - before) // MS) for event in alice.all(PathEvent)] == [
        ("probing", 0),
        ("validated", 480),
        ("migrated", 480),
    ]
    assert alice.endpoint.stats(call).path == "lte"


@pytest.mark.long
def test_a_probe_that_nobody_answers_is_given_up_and_the_call_stays(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    call = dial(world, alice, bob)
    world.talk(alice, call)
    world.run(1 * S)
    alice.paths["lte"].up = False
    for _ in range(10):
        alice.endpoint.migrate(call, "lte", world.now)
        world.run(4 * S)
    assert alice.path_kinds() == ["probing", "probe_failed"] * 10
    assert alice.endpoint.stats(call).path == "wifi"
    alice.paths["lte"].up = True
    alice.endpoint.migrate(call, "lte", world.now)
    world.run(1 * S)
    assert alice.endpoint.stats(call).path == "lte"


def test_a_dead_old_path_does_not_keep_the_call_from_moving(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    call = dial(world, alice, bob)
    for host in (alice, bob):
        world.talk(host, call)
    world.run(1 * S)
    alice.paths["wifi"].up = False
    world.run(95 * MS)
    before = world.now
    alice.endpoint.migrate(call, "lte", world.now)
    world.run(3 * S)
    assert alice.endpoint.stats(call).path == "lte"
    for host in (alice, bob):
        first = next(event for event in host.heard() if payload_time(event) > before)
        assert first.arrived - before <= 200 * MS


def test_the_old_path_gone_for_long_before_the_move(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    call = dial(world, alice, bob)
    for host in (alice, bob):
        world.talk(host, call)
    world.run(1 * S)
    alice.paths["wifi"].up = False
    world.run(8 * S)
    assert alice.path_kinds() == bob.path_kinds() == ["suspected", "disconnected"]
    before = world.now
    alice.endpoint.migrate(call, "lte", world.now)
    world.run(3 * S)
    assert "healthy" in alice.path_kinds()
    assert "healthy" in bob.path_kinds()
    for host in (alice, bob):
        first = next(event for event in host.heard() if payload_time(event) > before)
        assert first.arrived - before <= 250 * MS
        assert all(event.arrived - payload_time(event) <= 250 * MS for event in host.heard())


@pytest.mark.parametrize("change", ["port", "address"])
def test_the_server_follows_a_rebind(identity: Identity, change: str) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    call = dial(world, alice, bob)
    for host in (alice, bob):
        world.talk(host, call)
    world.run(1 * S)
    before = world.now
    if change == "port":
        alice.paths["wifi"].port = 5001
    else:
        alice.paths["wifi"].ip, alice.paths["wifi"].port = "192.0.2.77", 40_000
    world.run(2 * S)
    assert alice.path_kinds() == []
    assert bob.path_kinds() == ["peer_moved", "validating", "validated"]
    now_at = Address("eth", alice.paths["wifi"].ip, alice.paths["wifi"].port)
    assert {event.address for event in bob.all(PathEvent)} == {now_at}
    assert bob.endpoint.stats(call).address == now_at
    world.hush(alice)
    world.hush(bob)
    world.run(1 * S)
    assert len(bob.heard()) == len(alice.offered)
    assert len(bob.offered) - len(alice.heard()) <= 3
    assert gaps(alice, before, world.now - 1 * S) <= 100


def test_rebinding_over_and_over(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    call = dial(world, alice, bob)
    for host in (alice, bob):
        world.talk(host, call)
    for port in range(7000, 7020):
        world.run(500 * MS)
        alice.paths["wifi"].port = port
    world.run(1 * S)
    assert bob.endpoint.stats(call).address.port == 7019
    assert bob.path_kinds() == ["peer_moved", "validating", "validated"] * 20
    assert len(bob.offered) - len(alice.heard()) <= 2 + 20 * 4


def test_a_muted_client_is_found_again_after_a_rebind_within_keepalive(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world, rtcp=None), callee(world, rtcp=None)
    call = dial(world, alice, bob)
    world.talk(bob, call)
    world.run(3300 * MS)
    before = world.now
    alice.paths["wifi"].up = False
    alice.paths["wifi"].port = 5001
    world.run(300 * MS)
    alice.paths["wifi"].up = True
    world.run(5 * S)
    first = next(event for event in alice.heard() if payload_time(event) > before)
    assert first.arrived - before <= 1000 * MS + 300 * MS + 2 * 40 * MS + 100 * MS


def test_a_muted_client_without_keepalive_and_rtcp_sends_nothing_but_acks(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world, rtcp=None, keepalive=None), callee(world, rtcp=None, keepalive=None)
    call = dial(world, alice, bob)
    world.talk(bob, call)
    world.run(1 * S)
    before = world.now
    world.run(4 * S)
    assert {len(transmit.data) for at, transmit in alice.sent if at > before} <= set(range(30, 45))
    alice.paths["wifi"].up = False
    alice.paths["wifi"].port = 5001
    world.run(300 * MS)
    alice.paths["wifi"].up = True
    lost = world.now
    world.run(5 * S)
    assert alice.heard(since=lost) == []


def test_who_may_not_migrate(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    call = alice.endpoint.initiate(world.address(bob, "wifi", "eth"), _video(), now=world.now)
    with pytest.raises(InvalidState, match="not confirmed yet"):
        alice.endpoint.migrate(call, "lte", world.now)
    world.run(1 * S)
    with pytest.raises(InvalidState, match="only the side that dialled"):
        bob.endpoint.migrate(call, "lte", world.now)
    with pytest.raises(InvalidState, match="already uses wifi"):
        alice.endpoint.migrate(call, "wifi", world.now)
    assert not alice.all(CallRejected)


def test_a_second_probe_replaces_the_first(identity: Identity) -> None:
    world = World(identity)
    alice = world.host("alice", *(Path(name, f"192.0.2.{n}", 5000, 10 * MS) for n, name in enumerate(("wifi", "lte", "usb"), 1)))
    bob = callee(world)
    call = dial(world, alice, bob)
    alice.paths["lte"].up = False
    world.run(1 * S)
    alice.endpoint.migrate(call, "lte", world.now)
    world.run(300 * MS)
    alice.endpoint.migrate(call, "usb", world.now)
    world.run(1 * S)
    assert alice.path_kinds() == ["probing", "probe_failed", "probing", "validated", "migrated"]


class Deaf(Connection):
    """A server's connection that never follows its peer."""

    first: Address | None = None

    def source_of(self, address: Address) -> Address:
        self.first = self.first or address
        return self.first


class DeafEndpoint(Endpoint):
    connection_class = Deaf


def test_a_server_that_never_follows_can_be_made_from_outside(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world, kind=DeafEndpoint)
    call = dial(world, alice, bob)
    for host in (alice, bob):
        world.talk(host, call)
    world.run(1 * S)
    alice.paths["wifi"].port = 5001
    lost = world.now
    world.run(4 * S)
    assert alice.heard(since=lost + 50 * MS) == []
    assert bob.path_kinds() == []


def _video() -> object:
    from harness.call.capabilities import MediaConstraints

    return MediaConstraints.video_call()
