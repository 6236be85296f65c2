"""An attacker on the wire as a scenario sees her: what she does is a fault, what became of it is told by captures and stacks.

Hers is what left her own interface, whatever address it claims to come from; at a host, it is what came there under the same source with
the same bytes.  Of an exact copy under the original's own address the last that came are hers: as many as she sent.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING

from harness.agent.messages import Discarded
from harness.fabric.attacker_handle import AttackerHandle, Deeds
from harness.fabric.receipts import Observation
from harness.fabric.udp_packets import UdpPacket
from harness.lab.moments import of_packets
from harness.media.figure import Figure
from harness.report.hostile import Assault, At
from harness.units import Count, Duration, ms

if TYPE_CHECKING:
    from harness.lab.lab import Lab
    from harness.lab.peer import Peer

AMPLIFICATION = 3
"""How many times what came from an address that is not proven may be sent to it (RFC 9000 §8.1)."""


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """What a peer's stack says that it turned away between two moments."""

    discarded: dict[str, int]
    answered: dict[str, int]
    begun: int
    reclaimed: int

    def __str__(self) -> str:
        answered = {f"answered with {how}": count for how, count in self.answered.items()}
        more = {"taken for new callers": self.begun, "paths taken back": self.reclaimed}
        return _listed({**self.discarded, **answered, **{what: count for what, count in more.items() if count}})

    @property
    def count(self) -> int:
        """Datagrams that came from nobody that it knows: discarded, answered or the first of a connection."""
        return sum(self.discarded.values()) + sum(self.answered.values()) + self.begun


