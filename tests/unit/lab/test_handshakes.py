"""How many handshakes there are in captures, and whose they are when several calls go to one callee."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicProtocolVersion, encode_quic_retry, encode_quic_version_negotiation

from harness.agent.messages import ConnectionEstablished
from harness.agent.remote import Said
from harness.fabric.udp_packets import UdpPacket
from harness.lab.attacker import Attacker
from harness.lab.evidence import Evidence
from harness.lab.handshakes import Begun, came, handshakes
from harness.lab.peer import Peer
from harness.media.figure import Moment
from tests.unit.call.conftest import Identity
from tests.unit.lab.test_decrypted import SERVER, pair, udp

V1, V2 = QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2

INITIAL = bytes([0xC0]) + (1).to_bytes(4, "big")


def initial(at: int, destination: bytes, source: bytes, *, outgoing: bool) -> UdpPacket:
    payload = INITIAL + bytes([len(destination)]) + destination + bytes([len(source)]) + source + bytes(20)
    return UdpPacket("x/eth", at, at, outgoing, ("192.0.2.1", 5000), ("192.0.2.2", 4433), len(payload), payload)


class Wire(Evidence):
    """Evidence over packets that are given to it."""

    def __init__(self, packets: dict[str, list[UdpPacket]]) -> None:
        lab: Any = SimpleNamespace(now=lambda: 1000)
        super().__init__(lab)
        self._packets = packets

    def captured(self, peer: Peer | Attacker, *, whole: bool = True) -> list[UdpPacket]:
        return self._packets[peer.name]


def peer(name: str, **established: bytes) -> Any:
    """A peer whose agent told of these calls, and of the connection (odcid) that each began with."""
    events = [
        Said(0, name, False, ConnectionEstablished(call=call, at=0, odcid=odcid.hex(), path=None, remote=None, agreed=None))
        for call, odcid in established.items()
    ]
    return SimpleNamespace(name=name, remote=SimpleNamespace(events=events), calls=[])


def call(name: str, caller: Any, callee: Any, *, asked: int = 0, closed: int | None = None) -> Any:
    made = SimpleNamespace(id=name, caller=caller, callee=callee, asked=asked, closed=closed)
    caller.calls.append(made)
    return made


def begins(at: int, destination: bytes, source: bytes) -> tuple[UdpPacket, UdpPacket]:
    return initial(at, destination, source, outgoing=True), initial(at + 10, destination, source, outgoing=False)


def test_a_handshake_is_its_callers_and_repeated_initials_are_one() -> None:
    alice, carol, bob = peer("alice", a=b"A1"), peer("carol", c=b"C1"), peer("bob")
    first, other, again = begins(10, b"A1", b"sa"), begins(20, b"C1", b"sc"), begins(30, b"A1", b"sa")
    wire = Wire({"alice": [first[0], again[0]], "carol": [other[0]], "bob": [first[1], other[1], again[1]]})
    assert len(wire.handshakes(call("a", alice, bob))) == 1
    assert len(wire.handshakes(call("c", carol, bob))) == 1


def test_another_call_of_the_scenario_is_left_out_and_what_made_none_counts() -> None:
    alice, bob = peer("alice", a=b"A1", b=b"B1", unasked=b"D1"), peer("bob")
    pairs = [begins(10, b"A1", b"s1"), begins(20, b"B1", b"s2"), begins(30, b"R1", b"s3"), begins(40, b"D1", b"s4")]
    wire = Wire({"alice": [pair[0] for pair in pairs], "bob": [pair[1] for pair in pairs]})
    mine, _other = call("a", alice, bob), call("b", alice, bob)
    assert [one.at for one in wire.handshakes(mine)] == [10, 30, 40]  # its own, a redial, and a call that nobody asked for


def test_what_never_arrived_or_was_before_or_after_the_call_does_not_count() -> None:
    alice, bob = peer("alice", a=b"A1"), peer("bob")
    pairs = [begins(10, b"A0", b"s0"), begins(100, b"A1", b"s1"), begins(900, b"A2", b"s2")]
    lost = initial(200, b"A3", b"s3", outgoing=True)
    wire = Wire({"alice": [*(pair[0] for pair in pairs), lost], "bob": [pair[1] for pair in pairs]})
    (only,) = wire.handshakes(call("a", alice, bob, asked=50, closed=500))
    assert only == Moment(100, "192.0.2.1 5000 → 192.0.2.2 4433, 31 bytes by x/eth")


# -- how many there are: packets of cores, and sealed by hand ------------------------------------------------------------------------------


def counted(captured: Sequence[UdpPacket]) -> list[Begun]:
    """The handshakes in what was captured between a client and a server without loss, ``outgoing``: what left the server's host."""
    at_client = [replace(one, outgoing=not one.outgoing) for one in captured]
    return list(came(handshakes(at_client, outgoing=True), handshakes(captured, outgoing=False)))


