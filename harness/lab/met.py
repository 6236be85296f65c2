"""Which of the calls' packets a fault met: counted in the captures of the interfaces that it changed, once they are closed.

A fault that met none of them changed nothing that the run judges, so it did not take.  A packet is known by its bytes, which no NAT and no
link changes: it is one of a call's if it left the host of one of its agents for the other's port, or from there.

What passed a thing is counted from when it was changed until it is changed again, or until no call is judged any more; at a thing that
died, what passed since the fault began, or in the ``BEFORE`` before its death, counts too, and what came to the router before it and went
nowhere.  Where netem stands before the capture, what it dropped is in no capture: there its own counter tells, of all packets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from harness import rotation
from harness.fabric.capture import file_name
from harness.fabric.pcapng import Packet, Reader
from harness.fabric.receipts import Touches
from harness.fabric.udp_packets import UdpPacket, udp_packets
from harness.spec.topology import Router, Topology
from harness.units import Duration, many, ms, s

if TYPE_CHECKING:
    from harness.lab.lab import Lab

BEFORE = 1500 * ms
"""A call that says nothing sends once a second: a path on which nothing passed for so long is not used."""
_AT_ONCE = 100 * ms
_SLACK = 1_000_000
"""Nanoseconds between when an executor was changed and when it noted that."""
_POLL_S = 0.01
_HEADERS = {4: 28, 6: 48}
"""Bytes of IP and UDP before a payload, without options or extensions."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was changed at ``at`` (ns), in the block of the fault number ``fault``, which ``began`` then; None outside of any."""

    at: int
    touches: Touches
    fault: int | None = None
    began: int = 0


class Met(NamedTuple):
    """How many packets of the calls a change met, each once, and how many where: ``alice/wifi out``, ``stopped at home``."""

    packets: int
    by: dict[str, int]

    def __str__(self) -> str:
        told = ", ".join(f"{count} {where}" for where, count in self.by.items())
        return f"{many(self.packets, 'packet')} of the call" + (f" ({told})" if told else "")


class Traffic:
    """The calls' packets at the interfaces of a network, read from its captures.

    ``calls``: the payloads that left the agents' hosts for one another.  ``final``: what the executors told at the end.
    """

    def __init__(self, topology: Topology, captures: Path, calls: frozenset[bytes], final: Mapping[str, Any], until: int) -> None:
        self._topology = topology
        self._captures = captures
        self._calls = calls
        self._final = final
        self._until = until

    def met(self, change: Change, changes: Sequence[Change]) -> Met:
        """What ``change`` met; ``changes``: all of the run, in order of time."""
        touches = change.touches
        until = min((one.at for one in changes if _ends(one, change)), default=self._until)
        since = min(change.began or change.at, change.at - BEFORE.ns) if touches.before else change.at
        found: list[tuple[str, bytes]] = []
        for interface in touches.interfaces:
            passed = (udp for udp in self._passed(interface, since, until) if _touched(udp, touches))
            found += [(f"{interface} {'out' if udp.outgoing else 'in'}", udp.payload) for udp in passed]
        if not found and touches.before:
            found = self._stopped(touches, change.at, until)
        if not found and touches.direction is not None:
            return self._counted(change, until)
        return Met(len({payload for _, payload in found}), dict(Counter(where for where, _ in found)))

    def _passed(self, interface: str, since: int, until: int) -> Iterator[UdpPacket]:
        """The calls' packets at an interface in that time."""
        path = self._captures / file_name(interface)
        for part in rotation.parts(path) or [path]:
            yield from (one for one in udp_packets(_within(Reader(part), since, until)) if one.payload in self._calls)

    def _stopped(self, touches: Touches, since: int, until: int) -> list[tuple[str, bytes]]:
        """What came to a router at an end of a link that is dead, and left it nowhere."""
        found: list[tuple[str, bytes]] = []
        for node in dict.fromkeys(interface.partition("/")[0] for interface in touches.interfaces):
            if isinstance(self._topology.node(node), Router):
                passed = [udp for port in self._topology.ports(node) for udp in self._passed(port.path, since, until)]
                left = {udp.payload for udp in passed if udp.outgoing}
                found += [(f"stopped at {node}", udp.payload) for udp in passed if not udp.outgoing and udp.payload not in left]
        return found

    def _counted(self, change: Change, until: int) -> Met:
        """What netem took at the sending end of a link from then on, of whatever kind it was; nothing where the relay is."""
        (interface,), way = change.touches.interfaces, change.touches.direction
        name = self._topology.link(interface).name
        last = self._final.get("links", {}).get(name, {}).get(way, {})
        rulings = self._final.get("rulings", {}).get(name, {}).get(way, {}).get("rulings", [])
        begun = [one["received"] for one in rulings if one["at"] <= change.at + _SLACK]
        if "in_flight" not in last or "received" in last or not begun or change.touches.above:
            return Met(0, {})
        ended = [one["received"] for one in rulings if change.at + _SLACK < one["at"] <= until]
        count = (ended[0] if ended else last["delivered"] + last["dropped"] + last["in_flight"]) - begun[-1]
        return Met(count, {f"taken by netem at {interface}": count}) if count > 0 else Met(0, {})


