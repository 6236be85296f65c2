"""A long call judged leg by leg: what was captured since the last leg is read, opened, judged, and let go.

Nothing of this grows with the length of the call but a few figures a leg.  A leg ends ``SETTLED`` before it is read, so that what was due
in it has come by then or is late.  What departed after its end, and the last seconds before it, are kept for the next leg: a silence may
begin in one leg and end in another, and a late packet is known as one.

What is judged is what a short call is judged by: packets from captures and keys, places of the lab's schedule, moves and handshakes from
the captures alone, and every record of an agent against the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import trio

from harness.agent.remote import AskedRequest
from harness.errors import AgentError, HarnessError
from harness.fabric.capture import file_name
from harness.fabric.capture_tail import CaptureTail
from harness.fabric.udp_packets import UdpPacket, udp_packets
from harness.lab import owed
from harness.lab.conversation import PLAYOUT, Call, direction
from harness.lab.crossings import Talk
from harness.lab.decrypted import Opener, Packet, has_short_header, read_keys
from harness.lab.media_flows import FlowEnds, media_packets
from harness.lab.path_delay import PathDelays
from harness.lab.record_audit import RecordAudit
from harness.lab.wire_media import WirePacket
from harness.lab.wire_view import NEVER, CallEnds, View, view
from harness.media import records
from harness.media.measures import Heard
from harness.media.records import MediaPacket
from harness.media.schedule import AUDIO, Schedule
from harness.rotation import LineTail, RotatedFile
from harness.rtp.packet import unwrapped
from harness.units import ms, s
from harness.verdict import Receipt

if TYPE_CHECKING:
    from harness.lab.lab import Lab
    from harness.lab.peer import Move, Peer

SETTLED = PLAYOUT + 100 * ms
_UNDER_WAY = 2 * s
"""By how much records are audited later than packets are judged: what is late may still arrive, and be recorded."""
_MOVED_WITHIN = 2 * s
"""A younger move that is not seen in a leg is looked for in the next: a late machine asks for one just before a leg is read."""
_KEPT = 5 * s
"""Packets that the next leg sees again.  What takes longer than that has not come, as far as it can tell."""


@dataclass(frozen=True)
class Leg:
    """One leg.  ``number`` from 1; ``began``, ``ended``: ns.  ``heard``: by listener's name, every packet due in it and its fate."""

    number: int
    began: int
    ended: int
    heard: dict[str, Heard]


@dataclass
class _End:
    """One peer's: what is read of its records and captures, and what of that is kept for the next leg."""

    lines: LineTail
    taps: list[CaptureTail]
    audit: RecordAudit
    fresh: list[bytes] = field(default_factory=list)
    """Lines that were read and not taken yet."""
    line: int = 0
    packets: list[UdpPacket] = field(default_factory=list)
    long: list[UdpPacket] = field(default_factory=list)
    """Every packet so far with a long header: all of the handshakes."""


@dataclass
class _Flow:
    """One direction: its schedule, what has a place already, and what the next leg sees again."""

    schedule: Schedule
    indices: dict[int, int] = field(default_factory=dict)
    """By SSRC: the index in the whole call of the newest packet."""
    placed: dict[tuple[int, int], MediaPacket] = field(default_factory=dict)
    """Packets that were judged, by SSRC and sequence number, of the last seconds."""
    unsent: list[records.SentRecord] = field(default_factory=list)
    newest: MediaPacket | None = None
    """The last one that was taken: a silence may begin with it."""


