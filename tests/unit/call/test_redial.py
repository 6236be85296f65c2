"""A call whose connection is lost finds another, or fails in time; and nothing but its own caller can move it."""

from __future__ import annotations

import random
import uuid

import pytest

from harness.call.capabilities import MediaConstraints
from harness.call.errors import CallNotFound, InvalidState
from harness.call.events import (
    CallEnded,
    CallHeld,
    CallRejected,
    CallResumed,
    ConnectionEstablished,
    ConnectionFailed,
    IncomingCall,
    MediaExpired,
    PathEvent,
    StateChanged,
)
from harness.call.redial import NO_SUCH_CALL
from harness.call.roq import RoqCode
from harness.units import ms, s

from .conftest import Identity
from .world import MS, Host, Path, S, World, connect, payload_time, state_of

EMPTY = {"calls": 0, "connections": 0, "streams": 0}
QUICK = {"suspected": 1 * s, "disconnected": 1500 * ms, "failed": 2500 * ms}
LOST = 3 * S
"""Longer than ``failed``, shorter than the window besides."""


def pair(world: World, **settings: object) -> tuple[Host, Host]:
    alice = world.host("alice", Path("wifi", "192.0.2.1", 5000, 10 * MS), Path("lte", "198.51.100.1", 6000, 30 * MS), **QUICK, **settings)
    bob = world.host(
        "bob",
        Path("eth", "203.0.113.1", 4433, 10 * MS),
        Path("lte", "203.0.113.9", 4433, 30 * MS),
        auto_answer=True,
        **{**QUICK, **settings},
    )
    return alice, bob


def talking(world: World, alice: Host, bob: Host) -> str:
    call = connect(world, alice, bob, over="wifi")
    for host in (alice, bob):
        world.talk(host, call)
    world.run(1 * S)
    return call


def dark(world: World, host: Host, length: int, path: str = "wifi") -> int:
    host.paths[path].up = False
    world.run(length)
    host.paths[path].up = True
    return world.now


def states(host: Host, call: str) -> list[str]:
    return [event.new.value for event in host.all(StateChanged) if event.call == call]


def details(host: Host, kind: str) -> list[str]:
    return [event.detail for event in host.all(PathEvent) if event.kind == kind]


def gone(world: World, *hosts: Host) -> None:
    world.run(6 * S)
    for host in hosts:
        assert host.endpoint.inventory() == EMPTY
        assert host.endpoint.timer() is None


@pytest.mark.parametrize("seed", range(5))
def test_a_lost_connection_is_replaced_and_the_call_never_leaves_connected(identity: Identity, seed: int) -> None:
    world = World(identity, seed)
    alice, bob = pair(world)
    call = talking(world, alice, bob)
    before = bob.endpoint.stats(call)
    back = dark(world, alice, (4_000 + 137 * seed) * MS)
    world.run(3 * S)
    for host, peer in ((alice, bob), (bob, alice)):
        assert states(host, call)[-1] == "Connected"
        assert host.path_kinds() == ["suspected", "disconnected", "redialling", "redialled"]
        assert details(host, "redialling") == ["nothing heard for 2.5s"]
        fresh = next(event for event in peer.heard(since=back) if payload_time(event) >= back)
        assert fresh.arrived - back <= 1 * S
        after = host.endpoint.stats(call)
        assert (after.redials, after.handshakes) == (1, 2)
        assert after.received["audio"] > before.received["audio"]
        assert after.sent["audio"] > before.sent["audio"]
        assert host.endpoint.inventory() == {"calls": 1, "connections": 1, "streams": 1}
        assert after.odcid != before.odcid
        assert len(host.all(ConnectionEstablished)) == 1
    assert alice.endpoint.stats(call).odcid == bob.endpoint.stats(call).odcid
    assert len(bob.all(IncomingCall)) == 1
    alice.endpoint.end(call, "bye", world.now)
    gone(world, alice, bob)
    assert [event.reason for host in (alice, bob) for event in host.all(CallEnded)] == ["bye", "bye"]


def test_between_two_connections_packets_expire_at_once_and_none_is_forgotten(identity: Identity) -> None:
    world = World(identity)
    alice, bob = pair(world)
    call = talking(world, alice, bob)
    alice.paths["wifi"].up = False
    world.run(LOST)
    began, noted = world.now, len(alice.log)
    world.run(1 * S)
    unsent = [event for event in alice.log[noted:] if isinstance(event, MediaExpired)]
    assert [event.why for event in unsent] == ["no connection"] * 50
    assert all(event.at == alice.offered[event.token] >= began for event in unsent)
    alice.paths["wifi"].up = True
    world.run(3 * S)
    settled = {token for token, at in alice.offered.items() if at < world.now - S}
    assert set(alice.media_sent) | set(alice.expired()) >= settled
    assert not set(alice.media_sent) & set(alice.expired())
    assert alice.endpoint.stats(call).expired == len(alice.expired())


