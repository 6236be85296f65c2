"""Under load an Initial must prove its address (RFC 9000 §8.1.2), and the call limit holds however many come at once."""

from __future__ import annotations

import pytest
from aioquic.buffer import Buffer
from aioquic.quic.packet import QuicPacketType, QuicProtocolVersion, encode_long_header_first_byte, pull_quic_header

from harness.call.capabilities import MediaConstraints
from harness.call.errors import CallLimitReached
from harness.call.events import Address, CallRejected, ConnectionEstablished
from harness.call.headers import Header, peek_untrusted

from .conftest import Identity
from .world import MS, Host, Path, S, World, connect, state_of

EMPTY = {"calls": 0, "connections": 0, "streams": 0}
AUDIO = MediaConstraints.audio_only()


def retries(host: Host) -> list[int]:
    """The sizes of the Retry packets that ``host`` has sent."""
    long = [transmit.data for _, transmit in host.sent if transmit.data[0] & 0x80]
    headers = [(data, pull_quic_header(Buffer(data=data), host_cid_length=8)) for data in long]
    return [len(data) for data, header in headers if header.packet_type == QuicPacketType.RETRY]


def initial(*, token: bytes = b"", destination: bytes = b"12345678") -> bytes:
    """A datagram that looks like a client's Initial; nothing behind its header means anything."""
    data = bytes([encode_long_header_first_byte(QuicProtocolVersion.VERSION_1, QuicPacketType.INITIAL, 0)])
    data += QuicProtocolVersion.VERSION_1.to_bytes(4, "big")
    data += bytes([len(destination)]) + destination + b"\x08abcdefgh" + (0x4000 | len(token)).to_bytes(2, "big") + token
    return data + (0x4000 | (1200 - len(data) - 2)).to_bytes(2, "big") + bytes(1200 - len(data) - 2)


@pytest.mark.parametrize(("above", "asked"), [(0, 2), (1, 1), (16, 0)])
def test_above_so_many_half_open_connections_the_address_must_be_proven(identity: Identity, above: int, asked: int) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob", auto_answer=True, retry_above=above)
    # One waits already: a connection whose client says nothing more.
    bob.endpoint.receive(_first_of(world, bob), Address("eth", "192.0.2.77", 7), now=world.now, arrived=world.now)
    calls = [alice.endpoint.initiate(world.address(bob, "eth", "eth"), AUDIO, now=world.now) for _ in range(2)]
    world.run(1 * S)
    assert [state_of(alice, call) for call in calls] == ["Connected"] * 2
    assert len(retries(bob)) == asked
    assert max(retries(bob), default=0) < 1200 / 3  # never more than what an unproven address may be sent
    for established in alice.all(ConnectionEstablished):
        assert established.odcid in [other.odcid for other in bob.all(ConnectionEstablished)]


def _first_of(world: World, bob: Host) -> bytes:
    """A true client's first datagram, to be sent from where nobody answers."""
    mute = world.host("mute", Path("eth", "192.0.2.77", 7, 10 * MS))
    mute.endpoint.initiate(world.address(bob, "eth", "eth"), AUDIO, now=world.now)
    (first, *_) = mute.endpoint.transmit(world.now)
    del world.hosts["mute"]
    return first.data


def test_a_token_is_good_for_its_address_its_connection_id_and_thirty_seconds(identity: Identity) -> None:
    world = World(identity)
    bob = world.host("bob", retry_above=0)
    here, there = Address("eth", "192.0.2.1", 5000), Address("eth", "192.0.2.1", 5001)
    bob.endpoint.receive(_first_of(world, bob), here, now=world.now, arrived=world.now)
    bob.endpoint.receive(initial(), here, now=world.now, arrived=world.now)
    answers = bob.endpoint.transmit(world.now)
    header = pull_quic_header(Buffer(data=answers[0].data), host_cid_length=8)
    assert header.packet_type == QuicPacketType.RETRY

    def admitted(data: bytes, source: Address, later: int = 0) -> bool:
        before = bob.endpoint.inventory()["connections"]
        bob.endpoint._answer_untrusted(_peek(data), data, source, world.now + later)
        return bob.endpoint.inventory()["connections"] > before

    good = initial(token=header.token, destination=header.source_cid)
    assert not admitted(initial(token=b"\x00" * 80, destination=header.source_cid), here)
    assert not admitted(initial(token=b"short", destination=header.source_cid), here)
    assert not admitted(initial(token=header.token[:-1] + bytes([header.token[-1] ^ 1]), destination=header.source_cid), here)
    assert not admitted(good, there)
    assert not admitted(initial(token=header.token, destination=b"87654321"), here)
    assert not admitted(good, here, later=31 * S)
    assert admitted(good, here)


def _peek(data: bytes) -> Header:
    header = peek_untrusted(data)
    assert header is not None
    return header


@pytest.mark.long
def test_fifty_at_once_against_a_limit_of_ten(identity: Identity) -> None:
    world = World(identity)
    carol = world.host("carol")
    alice = world.host("alice", max_concurrent_calls=50)
    bob = world.host("bob", auto_answer=True, max_concurrent_calls=11)
    before = connect(world, carol, bob)
    world.talk(carol, before)
    world.talk(bob, before)
    world.run(1 * S)
    since = world.now
    for _ in range(50):
        alice.endpoint.initiate(world.address(bob, "eth", "eth"), AUDIO, now=world.now)
    with pytest.raises(CallLimitReached):
        alice.endpoint.initiate(world.address(bob, "eth", "eth"), AUDIO, now=world.now)
    world.run(3 * S)
    assert len(alice.all(ConnectionEstablished)) == 10
    assert [event.reason for event in alice.all(CallRejected)] == ["busy"] * 40
    assert len(retries(bob)) == 50 - 17
    assert bob.endpoint.inventory() == {"calls": 11, "connections": 11, "streams": 11}
    assert len(carol.heard(since=since)) == len(bob.heard(since=since)) == 150
    for call in [event.call for event in alice.all(ConnectionEstablished)]:
        alice.endpoint.end(call, "done", world.now)
    world.run(2 * S)
    assert alice.endpoint.inventory() == EMPTY
    assert bob.endpoint.inventory() == {"calls": 1, "connections": 1, "streams": 1}