class Legs:
    """The legs of ``call``, which has one flow, audio.  Make it once media flows."""

    def __init__(self, lab: Lab, call: Call, media: RotatedFile) -> None:
        assert lab.network is not None
        self._lab = lab
        self._network = lab.network
        self.call = call
        self.number = 0
        self._reached = call.opened
        self._media = media
        self._opener = Opener()
        self._keys: set[tuple[str, str]] = set()
        self._opened: list[Packet] = []
        self._talks: list[Talk] = []
        self._audited = 0
        self.sealed = 0
        """Datagrams so far that no key opened."""
        self._flows = {speaker.name: _Flow(Schedule(AUDIO)) for speaker, _ in call.sides}
        self._ends: dict[Peer, _End] = {}
        for peer in (call.caller, call.callee):
            ports = self._network.topology.ports(peer.name)
            taps = [CaptureTail(lab.folder / "capture" / file_name(port.path)) for port in ports]
            audit = RecordAudit(lab.evidence.sees_departures(peer), partial(lab.evidence.swallowed, peer))
            self._ends[peer] = _End(LineTail(peer.folder / f"{peer.name}.media.jsonl"), taps, audit)

    async def end_leg(self) -> Leg:
        """End a leg here and now (at the call's end, when it has one), and begin the next."""
        peers = (self.call.caller, self.call.callee)
        now = self._lab.now()
        for peer in peers:
            await peer.inventory()  # its answer says that the records so far are in the file
        for peer, end in self._ends.items():
            self._read_lines(peer, end)  # before the captures are flushed: what is read of a packet was captured by then
        await self._lab.settle()
        ended = self.call.closed or now - SETTLED.ns
        stepped = any(peer.clock_stepped for peer in self._ends)
        history = self._lab.history()
        requests = {peer.name: peer.requests for peer in peers}
        # Nothing in that thread may look at what goes on meanwhile.
        return await trio.to_thread.run_sync(self._read, now, ended, stepped, history, requests)

    def long_headers(self, peer: Peer) -> list[UdpPacket]:
        """The packets with a long header at ``peer``'s host, up to the last leg's end."""
        return self._ends[peer].long

    def rest(self) -> dict[str, Any]:
        """After the last leg, captures closed: match what is left; what was checked and what breaks the audit, by peer."""
        for peer, end in self._ends.items():
            self._read_lines(peer, end)
        found = self._view(self._lab.now(), self._reached)
        for peer, end in self._ends.items():
            self._audit(peer, end, found, NEVER)
        breaches = {peer.name: end.audit.breaches() for peer, end in self._ends.items()}
        self._lab.evidence.errors += [AgentError(name, breach) for name, its in breaches.items() for breach in its]
        return {peer.name: {"checked": end.audit.checked, "breaches": breaches[peer.name]} for peer, end in self._ends.items()}

    def close(self) -> None:
        """No more will be read."""
        self._media.close()

    # -- reading -----------------------------------------------------------------------------------------------------------------------

    def _read(self, now: int, ended: int, stepped: bool, history: dict[str, Any], requests: dict[str, list[AskedRequest]]) -> Leg:
        began, self._reached = self._reached, ended
        self.number += 1
        found = self._view(now, began)
        for peer, end in self._ends.items():
            self._audit(peer, end, found, ended - _UNDER_WAY.ns)
        self._audited = ended - _UNDER_WAY.ns
        for move in [one for one in self._lab.moves if one.call is self.call]:
            receipt = self._receipt(move)
            if receipt.taken or self.call.closed or move.at < ended - _MOVED_WITHIN.ns:
                self._lab.moves.remove(move)
                self._lab.receipts.append(receipt)
        delays = PathDelays(self._network.topology, history)
        heard = {
            listener.name: self._heard(found, speaker, listener, began, ended, stepped, delays, requests[speaker.name])
            for speaker, listener in self.call.sides
        }
        self._media.flush()
        for end in self._ends.values():
            end.packets = [one for one in end.packets if (one.monotonic or 0) >= ended - _KEPT.ns]
        self._opened = [one for one in self._opened if one.at >= ended - _KEPT.ns]
        self._lab.forget_queue_samples(ended - _KEPT.ns)
        return Leg(self.number, began, ended, heard)

    def _view(self, now: int, began: int) -> View:
        """Read what was captured since the last leg, and put it to what was kept."""
        fresh = [self._fresh(end) for end in self._ends.values()]
        self._learn_keys()
        for udp in sorted((one for packets in fresh for one in packets if one.outgoing), key=lambda one: one.time):
            packet = self._opener.open(udp)
            if packet is not None:
                self._opened.append(packet)
            elif has_short_header(udp) and self._opener.of_quic(udp):
                self.sealed += 1
        captured = {peer.name: end.packets for peer, end in self._ends.items()}
        held = {port.path: self._lab.evidence.held(port.path) for name in captured for port in self._network.topology.ports(name)}
        ends = CallEnds(self.call.id, self.call.caller.name, self.call.callee.name, self.call.asked, now)
        found = view(
            captured,
            self._opened,
            (),
            calls=(ends,),
            held=held,
            samples=self._lab.queue_samples(),
            quiet_until=began,
            cut=self._lab.evidence.cut(),
        )
        known = {(talk.connection, talk.speaker, talk.departed) for talk in self._talks}
        self._talks += [talk for talk in found.talks if (talk.connection, talk.speaker, talk.departed) not in known]
        return found

    @staticmethod
    def _fresh(end: _End) -> list[UdpPacket]:
        found = [one for one in udp_packets(chain.from_iterable(tap.fresh() for tap in end.taps)) if one.monotonic is not None]
        found.sort(key=lambda packet: packet.time)
        end.long += [packet for packet in found if packet.payload[:1] >= b"\x80"]
        end.packets += found
        return found

    def _learn_keys(self) -> None:
        log = self._lab.gather_keys()
        secrets = read_keys(log) if log.exists() else []
        fresh = [one for one in secrets if (one.connection, one.sender) not in self._keys]
        if fresh:
            self._keys |= {(one.connection, one.sender) for one in fresh}
            self._opener.add(fresh)

    def _receipt(self, move: Move) -> Receipt:
        there, here = self._ends[move.call.callee].packets, self._ends[move.peer].packets
        return self._lab.evidence.receipt(move, self._lab.fault_at(move.at, f"{move.peer.name} moves"), there, here)

    @staticmethod
    def _read_lines(peer: Peer, end: _End) -> None:
        try:
            end.fresh += end.lines.fresh()
        except LookupError as error:
            raise HarnessError(f"agent {peer.name}: {error.args[0]}: a leg is longer than what is kept of its records") from None

    def _audit(self, peer: Peer, end: _End, found: View, until: int) -> None:
        """Hold what is new of one peer's records against the wire, whose packets of ``until`` (ns) and later belong to the next leg."""
        lines, end.fresh = end.fresh, []
        read = list(records.read(lines, peer.name, first=end.line + 1))
        end.line += len(lines)
        mine = [record for record in read if record.call == self.call.id]
        self._flows[peer.name].unsent += [one for one in mine if isinstance(one, records.SentRecord) and one.sent is None]
        if self.sealed:
            return  # named by the evidence; what was not opened cannot be told apart
        packets = [one for its in found.media.values() for one in its if self._audited <= one.departed < until]
        end.audit.take(read, (one for one in packets if one.speaker == peer.name), (one for one in packets if one.listener == peer.name))

    def _heard(
        self,
        found: View,
        speaker: Peer,
        listener: Peer,
        began: int,
        ended: int,
        stepped: bool,
        delays: PathDelays,
        requests: Sequence[AskedRequest],
    ) -> Heard:
        flow = self._flows[speaker.name]
        flow.schedule.set_spans(owed.spans(self.call.id, "audio", speaker.name, requests, self._talks))
        wire = [one for one in found.packets(self.call.id, speaker.name) if one.flow == "audio"]
        fresh = [one for one in wire if (one.rtp.ssrc, one.rtp.seq) not in flow.placed]
        for one in fresh:
            one.index = self._numbered(flow, one)
        ends = FlowEnds(self.call.id, "audio", speaker.name, listener.name)
        made = media_packets(ends, fresh, flow.unsent, flow.schedule, delays, ended, patience=PLAYOUT.ns)
        flow.unsent = [one for one in flow.unsent if one.offered >= ended - SETTLED.ns]
        for packet in made:
            self._media.write(records.media_line(packet, sender=speaker.name, receiver=listener.name))
        packets = [*flow.placed.values(), *made]
        if flow.newest is not None and flow.newest not in packets:
            packets.insert(0, flow.newest)
        flow.newest = max((one for one in packets if one.taken is not None), key=lambda one: one.taken or 0, default=None)
        flow.placed = {(one.ssrc, one.seq): one for one in packets if one.offered >= ended - _KEPT.ns and one.size}
        return Heard(
            packets,
            direction(speaker, listener, "audio"),
            began,
            ended,
            PLAYOUT,
            stepped,
            free=flow.schedule.free(),
            decided=ended,
            speaker=speaker.name,
            listener=listener.name,
        )

    @staticmethod
    def _numbered(flow: _Flow, packet: WirePacket) -> int:
        """The packet's index in the whole call: those of a leg begin anew each time."""
        near = flow.indices.get(packet.rtp.ssrc, packet.rtp.seq)
        index = unwrapped(packet.rtp.seq, near)
        flow.indices[packet.rtp.ssrc] = max(near, index)
        return index
