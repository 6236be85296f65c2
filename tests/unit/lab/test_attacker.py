"""The receipt of a race: who came first at the callee's host is seen there, and is nobody's doing but this machine's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from harness.fabric.attacker_handle import Deeds
from harness.fabric.udp_packets import UdpPacket
from harness.lab.attacker import Attacker

MS = 1_000_000
ALICE, MALLORY, BOB = ("203.0.113.2", 4433), ("192.0.2.2", 38327), ("198.51.100.2", 4433)


def packet(source: tuple[str, int], payload: bytes, at: int, *, outgoing: bool = False) -> UdpPacket:
    return UdpPacket("eth", at, at, outgoing, source, BOB, len(payload), payload)


def race(*leads: int, originals: bool = True) -> Any:
    """What is seen of a race whose copies were so far (ns) ahead of their originals."""
    lines: dict[Any, list[UdpPacket]] = {"mallory": [], "bob": []}
    for number, lead in enumerate(leads):
        payload, at = b"\x41 packet %d" % number, (100 + 20 * number) * MS
        lines["mallory"].append(packet(MALLORY, payload, at - 50 * MS, outgoing=True))
        lines["bob"].append(packet(MALLORY, payload, at - lead))
        if originals:
            lines["bob"].append(packet(ALICE, payload, at))
    bob: Any = SimpleNamespace(name="bob")
    evidence = SimpleNamespace(captured=lambda whose: lines[whose.name])
    lab: Any = SimpleNamespace(evidence=evidence)
    done = Deeds(sent={"copy that wins the race": len(leads)}, busy=False, seen={}, began=7, ended=8, late_ns=22 * MS)
    handle: Any = None
    return Attacker(lab, "mallory", handle, deeds=[done]).won(bob)


def test_a_race_is_won_when_each_copy_came_first() -> None:
    seen = race(20 * MS, 19 * MS)
    assert (seen.taken, seen.unfit, seen.at) == (True, "", 7)
    assert seen.seen["copy ahead by"] == "20ms, 19ms"
    assert seen.seen["copy from"] == "192.0.2.2 38327"


def test_a_race_that_is_lost_is_this_machines_doing() -> None:
    seen = race(-2 * MS, 19 * MS, 0)
    assert not seen.taken
    assert seen.unfit == "2 of mallory's 3 copies came after their originals (22ms late at her tap): too busy a machine"


def test_a_race_without_originals_is_not_seen_and_nobody_is_excused() -> None:
    seen = race(20 * MS, originals=False)
    assert (seen.taken, seen.unfit) == (False, "")
