"""A connection that one side has given up, and the other side knows nothing of it."""

from __future__ import annotations

import random

import pytest

from harness.call.events import PathEvent
from harness.call.resets import MAX_SIZE, MIN_SIZE, MOST, LostConnections
from harness.call.session import Endpoint
from harness.units import ms, s
from tests.controls.broken_redial import Forgets

from .conftest import Identity
from .test_outage import pair
from .world import MS, Host, Path, S, World, connect, state_of

CID, TOKEN = b"12345678", b"sixteen secret b"
QUICK = {"suspected": 1 * s, "disconnected": 1500 * ms, "failed": 2500 * ms}


def lost(until: int = 100) -> LostConnections:
    connections = LostConnections(random.Random(1))
    connections.remember({CID: TOKEN}, until)
    return connections


def test_a_reset_looks_like_a_short_packet_and_ends_in_the_token() -> None:
    reset = lost().answer_untrusted(CID, 120, 0)
    assert reset is not None
    assert len(reset) == MAX_SIZE
    assert reset[0] & 0xC0 == 0x40
    assert reset.endswith(TOKEN)
    connections = lost()
    assert connections.answer_untrusted(CID, 120, 0) != connections.answer_untrusted(CID, 120, 0)


@pytest.mark.parametrize(("size", "length"), [(MIN_SIZE, None), (MIN_SIZE + 1, MIN_SIZE), (30, 29), (43, 42), (1200, 42)])
def test_a_reset_is_shorter_than_what_it_answers(size: int, length: int | None) -> None:
    reset = lost().answer_untrusted(CID, size, 0)
    assert (None if reset is None else len(reset)) == length


def test_what_is_unknown_or_long_ago_is_not_answered() -> None:
    connections = lost(until=100)
    assert connections.answer_untrusted(b"87654321", 120, 0) is None
    assert connections.answer_untrusted(CID, 120, 99) is not None
    assert connections.answer_untrusted(CID, 120, 100) is None
    assert len(connections) == 0


def test_only_so_many_are_remembered() -> None:
    connections = lost()
    connections.remember({number.to_bytes(8, "big"): TOKEN for number in range(MOST)}, 100)
    assert len(connections) == MOST
    assert connections.answer_untrusted(CID, 120, 0) is None


def asymmetric(world: World, kind: type[Endpoint] = Endpoint, **alices: object) -> tuple[Host, Host, str]:
    """Bob gives up after 2.5 s of silence, alice after 15."""
    alice = world.host("alice", Path("eth", "192.0.2.1", 5000, 10 * MS), **alices)
    bob = world.host("bob", Path("eth", "203.0.113.1", 4433, 10 * MS), auto_answer=True, kind=kind, **QUICK)
    call = connect(world, alice, bob)
    for host in (alice, bob):
        world.talk(host, call)
    world.run(1 * S)
    return alice, bob, call


def test_who_is_heard_learns_at_once_that_it_is_not(identity: Identity) -> None:
    world = World(identity)
    alice, bob, call = asymmetric(world)
    died = world.now
    alice.paths["eth"].drop = lambda data, outward: outward
    world.run(3 * S)
    told = {event.kind: (event.at - died) // MS for event in alice.all(PathEvent)}
    gave_up = next(event.at for event in bob.all(PathEvent) if event.kind == "redialling")
    assert list(told) == ["redialling"]
    assert 0 <= told["redialling"] - (gave_up - died) // MS <= 21, "CONNECTION_CLOSE took one way"
    alice.paths["eth"].drop = lambda data, outward: False
    world.run(1 * S)
    assert alice.path_kinds()[-1] == bob.path_kinds()[-1] == "redialled"
    assert state_of(alice, call) == state_of(bob, call) == "Connected"


def sleep(world: World, alice: Host, length: int) -> None:
    """Alice neither sends nor hears, nor does her clock go on: what she would do meanwhile she does not."""
    receive, timer, transmit = alice.endpoint.receive, alice.endpoint.timer, alice.endpoint.transmit
    alice.endpoint.receive = lambda *args, **rest: None  # type: ignore[method-assign]
    alice.endpoint.timer = lambda: None  # type: ignore[method-assign]
    alice.endpoint.transmit = lambda now: []  # type: ignore[method-assign]
    world.hush(alice)
    world.run(length)
    alice.endpoint.receive, alice.endpoint.timer, alice.endpoint.transmit = receive, timer, transmit  # type: ignore[method-assign]


@pytest.mark.parametrize(("kind", "back"), [(Endpoint, True), (Forgets, False)])
def test_who_has_slept_is_told_that_nobody_knows_it_any_more(identity: Identity, kind: type[Endpoint], back: bool) -> None:
    world = World(identity)
    alice, bob, call = asymmetric(world, kind, failed=60 * s)
    sleep(world, alice, 6 * S)
    woken = world.now
    world.talk(alice, call)
    world.run(1 * S)
    assert ("redialled" in alice.path_kinds()) is back
    assert bool(bob.heard(woken)) is back
    if back:
        assert [kind for kind in alice.path_kinds() if kind.startswith("redial")] == ["redialling", "redialled"]
        assert bob.endpoint.discards().answered["Stateless Reset"] > 0
        assert min(event.arrived for event in bob.heard(woken)) - woken <= 200 * MS


def test_a_reset_from_elsewhere_or_with_another_token_is_nothing(identity: Identity) -> None:
    world = World(identity)
    alice, bob, call = asymmetric(world)
    tokens = list(bob.endpoint._calls[call].connection.core.reset_tokens.values())
    there = alice.endpoint._calls[call].connection.address
    forged = [
        (b"\x40" + bytes(20) + tokens[0], there._replace(port=9)),
        (b"\x40" + bytes(20) + bytes(16), there),
        (b"\x40" + tokens[0], there),
    ]
    for data, address in forged:
        alice.endpoint.receive(data, address, now=world.now, arrived=world.now)
    world.run(1 * S)
    assert alice.path_kinds() == []


def test_a_call_that_was_hung_up_is_not_answered_for(identity: Identity) -> None:
    world = World(identity)
    alice, bob = pair(world)
    call = connect(world, alice, bob)
    alice.endpoint.end(call, "ended", world.now)
    world.run(5 * S)
    assert bob.endpoint.inventory() == {"calls": 0, "connections": 0, "streams": 0}
    assert len(bob.endpoint._lost) == len(alice.endpoint._lost) == 0
