"""What an attacker on the wire can do to an endpoint, and what the endpoint says that it noticed of it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import encode_quic_retry, encode_quic_version_negotiation

from harness.call.capabilities import MediaConstraints
from harness.call.connection import Connection
from harness.call.events import Address, MediaReceived
from harness.call.session import Endpoint

from .conftest import Identity
from .test_retry import initial
from .world import MS, Host, Path, S, World, connect, payload_time

AUDIO = MediaConstraints.audio_only()
ELSEWHERE = Address("eth", "192.0.2.9", 7)


class Talk:
    """Alice and Bob in a call, both talking; every packet of hers that is under way or has come, in ``hers``."""

    def __init__(self, identity: Identity, kind: type[Endpoint] = Endpoint) -> None:
        self.world = World(identity)
        self.alice, self.bob = self.world.host("alice"), self.world.host("bob", kind=kind, auto_answer=True)
        self.hers: list[bytes] = []
        self.on_hers: Callable[[bytes], None] = lambda data: None
        self.alice.paths["eth"].drop = self._note
        self.call = connect(self.world, self.alice, self.bob, AUDIO)
        for host in (self.alice, self.bob):
            self.world.talk(host, self.call)
        self.world.run(1 * S)

    def _note(self, data: bytes, outward: bool) -> bool:
        if outward:
            self.hers.append(data)
            self.on_hers(data)
        return False

    @property
    def her_address(self) -> Address:
        return self.world.address(self.alice, "eth", "eth")

    def hit(self, host: Host, data: bytes, source: Address) -> None:
        host.endpoint.receive(data, source, now=self.world.now, arrived=self.world.now)

    def silence(self, listener: Host, since: int) -> int:
        """The longest time (ns) between two packets heard, after ``since``."""
        times = [event.arrived for event in listener.all(MediaReceived) if event.arrived >= since]
        return max(b - a for a, b in zip([since, *times], [*times, self.world.now], strict=True))

    def to(self, address: Address) -> list[bytes]:
        """What Bob has sent there."""
        return [transmit.data for _, transmit in self.bob.sent if transmit.address == address]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


FORGERIES: dict[str, tuple[Callable[[Talk], bytes], str]] = {
    "nothing": (lambda talk: b"", "not QUIC"),
    "RTP": (lambda talk: b"\x80\x60" + bytes(100), "not QUIC"),
    "no fixed bit": (lambda talk: bytes([talk.hers[-1][0] & 0xBF]) + talk.hers[-1][1:], "not QUIC"),
    "unknown id": (lambda talk: talk.hers[-1][:1] + bytes(8) + talk.hers[-1][9:], "unknown connection id"),
    "flipped": (lambda talk: flipped(talk.hers[-1]), "not authentic"),
    "cut short": (lambda talk: talk.hers[-1][:-1], "not authentic"),
    "appended": (lambda talk: talk.hers[-1] + b"x", "not authentic"),
    "first Initial again": (lambda talk: talk.hers[0], "not authentic"),
    "copy": (lambda talk: talk.hers[-5], "duplicate"),
    "unsealed Initial": (lambda talk: initial(), "not authentic"),
    "bad token": (lambda talk: initial(token=bytes(80)), "bad token"),
    "Version Negotiation": (
        lambda talk: encode_quic_version_negotiation(
            source_cid=b"12345678", destination_cid=talk.hers[-1][1:9], supported_versions=[0x1A2A3A4A]
        ),
        "out of place",
    ),
    "Retry": (
        lambda talk: encode_quic_retry(
            version=1, source_cid=b"12345678", destination_cid=talk.hers[-1][1:9], original_destination_cid=b"12345678", retry_token=b"t"
        ),
        "out of place",
    ),
    "Retry for nobody": (
        lambda talk: encode_quic_retry(
            version=1, source_cid=b"12345678", destination_cid=b"abcdefgh", original_destination_cid=b"12345678", retry_token=b"t"
        ),
        "out of place",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_is_of_no_use_is_counted_once_and_changes_nothing(identity: Identity, name: str) -> None:
    make, why = FORGERIES[name]
    talk = Talk(identity)
    before = talk.bob.endpoint.discards()
    assert not before.discarded
    held = talk.bob.endpoint.inventory()
    began = talk.world.now
    data = make(talk)
    talk.world.run(1 * MS)
    for _ in range(3):
        talk.hit(talk.bob, data, talk.her_address)
    talk.world.run(1 * S)
    counts = talk.bob.endpoint.discards()
    assert dict(counts.discarded) == {why: 3}
    assert not counts.answered
    assert (counts.begun, counts.reclaimed) == (1, 0)
    assert talk.bob.endpoint.inventory() == held
    assert max(talk.silence(host, began) for host in (talk.alice, talk.bob)) <= 21 * MS


def test_a_call_without_an_attacker_has_nothing_to_tell(identity: Identity) -> None:
    talk = Talk(identity)
    talk.world.run(5 * S)
    for host in (talk.alice, talk.bob):
        counts = host.endpoint.discards()
        assert (dict(counts.discarded), dict(counts.answered), counts.reclaimed) == ({}, {}, 0)


def test_retry_and_version_negotiation_that_are_expected_are_of_use(identity: Identity) -> None:
    world = World(identity)
    alice, bob = world.host("alice"), world.host("bob", auto_answer=True, retry_above=0)
    for _ in range(2):
        alice.endpoint.initiate(world.address(bob, "eth", "eth"), AUDIO, now=world.now)
    world.run(1 * S)
    assert bob.endpoint.discards().answered == {"Retry": 1}
    assert bob.endpoint.discards().begun == 2
    assert not alice.endpoint.discards().discarded


def test_a_client_hears_only_from_where_it_sends_to(identity: Identity) -> None:
    talk = Talk(identity)
    data = next(transmit.data for _, transmit in reversed(talk.bob.sent) if transmit.address == talk.her_address)
    talk.hit(talk.alice, data, ELSEWHERE)
    assert talk.alice.endpoint.discards().discarded == {"unknown server address": 1}


def test_copies_of_what_has_come_lead_nobody_away(identity: Identity) -> None:
    talk = Talk(identity)
    heard = len(talk.bob.heard())
    old = talk.hers[:-5]
    for number, data in enumerate(random.Random(1).sample(old, len(old))):
        talk.hit(talk.bob, data, Address("eth", "192.0.2.9", 1000 + number))
    assert len(talk.bob.heard()) == heard
    talk.world.run(1 * S)
    assert {transmit.address for _, transmit in talk.bob.sent} == {talk.her_address}
    assert talk.bob.endpoint.discards().discarded.total() == len(old)


def race(talk: Talk, length: int) -> list[bytes]:
    """Copy what she sends for ``length`` ns, one packet at least, and have it come at once, from elsewhere."""
    copied: list[bytes] = []
    until = talk.world.now + length

    def copy(data: bytes) -> None:
        if not copied or talk.world.now < until:
            copied.append(data)
            talk.hit(talk.bob, data, ELSEWHERE)

    talk.on_hers = copy
    return copied


def test_a_peer_whose_packet_came_from_elsewhere_first_is_taken_back_with_its_next(identity: Identity) -> None:
    talk = Talk(identity)
    began = talk.world.now
    copied = race(talk, 0)
    talk.world.run(1 * S)
    assert len(copied) == 1
    assert [kind for kind in talk.bob.path_kinds() if kind != "healthy"] == ["peer_moved", "validating", "reclaimed"]
    counts = talk.bob.endpoint.discards()
    assert counts.discarded == {"duplicate from another address": 1}
    assert counts.reclaimed == 1
    assert sum(map(len, talk.to(ELSEWHERE))) <= 3 * len(copied[0])
    # Ahead by the whole delay, then until her next packet, then his own interval.
    assert talk.silence(talk.alice, began) <= (40 + 20 + 20 + 1) * MS
    assert len({payload_time(event) for event in talk.bob.heard()}) == len(talk.bob.heard())


class IncuriousConnection(Connection):
    def asks_old_path(self) -> bool:
        return False


class Incurious(Endpoint):
    connection_class = IncuriousConnection


@pytest.mark.parametrize(("kind", "bound"), [(Endpoint, 320 * MS), (Incurious, None)])
def test_a_peer_that_only_listens_is_asked_where_it_is(identity: Identity, kind: type[Endpoint], bound: int | None) -> None:
    """RFC 9000 §9.3.3: the old path is asked too; without that nothing comes back before validation of the new one is given up."""
    talk = Talk(identity, kind)
    talk.world.hush(talk.alice)
    talk.world.run(300 * MS)
    began = talk.world.now
    copied = race(talk, 100 * MS)
    talk.world.run(2 * S)
    assert copied
    silence = talk.silence(talk.alice, began)
    assert talk.bob.endpoint.discards().reclaimed == 1
    assert silence <= bound if bound is not None else silence > 320 * MS
    assert sum(map(len, talk.to(ELSEWHERE))) <= 3 * sum(map(len, copied))


def test_the_old_path_is_not_asked_when_the_new_one_was_proven_first(identity: Identity) -> None:
    """A migration is no surprise: the client has probed the path before it moves there."""
    world = World(identity)
    alice = world.host("alice", Path("wifi", "10.0.0.1", 4433, 20 * MS), Path("lte", "10.1.0.1", 4433, 20 * MS))
    bob = world.host("bob", auto_answer=True)
    call = connect(world, alice, bob, AUDIO, over="wifi")
    world.talk(alice, call)
    world.talk(bob, call)
    world.run(500 * MS)
    alice.endpoint.migrate(call, "lte", world.now)
    world.run(300 * MS)
    moved = world.now
    world.run(1 * S)
    wifi = Address("eth", "10.0.0.1", 4433)
    assert [at for at, transmit in bob.sent if transmit.address == wifi and at > moved] == []
    assert bob.endpoint.discards().reclaimed == 0


def test_a_sealed_initial_is_told_from_one_that_only_looks_so(identity: Identity) -> None:
    """Noise makes no connection, not even for a moment: its log would be a file each."""
    names: list[str] = []

    class Sink:
        def write(self, records: bytes) -> None:
            pass

        def close(self) -> None:
            pass

    def qlog(name: str) -> Sink:
        names.append(name)
        return Sink()

    world = World(identity)
    bob = world.host("bob", qlog=qlog)
    noise = initial(destination=b"abcdefgh")
    for number in range(100):
        bob.endpoint.receive(noise, Address("eth", "192.0.2.9", 1000 + number), now=world.now, arrived=world.now)
    assert names == []
    assert bob.endpoint.discards().discarded == {"not authentic": 100}
    header = noise[:27] + b"\x00"  # the packet number, of one byte
    keys = CryptoPair()
    keys.setup_initial(cid=b"abcdefgh", is_client=True, version=1)
    sealed = keys.encrypt_packet(header, b"\x01".ljust(1200 - len(header) - 16, b"\x00"), 0)
    bob.endpoint.receive(sealed, Address("eth", "192.0.2.9", 7), now=world.now, arrived=world.now)
    assert len(names) == 1
