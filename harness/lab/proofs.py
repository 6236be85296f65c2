"""What decrypted packets prove about paths: pure functions of a capture, for the receipts of faults that no instrument of the fabric sees.

A proof says whether the fault was there (``taken``) and what was observed, in words for the report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from harness.fabric.base import Dropped
from harness.lab.decrypted import Decrypted, Packet
from harness.media.figure import Figure, Gap
from harness.units import Duration


class Proof(NamedTuple):
    """Whether it was so, and the evidence, plain JSON."""

    taken: bool
    observed: dict[str, Any]


def carried(wire: Decrypted, dropped: Dropped, frame: str) -> Proof:
    """Whether the packet that a link ``dropped`` carried a ``frame`` (its RFC name); ``wire``: captured at its sender's host."""

    def is_it(packet: Packet) -> bool:
        udp = packet.udp
        return bool(udp.outgoing) and udp.size == dropped.size and udp.payload.hex().startswith(dropped.begins)

    found = [packet for packet in wire.packets if is_it(packet)]
    observed: dict[str, Any] = {"dropped": f"{dropped.pick}, {dropped.size} bytes", "found": len(found)}
    if found:
        observed["frames"] = [one.name for one in found[0].frames]
        observed["packet number"] = found[0].number
        observed["dropped after it was sent"] = str(Duration(dropped.at - found[0].at))
    return Proof(len(found) == 1 and bool(found[0].having(frame)), observed)


def unanswered(wire: Decrypted, since: int, at: int, held: Callable[[str], int] = lambda interface: 0) -> Proof:
    """Whether at ``at`` (ns) the first PATH_CHALLENGE after ``since`` was out and not answered; ``wire``: captured at its sender's host.

    ``held``: for how long (ns) a packet is surely kept before it is captured on its way out by an interface.
    """
    sent = [packet for packet in wire.packets if packet.udp.outgoing and packet.at >= since and packet.having("PATH_CHALLENGE")]
    left = [packet.at - held(packet.udp.interface) for packet in sent]  # not in the order of the capture: each way keeps them for its time
    if not sent:
        return Proof(False, {"challenge": "none was sent"})
    out, challenge = min(zip(left, sent, strict=True), key=lambda one: one[0])
    data = challenge.having("PATH_CHALLENGE")[0].fields["data"]
    answers = (p for p in wire.packets if not p.udp.outgoing and any(f.fields["data"] == data for f in p.having("PATH_RESPONSE")))
    answer = next(answers, None)
    observed = {
        "challenge": f"sent by {challenge.udp.interface} to {challenge.udp.destination[0]} {challenge.udp.destination[1]}",
        "out for": str(Duration(at - out)),
        "answered": "never" if answer is None else f"{Duration(answer.at - at)} later",
    }
    return Proof(out <= at and (answer is None or answer.at > at), observed)


def time_to_move(wire: Decrypted, asked: int) -> Figure:
    """From ``asked`` (ns) to the first media that the client sent from elsewhere; to the last packet of all when none came.

    ``wire``: captured at the server's host, so that the new path's one-way delay is in it.
    """
    media = [packet for packet in wire.packets if packet.sender == "client" and packet.has_media]
    before = next((packet.udp.source for packet in reversed(media) if packet.at < asked), None)
    first = next((packet for packet in media if packet.at >= asked and packet.udp.source != before), None)
    end = max(asked, wire.packets[-1].at) if first is None else first.at
    gap = Gap(Duration(end - asked), asked, end, recovered=first is not None)
    return Figure(gap.excess, "", (gap,), "it never moved" if first is None else "")