def test_the_window_closes_on_both_sides(identity: Identity) -> None:
    world = World(identity)
    alice, bob = pair(world)
    call = talking(world, alice, bob)
    alice.paths["wifi"].up = False
    world.run(11 * S)
    assert state_of(alice, call) == state_of(bob, call) == "Connected"
    world.run(2 * S)
    for host in (alice, bob):
        assert states(host, call)[-2:] == ["Failed", "Idle"]
        failed = host.all(ConnectionFailed)
        assert [(event.error, event.reason) for event in failed] == [("CallTimeout", "the connection was lost, and no other found in 10s")]
        assert host.path_kinds() == ["suspected", "disconnected", "redialling"]
        lost = next(event.at for event in host.all(PathEvent) if event.kind == "redialling")
        assert failed[0].at - lost == 10 * S
    gone(world, alice, bob)


def test_a_quic_error_and_an_idle_timeout_lose_the_connection_and_a_close_on_purpose_ends_the_call(identity: Identity) -> None:
    for code, frame_type, kinds in ((10, 0, ["redialling", "redialled"]), (RoqCode.GENERAL, None, [])):
        world = World(identity)
        alice, bob = pair(world)
        call = talking(world, alice, bob)
        bob.endpoint._calls[call].connection.core.close(error_code=code, frame_type=frame_type, reason_phrase="broken")
        bob.endpoint.handle_timer(world.now)
        world.run(3 * S)
        for host in (alice, bob):
            assert host.path_kinds() == kinds
            assert len(host.all(ConnectionFailed)) == (not kinds)
            assert state_of(host, call) == ("Connected" if kinds else None)
    world = World(identity)
    alice, bob = pair(world, idle_timeout=1 * s)
    call = talking(world, alice, bob)
    dark(world, alice, 1500 * MS)
    world.run(2 * S)
    for host in (alice, bob):
        assert details(host, "redialling") == ["QUIC connection closed: Idle timeout (code 0x1)"]
        assert host.endpoint.stats(call).redials == 1


def test_given_up_here_is_failed_there_without_a_redial(identity: Identity) -> None:
    world = World(identity)
    alice, bob = pair(world)
    call = talking(world, alice, bob)
    bob.endpoint.fail(call, "no good", world.now)
    gone(world, alice, bob)
    for host in (alice, bob):
        assert len(host.all(ConnectionFailed)) == 1
        assert host.path_kinds() == []


def test_redialled_to_another_address_while_the_old_connection_lives(identity: Identity) -> None:
    world = World(identity)
    alice, bob = pair(world)
    call = talking(world, alice, bob)
    alice.endpoint.redial(call, world.address(bob, "lte", "lte"), world.now)
    world.run(2 * S)
    for host in (alice, bob):
        world.hush(host)
    world.run(1 * S)
    assert alice.path_kinds() == ["redialling", "redialled"]
    assert bob.path_kinds() == ["redialled"]
    for host, peer in ((alice, bob), (bob, alice)):
        assert len(peer.heard()) == len(host.offered)  # the old one carried the call until the new one was ready
        assert {event.address.path for event in host.heard()} == ({"wifi", "lte"} if host is alice else {"eth", "lte"})
        figures = host.endpoint.stats(call)
        assert (figures.redials, figures.handshakes, figures.path) == (1, 2, "lte")
        assert figures.sent == {**figures.sent, "audio": len(host.offered)}
        assert host.endpoint.inventory()["connections"] == 1


def test_an_address_where_nobody_has_the_call_changes_nothing_while_the_old_connection_lives(identity: Identity) -> None:
    world = World(identity)
    alice, bob = pair(world)
    carol = world.host("carol", auto_answer=True)
    call = talking(world, alice, bob)
    alice.endpoint.redial(call, world.address(carol, "wifi", "eth"), world.now)
    world.run(2 * S)
    assert details(alice, "redial_failed") == [NO_SUCH_CALL]
    assert carol.log == []
    assert carol.endpoint.inventory() == EMPTY
    alice.endpoint.redial(call, world.address(bob, "wifi", "eth")._replace(port=9), world.now)
    world.run(11 * S)
    assert details(alice, "redial_failed") == [NO_SUCH_CALL, "no answer in time"]
    assert state_of(alice, call) == state_of(bob, call) == "Connected"
    assert alice.endpoint.inventory()["connections"] == 1
    assert len(alice.heard(since=world.now - S)) >= 49


