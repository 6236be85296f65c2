"""Whose handshake an Initial is, when several calls go to one callee: counted from packets made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from harness.agent.messages import ConnectionEstablished
from harness.agent.remote import Said
from harness.fabric.udp_packets import UdpPacket
from harness.lab.evidence import Evidence
from harness.media.figure import Moment

INITIAL = bytes([0xC0]) + (1).to_bytes(4, "big")


def initial(at: int, destination: bytes, source: bytes, *, outgoing: bool) -> UdpPacket:
    payload = INITIAL + bytes([len(destination)]) + destination + bytes([len(source)]) + source + bytes(20)
    return UdpPacket("x/eth", at, at, outgoing, ("192.0.2.1", 5000), ("192.0.2.2", 4433), len(payload), payload)


class Wire(Evidence):
    """Evidence over packets that are given to it."""

    def __init__(self, packets: dict[str, list[UdpPacket]]) -> None:
        lab: Any = SimpleNamespace(now=lambda: 1000)
        super().__init__(lab)
        self._captured = packets


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
    first, other, again = begins(10, b"A1", b"sa"), begins(20, b"C1", b"sc"), begins(30, b"B1", b"sa")
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
