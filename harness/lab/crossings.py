"""Every datagram that left a peer's host and was opened, and where it arrived: found at the other hosts by its bytes.

Each datagram is opened once, at its sender's host.  An attacker's datagrams leave no peer's host, so they are none; a copy of a genuine one
that arrives first is that datagram's arrival, as the listener's stack takes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from harness.fabric.udp_packets import UdpPacket
from harness.lab.decrypted import SIGNALLING_STREAM, Packet, Sender, Stream, signals

SLACK = 1_000_000
"""Nanoseconds between two captures of one clock, each with its own samples of the offset to it."""


class Crossing(NamedTuple):
    """An opened 1-RTT packet on its way.

    ``departed``: when it passed ``speaker``'s host (ns).  ``listener``: the host that it came to, "" when it came to none; ``arrival``: its
    first copy there.
    """

    speaker: str
    departed: int
    packet: Packet
    listener: str
    arrival: UdpPacket | None

    @property
    def arrived(self) -> int | None:
        """When its first copy passed the listener's host (ns)."""
        return None if self.arrival is None else self.arrival.monotonic


def crossings(captured: Mapping[str, Sequence[UdpPacket]], opened: Iterable[Packet], held: Mapping[str, int]) -> list[Crossing]:
    """A crossing for each packet of ``opened``, in the order of departure.

    ``captured``: by peer, what passed at its host, in order of time.  ``opened``: packets that left a peer's host.  ``held``: by interface,
    for how long (ns) a packet is surely kept there before it is captured on its way out (``Evidence.held``).
    """
    by_datagram = {id(packet.udp): packet for packet in opened}
    found = []
    for speaker, udp, listener, arrival in arrivals(captured, (packet.udp for packet in by_datagram.values())):
        packet = by_datagram[id(udp)]
        found.append(Crossing(speaker, packet.at - held.get(udp.interface, 0), packet, listener, arrival))
    found.sort(key=lambda one: one.departed)
    return found


def arrivals(
    captured: Mapping[str, Sequence[UdpPacket]], outgoing: Iterable[UdpPacket]
) -> Iterator[tuple[str, UdpPacket, str, UdpPacket | None]]:
    """Of each datagram of ``outgoing``: the peer that sent it, itself, the peer that it came to ("" for none) and its copy there."""
    owner = {packet.interface: peer for peer, packets in captured.items() for packet in packets}
    there: dict[bytes, list[tuple[str, UdpPacket]]] = defaultdict(list)
    for peer, packets in captured.items():
        for udp in packets:
            if not udp.outgoing:
                there[udp.payload].append((peer, udp))
    for udp in outgoing:
        speaker = owner.get(udp.interface, "")
        copies = there.get(udp.payload, [])
        earliest = (udp.monotonic or 0) - SLACK
        came = next((one for one in copies if one[0] != speaker and (one[1].monotonic or 0) >= earliest), None)
        if came is not None:
            copies.remove(came)  # the same bytes can leave again, and come again
        yield (speaker, udp, *(came or ("", None)))


class Talk(NamedTuple):
    """One side's signalling message of a connection, when it left and when it came (ns, None when it never did)."""

    connection: str
    speaker: str
    sender: Sender
    message: dict[str, object]
    departed: int
    arrived: int | None


def signalling(crossed: Iterable[Crossing]) -> list[Talk]:
    """The signalling messages of all connections, as far as they can be read, in the order of departure."""
    streams: dict[tuple[str, Sender, str], Stream] = defaultdict(Stream)
    when: dict[int, Crossing] = {}
    for one in crossed:
        for frame in one.packet.having("STREAM"):
            if frame.fields["stream"] == SIGNALLING_STREAM:
                streams[one.packet.connection, one.packet.sender, one.speaker].add(one.packet, frame)
                when[id(one.packet)] = one
    found = []
    for (connection, sender, speaker), stream in streams.items():
        try:
            said = signals(stream)
        except ValueError:  # another stack's signalling: nothing can be read of it
            continue
        for signal in said:
            carrier = when[id(signal.packet)]
            found.append(Talk(connection, speaker, sender, signal.message, carrier.departed, carrier.arrived))
    return sorted(found, key=lambda talk: talk.departed)