def traffic(lab: Lab, topology: Topology) -> Traffic:
    """The packets of the run's calls, once its captures are closed."""
    calls = list(dict.fromkeys(call for peer in lab.peers.values() for call in peer.calls))
    ports = {lab.port, *(call.remote[1] for call in calls)}
    sent = frozenset(
        packet.payload
        for peer in lab.peers.values()
        for packet in lab.evidence.captured(peer, whole=False)
        if packet.outgoing and (packet.source[1] in ports or packet.destination[1] in ports)
    )
    until = max((call.closed or lab.now() for call in calls), default=lab.now())
    return Traffic(topology, lab.folder / "capture", sent, lab.final, until)


async def comes_to(lab: Lab, node: str, *, since: int, within: Duration = 2 * s) -> None:
    """Wait until a UDP packet has come to ``node`` since then (ns), as its captures show it; no longer than ``within``."""
    network = lab.network
    assert network is not None
    paths = [lab.folder / "capture" / file_name(port.path) for port in network.topology.ports(node)]
    with trio.move_on_after(within.s):
        while True:
            await network.flush()
            if any(udp.outgoing is False for path in paths for udp in udp_packets(_within(Reader(path), since, lab.now()))):
                return
            await trio.sleep(_POLL_S)


def settle(changes: Sequence[Change], met: Sequence[Met], beside: frozenset[int]) -> list[str]:
    """Why each of ``changes`` did not take, "" where it did or was in no fault's block; ``met``: what each met.

    ``beside``: the numbers of faults that are beside the call on purpose.  Changes of both directions of a link are one; what only puts
    back what its fault had changed need not meet anything.
    """
    return [_why(change, list(zip(changes, met, strict=True)), beside) for change in changes]


def _why(change: Change, all_of_them: Sequence[tuple[Change, Met]], beside: frozenset[int]) -> str:
    if change.fault is None:
        return ""
    of_fault = [(one, met) for one, met in all_of_them if one.fault == change.fault]
    alike = [(one, met) for one, met in of_fault if one.touches.thing == change.touches.thing and _made_at_once(one, change)]
    if not any(one.touches.changed for one, _ in alike):
        return "it asks for what was in force already: nothing was changed"
    total = sum(met.packets for _, met in alike)
    if change.fault in beside:
        return f"it was to be beside the call, and met {many(total, 'packet')} of it" if total else ""
    if total or (change.touches.restores and any(not one.touches.restores and one.touches.changed for one, _ in of_fault)):
        return ""
    what = f"larger than {change.touches.above} bytes " if change.touches.above else ""
    return f"it met none of the call's packets: none {what}passed {', '.join(change.touches.interfaces)}"


def _made_at_once(one: Change, other: Change) -> bool:
    """Whether both were made by one request: the two directions of a link are changed one after the other."""
    return abs(one.at - other.at) <= _AT_ONCE.ns and one.touches.before == other.touches.before


def _ends(one: Change, change: Change) -> bool:
    """Whether ``one`` is a later change of the same thing."""
    return one.touches.thing == change.touches.thing and one.touches.direction == change.touches.direction and one.at > change.at


def _touched(udp: UdpPacket, touches: Touches) -> bool:
    if touches.direction is not None and not udp.outgoing:
        return False
    if touches.endpoints is not None and udp.source not in touches.endpoints and udp.destination not in touches.endpoints:
        return False
    return udp.size + _HEADERS[6 if ":" in udp.source[0] else 4] > touches.above


def _within(packets: Iterable[Packet], since: int, until: int) -> Iterator[Packet]:
    return (packet for packet in packets if packet.monotonic is not None and since <= packet.monotonic <= until)
