"""Loss and outages: nothing stale is sent, fresh audio is back at once, and a call ends only when it should."""

from __future__ import annotations

import pytest

from harness.call.connection import Connection
from harness.call.events import CallEnded, ConnectionFailed, PathEvent
from harness.call.media_queue import MediaQueue, Waiting
from harness.call.session import Endpoint
from harness.units import s

from .conftest import Identity
from .world import MS, Host, Path, S, World, connect, payload_time


def pair(world: World, delay: int = 10 * MS, **settings: object) -> tuple[Host, Host]:
    alice = world.host("alice", Path("eth", "192.0.2.1", 5000, delay), **settings)
    bob = world.host("bob", Path("eth", "203.0.113.1", 4433, delay), auto_answer=True, **settings)
    return alice, bob


def cut(world: World, *hosts: Host, length: int) -> int:
    for host in hosts:
        host.paths["eth"].up = False
    world.run(length)
    for host in hosts:
        host.paths["eth"].up = True
    return world.now


@pytest.mark.long
@pytest.mark.parametrize(("seed", "loss", "delay"), [(0, 0.0, 10 * MS), (0, 0.0, 50 * MS), *((seed, 0.02, 10 * MS) for seed in range(8))])
def test_twelve_seconds_of_outage(identity: Identity, loss: float, seed: int, delay: int) -> None:
    world = World(identity, seed)
    alice, bob = pair(world, delay)
    call = connect(world, alice, bob)
    alice.paths["eth"].loss = loss
    for host in (alice, bob):
        world.talk(host, call)
    world.run(3 * S)
    back = cut(world, alice, length=12 * S)
    world.run(3 * S)
    for host, peer in ((alice, bob), (bob, alice)):
        assert all(host.media_sent[token] - host.offered[token] < 200 * MS for token in host.media_sent)
        fresh = next(event for event in peer.heard(since=back) if payload_time(event) >= back)
        assert fresh.arrived - back <= 300 * MS
        assert set(host.media_sent) | set(host.expired()) >= {token for token, at in host.offered.items() if at < world.now - S}
        assert not set(host.media_sent) & set(host.expired())
    assert [event.kind for event in alice.all(PathEvent)] == ["suspected", "disconnected", "healthy"]
    assert alice.endpoint.stats(call).handshakes == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("loss", "delay"),
    [pytest.param(0.02, 10 * MS, marks=pytest.mark.long), pytest.param(0.02, 50 * MS, marks=pytest.mark.long), (0.05, 150 * MS)],
)
def test_audio_keeps_flowing_under_loss(identity: Identity, loss: float, delay: int) -> None:
    world = World(identity)
    alice, bob = pair(world, delay, adapt=False)
    call = connect(world, alice, bob)
    alice.paths["eth"].loss = loss
    for host in (alice, bob):
        world.talk(host, call)
        world.talk(host, call, flow="video", size=1100, every=22 * MS)
    world.run(30 * S)
    for peer in (alice, bob):
        audio = [event for event in peer.heard() if event.flow == "audio"]
        assert len(audio) >= 1500 * (1 - loss) - 45
        assert {event.arrived - payload_time(event) for event in audio} == {2 * delay}
        assert len([event for event in peer.heard() if event.flow == "video"]) > 50


@pytest.mark.long
@pytest.mark.parametrize("muted", ["alice", "bob"])
def test_an_outage_with_one_side_muted(identity: Identity, muted: str) -> None:
    world = World(identity)
    alice, bob = pair(world)
    call = connect(world, alice, bob)
    speaker, listener = (bob, alice) if muted == "alice" else (alice, bob)
    world.talk(speaker, call)
    world.run(3 * S)
    back = cut(world, alice, length=12 * S)
    world.run(3 * S)
    fresh = next(event for event in listener.heard(since=back) if payload_time(event) >= back)
    assert fresh.arrived - back <= 300 * MS


