"""The receipt of a migration: what Bob's capture must show, and what it is not taken for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from harness.fabric.udp_packets import UdpPacket
from harness.lab.evidence import Evidence
from harness.lab.peer import Move

BOB = ("198.51.100.66", 4433)
WIFI, WIFI_AGAIN, LTE = ("203.0.113.2", 1000), ("203.0.113.2", 1001), ("198.51.100.2", 2000)
ASKED = 10_000


class Seen:
    """What left Alice's host and came to Bob's."""

    def __init__(self) -> None:
        self.left: list[UdpPacket] = []
        self.came: list[UdpPacket] = []

    def say(self, since: int, count: int, path: str, source: tuple[str, int]) -> None:
        for at in range(since, since + count * 20, 20):
            payload = b"%d" % at
            self.left.append(UdpPacket(f"alice/{path}", at, at, True, ("10.0.0.2", 4433), BOB, 100, payload))
            self.came.append(UdpPacket("bob/eth", at + 5, at + 5, False, source, BOB, 100, payload))

    def receipt(self, path: str, *others: int) -> Any:
        alice: Any = SimpleNamespace(name="alice")
        call: Any = SimpleNamespace(callee=SimpleNamespace(name="bob"))
        moves = [Move(alice, "wifi", at, call) for at in others]
        lab: Any = SimpleNamespace(port=4433, moves=moves, now=lambda: 99_999)
        return Evidence(lab).receipt(Move(alice, path, ASKED, call), "moves", self.came, self.left)


def test_packets_by_the_new_path_from_another_address_prove_it() -> None:
    seen = Seen()
    seen.say(ASKED - 200, 10, "wifi", WIFI)
    seen.say(ASKED, 10, "lte", LTE)
    assert seen.receipt("lte").taken
    assert seen.receipt("lte").observed["after"] == "198.51.100.2 2000"


def test_a_rebind_at_the_same_time_is_not_taken_for_it() -> None:
    seen = Seen()
    seen.say(ASKED - 200, 10, "wifi", WIFI)
    seen.say(ASKED, 20, "wifi", WIFI_AGAIN)
    assert not seen.receipt("lte").taken


def test_nor_does_a_rebind_at_the_same_time_hide_it() -> None:
    seen = Seen()
    seen.say(ASKED - 200, 10, "wifi", WIFI)
    seen.say(ASKED, 12, "wifi", WIFI_AGAIN)
    seen.say(ASKED + 240, 10, "lte", LTE)
    found = seen.receipt("lte")
    assert (found.taken, found.observed["after"], found.observed["packets by alice/lte until then"]) == (True, "198.51.100.2 2000", 10)


def test_a_move_that_was_overtaken_needs_a_probe_by_its_path() -> None:
    seen = Seen()
    seen.say(ASKED - 200, 10, "wifi", WIFI)
    seen.say(ASKED, 2, "lte", LTE)
    seen.say(ASKED + 40, 20, "wifi", WIFI_AGAIN)
    assert seen.receipt("lte", ASKED + 30).taken
    assert not seen.receipt("lte").taken
    assert not seen.receipt("lte", ASKED + 2000).taken, "a move long after it is no reason"


def test_an_overtaken_move_without_a_probe_did_not_happen() -> None:
    seen = Seen()
    seen.say(ASKED - 200, 10, "wifi", WIFI)
    seen.say(ASKED, 20, "wifi", WIFI_AGAIN)
    assert not seen.receipt("lte", ASKED + 30).taken