@dataclass(eq=False)
class Attacker:
    """Mallory, at host ``name``.  After each deed ``watched`` peers are asked what they noticed of it."""

    lab: Lab
    name: str
    handle: AttackerHandle
    deeds: list[Deeds] = field(default_factory=list)
    noticed: dict[Peer, TurnedAway] = field(default_factory=dict)
    watched: int = 0
    """Since when (ns)."""
    _before: dict[Peer, Discarded] = field(default_factory=dict)

    async def forge(self, *, count: int, rate: int) -> Deeds:
        """Forged and mutated datagrams at both ends of the call; returns when the last has left."""
        return self._done(await self.handle.forge(count=count, rate=rate, seed=self.lab.orders.seed))

    async def replay(self, *, count: int, rate: int) -> Deeds:
        """Exact copies of the call's own packets, from where they came from and from elsewhere."""
        return self._done(await self.handle.replay(count=count, rate=rate, seed=self.lab.orders.seed))

    async def flood(self, *, count: int, rate: int) -> Deeds:
        """Initials at the callee from many addresses."""
        return self._done(await self.handle.flood(count=count, rate=rate, seed=self.lab.orders.seed))

    async def race(self, *, for_: Duration = 0 * ms) -> Deeds:
        """A copy of the caller's next packet, and of those in ``for_`` after it, from another address; it comes before the original."""
        return self._done(await self.handle.race(for_=for_, seed=self.lab.orders.seed))

    def _done(self, deeds: Deeds) -> Deeds:
        self.deeds.append(deeds)
        self.lab.timeline.note("lab", "attack", f"{self.name} has sent {deeds.count}: {_listed(deeds.sent)}", aloud=True)
        return deeds

    async def watch(self, *peers: Peer) -> None:
        """From now on count what the stacks of ``peers`` turn away."""
        self.watched = self.lab.now()
        for peer in peers:
            peer.need("discards")
            self._before[peer] = await peer.remote.discards()

    async def ask(self) -> None:
        """What they have turned away since ``watch``."""
        for peer, before in self._before.items():
            now = await peer.remote.discards()
            discarded, answered = Counter(now.discarded), Counter(now.answered)
            discarded.subtract(before.discarded)
            answered.subtract(before.answered)
            self.noticed[peer] = TurnedAway(dict(+discarded), dict(+answered), now.begun - before.begun, now.reclaimed - before.reclaimed)

    # What the captures say

    def sent(self) -> list[UdpPacket]:
        """What left her interface."""
        return [packet for packet in self.lab.evidence.captured(self) if packet.outgoing]

    def got(self) -> list[UdpPacket]:
        """What came to her interface: the answers to what she sent from addresses of her own."""
        return [packet for packet in self.lab.evidence.captured(self) if not packet.outgoing]

    def arrived(self, peer: Peer) -> list[UdpPacket]:
        """What of hers came to ``peer``'s host, in order of time."""
        hers = Counter((packet.source, packet.payload) for packet in self.sent())
        came: dict[tuple[tuple[str, int], bytes], list[UdpPacket]] = defaultdict(list)
        for packet in self.lab.evidence.captured(peer):
            if not packet.outgoing and (packet.source, packet.payload) in hers:
                came[packet.source, packet.payload].append(packet)
        found = [packet for key, packets in came.items() for packet in packets[-hers[key] :]]
        return sorted(found, key=lambda packet: packet.time)

    def observed(self, *peers: Peer) -> Observation:
        """The receipt of what she did: that all of it left her interface, and came to one of ``peers``."""
        count = sum(deeds.count for deeds in self.deeds)
        sent = self.sent()
        came = {f"arrived at {peer.name}": len(self.arrived(peer)) for peer in peers}
        taken = count > 0 and len(sent) == count == sum(came.values())
        seen = {"sent": len(sent), **came, **{kind: number for deeds in self.deeds for kind, number in deeds.sent.items()}}
        name = f"{self.name} sends {count} datagrams"
        return Observation(name, "hostile datagrams", self.deeds[0].began, seen, taken, f"capture {self.name}")

    def won(self, callee: Peer) -> Observation:
        """The receipt of a race: at ``callee``'s host each copy came from her before the original came from the caller.

        Neither agent has a hand in who is first, so a race that is lost is this machine's doing: the run is unfit.
        """
        copies = self.arrived(callee)
        came = [packet for packet in self.lab.evidence.captured(callee) if not packet.outgoing]
        originals = [one for copy in copies for one in came if one.payload == copy.payload and one.source != copy.source]
        ahead = [Duration(one.time - copy.time) for copy, one in zip(copies, originals, strict=False)]
        lost = sum(lead.ns <= 0 for lead in ahead)
        taken = 0 < sum(deeds.count for deeds in self.deeds) == len(copies) == len(originals) and not lost
        seen = {"copies": len(copies), "originals": len(originals), "copy ahead by": ", ".join(map(str, ahead[:3]))}
        if copies:
            seen |= {"copy from": f"{copies[0].source[0]} {copies[0].source[1]}"}
        name, late = f"{self.name} wins the race", Duration(max(deeds.late_ns for deeds in self.deeds))
        unfit = f"{lost} of {self.name}'s {len(ahead)} copies came after their originals ({late} late at her tap): too busy a machine"
        source = f"capture {callee.name}"
        return Observation(name, "race won", self.deeds[0].began, seen, taken, source, unfit=unfit if lost else "")

    def initials_of_others(self, peer: Peer) -> int:
        """How many datagrams that begin with an Initial came to ``peer``'s host from others since ``watch``."""
        since, hers = self.watched, {packet.payload for packet in self.sent()}
        came = (packet for packet in self.lab.evidence.captured(peer) if not packet.outgoing and (packet.monotonic or 0) >= since)
        return sum(packet.payload[:1] >= b"\xc0" and not packet.payload[0] & 0x30 and packet.payload not in hers for packet in came)

    def bytes_answered(self) -> Figure:
        """Bytes of UDP payload that came to her interface."""
        got = self.got()
        return Figure(Count(sum(packet.size for packet in got)), moments=tuple(of_packets(got)))

    def bytes_asked(self) -> int:
        """Bytes of UDP payload that left it under addresses of her own network."""
        mine = self.handle.network.topology.port(self.handle.interface).v4
        assert mine is not None, "the keeper puts no attacker where there is no IPv4"
        return sum(packet.size for packet in self.sent() if ip_address(packet.source[0]) in mine.network)

    def told(self) -> Assault:
        """For the report: what she sent, what of it came where, and what the stacks say of it."""
        there = {
            peer.name: At(
                arrived=len(self.arrived(peer)),
                discarded=dict(sorted(noticed.discarded.items())),
                answered=dict(sorted(noticed.answered.items())),
                begun=noticed.begun,
                reclaimed=noticed.reclaimed,
            )
            for peer, noticed in self.noticed.items()
        }
        return Assault(by=self.name, sent={kind: count for deeds in self.deeds for kind, count in deeds.sent.items()}, at=there)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing"