def test_fifteen_seconds_of_silence_fail_a_call_that_may_not_be_redialled(identity: Identity) -> None:
    world = World(identity)
    alice, bob = pair(world, redial_window=None)
    call = connect(world, alice, bob)
    world.talk(alice, call)
    world.run(1 * S)
    alice.paths["eth"].up = False
    world.run(13 * S)
    world.hush(alice)
    world.run(30 * S)
    for host in (alice, bob):
        failed = host.all(ConnectionFailed)
        assert [(event.error, event.reason) for event in failed] == [("CallTimeout", "nothing heard for 15s")]
        last = next(event for event in host.all(PathEvent) if event.kind == "suspected")
        assert failed[0].at - last.at == 12_500 * MS
        assert host.path_kinds() == ["suspected", "disconnected"]
        assert host.endpoint.inventory() == {"calls": 0, "connections": 0, "streams": 0}
        assert host.endpoint.timer() is None


def test_a_short_outage_never_ends_a_call(identity: Identity) -> None:
    world = World(identity)
    alice, bob = pair(world)
    call = connect(world, alice, bob)
    for host in (alice, bob):
        world.talk(host, call)
    for _ in range(5):
        world.run(1 * S)
        cut(world, alice, length=1500 * MS)
    world.run(1 * S)
    assert alice.path_kinds() == []
    assert alice.endpoint.stats(call).state == "Connected"


def test_hanging_up_into_the_void_ends_here_at_once_and_there_by_timeout(identity: Identity) -> None:
    world = World(identity)
    alice, bob = pair(world)
    call = connect(world, alice, bob)
    world.run(1 * S)
    alice.paths["eth"].up = False
    alice.endpoint.end(call, "gone", world.now)
    world.run(2 * S)
    assert [event.reason for event in alice.all(CallEnded)] == ["gone"]
    assert alice.endpoint.inventory() == {"calls": 0, "connections": 0, "streams": 0}
    world.run(30 * S)
    assert len(bob.all(ConnectionFailed)) == 1


@pytest.mark.parametrize("seed", range(8))
def test_hanging_up_through_heavy_loss_reaches_the_peer(identity: Identity, seed: int) -> None:
    world = World(identity, seed)
    alice, bob = pair(world)
    call = connect(world, alice, bob)
    world.run(500 * MS)
    alice.paths["eth"].loss = 0.3
    alice.endpoint.end(call, "gone", world.now)
    world.run(6 * S)
    for host in (alice, bob):
        assert [event.reason for event in host.all(CallEnded)] == ["gone"]
        assert host.endpoint.inventory()["connections"] == 0


@pytest.mark.parametrize(("clamp", "bound"), [(1, 400 * MS), (9, 10 * S)])
def test_signalling_is_back_soon_after_an_outage_because_the_pto_is_clamped(identity: Identity, clamp: int, bound: int) -> None:
    world = World(identity)
    alice, bob = pair(world, keepalive=None, rtcp=None, end_linger=30 * s, pto_clamp=clamp)
    call = connect(world, alice, bob)
    world.run(1 * S)
    alice.paths["eth"].up = False
    world.run(10 * MS)
    alice.endpoint.end(call, "at last", world.now)
    world.run(11_990 * MS)
    alice.paths["eth"].up = True
    back = world.now
    world.run(10 * S)
    took = bob.all(CallEnded)[0].at - back
    assert took <= bound
    assert took > 400 * MS or clamp == 1


class Hoarder(MediaQueue):
    """A queue that throws nothing away."""

    def is_expired(self, entry: Waiting, now: int) -> bool:
        return False


class HoarderConnection(Connection):
    queue_class = Hoarder


class HoarderEndpoint(Endpoint):
    connection_class = HoarderConnection


@pytest.mark.long
def test_expiry_can_be_switched_off_from_outside_and_then_stale_media_is_sent(identity: Identity) -> None:
    world = World(identity)
    alice = world.host("alice", kind=HoarderEndpoint)
    bob = world.host("bob", auto_answer=True)
    call = connect(world, alice, bob)
    world.talk(alice, call)
    world.talk(alice, call, flow="video", size=1100, every=10 * MS)
    world.run(1 * S)
    cut(world, alice, length=5 * S)
    world.run(2 * S)
    assert max(event.arrived - payload_time(event) for event in bob.heard()) > 2 * S
