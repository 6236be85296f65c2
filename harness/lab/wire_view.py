"""What the captures of a run show, opened with its keys: crossings, signalling, and the RTP packets of every call.

Built anew when the captures have grown; a datagram that was opened once is found by its bytes from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType

from harness.fabric.samples import QueueSample
from harness.fabric.udp_packets import UdpPacket
from harness.lab import decrypted
from harness.lab.crossings import Crossing, Talk, arrivals, crossings, signalling
from harness.lab.decrypted import Decrypted, Packet
from harness.lab.quic_keys import Secret
from harness.lab.taking import Amplification, Bounds, first_acks, taken_at, untaken_until, usual_delay
from harness.lab.wire_media import WirePacket, by_direction, wire_packets

NEVER = 1 << 62


@dataclass(frozen=True)
class CallEnds:
    """Who called whom, under which id, and from when to when (ns)."""

    id: str
    caller: str
    callee: str
    since: int
    until: int


@dataclass(frozen=True)
class Sealed:
    """What a speaker sent that no key opens: ``datagrams``, each with its first copy elsewhere; beside them so many were ``opened``.

    ``missing``: packet numbers that none of the opened has.  Packets that cannot be opened leave such holes; bytes that are no packets do
    not.
    """

    datagrams: Sequence[tuple[UdpPacket, str, UdpPacket | None]]
    opened: int
    missing: int

    @property
    def whole(self) -> bool:
        """Whether nothing at all was opened."""
        return self.opened == 0

    @property
    def many(self) -> bool:
        """Whether they are more than one in ``_FEW``, those left out that may be stateless resets."""
        count = sum(udp.size > _RESET for udp, _, _ in self.datagrams)
        return count > 1 and count * _FEW > self.opened + count

    @property
    def hides(self) -> bool:
        """Whether packets are among them that the figures would need."""
        return self.many and (self.whole or 2 * self.missing >= len(self.datagrams))

    def __str__(self) -> str:
        count = len(self.datagrams)
        return f"no key in its key log opens {count} of the {self.opened + count} datagrams with short headers that it sent"


_FEW = 100
"""One datagram in so many may open under no key."""
_RESET = 42
"""Bytes.  A datagram of this size or less may be a stateless reset, which looks like a packet with a short header (RFC 9000 §10.3); no
packet with media has room in it."""


@dataclass(frozen=True)
class View:
    """What was captured, opened and understood.

    ``captured``: by peer, by time.  ``sealed``: by speaker, what of its datagrams no key opens, those without any left out.  ``calls``: by
    connection, its call.  ``media``: by connection and speaker.
    """

    captured: Mapping[str, Sequence[UdpPacket]]
    crossed: Sequence[Crossing]
    sealed: Mapping[str, Sealed]
    talks: Sequence[Talk]
    calls: Mapping[str, str]
    media: Mapping[tuple[str, str], Sequence[WirePacket]]

    def packets(self, call: str, speaker: str) -> list[WirePacket]:
        """The RTP packets that ``speaker`` sent in ``call``, whatever connection carried them, in the order of departure."""
        mine = [one for connection, its in self.calls.items() if its == call for one in self.media.get((connection, speaker), ())]
        return sorted(mine, key=lambda one: one.departed)


class Opener:
    """Opens datagrams, each once."""

    def __init__(self) -> None:
        self._known: dict[bytes, Packet] = {}
        self._sealed: set[bytes] = set()
        self._opener = decrypted.Opener()  # which packet numbers and key phases come next is known from what was opened before

    def open(self, outgoing: Iterable[UdpPacket], keys: list[Secret]) -> tuple[list[Packet], list[UdpPacket]]:
        """The 1-RTT packets in ``outgoing``, datagrams by time, and those datagrams with one that no key opens."""
        outgoing = list(outgoing)
        fresh = [udp for udp in outgoing if udp.payload not in self._known]
        self._opener.add(keys)
        found = self._opener.decrypt(fresh)
        self._known |= {packet.udp.payload: packet for packet in found.packets}
        self._sealed = (self._sealed | {udp.payload for udp in found.sealed}) - self._known.keys()
        opened = []
        for udp in outgoing:
            known = self._known.get(udp.payload)
            if known is not None:
                opened.append(known if known.udp is udp else replace(known, udp=udp))
        return opened, [udp for udp in outgoing if udp.payload in self._sealed]

    def opened_before(self, payload: bytes) -> Packet | None:
        """The 1-RTT packet in a datagram with that payload, if it was opened."""
        return self._known.get(payload)

    def at_host(self, captured: Iterable[UdpPacket]) -> Decrypted:
        """What is opened of a host's datagrams, both ways, by time, once ``open`` was given all that left the agents' hosts.

        What none of them sent is opened with their keys too, if it can be.
        """
        captured = list(captured)
        others = self._opener.decrypt(udp for udp in captured if udp.payload not in self._known)
        fresh = {packet.udp.payload: packet for packet in others.packets}
        opened: list[Packet] = []
        seen: set[bytes] = set()
        for udp in captured:
            if (packet := self._known.get(udp.payload) or fresh.get(udp.payload)) is not None:
                opened.append(replace(packet, udp=udp, copy=udp.payload in seen))
                seen.add(udp.payload)
        return Decrypted(opened, others.sealed, others.owners)


def view(
    captured: Mapping[str, Sequence[UdpPacket]],
    opened: Sequence[Packet],
    sealed: Iterable[UdpPacket],
    *,
    calls: Sequence[CallEnds],
    held: Mapping[str, int],
    samples: Mapping[str, Sequence[QueueSample]],
    quiet_until: int = NEVER,
    cut: Mapping[str, Sequence[tuple[int, int]]] = MappingProxyType({}),
) -> View:
    """Put together what was captured and opened.

    ``samples``: by peer, its sockets' receive queues.  ``quiet_until``: when the first fault began (ns); usual ACK delays are of before.
    ``cut``: by interface, when it was down (ns): the ACK of what came by it may have waited for another path.
    """
    crossed = crossings(captured, opened, held)
    talks = signalling(crossed)
    taken = _Taking(captured, crossed, samples, quiet_until, cut)
    return View(
        captured,
        crossed,
        _sealed(captured, crossed, sealed),
        talks,
        _calls(crossed, talks, calls),
        by_direction(wire_packets(crossed, taken)),
    )


def _sealed(captured: Mapping[str, Sequence[UdpPacket]], crossed: Iterable[Crossing], sealed: Iterable[UdpPacket]) -> dict[str, Sealed]:
    found: dict[str, list[tuple[UdpPacket, str, UdpPacket | None]]] = {}
    for speaker, udp, listener, arrival in arrivals(captured, sealed):
        found.setdefault(speaker, []).append((udp, listener, arrival))
    numbers: dict[tuple[str, str], set[int]] = {}
    for one in crossed:
        numbers.setdefault((one.packet.connection, one.speaker), set()).add(one.packet.number)
    holes: dict[str, int] = {}
    opened: dict[str, int] = {}
    for (_, speaker), its in numbers.items():
        holes[speaker] = holes.get(speaker, 0) + max(its) - min(its) + 1 - len(its)
        opened[speaker] = opened.get(speaker, 0) + len(its)
    return {speaker: Sealed(its, opened.get(speaker, 0), holes.get(speaker, 0)) for speaker, its in found.items()}


def _calls(crossed: Iterable[Crossing], talks: Iterable[Talk], calls: Sequence[CallEnds]) -> dict[str, str]:
    """Which call each connection is of: by the session id in its signalling, else by its ends and its time."""
    found: dict[str, str] = {}
    known = {call.id for call in calls}
    for talk in talks:
        if talk.message.get("session_id") in known:
            found.setdefault(talk.connection, str(talk.message["session_id"]))
    for one in crossed:
        connection = one.packet.connection
        if connection in found or not one.listener:
            continue
        ends = (one.speaker, one.listener) if one.packet.sender == "client" else (one.listener, one.speaker)
        mine = [call for call in calls if (call.caller, call.callee) == ends and call.since <= one.departed <= call.until]
        if len(mine) == 1:
            found[connection] = mine[0].id
    return found


class _Taking:
    """When each datagram that arrived was taken."""

    def __init__(
        self,
        captured: Mapping[str, Sequence[UdpPacket]],
        crossed: Sequence[Crossing],
        samples: Mapping[str, Sequence[QueueSample]],
        quiet_until: int,
        cut: Mapping[str, Sequence[tuple[int, int]]],
    ) -> None:
        self._cut = cut
        self._acks = first_acks(crossed)
        self._queued: dict[int, int] = {}
        self._dropped: dict[str, list[tuple[int, int]]] = {}
        for peer, its in samples.items():
            self._sample(peer, captured.get(peer, ()), its)
        self._limits = _limits(captured, crossed)
        self._usual = self._usual_delays(crossed, quiet_until)

    def _sample(self, peer: str, packets: Sequence[UdpPacket], samples: Sequence[QueueSample]) -> None:
        by_socket: dict[int, list[QueueSample]] = {}
        for sample in samples:
            by_socket.setdefault(sample.port, []).append(sample)
        for port, its in by_socket.items():
            addresses = {sample.address for sample in its}
            for address in addresses:
                mine = [sample for sample in its if sample.address == address]
                anyone = address in ("0.0.0.0", "::")
                came = [p for p in packets if not p.outgoing and p.destination[1] == port and (anyone or p.destination[0] == address)]
                until = untaken_until([(p.monotonic or 0, p.size) for p in came], mine)
                self._queued |= {id(packet): at for packet, at in zip(came, until, strict=True) if at}
                self._dropped.setdefault(peer, []).extend(
                    (before.at, after.at) for before, after in pairwise(mine) if after.drops > before.drops
                )

    def _usual_delays(self, crossed: Iterable[Crossing], quiet_until: int) -> dict[str, int]:
        seen: dict[str, list[int]] = {}
        for one in crossed:
            acked = self._acks.get((one.packet.connection, one.speaker, one.packet.number))
            if acked is not None and one.arrived is not None and acked < quiet_until:
                seen.setdefault(one.listener, []).append(acked - one.arrived)
        return {listener: usual_delay(delays) for listener, delays in seen.items()}

    def __call__(self, one: Crossing) -> int | None:
        if one.arrival is None or one.arrived is None:
            return None
        acked = self._acks.get((one.packet.connection, one.speaker, one.packet.number), 0)
        if not acked and any(since <= one.arrived <= until for since, until in self._dropped.get(one.listener, ())):
            return None  # its socket dropped datagrams then, and nothing acknowledges this one
        if acked and any(since <= acked and one.arrived <= until for since, until in self._cut.get(one.arrival.interface, ())):
            acked = 0
        limits = self._limits.get(one.listener)
        if acked and one.packet.sender == "client" and limits is not None and limits.limits(one.arrival.source, one.arrived, acked):
            acked = 0
        bounds = Bounds(self._queued.get(id(one.arrival), 0), acked)
        return taken_at(one.arrived, bounds, self._usual.get(one.listener, usual_delay(())))


def _limits(captured: Mapping[str, Sequence[UdpPacket]], crossed: Iterable[Crossing]) -> dict[str, Amplification]:
    """By callee's host: from when which address was validated: by the PATH_RESPONSE from it, the first of a connection at once."""
    validated: dict[str, dict[tuple[str, int], int]] = {}
    known: set[str] = set()
    for one in crossed:
        if one.packet.sender != "client" or one.arrival is None or one.arrived is None:
            continue
        its = validated.setdefault(one.listener, {})
        if one.packet.connection not in known:
            known.add(one.packet.connection)
            its[one.arrival.source] = 0
        elif one.packet.having("PATH_RESPONSE"):
            its.setdefault(one.arrival.source, one.arrived)
    return {peer: Amplification(captured[peer], its) for peer, its in validated.items()}
