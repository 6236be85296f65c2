"""A call on hold: nobody sends media, both sides may hold, and everything else of the call goes on."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from harness.call.capabilities import MediaConstraints
from harness.call.errors import CallNotFound, InvalidState
from harness.call.events import CallEnded, CallHeld, CallResumed, ConnectionFailed, MediaExpired, MediaReceived
from harness.call.signaling import Hold, Resume, encode
from harness.rtp.packet import RtpPacket
from harness.units import ms

from .conftest import Identity
from .world import MS, Host, Path, S, World, connect, state_of

MEDIA = MediaConstraints.video_call()


@pytest.fixture
def world(identity: Identity) -> World:
    return World(identity)


def pair(world: World, **settings: object) -> tuple[Host, Host, str]:
    alice, bob = world.host("alice", **settings), world.host("bob", auto_answer=True, **settings)
    return alice, bob, connect(world, alice, bob)


def offer(host: Host, call: str, now: int, *, flow: str = "audio", mode: str = "datagram", marker: bool = False) -> int:
    packet = RtpPacket(payload_type=96, sequence=1, timestamp=960, ssrc=7, marker=marker, payload=bytes(80)).encode()
    return host.endpoint.send_rtp(call, flow, packet, now=now, expires=now + S, mode=mode)


def refusal(host: Host, call: str, now: int) -> str:
    with pytest.raises(InvalidState) as caught:
        offer(host, call, now)
    return caught.value.what


def flows(host: Host, call: str, now: int) -> bool:
    try:
        offer(host, call, now)
    except InvalidState:
        return False
    return True


def test_the_side_that_holds_says_so_and_neither_may_send(world: World) -> None:
    alice, bob, call = pair(world)
    alice.endpoint.hold(call, world.now)
    assert refusal(alice, call, world.now) == "send_rtp: on hold by this side"
    world.run(100 * MS)
    assert refusal(bob, call, world.now) == "send_rtp: on hold by the peer"
    assert [(event.by, event.call) for host in (alice, bob) for event in host.all(CallHeld)] == [("here", call), ("peer", call)]
    assert bob.all(CallHeld)[0].at - alice.all(CallHeld)[0].at == 40 * MS
    alice.endpoint.resume(call, world.now)
    world.run(100 * MS)
    assert [(event.by, event.flows) for host in (alice, bob) for event in host.all(CallResumed)] == [("here", True), ("peer", True)]
    assert flows(alice, call, world.now)
    assert flows(bob, call, world.now)


@pytest.mark.parametrize("first_to_resume", ["alice", "bob"])
def test_when_both_hold_media_flows_once_neither_does(world: World, first_to_resume: str) -> None:
    alice, bob, call = pair(world)
    alice.endpoint.hold(call, world.now)
    bob.endpoint.hold(call, world.now)  # the two cross on their way
    world.run(100 * MS)
    for host in (alice, bob):
        assert [event.by for event in host.all(CallHeld)] == ["here", "peer"]
        assert refusal(host, call, world.now) == "send_rtp: on hold by this side and the peer"
    first, second = (alice, bob) if first_to_resume == "alice" else (bob, alice)
    first.endpoint.resume(call, world.now)
    world.run(100 * MS)
    assert [event.flows for host in (first, second) for event in host.all(CallResumed)] == [False, False]
    assert not flows(first, call, world.now)
    assert not flows(second, call, world.now)
    second.endpoint.resume(call, world.now)
    world.run(100 * MS)
    assert [event.flows for host in (first, second) for event in host.all(CallResumed)] == [False, True, False, True]
    assert flows(first, call, world.now)
    assert flows(second, call, world.now)


def test_resumes_that_cross_leave_nothing_on_hold(world: World) -> None:
    alice, bob, call = pair(world)
    for host in (alice, bob):
        host.endpoint.hold(call, world.now)
    world.run(100 * MS)
    for host in (alice, bob):
        host.endpoint.resume(call, world.now)
    world.run(100 * MS)
    for host in (alice, bob):
        assert [(event.by, event.flows) for event in host.all(CallResumed)] == [("here", False), ("peer", True)]
        assert flows(host, call, world.now)


def test_holding_twice_and_resuming_what_one_does_not_hold_are_errors_that_change_nothing(world: World) -> None:
    alice, bob, call = pair(world)
    with pytest.raises(InvalidState, match="resume: this side does not hold the call"):
        alice.endpoint.resume(call, world.now)
    alice.endpoint.hold(call, world.now)
    with pytest.raises(InvalidState, match="hold: this side holds the call already"):
        alice.endpoint.hold(call, world.now)
    world.run(100 * MS)
    with pytest.raises(InvalidState, match="resume: this side does not hold the call"):
        bob.endpoint.resume(call, world.now)
    world.run(100 * MS)
    assert len(alice.all(CallHeld)) == len(bob.all(CallHeld)) == 1
    assert state_of(alice, call) == state_of(bob, call) == "Connected"


@pytest.mark.parametrize("operation", ["hold", "resume"])
def test_it_needs_a_connected_call(world: World, operation: str) -> None:
    """In every other state that a call can be found in, on either side."""
    alice, bob = world.host("alice"), world.host("bob")
    call = alice.endpoint.initiate(world.address(bob, "eth", "eth"), MEDIA, now=world.now)

    def refused(host: Host, state: str) -> None:
        assert state_of(host, call) == state
        with pytest.raises(InvalidState, match=f"{operation} needs the state Connected; the call is {state}"):
            getattr(host.endpoint, operation)(call, world.now)

    refused(alice, "Calling")
    world.run(1 * S)
    refused(alice, "Connecting")
    refused(bob, "Calling")
    bob.endpoint.accept(call, world.now)
    refused(bob, "Connecting")
    world.run(1 * S)
    alice.endpoint.end(call, "", world.now)
    assert state_of(alice, call) == "Ending"
    with pytest.raises(CallNotFound):
        getattr(alice.endpoint, operation)(call, world.now)
    world.run(1 * S)
    for host in (alice, bob):
        assert state_of(host, call) is None
        with pytest.raises(CallNotFound):
            getattr(host.endpoint, operation)(call, world.now)


@pytest.mark.parametrize(
    ("messages", "why"),
    [([Resume], "resume: the peer does not hold the call"), ([Hold, Hold], "hold: the peer holds the call already")],
)
def test_a_peer_that_breaks_the_order_ends_the_call(world: World, messages: list[type[Hold | Resume]], why: str) -> None:
    alice, bob, call = pair(world)
    for message in messages:
        alice.endpoint._calls[call].connection.send_signal(encode(message(session_id=call)), world.now)
    world.run(1 * S)
    assert [(event.error, event.reason) for event in bob.all(ConnectionFailed)] == [("InvalidState", f"signalling out of order: {why}")]
    assert [event.reason for event in alice.all(CallEnded)] == [f"signalling out of order: {why}"]


@pytest.mark.parametrize("holder", ["alice", "bob"])
def test_a_hold_that_crosses_a_bye_harms_nobody(world: World, holder: str) -> None:
    alice, bob, call = pair(world)
    holding, ending = (alice, bob) if holder == "alice" else (bob, alice)
    holding.endpoint.hold(call, world.now)
    ending.endpoint.end(call, "bye", world.now)
    world.run(5 * S)
    for host in (alice, bob):
        assert [event.reason for event in host.all(CallEnded)] == ["bye"]
        assert not host.all(ConnectionFailed)
        assert host.endpoint.inventory() == {"calls": 0, "connections": 0, "streams": 0}
    assert not ending.all(CallHeld)


def test_a_held_call_can_be_hung_up(world: World) -> None:
    alice, bob, call = pair(world)
    alice.endpoint.hold(call, world.now)
    world.run(100 * MS)
    bob.endpoint.end(call, "bye", world.now)
    world.run(5 * S)
    assert [event.reason for host in (alice, bob) for event in host.all(CallEnded)] == ["bye", "bye"]


@pytest.mark.parametrize("mode", ["datagram", "stream"])
def test_what_waits_is_dropped_and_told(world: World, mode: str) -> None:
    alice, bob, call = pair(world)
    sent = offer(alice, call, world.now, mode=mode, marker=True)
    world.run(500 * MS)
    waiting = [offer(alice, call, world.now, flow="video", mode=mode) for _ in range(3)]
    alice.endpoint.hold(call, world.now)
    world.run(3 * S)
    assert [(event.token, event.why) for event in alice.all(MediaExpired)] == [(token, "held") for token in waiting]
    assert len(bob.heard()) == 1
    assert sent not in waiting
    assert alice.endpoint.stats(call).queued == 0


def test_a_frame_under_way_on_a_stream_is_cancelled(world: World) -> None:
    """Its first packet has left, and what is not acknowledged of it must not be repeated."""
    alice, bob, call = pair(world)
    alice.paths["eth"].drop = lambda data, outward: outward
    offer(alice, call, world.now, flow="video", mode="stream")
    world.run(1 * MS)
    alice.endpoint.hold(call, world.now)
    alice.paths["eth"].drop = lambda data, outward: False
    world.run(3 * S)
    assert not bob.heard()
    assert state_of(bob, call) == "Connected"


def test_rtcp_and_keepalive_go_on_so_the_call_stays_healthy(world: World) -> None:
    alice, bob, call = pair(world)
    alice.endpoint.hold(call, world.now)
    world.run(20 * S)
    for host in (alice, bob):
        assert state_of(host, call) == "Connected"
        assert host.path_kinds() == []
        packets = [at for at, _ in host.sent if at >= world.now - 10 * S]
        assert 10 <= len(packets) <= 40


@pytest.mark.parametrize("silent", ["rtcp", "keepalive"])
def test_either_of_them_is_enough(world: World, silent: str) -> None:
    alice, bob, call = pair(world, **{silent: None})
    alice.endpoint.hold(call, world.now)
    world.run(20 * S)
    assert state_of(alice, call) == state_of(bob, call) == "Connected"
    assert alice.path_kinds() == bob.path_kinds() == []


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_held_call_moves_and_stays_held(identity: Identity, when: str) -> None:
    world = World(identity)
    alice = world.host("alice", Path("wifi", "192.0.2.1", 1, 10 * MS), Path("lte", "192.0.2.9", 1, 30 * MS))
    bob = world.host("bob", Path("eth", "203.0.113.1", 4433, 10 * MS), auto_answer=True)
    call = connect(world, alice, bob, over="wifi")
    world.run(500 * MS)
    moves: list[Callable[[], None]] = [
        lambda: alice.endpoint.hold(call, world.now),
        lambda: alice.endpoint.migrate(call, "lte", world.now),
    ]
    for move in moves if when == "before" else reversed(moves):
        move()
        world.run(15 * MS)
    world.run(1 * S)
    assert "migrated" in alice.path_kinds()
    assert not flows(bob, call, world.now)
    alice.paths["wifi"].up = False
    alice.endpoint.resume(call, world.now)
    world.run(500 * MS)
    offer(alice, call, world.now)
    offer(bob, call, world.now)
    world.run(500 * MS)
    assert {event.address.path for event in alice.all(MediaReceived)} == {"lte"}
    assert [event.address.ip for event in bob.all(MediaReceived)] == ["192.0.2.9"]


def test_a_lost_hold_is_repeated(world: World) -> None:
    alice, bob, call = pair(world)
    world.run(500 * MS)
    first = itertools.count()
    alice.paths["eth"].drop = lambda data, outward: outward and next(first) == 0
    alice.endpoint.hold(call, world.now)
    world.run(1 * S)
    assert [event.by for event in bob.all(CallHeld)] == ["peer"]


def test_an_outage_ends_a_held_call_as_any_other(world: World) -> None:
    alice, bob, call = pair(world, failed=6000 * ms)
    alice.endpoint.hold(call, world.now)
    world.run(100 * MS)
    alice.paths["eth"].up = False
    world.run(30 * S)
    assert [event.error for host in (alice, bob) for event in host.all(ConnectionFailed)] == ["CallTimeout", "CallTimeout"]