def sealed(
    crypto: bytes,
    destination: bytes,
    source: bytes,
    *,
    offset: int = 0,
    keys: bytes | None = None,
    version: int = V1,
    greased: bool = False,
    number: int = 0,
    by_client: bool = True,
) -> bytes:
    """An Initial with a CRYPTO frame; its keys are of ``keys``, else of ``destination``."""
    both = CryptoPair()
    both.setup_initial(cid=destination if keys is None else keys, is_client=by_client, version=version)
    payload = (b"\x06" + (0x4000 | offset).to_bytes(2, "big") + (0x4000 | len(crypto)).to_bytes(2, "big") + crypto).ljust(1162, b"\0")
    first = 0x80 | (0 if greased else 0x40) | (0x10 if version == V2 else 0) | 1
    ids = bytes([len(destination)]) + destination + bytes([len(source)]) + source
    length = (0x4000 | (len(payload) + 2 + 16)).to_bytes(2, "big")
    return both.encrypt_packet(
        bytes([first]) + version.to_bytes(4, "big") + ids + b"\0" + length + number.to_bytes(2, "big"), payload, number
    )


def captured(*datagrams: bytes) -> list[UdpPacket]:
    return [udp(data, at) for at, data in enumerate(datagrams, 1)]


HELLO, OTHER = b"\x01\x00\x01\x00" + b"A" * 256, b"\x01\x00\x01\x00" + b"B" * 256
ID, SECOND, SOURCE = b"chosen..", b"another.", b"source"


@pytest.mark.parametrize("version", [V1, V2], ids=lambda version: version.name)
@pytest.mark.parametrize("cid_length", [8, 20])
def test_a_whole_handshake_is_one(identity: Identity, version: int, cid_length: int) -> None:
    assert len(counted(pair(identity, version=version, cid_length=cid_length).captured)) == 1


def test_a_second_connection_under_the_same_source_id_is_a_second_handshake(identity: Identity) -> None:
    one = pair(identity)
    (first,) = counted(one.captured)
    source = first.first.payload[6 + 8 + 1 :][:8]
    again = captured(sealed(OTHER, SECOND, source))
    assert len(counted([*one.captured, *again])) == 2


@pytest.mark.parametrize("version", [V1, V2], ids=lambda version: version.name)
@pytest.mark.parametrize("greased", [False, True])
@pytest.mark.parametrize("source", [SOURCE, b""])
def test_it_is_told_by_what_it_says_whatever_its_ids_are(version: int, greased: bool, source: bytes) -> None:
    def initial(crypto: bytes, destination: bytes, **more: Any) -> bytes:
        return sealed(crypto, destination, source, version=version, greased=greased, **more)

    assert len(counted(captured(initial(HELLO, ID), initial(HELLO, ID, number=1)))) == 1, "sent again"
    assert len(counted(captured(initial(HELLO[:99], ID), initial(HELLO[99:], ID, offset=99, number=1)))) == 1, "in two datagrams"
    assert len(counted(captured(initial(HELLO[99:], ID, offset=99), initial(HELLO[:99], ID), initial(HELLO, ID, number=2)))) == 1
    assert len(counted(captured(initial(HELLO, ID), initial(OTHER, SECOND)))) == 2
    assert len(counted(captured(initial(HELLO, ID), initial(OTHER, ID)))) == 2, "a second one under all of the ids of the first"
    assert len(counted(captured(initial(HELLO, ID), initial(OTHER, b"server", keys=ID)))) == 2, "or in its place"
    assert len(counted(captured(initial(HELLO, ID), initial(b"", b"server", keys=ID, number=1)))) == 1, "its next Initial"


