"""A call's life between two endpoints: up, refused, cancelled, broken, ended; and what each side is told."""

from __future__ import annotations

import errno
import io
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from harness.call.capabilities import MediaConstraints
from harness.call.errors import (
    CallError,
    CallLimitReached,
    CallNotFound,
    CapabilityMismatch,
    ConfigError,
    InvalidState,
    TransportError,
)
from harness.call.events import (
    Address,
    CallAccepted,
    CallEnded,
    CallInitiated,
    CallRejected,
    ConnectionEstablished,
    ConnectionFailed,
    IncomingCall,
    StateChanged,
)
from harness.call.session import Endpoint
from harness.call.signaling import Bye, CapabilityExchange, ConnectionConfirm, ConnectionReady, encode
from harness.units import ms, s

from .conftest import Identity
from .world import MS, Host, Path, S, World, connect, payload_time, state_of

VIDEO, AUDIO = MediaConstraints.video_call(), MediaConstraints.audio_only()
EMPTY = {"calls": 0, "connections": 0, "streams": 0}


def states(host: Host, call: str) -> list[str]:
    return [event.new.value for event in host.all(StateChanged) if event.call == call]


def dial(world: World, alice: Host, bob: Host, constraints: MediaConstraints = VIDEO) -> str:
    return alice.endpoint.initiate(world.address(bob, "eth", "eth"), constraints, now=world.now)


def ringing(world: World, alice: Host, bob: Host, constraints: MediaConstraints = VIDEO) -> str:
    call = dial(world, alice, bob, constraints)
    assert world.run(2 * S, until=lambda: bool(bob.all(IncomingCall)))
    return call


def all_over(world: World, *hosts: Host) -> None:
    world.run(5 * S)
    for host in hosts:
        assert host.endpoint.inventory() == EMPTY
        assert host.endpoint.timer() is None


