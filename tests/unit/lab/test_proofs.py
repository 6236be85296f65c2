"""Proofs over packets made by hand: true where it was so, false where it was not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.fabric.base import Dropped
from harness.fabric.udp_packets import UdpPacket
from harness.lab.decrypted import Decrypted, Packet, Sender
from harness.lab.frames import Frame
from harness.lab.proofs import carried, time_to_move, unanswered
from harness.spec.link import Pick
from harness.units import ms
from tests.unit.lab.wire import datagram, rtp

MS = 1_000_000
ALICE, MOVED, BOB = ("192.0.2.1", 5000), ("192.0.2.9", 6000), ("192.0.2.2", 4433)
MEDIA = datagram(rtp(1))


def packet(at: int, *frames: Frame, source: tuple[str, int] = ALICE, outgoing: bool = False, payload: bytes = b"?") -> Packet:
    """Captured at bob's host, a server, at ``at`` ms."""
    ends = (BOB, source) if outgoing else (source, BOB)
    udp = UdpPacket("bob/eth", at * MS, at * MS, outgoing, *ends, len(payload), payload)
    sender: Sender = "server" if outgoing else "client"
    return Packet(udp, sender, "c", at, b"", frames)


def wire(*packets: Packet) -> Decrypted:
    return Decrypted(list(packets), [])


def challenge(data: bytes) -> Frame:
    return Frame("PATH_CHALLENGE", {"data": data})


def response(data: bytes) -> Frame:
    return Frame("PATH_RESPONSE", {"data": data})


class TestCarried:
    payload = bytes(range(100))
    dropped = Dropped(pick=Pick(1), number=1, at=12 * MS, udp=True, size=100, begins=payload[:32].hex())

    def test_the_packet_is_found_by_its_first_bytes_and_its_size(self) -> None:
        there = packet(2, challenge(b"1"), response(b"2"), outgoing=True, payload=self.payload)
        others = (packet(1, response(b"2"), outgoing=True, payload=self.payload + b"x"), packet(3, response(b"2"), payload=self.payload))
        proof = carried(wire(others[0], there, others[1]), self.dropped, "PATH_RESPONSE")
        assert proof.taken
        assert proof.observed == {
            "dropped": "#1, 100 bytes",
            "found": 1,
            "frames": ["PATH_CHALLENGE", "PATH_RESPONSE"],
            "packet number": 2,
            "dropped after it was sent": "10ms",
        }

    def test_another_frame_is_no_proof(self) -> None:
        assert not carried(wire(packet(2, MEDIA, outgoing=True, payload=self.payload)), self.dropped, "PATH_RESPONSE").taken

    def test_nothing_found_is_no_proof_and_neither_is_it_twice(self) -> None:
        assert carried(wire(), self.dropped, "PATH_RESPONSE") == (False, {"dropped": "#1, 100 bytes", "found": 0})
        twice = [packet(at, response(b"2"), outgoing=True, payload=self.payload) for at in (1, 2)]
        assert not carried(wire(*twice), self.dropped, "PATH_RESPONSE").taken


class TestUnanswered:
    @pytest.mark.parametrize(
        ("at", "taken", "answered"), [(9, False, "41ms later"), (10, True, "40ms later"), (49, True, "1ms later"), (50, False, "0s later")]
    )
    def test_from_the_challenge_to_its_answer(self, at: int, taken: bool, answered: str) -> None:
        seen = wire(
            packet(5, challenge(b"old"), outgoing=True),
            packet(10, challenge(b"new"), outgoing=True, source=MOVED),
            packet(20, response(b"old")),
            packet(50, response(b"other"), response(b"new"), source=MOVED),
        )
        proof = unanswered(seen, since=6 * MS, at=at * MS)
        assert proof.taken is taken
        assert proof.observed["answered"] == answered
        assert proof.observed["challenge"] == "sent by bob/eth to 192.0.2.9 6000"

    def test_an_answer_that_never_came(self) -> None:
        seen = wire(packet(10, challenge(b"new"), outgoing=True), packet(20, challenge(b"new")))
        assert unanswered(seen, since=0, at=1000 * MS).observed["answered"] == "never"

    def test_what_was_kept_before_the_capture_saw_it_was_out_before(self) -> None:
        seen = wire(packet(50, challenge(b"new"), outgoing=True), packet(80, response(b"new")))
        assert not unanswered(seen, since=0, at=30 * MS).taken
        assert not unanswered(seen, since=0, at=30 * MS, held={"bob/eth": 19 * MS}.__getitem__).taken
        assert unanswered(seen, since=0, at=30 * MS, held={"bob/eth": 20 * MS}.__getitem__).taken

    def test_the_first_is_the_one_that_left_first_and_not_the_one_that_was_captured_first(self) -> None:
        slow = packet(160, challenge(b"old"), outgoing=True)
        slow = replace(slow, udp=replace(slow.udp, interface="bob/lte"))
        seen = wire(packet(26, challenge(b"new"), outgoing=True), packet(80, response(b"new")), slow)
        held = {"bob/eth": 15 * MS, "bob/lte": 150 * MS}.__getitem__
        assert unanswered(seen, since=0, at=10 * MS, held=held) == (
            True,
            {"challenge": "sent by bob/lte to 192.0.2.1 5000", "out for": "0s", "answered": "never"},
        )

    def test_the_peers_challenge_is_not_ours(self) -> None:
        assert unanswered(wire(packet(10, challenge(b"new"))), since=0, at=20 * MS) == (False, {"challenge": "none was sent"})


class TestTimeToMove:
    def test_until_media_comes_from_elsewhere(self) -> None:
        seen = wire(
            packet(1, MEDIA),
            packet(2, MEDIA, outgoing=True),
            packet(5, challenge(b"1"), source=MOVED),
            packet(6, MEDIA),
            packet(9, MEDIA, source=MOVED),
            packet(12, MEDIA, source=MOVED),
        )
        figure = time_to_move(seen, asked=3 * MS)
        assert (figure.value, figure.note) == (6 * ms, "")
        assert [(gap.start, gap.end, gap.recovered) for gap in figure.gaps] == [(3 * MS, 9 * MS, True)]

    def test_one_that_never_moved_is_as_long_as_the_capture(self) -> None:
        figure = time_to_move(wire(packet(1, MEDIA), packet(30, MEDIA), packet(40, MEDIA, outgoing=True)), asked=3 * MS)
        assert (figure.value, figure.note) == (37 * ms, "it never moved")
        assert not figure.gaps[0].recovered