def test_one_client_hello_that_two_servers_ids_answer_is_two_if_the_client_goes_on_with_both() -> None:
    answers = [sealed(b"\x02" + text * 90, SOURCE, source, keys=ID, by_client=False) for text, source in ((b"x", b"one"), (b"y", b"two"))]
    begun = [udp(sealed(HELLO, ID, SOURCE), 1), udp(answers[0], 2, outgoing=True), udp(answers[1], 3, outgoing=True)]
    going = [udp(sealed(b"", destination, SOURCE, keys=ID), 4) for destination in (b"one", b"two")]
    assert len(counted([*begun, going[0]])) == 1
    assert len(counted([*begun, *going])) == 2


def test_a_retry_makes_no_second_handshake(identity: Identity) -> None:
    """The same ClientHello comes again, to the id that the Retry gave."""
    client = core(identity)
    client.connect(SERVER, 1.0)
    ((first, _),) = client.datagrams_to_send(1.0)
    begun = handshakes([udp(first, 1)], outgoing=False)[0]
    source = first[6 + len(begun.chosen[0]) + 1 :][: first[6 + len(begun.chosen[0])]]
    retry = encode_quic_retry(V1, b"retried!", source, begun.chosen[0], b"token")
    client.receive_datagram(retry, SERVER, 1.1)
    seconds = [data for data, _ in client.datagrams_to_send(1.1)]
    datagrams = [udp(first, 1), udp(retry, 2, outgoing=True), *(udp(data, 3) for data in seconds)]
    (only,) = counted(datagrams)
    assert only.chosen == [begun.chosen[0], b"retried!"]
    assert only.first.payload == first
    forged = replace(datagrams[1], payload=retry[:-1] + bytes([retry[-1] ^ 1]))
    assert len(counted([datagrams[0], forged, *datagrams[2:]])) == 2, "a Retry that nobody's ClientHello was answered with explains nothing"


def test_what_version_negotiation_refused_was_no_handshake(identity: Identity) -> None:
    client = core(identity, original_version=V2, supported_versions=[V2, V1])
    client.connect(SERVER, 1.0)
    ((first, _),) = client.datagrams_to_send(1.0)
    length = first[5]
    destination, source = first[6 : 6 + length], first[7 + length :][: first[6 + length]]
    negotiation = encode_quic_version_negotiation(source_cid=destination, destination_cid=source, supported_versions=[V1])
    client.receive_datagram(negotiation, SERVER, 1.1)
    seconds = [data for data, _ in client.datagrams_to_send(1.1)]
    assert seconds[0][1:5] == V1.to_bytes(4, "big")
    assert len(counted([udp(first, 1), udp(negotiation, 2, outgoing=True), *(udp(data, 3) for data in seconds)])) == 1
    fresh = udp(sealed(HELLO, ID, source), 3)
    assert len(counted([udp(first, 1), udp(negotiation, 2, outgoing=True), fresh])) == 1, "another ClientHello to another id"
    assert len(counted([udp(first, 1), fresh])) == 2, "if nobody refused the first"


def test_versions_that_are_not_known_are_told_by_their_destination_ids() -> None:
    unknown = sealed(HELLO, ID, SOURCE).replace(b"\0\0\0\1", b"\x51\x55\x49\x43", 1)
    assert len(counted(captured(unknown, unknown))) == 1
    assert len(counted(captured(unknown, unknown.replace(ID, SECOND, 1)))) == 2


def core(identity: Identity, **options: Any) -> QuicConnection:
    configuration = QuicConfiguration(is_client=True, server_name="peer.test", alpn_protocols=["x"], **options)
    configuration.load_verify_locations(identity.ca)
    return QuicConnection(configuration=configuration)