def test_a_call_from_dial_to_hang_up_with_media_both_ways(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob", auto_answer=True)
    call = connect(world, alice, bob)
    world.talk(alice, call)
    world.talk(bob, call)
    world.run(2 * S)
    world.hush(alice)
    world.hush(bob)
    world.run(200 * MS)
    assert len(alice.heard()) == len(bob.heard()) == 100
    assert [event.arrived - payload_time(event) for event in bob.heard()] == [40 * MS] * 100
    assert alice.media_sent == alice.offered
    assert alice.endpoint.stats(call).received == {"audio": 100}
    alice.endpoint.end(call, "bye then", world.now)
    with pytest.raises(CallNotFound):
        alice.endpoint.end(call, "again", world.now)
    all_over(world, alice, bob)
    for host in (alice, bob):
        assert states(host, call) == ["Calling", "Connecting", "Connected", "Ending", "Idle"]
        assert [event.reason for event in host.all(CallEnded)] == ["bye then"]
    assert len(alice.all(CallInitiated)) == len(bob.all(IncomingCall)) == len(bob.all(CallAccepted)) == 1
    assert alice.all(ConnectionEstablished)[0].odcid == bob.all(ConnectionEstablished)[0].odcid
    assert alice.all(ConnectionEstablished)[0].agreed.max_bandwidth_kbps == 2500


def test_the_callee_may_hang_up(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob", auto_answer=True)
    call = connect(world, alice, bob)
    bob.endpoint.end(call, "done", world.now)
    all_over(world, alice, bob)
    assert [event.reason for host in (alice, bob) for event in host.all(CallEnded)] == ["done", "done"]


def test_both_hang_up_at_once(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob", auto_answer=True)
    call = connect(world, alice, bob)
    world.run(500 * MS)
    alice.endpoint.end(call, "a", world.now)
    bob.endpoint.end(call, "b", world.now)
    all_over(world, alice, bob)
    for host in (alice, bob):
        assert len(host.all(CallEnded)) == 1
        assert states(host, call)[-2:] == ["Ending", "Idle"]


def test_rejected(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob")
    call = ringing(world, alice, bob)
    bob.endpoint.reject(call, "not now", world.now)
    with pytest.raises(CallNotFound):
        bob.endpoint.accept(call, world.now)
    all_over(world, alice, bob)
    for host in (alice, bob):
        assert [event.reason for event in host.all(CallRejected)] == ["not now"]
        assert states(host, call)[-2:] == ["Failed", "Idle"]


def test_cancelled_while_it_rings(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob")
    call = ringing(world, alice, bob)
    alice.endpoint.end(call, "changed my mind", world.now)
    all_over(world, alice, bob)
    assert [event.reason for event in alice.all(CallEnded)] == ["changed my mind"]
    assert [event.reason for event in bob.all(CallEnded)] == ["cancelled"]
    assert states(bob, call) == ["Calling", "Failed", "Idle"]


def test_cancelled_before_the_handshake(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob")
    call = dial(world, alice, bob)
    world.run(1 * MS)
    alice.endpoint.end(call, "oops", world.now)
    world.run(8 * S)
    assert states(alice, call) == ["Calling", "Failed", "Idle"]
    all_over(world, alice, bob)
    assert bob.log == []


def test_busy(identity: Identity) -> None:
    world = World(identity)
    alice, carol, bob = world.host("alice"), world.host("carol"), world.host("bob", auto_answer=True, max_concurrent_calls=1)
    call = connect(world, alice, bob)
    world.talk(alice, call)
    refused = dial(world, carol, bob)
    world.run(2 * S)
    assert [event.reason for event in carol.all(CallRejected)] == ["busy"]
    assert carol.endpoint.inventory() == EMPTY
    assert state_of(carol, refused) is None
    assert state_of(alice, call) == state_of(bob, call) == "Connected"
    assert {event.call for event in bob.log} == {call}
    world.hush(alice)
    alice.endpoint.end(call, "free", world.now)
    world.run(1 * S)
    dial(world, carol, bob)
    world.run(1 * S)
    assert len(carol.all(ConnectionEstablished)) == 1


def test_the_limit_holds_for_calls_out_and_a_slot_is_free_at_once(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice", max_concurrent_calls=3), world.host("bob", auto_answer=True)
    calls = [dial(world, alice, bob) for _ in range(3)]
    with pytest.raises(CallLimitReached, match="3 calls are in progress"):
        dial(world, alice, bob)
    world.run(1 * S)
    with pytest.raises(CallLimitReached):
        dial(world, alice, bob)
    alice.endpoint.end(calls[0], "", world.now)
    calls.append(dial(world, alice, bob))
    world.run(1 * S)
    assert alice.endpoint.inventory()["calls"] == 3
    assert len({event.odcid for event in alice.all(ConnectionEstablished)}) == 4
    assert len(set(calls)) == 4


def test_simultaneous_calls_keep_their_media_apart(identity: Identity) -> None:
    world = World(identity)
    alice = world.host("alice")
    peers = [world.host(name, auto_answer=True) for name in ("bob", "carol", "dave")]
    calls = [connect(world, alice, peer) for peer in peers]
    for peer, call in zip(peers, calls, strict=True):
        world.talk(alice, call)
        world.talk(peer, call)
    world.run(1 * S)
    peers[0].paths["eth"].up = False
    world.run(3 * S)
    for peer, call in zip(peers[1:], calls[1:], strict=True):
        assert len([event for event in peer.heard() if event.call == call]) >= 196
        assert {event.call for event in peer.heard()} == {call}
    assert alice.endpoint.stats(calls[0]).received["audio"] < 60
    assert alice.endpoint.stats(calls[1]).received["audio"] >= 196


@pytest.mark.parametrize("answering", [True, False])
def test_the_caller_does_not_offer_what_the_callee_requires(identity: Identity, answering: bool) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob", requires=VIDEO, auto_answer=answering)
    call = ringing(world, alice, bob, AUDIO)
    if not answering:
        with pytest.raises(CapabilityMismatch, match="video is wanted and not offered") as caught:
            bob.endpoint.accept(call, world.now)
        assert caught.value.call == call
    all_over(world, alice, bob)
    for host in (alice, bob):
        assert [event.reason for event in host.all(CallRejected)] == ["capability mismatch: video is wanted and not offered"]


@pytest.mark.parametrize("answering", [True, False])
def test_the_callee_cannot_do_what_the_caller_insists_on(identity: Identity, answering: bool) -> None:
    """The callee says what it can do, and the caller is the one to judge whether that is enough."""
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob", accepts=AUDIO, auto_answer=answering)
    call = ringing(world, alice, bob)
    if not answering:
        bob.endpoint.accept(call, world.now)
    all_over(world, alice, bob)
    reason = "capability mismatch: video is wanted and not offered"
    assert [(event.error, event.reason) for event in alice.all(ConnectionFailed)] == [("CapabilityMismatch", reason)]
    assert [event.reason for event in bob.all(CallEnded)] == [reason]
    assert not bob.all(ConnectionEstablished)


@pytest.mark.parametrize("accepts", [AUDIO, VIDEO])
def test_what_is_optional_is_agreed_if_both_can_and_done_without_if_not(identity: Identity, accepts: MediaConstraints) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob", accepts=accepts, auto_answer=True)
    alice.endpoint.initiate(world.address(bob, "eth", "eth"), AUDIO, now=world.now, optional=VIDEO)
    world.run(2 * S)
    for host in (alice, bob):
        assert [event.agreed.audio for event in host.all(ConnectionEstablished)] == [True]
        assert [event.agreed.video for event in host.all(ConnectionEstablished)] == [accepts.video]


def test_a_callee_that_offers_more_is_fine(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob", auto_answer=True)
    call = connect(world, alice, bob, AUDIO)
    agreed = bob.all(ConnectionEstablished)[0].agreed
    assert (agreed.video, agreed.max_bandwidth_kbps) == (False, 128)
    with pytest.raises(ConfigError, match="'video' was not agreed in this call; agreed: audio, data"):
        alice.endpoint.send_rtp(call, "video", bytes(20), now=world.now, expires=world.now + S)


def test_the_caller_refuses_an_answer_that_lacks_what_it_wants(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob")
    call = ringing(world, alice, bob)
    lie = ConnectionConfirm(call, audio=True, video=False, data_channel=True, max_bandwidth_kbps=128)
    say(bob, call, encode(lie), world)
    all_over(world, alice, bob)
    assert [event.error for event in alice.all(ConnectionFailed)] == ["CapabilityMismatch"]
    assert not alice.all(ConnectionEstablished)


def say(host: Host, call: str, data: bytes, world: World) -> None:
    """Put bytes on the signalling stream of ``call`` behind the stack's back."""
    host.endpoint._calls[call].connection.send_signal(data, world.now)
    world.run(100 * MS)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encode(ConnectionConfirm("X", audio=True, video=True, data_channel=True, max_bandwidth_kbps=1)), "signalling out of order"),
        (encode(ConnectionReady("X")), "signalling out of order: connection_ready needs the state Connecting; the call is Connected"),
        (encode(CapabilityExchange("X", audio=True, video=True, data_channel=True, max_bandwidth_kbps=1)), "a second capability_exchange"),
        (encode(Bye("someone else")), "a message for session 'someone else'"),
        (b"\x02{}", "signalling message not understood"),
        (b"\x15" + b'{"type":"mystery___"}', "signalling message not understood"),
        (b"\x80\x01\x00\x01", "a message of 65537 bytes announced; at most 65536 are allowed"),
        (encode(ConnectionReady("no")) * 0 + b"\x01[" * 101, "signalling message not understood"),
    ],
)
@pytest.mark.parametrize("speaker", ["alice", "bob"])
def test_a_message_that_breaks_the_rules_ends_the_call_and_nothing_else(identity: Identity, data: bytes, reason: str, speaker: str) -> None:
    world = World(identity)
    alice, bob, carol = world.host("alice"), world.host("bob", auto_answer=True), world.host("carol")
    call, other = connect(world, alice, bob), connect(world, carol, bob)
    host, victim = (alice, bob) if speaker == "alice" else (bob, alice)
    say(host, call, data.replace(b'"X"', f'"{call}"'.encode()) if b'"X"' not in data else _reframed(data, call), world)
    world.run(3 * S)
    failed = [event for event in victim.all(ConnectionFailed) if event.call == call]
    assert len(failed) == 1
    assert reason in failed[0].reason
    assert [event.reason for event in host.all(CallEnded) if event.call == call] == [failed[0].reason]
    assert state_of(bob, other) == state_of(carol, other) == "Connected"


def _reframed(data: bytes, call: str) -> bytes:
    body = data[data.index(b"{") :].replace(b'"X"', f'"{call}"'.encode())
    return (0x4000 | len(body)).to_bytes(2, "big") + body


def test_every_operation_in_every_reachable_state(identity: Identity) -> None:
    """Which operations a caller and a callee may do in which state, through the endpoint's own doors."""

    def attempt(operation: str, host: Host, call: str, now: int) -> str:
        endpoint = host.endpoint
        doors: dict[str, Callable[[], object]] = {
            "accept": lambda: endpoint.accept(call, now),
            "reject": lambda: endpoint.reject(call, "r", now),
            "fail": lambda: endpoint.fail(call, "f", now),
            "end": lambda: endpoint.end(call, "e", now),
            "migrate": lambda: endpoint.migrate(call, "lte", now),
            "send_rtp": lambda: endpoint.send_rtp(call, "audio", b"\x80\x00" + bytes(10), now=now, expires=now + S),
        }
        try:
            doors[operation]()
        except CallError as error:
            return type(error).__name__
        return "ok"

    expected = {
        ("caller", "Calling"): {"accept": "InvalidState", "migrate": "InvalidState", "send_rtp": "InvalidState"},
        ("caller", "Connecting"): {"accept": "InvalidState", "migrate": "InvalidState", "send_rtp": "InvalidState"},
        ("caller", "Connected"): {"accept": "InvalidState", "reject": "InvalidState"},
        ("callee", "Calling"): {"migrate": "InvalidState", "send_rtp": "InvalidState"},
        ("callee", "Connecting"): {"accept": "InvalidState", "migrate": "InvalidState", "send_rtp": "InvalidState"},
        ("callee", "Connected"): {"accept": "InvalidState", "migrate": "InvalidState", "reject": "InvalidState"},
        ("caller", "Ending"): dict.fromkeys(("accept", "reject", "fail", "end", "migrate", "send_rtp"), "CallNotFound"),
    }
    for ((role, state), table), operation in itertools.product(
        expected.items(), ("accept", "reject", "fail", "end", "migrate", "send_rtp")
    ):
        world = World(identity)
        alice = world.host("alice", Path("eth", "192.0.2.1", 1, 20 * MS), Path("lte", "192.0.2.9", 1, 20 * MS))
        bob = world.host("bob")
        call = dial(world, alice, bob)
        host = alice if role == "caller" else bob
        if state == "Connected" or state == "Ending":
            world.run(1 * S)
            bob.endpoint.accept(call, world.now)
            world.run(1 * S)
        if state == "Ending":
            alice.endpoint.end(call, "", world.now)
        if (role, state) == ("callee", "Connecting"):
            world.run(1 * S)
            bob.endpoint.accept(call, world.now)
        if (role, state) in (("caller", "Connecting"), ("callee", "Calling")):
            world.run(1 * S)
        assert state_of(host, call) == state
        assert attempt(operation, host, call, world.now) == table.get(operation, "ok"), (role, state, operation)
        world.run(100 * MS)


def test_operations_on_unknown_calls(identity: Identity) -> None:
    world = World(identity)
    endpoint = world.host("alice").endpoint
    for attempt in (
        lambda: endpoint.accept("no", 0),
        lambda: endpoint.reject("no", "", 0),
        lambda: endpoint.end("no", "", 0),
        lambda: endpoint.fail("no", "", 0),
        lambda: endpoint.migrate("no", "lte", 0),
        lambda: endpoint.stats("no"),
        lambda: endpoint.send_rtp("no", "audio", b"", now=0, expires=1),
    ):
        with pytest.raises(CallNotFound) as caught:
            attempt()
        assert caught.value.call == "no"


def test_nobody_answers_the_dial(identity: Identity) -> None:
    world = World(identity)
    alice = world.host("alice")
    call = alice.endpoint.initiate(Address("eth", "203.0.113.9", 4433), VIDEO, now=world.now)
    began = world.now
    world.run(4900 * MS)
    assert state_of(alice, call) == "Calling"
    world.run(5 * S)
    failed = alice.all(ConnectionFailed)
    assert [(event.error, event.at - began) for event in failed] == [("CallTimeout", 5 * S)]
    assert failed[0].reason == "no QUIC handshake with 203.0.113.9:4433 over eth within 5s"
    all_over(world, alice)


def test_it_rings_and_nobody_picks_up(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice", answer_timeout=4 * s), world.host("bob")
    ringing(world, alice, bob)
    all_over(world, alice, bob)
    assert [(event.error, event.reason) for event in alice.all(ConnectionFailed)] == [("CallTimeout", "no answer within 4s")]
    assert [event.reason for event in bob.all(CallEnded)] == ["no answer within 4s"]


def test_the_caller_never_gets_ready(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob")
    call = ringing(world, alice, bob)
    alice.paths["eth"].up = False
    bob.endpoint.accept(call, world.now)
    world.run(10 * S)
    assert [event.error for event in bob.all(ConnectionFailed)] == ["CallTimeout"]
    world.run(40 * S)
    all_over(world, alice, bob)


def test_a_failed_call_tells_the_peer(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob", auto_answer=True)
    call = connect(world, alice, bob)
    alice.endpoint.fail(call, "camera on fire", world.now)
    all_over(world, alice, bob)
    assert [event.reason for event in alice.all(ConnectionFailed)] == ["camera on fire"]
    assert [event.reason for event in bob.all(ConnectionFailed)] == ["QUIC connection closed: camera on fire (code 0x1)"]
    assert states(bob, call)[-2:] == ["Failed", "Idle"]


def test_a_lost_connection_close_is_repeated(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob", auto_answer=True)
    call = connect(world, alice, bob)
    world.talk(bob, call)
    world.run(200 * MS)
    first = iter([True])
    alice.paths["eth"].drop = lambda data, outward: outward and next(first, False)
    alice.endpoint.fail(call, "boom", world.now)
    world.run(700 * MS)
    assert len(bob.all(ConnectionFailed)) == 1


def test_the_certificate_must_be_the_peers(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob")
    alice.endpoint.initiate(world.address(bob, "eth", "eth"), VIDEO, now=world.now, server_name="mallory.test")
    all_over(world, alice, bob)
    assert len(alice.all(ConnectionFailed)) == 1
    assert "mallory.test" in alice.all(ConnectionFailed)[0].reason
    assert bob.log == []


def test_another_alpn_is_refused(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice", alpn="roq-15"), world.host("bob")
    dial(world, alice, bob)
    all_over(world, alice, bob)
    assert "ALPN" in alice.all(ConnectionFailed)[0].reason.upper()


def test_closing_an_endpoint_ends_everything_in_order(identity: Identity) -> None:
    world = World(identity)
    alice = world.host("alice")
    peers = [world.host(name, auto_answer=True) for name in ("bob", "carol")]
    for peer in peers:
        connect(world, alice, peer)
    dial(world, alice, peers[0])
    alice.endpoint.close(world.now)
    with pytest.raises(TransportError, match="closing"):
        dial(world, alice, peers[0])
    world.run(8 * S)
    all_over(world, alice, *peers)
    for peer in peers:
        assert [event.reason for event in peer.all(CallEnded)] == ["endpoint closed"]


def test_configurations_that_make_no_sense(identity: Identity) -> None:
    world = World(identity)
    for settings, why in (
        ({"certificate": None}, "certificate and key go together"),
        ({"certificate": identity.key}, "certificate"),
        ({"ca": "/nonexistent"}, "No such file"),
        ({"max_udp_payload": 1100}, "max_udp_payload 1100: allowed is 1200 to 1452"),
        ({"max_concurrent_calls": 0}, "max_concurrent_calls 0"),
        ({"keepalive": 1000}, "has no unit"),
        ({"keepalive": 0 * s}, "allowed is more than 0"),
        ({"pto_clamp": -1}, "pto_clamp -1"),
        ({"suspected": 6 * s}, "each must exceed the last"),
    ):
        with pytest.raises(ConfigError, match=why):
            world.host("alice", **settings)
    caller = world.host("alice", ca=None)
    with pytest.raises(ConfigError, match="no ca"):
        caller.endpoint.initiate(Address("eth", "192.0.2.1", 1), VIDEO, now=world.now)
    with pytest.raises(ConfigError, match="no medium"):
        world.host("bob").endpoint.initiate(Address("eth", "192.0.2.1", 1), MediaConstraints(audio=False), now=world.now)


def test_an_endpoint_without_a_certificate_does_not_answer(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice", dial_timeout=500 * ms), world.host("bob", certificate=None, key=None)
    dial(world, alice, bob)
    world.run(1 * S)
    assert bob.sent == []
    assert [event.error for event in alice.all(ConnectionFailed)] == ["CallTimeout"]


class Redialler(Endpoint):
    """Redials instead of migrating."""

    def migrate(self, call: str, path: str, now: int) -> None:
        there = self.stats(call).address._replace(path=path)
        self.fail(call, "redialling", now)
        self.initiate(there, VIDEO, now=now)


def test_a_client_that_redials_can_be_made_from_outside(identity: Identity) -> None:
    world = World(identity)
    alice = world.host("alice", Path("wifi", "192.0.2.1", 1, 10 * MS), Path("lte", "192.0.2.9", 1, 10 * MS), kind=Redialler)
    bob = world.host("bob", Path("eth", "203.0.113.1", 4433, 10 * MS), auto_answer=True)
    call = connect(world, alice, bob, over="wifi")
    alice.endpoint.migrate(call, "lte", world.now)
    world.run(1 * S)
    established = alice.all(ConnectionEstablished)
    assert len({event.odcid for event in established}) == 2


def test_invalid_state_is_raised_for_a_second_confirm(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob", auto_answer=True)
    call = connect(world, alice, bob)
    inner = alice.endpoint._calls[call]
    with pytest.raises(InvalidState, match="confirm needs the state Connecting; the call is Connected"):
        inner.confirm(bob.all(IncomingCall)[0].capabilities, world.now)


class NoDescriptors:
    """Opens no log as long as ``full``."""

    full = True

    def __call__(self, name: str) -> Any:
        if self.full:
            raise OSError(errno.EMFILE, "Too many open files")
        return io.BytesIO()


def test_a_caller_without_a_descriptor_is_refused_by_name_and_nothing_is_half_built(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice", qlog=NoDescriptors()), world.host("bob")
    with pytest.raises(TransportError, match="its log cannot be opened, EMFILE: Too many open files"):
        dial(world, alice, bob)
    assert alice.endpoint.inventory() == EMPTY
    assert alice.endpoint.timer() is None


def test_a_callee_without_a_descriptor_answers_nobody_until_it_has_one(identity: Identity) -> None:
    world, descriptors = World(identity), NoDescriptors()
    alice, bob = world.host("alice"), world.host("bob", qlog=descriptors, auto_answer=True)
    dial(world, alice, bob)
    world.run(500 * MS)
    assert bob.endpoint.inventory() == EMPTY
    descriptors.full = False
    assert world.run(2 * S, until=lambda: bool(alice.all(ConnectionEstablished)))
