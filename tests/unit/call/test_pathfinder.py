"""The network changes and no application says so: the call finds another path by itself, or stays where it is."""

from __future__ import annotations

import pytest

from harness.call.events import PathEvent
from harness.call.pathfinder import Local
from harness.units import ms

from .conftest import Identity
from .test_migration import callee, phone
from .world import MS, Host, Path, S, World, connect, payload_time

WIFI, LTE = Local("wifi", 4), Local("lte", 4)
GRACE, SILENCE = 250 * MS, 1 * S
WIFI_ROUND_TRIP, LTE_ROUND_TRIP = 40 * MS, 80 * MS


def talking(world: World, alice: Host, bob: Host) -> str:
    call = connect(world, alice, bob, over="wifi")
    for host in (alice, bob):
        world.talk(host, call)
    alice.endpoint.paths_usable({WIFI, LTE}, world.now)
    world.run(1 * S)
    return call


def paths(host: Host, since: int) -> list[tuple[str, str, int]]:
    """(kind, path, ms since) of everything told of paths."""
    return [(event.kind, event.address.path, (event.at - since) // MS) for event in host.all(PathEvent) if event.at >= since]


def fresh_after(host: Host, since: int) -> int:
    """ns from ``since`` to the first packet heard that was offered later."""
    return next(event.arrived for event in host.heard(since) if payload_time(event) >= since) - since


def test_a_path_that_is_gone_is_left_after_the_grace(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    call = talking(world, alice, bob)
    alice.paths["wifi"].up = False
    alice.endpoint.paths_usable({LTE}, world.now)
    gone = world.now
    world.run(2 * S)
    assert paths(alice, gone) == [("probing", "lte", 250), ("validated", "lte", 330), ("migrated", "lte", 330)]
    for host in (alice, bob):
        assert fresh_after(host, gone) <= GRACE + 2 * LTE_ROUND_TRIP + 40 * MS
    assert alice.endpoint.stats(call).handshakes == 1


def test_a_link_that_is_back_within_the_grace_changes_nothing(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    talking(world, alice, bob)
    gone = world.now
    alice.endpoint.paths_usable({LTE}, world.now)
    world.run(GRACE - 50 * MS)
    alice.endpoint.paths_usable({WIFI, LTE}, world.now)
    world.run(3 * S)
    assert paths(alice, gone) == []


def test_an_application_that_knows_better_has_the_first_word(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    call = talking(world, alice, bob)
    alice.paths["wifi"].up = False
    alice.endpoint.paths_usable({LTE}, world.now)
    gone = world.now
    world.run(100 * MS)
    alice.endpoint.migrate(call, "lte", world.now)
    world.run(2 * S)
    assert paths(alice, gone) == [("probing", "lte", 100), ("validated", "lte", 180), ("migrated", "lte", 180)]


def test_asking_for_the_path_that_is_being_probed_does_not_begin_again(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    call = talking(world, alice, bob)
    alice.paths["wifi"].up = False
    alice.endpoint.paths_usable({LTE}, world.now)
    gone = world.now
    world.run(270 * MS)
    alice.endpoint.migrate(call, "lte", world.now)
    world.run(2 * S)
    assert paths(alice, gone) == [("probing", "lte", 250), ("validated", "lte", 330), ("migrated", "lte", 330)]


@pytest.mark.parametrize("dead", ["both ways", "up", "down"])
def test_a_path_that_answers_nothing_is_left_although_its_interface_is_up(identity: Identity, dead: str) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    call = talking(world, alice, bob)
    lost = {"both ways": (True, False), "up": (True,), "down": (False,)}[dead]
    alice.paths["wifi"].drop = lambda data, outward: outward in lost
    died = world.now
    world.run(3 * S)
    ((kind, path, at), *rest) = paths(alice, died)
    assert (kind, path) == ("probing", "lte")
    # The first packet that is not acknowledged was sent up to a packet interval after, or a round trip and an ACK's delay before.
    silence = SILENCE + WIFI_ROUND_TRIP
    assert (silence - WIFI_ROUND_TRIP - 40 * MS) // MS <= at <= (silence + 25 * MS) // MS
    assert rest == [("validated", "lte", at + 80), ("migrated", "lte", at + 80)]
    for host in (alice, bob):
        assert fresh_after(host, died + at * MS) <= 2 * LTE_ROUND_TRIP + 40 * MS
    assert alice.endpoint.stats(call).handshakes == 1


def test_a_muted_call_is_followed_by_its_keepalive(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    call = connect(world, alice, bob, over="wifi")
    alice.endpoint.paths_usable({WIFI, LTE}, world.now)
    world.run(3 * S)
    assert alice.path_kinds() == []
    alice.paths["wifi"].up = False
    world.run(1 * S + SILENCE + WIFI_ROUND_TRIP + LTE_ROUND_TRIP + 100 * MS)
    assert alice.path_kinds() == ["probing", "validated", "migrated"]
    assert alice.endpoint.stats(call).path == "lte"


def test_nothing_is_probed_while_the_path_answers_or_there_is_no_other(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    talking(world, alice, bob)
    world.run(5 * S)
    assert alice.path_kinds() == []
    alice.endpoint.paths_usable({WIFI}, world.now)
    alice.paths["wifi"].drop = lambda data, outward: True
    world.run(4 * S)
    assert alice.path_kinds() == ["suspected"]


def test_an_agent_that_knows_nothing_of_its_interfaces_probes_nothing(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    call = connect(world, alice, bob, over="wifi")
    world.talk(alice, call)
    alice.paths["wifi"].up = False
    world.run(4 * S)
    assert alice.path_kinds() == ["suspected"]


def test_a_path_that_no_interface_shows_is_not_gone(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    call = connect(world, alice, bob, over="wifi")
    world.talk(alice, call)
    alice.endpoint.paths_usable({LTE}, world.now)
    world.run(3 * S)
    assert alice.path_kinds() == []


def test_a_path_of_the_other_ip_version_is_no_way_out(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world), callee(world)
    talking(world, alice, bob)
    alice.paths["wifi"].up = False
    alice.endpoint.paths_usable({Local("lte", 6)}, world.now)
    world.run(3 * S)
    assert alice.path_kinds() == ["suspected"]


def test_paths_are_tried_in_turn_until_one_answers(identity: Identity) -> None:
    world = World(identity)
    wifi, lte, nr = (
        Path("wifi", "192.0.2.1", 5000, 10 * MS),
        Path("lte", "198.51.100.1", 6000, 30 * MS),
        Path("nr", "192.0.2.9", 7000, 20 * MS),
    )
    alice, bob = world.host("alice", wifi, lte, nr), callee(world)
    call = connect(world, alice, bob, over="wifi")
    world.talk(alice, call)
    alice.endpoint.paths_usable([WIFI, LTE, Local("nr", 4)], world.now)
    world.run(1 * S)
    wifi.up = lte.up = False
    alice.endpoint.paths_usable([LTE, Local("nr", 4)], world.now)
    gone = world.now
    world.run(5 * S)
    told = [one for one in paths(alice, gone) if one[0] not in ("suspected", "healthy")]
    assert [(kind, path) for kind, path, _ in told] == [
        ("probing", "lte"),
        ("probe_failed", "lte"),
        ("probing", "nr"),
        ("validated", "nr"),
        ("migrated", "nr"),
    ]
    assert told[2][2] <= 250 + 3000 + 1


def test_the_called_side_probes_nothing(identity: Identity) -> None:
    world = World(identity)
    alice = world.host("alice", Path("eth", "203.0.113.1", 4433, 10 * MS))
    bob = world.host("bob", Path("wifi", "192.0.2.1", 5000, 10 * MS), Path("lte", "198.51.100.1", 6000, 30 * MS), auto_answer=True)
    connect(world, alice, bob, via="wifi")
    bob.endpoint.paths_usable({WIFI, LTE}, world.now)
    bob.paths["wifi"].up = False
    bob.endpoint.paths_usable({LTE}, world.now)
    world.run(4 * S)
    assert "probing" not in bob.path_kinds()


def test_a_lost_call_is_redialled_over_the_path_that_is_left(identity: Identity) -> None:
    world = World(identity)
    alice, bob = phone(world, follow_silence=20 * 1000 * ms, follow_grace=20 * 1000 * ms), callee(world)
    call = talking(world, alice, bob)
    alice.paths["wifi"].up = False
    alice.endpoint.paths_usable({LTE}, world.now)
    world.run(17 * S)
    assert alice.path_kinds() == ["suspected", "disconnected", "redialling", "redialled"]
    assert alice.endpoint.stats(call).path == "lte"