def test_the_application_may_point_elsewhere_in_the_middle_of_the_window(identity: Identity) -> None:
    world = World(identity)
    alice, bob = pair(world)
    call = talking(world, alice, bob)
    bob.paths["eth"].up = False
    world.run(LOST + S)
    assert alice.endpoint.stats(call).redials == 0
    asked = world.now
    alice.endpoint.redial(call, world.address(bob, "wifi", "lte"), asked)
    world.run(2 * S)
    fresh = next(event for event in alice.heard(since=asked))
    assert fresh.arrived - asked <= 400 * MS
    for host in (alice, bob):
        assert host.endpoint.stats(call).redials == 1
        assert host.path_kinds()[-1] == "redialled"


def test_who_may_not_redial(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice", Path("wifi", "192.0.2.1", 5000, 10 * MS)), world.host("bob")
    call = alice.endpoint.initiate(world.address(bob, "wifi", "eth"), MediaConstraints.audio_only(), now=world.now)
    to = world.address(bob, "wifi", "eth")
    with pytest.raises(InvalidState, match="redial needs the state Connected; the call is Calling"):
        alice.endpoint.redial(call, to, world.now)
    assert world.run(2 * S, until=lambda: bool(bob.all(IncomingCall)))
    with pytest.raises(InvalidState, match="the call is Connecting"):
        alice.endpoint.redial(call, to, world.now)
    bob.endpoint.accept(call, world.now)
    world.run(1 * S)
    with pytest.raises(InvalidState, match="only the side that dialled can"):
        bob.endpoint.redial(call, to, world.now)
    with pytest.raises(CallNotFound):
        alice.endpoint.redial("nobody", to, world.now)
    alice.endpoint.end(call, "", world.now)
    with pytest.raises(CallNotFound):
        alice.endpoint.redial(call, to, world.now)


def rival(world: World, name: str, call: str, server: Host) -> Host:
    """A host that is told ``call``'s id, and asks for it as if it were its own."""
    host = world.host(name)
    host.endpoint._rng = FixedName(call)
    address = world.address(server, "eth", "eth")
    host.endpoint.initiate(address, MediaConstraints.video_call(), now=world.now)
    return host


class FixedName(random.Random):
    """Makes the call id that it is given."""

    def __init__(self, name: str) -> None:
        super().__init__(0)
        self._name = uuid.UUID(name).int

    def getrandbits(self, k: int) -> int:
        return self._name if k == 128 else super().getrandbits(k)


def test_an_offer_for_a_call_that_is_not_connected_or_was_dialled_here_is_refused(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob")
    call = alice.endpoint.initiate(world.address(bob, "eth", "eth"), MediaConstraints.audio_only(), now=world.now)
    assert world.run(2 * S, until=lambda: bool(bob.all(IncomingCall)))
    early = rival(world, "early", call, bob)
    world.run(1 * S)
    assert [event.reason for event in early.all(CallRejected)] == ["this session id is in use: the call is Calling"]
    bob.endpoint.accept(call, world.now)
    world.run(1 * S)
    backwards = rival(world, "backwards", call, alice)
    world.run(1 * S)
    assert [event.reason for event in backwards.all(CallRejected)] == ["this session id is in use: only the side that dialled can redial"]
    assert state_of(alice, call) == state_of(bob, call) == "Connected"
    assert alice.endpoint.stats(call).handshakes == bob.endpoint.stats(call).handshakes == 1


def test_a_redial_of_a_call_that_the_callee_has_lost_ends_it_and_does_not_ring(identity: Identity) -> None:
    world = World(identity)
    alice, bob = pair(world)
    call = talking(world, alice, bob)
    alice.paths["wifi"].up = False
    world.run(LOST)
    world.hush(bob)
    bob.endpoint.end(call, "enough", world.now)
    world.flush()
    assert [event.reason for event in bob.all(CallEnded)] == ["enough"]
    assert bob.endpoint.inventory() == EMPTY
    alice.paths["wifi"].up = True
    gone(world, alice, bob)
    assert [event.reason for event in alice.all(CallEnded)] == [NO_SUCH_CALL]
    assert len(bob.all(IncomingCall)) == 1


@pytest.mark.parametrize("after", range(0, 200, 10))
@pytest.mark.parametrize("side", ["alice", "bob"])
def test_a_bye_crosses_a_redial_of_a_live_call(identity: Identity, side: str, after: int) -> None:
    world = World(identity)
    alice, bob = pair(world)
    call = connect(world, alice, bob, over="wifi")
    world.run(1 * S)
    alice.endpoint.redial(call, world.address(bob, "lte", "lte"), world.now)
    world.run(after * MS)
    (alice if side == "alice" else bob).endpoint.end(call, "enough", world.now)
    gone(world, alice, bob)
    for host in (alice, bob):
        assert [event.reason for event in host.all(CallEnded)] == ["enough"]
        assert host.all(ConnectionFailed) == []
    assert len(bob.all(IncomingCall)) == 1


@pytest.mark.parametrize("after", range(0, 100, 10))
@pytest.mark.parametrize("side", ["alice", "bob"])
def test_a_bye_crosses_the_redial_of_a_lost_call(identity: Identity, side: str, after: int) -> None:
    world = World(identity)
    alice, bob = pair(world)
    call = connect(world, alice, bob, over="wifi")
    dark(world, alice, LOST)
    world.run(after * MS)
    (alice if side == "alice" else bob).endpoint.end(call, "enough", world.now)
    world.run(20 * S)
    gone(world, alice, bob)
    assert state_of(alice, call) is state_of(bob, call) is None
    assert len(bob.all(IncomingCall)) == 1


@pytest.mark.parametrize("after", [0, 30 * MS, 60 * MS, S])
@pytest.mark.parametrize("back", [False, True])
def test_an_endpoint_closed_in_the_window_leaves_nothing(identity: Identity, after: int, back: bool) -> None:
    world = World(identity)
    alice, bob = pair(world)
    talking(world, alice, bob)
    alice.paths["wifi"].up = False
    world.run(LOST)
    alice.paths["wifi"].up = back
    world.run(after)
    for host in (alice, bob):
        world.hush(host)
        host.endpoint.close(world.now)
    gone(world, alice, bob)


def test_a_redial_takes_no_slot(identity: Identity) -> None:
    world = World(identity)
    alice, bob = pair(world, max_concurrent_calls=1)
    call = talking(world, alice, bob)
    dark(world, alice, LOST)
    world.run(2 * S)
    assert alice.endpoint.stats(call).redials == bob.endpoint.stats(call).redials == 1
    assert bob.endpoint.inventory()["calls"] == 1


def test_a_call_between_two_connections_cannot_migrate(identity: Identity) -> None:
    world = World(identity)
    alice, bob = pair(world)
    call = talking(world, alice, bob)
    alice.paths["wifi"].up = False
    world.run(LOST)
    with pytest.raises(InvalidState, match="there is no connection now"):
        alice.endpoint.migrate(call, "lte", world.now)
    alice.paths["wifi"].up = True
    world.run(2 * S)
    alice.endpoint.migrate(call, "lte", world.now)
    world.run(1 * S)
    assert alice.path_kinds()[-1] == "migrated"


def test_a_second_loss_is_redialled_too_and_media_in_streams_goes_on(identity: Identity) -> None:
    world = World(identity)
    alice, bob = pair(world)
    call = connect(world, alice, bob, over="wifi")
    world.talk(alice, call, mode="stream")
    world.talk(bob, call, mode="stream")
    for count in (1, 2):
        world.run(1 * S)
        dark(world, alice, LOST)
        world.run(2 * S)
        for host in (alice, bob):
            assert host.endpoint.stats(call).redials == count
            assert len(host.heard(since=world.now - S)) >= 45


def test_a_hold_that_was_lost_with_the_connection_is_known_after_the_redial(identity: Identity) -> None:
    world = World(identity)
    alice, bob = pair(world)
    call = connect(world, alice, bob, over="wifi")
    world.run(1 * S)
    alice.paths["wifi"].up = False
    alice.endpoint.hold(call, world.now)
    world.run(LOST)
    for operation in (alice.endpoint.resume, bob.endpoint.hold):
        with pytest.raises(InvalidState, match="the call is being redialled"):
            operation(call, world.now)
    alice.paths["wifi"].up = True
    world.run(2 * S)
    assert [event.by for event in bob.all(CallHeld)] == ["peer"]
    alice.paths["wifi"].up = False
    alice.endpoint.resume(call, world.now)
    bob.endpoint.hold(call, world.now)
    world.run(LOST)
    alice.paths["wifi"].up = True
    world.run(2 * S)
    assert [event.by for event in bob.all(CallResumed)] == ["peer"]
    assert [event.by for event in alice.all(CallHeld)] == ["here", "peer"]
    bob.endpoint.resume(call, world.now)
    world.run(1 * S)
    for host in (alice, bob):
        assert state_of(host, call) == "Connected"
        world.talk(host, call)
    world.run(1 * S)
    assert len(alice.heard()) == len(bob.heard()) == 49
