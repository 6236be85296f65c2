"""What an attacker makes of what she has seen: decided by her generator, of the kinds that she says, and never an accidental copy."""

from __future__ import annotations

import socket
from collections import Counter
from random import Random

import pytest
from aioquic.buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicPacketType, pull_quic_header

from harness.errors import SpecError
from harness.fabric.attacker_process import frame
from harness.fabric.attackers import Attackers
from harness.fabric.forgeries import Forger, Wiretap, sealed_initial
from harness.fabric.udp_packets import endpoints_untrusted

ALICE, BOB = ("203.0.113.2", 4433), ("198.51.100.2", 4433)
OWN = ["192.0.2.2", "192.0.2.18"]
MS = 1_000_000


@pytest.fixture
def tap() -> Wiretap:
    """A call of which she has seen the first Initial, an answer, and fifty packets each way."""
    found = Wiretap(BOB)
    client = QuicConnection(configuration=QuicConfiguration(is_client=True, alpn_protocols=["roq-14-call"]))
    client.connect(BOB, now=0.0)
    hello = client.datagrams_to_send(now=0.0)[0][0]
    ids = pull_quic_header(Buffer(data=hello))
    found.see(0, ALICE, BOB, hello)
    answer = sealed_initial(keys_of=ids.destination_cid, destination=ids.source_cid, source=b"bobsbobs", frames=b"\x01", from_client=False)
    found.see(1 * MS, BOB, ALICE, answer)
    rng = Random(7)
    for number in range(50):
        at = (10 + number) * MS
        assert found.see(at, ALICE, BOB, b"\x41bobsbobs" + rng.randbytes(80)) is not None
        assert found.see(at, BOB, ALICE, b"\x41" + ids.source_cid + rng.randbytes(80)) is not None
    assert found.see(1, ("192.0.2.77", 1), ("192.0.2.78", 1), b"another's") is None
    return found


def test_a_wiretap_learns_what_is_in_the_open(tap: Wiretap) -> None:
    header = pull_quic_header(Buffer(data=tap.packets[True][0].payload))
    assert (tap.caller, tap.first_id, tap.caller_id, tap.callee_id) == (ALICE, header.destination_cid, header.source_cid, b"bobsbobs")
    assert tap.id_of(to_callee=True) == b"bobsbobs"
    assert tap.id_of(to_callee=False) == header.source_cid
    assert tap.hello.startswith(b"\x06")  # CRYPTO


def test_forgeries_are_of_every_kind_at_both_ends_and_no_copies(tap: Wiretap) -> None:
    forger = Forger(tap, OWN, Random(1))
    genuine = {seen.payload for packets in tap.packets.values() for seen in packets}
    forged = [forger.forge() for _ in range(2600)]
    assert len(Counter(one.kind for one in forged)) == 13
    assert {one.destination for one in forged} == {ALICE, BOB}
    assert all(one.source == BOB for one in forged if one.destination == ALICE)
    assert {one.source for one in forged if one.destination == BOB and one.source[0] not in OWN} == {ALICE}
    strange = sum(one.source[0] in OWN for one in forged)
    assert 0.2 < strange / 1300 < 0.3
    assert not genuine & {one.payload for one in forged}
    assert all(0 < len(one.payload) <= 1500 - 28 for one in forged)


def test_the_same_seed_gives_the_same_forgeries(tap: Wiretap) -> None:
    def some(seed: int) -> list[object]:
        forger = Forger(tap, OWN, Random(seed))
        return [make() for make in (forger.forge, lambda: forger.replay(100 * MS), forger.flood) for _ in range(100)]

    assert some(1) == some(1)
    assert some(1) != some(2)


def test_replays_are_old_and_exact(tap: Wiretap) -> None:
    forger = Forger(tap, OWN, Random(1))
    for _ in range(300):
        one = forger.replay(before=30 * MS)
        to_callee = one.destination == BOB
        (seen,) = [seen for seen in tap.packets[to_callee] if seen.payload == one.payload]
        assert seen.at < 30 * MS
        assert {"copy to the caller": one.source == BOB, "copy from the same address": one.source == ALICE}.get(
            one.kind, one.source[0] in OWN
        )


def test_half_of_a_flood_opens_with_the_keys_of_its_id_and_says_hello(tap: Wiretap) -> None:
    forger = Forger(tap, OWN, Random(1))
    flood = [forger.flood() for _ in range(40)]
    assert Counter(one.kind for one in flood) == {"good Initial": 20, "unsealed Initial": 10, "Initial with a bad token": 10}
    assert all(len(one.payload) >= 1200 and one.source[0] in OWN and one.destination == BOB for one in flood)
    ids = set()
    for one in flood:
        buffer = Buffer(data=one.payload)
        header = pull_quic_header(buffer)
        assert header.packet_type is QuicPacketType.INITIAL
        assert bool(header.token) == (one.kind == "Initial with a bad token")
        ids.add(header.destination_cid)
        if one.kind == "good Initial":
            keys = CryptoPair()
            keys.setup_initial(cid=header.destination_cid, is_client=False, version=1)
            _, payload, _ = keys.decrypt_packet(one.payload, buffer.tell(), 0)
            assert payload.startswith(tap.hello)
    assert len(ids) == 40


@pytest.mark.parametrize("payload", [b"x", b"odd", bytes(1200)])
def test_a_frame_is_a_udp_packet_with_right_checksums(payload: bytes) -> None:
    made = frame(bytes(12) + b"\x08\x00", ALICE, BOB, payload)
    assert endpoints_untrusted(made) == (ALICE, BOB, payload)

    def total(data: bytes) -> int:
        return int.from_bytes(data.ljust(len(data) + len(data) % 2, b"\x00"), "big") % 0xFFFF

    assert total(made[14:34]) == 0
    assert total(made[26:34] + bytes([0, socket.IPPROTO_UDP]) + (8 + len(payload)).to_bytes(2, "big") + made[34:]) == 0


def test_nobody_is_asked_who_is_not_there() -> None:
    attackers = Attackers(lambda end: pytest.fail(f"{end} was looked for"))
    with pytest.raises(SpecError, match="attacker at mallory/eth: there is none"):
        attackers.ask("mallory/eth", "forge")
