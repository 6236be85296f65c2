"""A long call judged leg by leg: what came since the last leg is read, held against the captures, judged, and let go.

Nothing of this grows with the length of the call but a few figures a leg.  A leg ends ``SETTLED`` before it is read, so that what was
offered in it has come by then or is late.  What was offered after its end, and the last seconds before it, are kept for the next leg: a
silence may begin in one leg and end in another, and a late packet is known as one.

What is judged is what a short call is judged by: every record of an agent against the packets captured at its host (``matching``), every
arrival against what was sent (``records.join``), moves and handshakes from the captures alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from harness.errors import AgentError, HarnessError
from harness.fabric.capture import file_name
from harness.fabric.capture_tail import CaptureTail
from harness.fabric.udp_packets import UdpPacket, udp_packets
from harness.lab.conversation import PLAYOUT, Call, direction
from harness.lab.matching import Matched
from harness.media import records
from harness.media.measures import Heard
from harness.rotation import LineTail, RotatedFile
from harness.units import ms, s
from harness.verdict import Receipt

if TYPE_CHECKING:
    from harness.lab.lab import Lab
    from harness.lab.peer import Move, Peer

SETTLED = PLAYOUT + 100 * ms
_SENT_KEPT = 10 * s
_CAME_KEPT = 5 * s
"""Records that the next leg sees again.  What takes longer than the second is a packet that nobody sent, as far as it can tell."""
_PACKETS_KEPT = 3 * s


@dataclass(frozen=True)
class Leg:
    """One leg.  ``number`` from 1; ``began``, ``ended``: ns.  ``heard``: by listener's name, every packet offered in it and its fate."""

    number: int
    began: int
    ended: int
    heard: dict[str, Heard]


@dataclass
class _End:
    """One peer's: what is read of its records and captures, and what of that is kept for the next leg."""

    lines: LineTail
    taps: list[CaptureTail]
    fresh: list[bytes] = field(default_factory=list)
    """Lines that were read and not taken yet."""
    line: int = 0
    sent: list[records.SentRecord] = field(default_factory=list)
    came: list[records.ArrivedRecord] = field(default_factory=list)
    packets: list[UdpPacket] = field(default_factory=list)
    """Without what was in them: thousands a leg."""
    long: list[UdpPacket] = field(default_factory=list)
    """Every packet so far with a long header: all of the handshakes."""
    matched: Matched = field(default_factory=Matched)
    index: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By SSRC: when the last packet of the last leg was offered (ns), and its index in the whole call."""


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
        self._moves: list[Move] = []
        self._ends: dict[Peer, _End] = {}
        for peer in (call.caller, call.callee):
            ports = self._network.topology.ports(peer.name)
            taps = [CaptureTail(lab.folder / "capture" / file_name(port.path)) for port in ports]
            self._ends[peer] = _End(LineTail(peer.folder / f"{peer.name}.media.jsonl"), taps)

    async def end_leg(self) -> Leg:
        """End a leg here and now (at the call's end, when it has one), and begin the next."""
        peers = (self.call.caller, self.call.callee)
        now = self._lab.now()
        for peer in peers:
            await peer.inventory()  # its answer says that the records so far are in the file
        for peer, end in self._ends.items():
            self._read_lines(peer, end)  # before the captures are flushed: what is read of a packet was captured by then
        await self._network.flush()
        ended = self.call.closed or now - SETTLED.ns
        stepped = any(peer.clock_stepped for peer in self._ends)
        return await trio.to_thread.run_sync(self._read, now, ended, stepped)  # nothing there may look at what goes on meanwhile

    def long_headers(self, peer: Peer) -> list[UdpPacket]:
        """The packets with a long header at ``peer``'s host, up to the last leg's end."""
        return self._ends[peer].long

    def rest(self) -> dict[str, Any]:
        """After the last leg, captures closed: match what is left; the counts by peer."""
        for peer, end in self._ends.items():
            self._read_lines(peer, end)
            self._take(peer, end, self._reached)
            if end.matched.unmatched:
                what = f"{end.matched.unmatched} of {end.matched.checked} media records match no captured packet"
                self._lab.evidence.errors.append(AgentError(peer.name, f"{what}; the first: {end.matched.first}"))
        return {peer.name: {"checked": end.matched.checked, "unmatched": end.matched.unmatched} for peer, end in self._ends.items()}

    def close(self) -> None:
        """No more will be read."""
        self._media.close()

    # -- reading -----------------------------------------------------------------------------------------------------------------------

    def _read(self, now: int, ended: int, stepped: bool) -> Leg:
        began, self._reached = self._reached, ended
        self.number += 1
        for peer, end in self._ends.items():
            self._take(peer, end, began)
        moves = [move for move in self._lab.moves if move.call is self.call]
        for move in moves:
            self._lab.moves.remove(move)
            self._lab.receipts.append(self._receipt(move))
        heard = {listener.name: self._join(speaker, listener, began, ended, now, stepped) for speaker, listener in self.call.sides}
        self._media.flush()
        for end in self._ends.values():
            end.sent = [one for one in end.sent if one.offered >= ended - _SENT_KEPT.ns]
            end.came = [one for one in end.came if one.arrived >= ended - _CAME_KEPT.ns]
            end.packets = [one for one in end.packets if (one.monotonic or 0) >= now - _PACKETS_KEPT.ns]
        return Leg(self.number, began, ended, heard)

    def _receipt(self, move: Move) -> Receipt:
        there, here = self._ends[move.call.callee].packets, self._ends[move.peer].packets
        return self._lab.evidence.receipt(move, self._lab.fault_at(move.at, f"{move.peer.name} moves"), there, here)

    @staticmethod
    def _read_lines(peer: Peer, end: _End) -> None:
        try:
            end.fresh += end.lines.fresh()
        except LookupError as error:
            raise HarnessError(f"agent {peer.name}: {error.args[0]}: a leg is longer than what is kept of its records") from None

    def _take(self, peer: Peer, end: _End, began: int) -> None:
        """Take what is new at one peer, match it, and put it to what was kept; records of packets offered before ``began`` are too late."""
        lines, end.fresh = end.fresh, []
        found = list(records.read(lines, peer.name, first=end.line + 1))
        end.line += len(lines)
        for packet in udp_packets(chain.from_iterable(tap.fresh() for tap in end.taps)):
            if packet.monotonic is not None:
                if packet.payload[:1] >= b"\x80":
                    end.long.append(packet)
                end.packets.append(replace(packet, payload=b""))
        end.packets.sort(key=lambda packet: packet.time)
        network = self._network
        sent_too = all(network.carrier(port.path) != "netem" for port in network.topology.ports(peer.name))
        end.matched.take(found, end.packets, sent_too, lambda path, since, until: self._lab.evidence.swallowed(peer, path, since, until))
        mine = [record for record in found if record.call == self.call.id]
        end.sent += [record for record in mine if isinstance(record, records.SentRecord)]
        end.came += [record for record in mine if isinstance(record, records.ArrivedRecord)]
        late = sum(isinstance(record, records.SentRecord) and record.offered < began for record in mine) if self.number > 1 else 0
        if late:
            self._lab.evidence.errors.append(AgentError(peer.name, f"{late} records of packets were written after their leg was judged"))

    def _join(self, speaker: Peer, listener: Peer, began: int, ended: int, now: int, stepped: bool) -> Heard:
        mine, theirs = self._ends[speaker], self._ends[listener]
        sent = [one for one in mine.sent if one.offered < ended]
        ahead = {(one.ssrc, one.seq) for one in mine.sent if one.offered >= ended}
        came = [one for one in theirs.came if one.arrived < now and (one.ssrc, one.seq) not in ahead]
        joined = records.join(sent, came)
        if joined.strays:
            why = joined.strays[0].why
            self._lab.evidence.errors.append(
                AgentError(listener.name, f"leg {self.number}: {len(joined.strays)} packets heard that nobody sent; the first: {why}")
            )
        packets = self._numbered(mine, joined.packets)
        for packet in packets:
            if began <= packet.offered or self.number == 1:
                self._media.write(records.media_line(packet, sender=speaker.name, receiver=listener.name))
        return Heard(packets, direction(speaker, listener, "audio"), began, ended, PLAYOUT, stepped)

    @staticmethod
    def _numbered(end: _End, packets: Sequence[records.MediaPacket]) -> list[records.MediaPacket]:
        """``packets`` with the indices that they have in the whole call: those of a join begin anew each time."""
        shift: dict[int, int] = {}
        for packet in packets:
            known = end.index.get(packet.ssrc)
            if known is not None and packet.offered == known[0]:
                shift[packet.ssrc] = known[1] - packet.index
        numbered = [msgspec.structs.replace(packet, index=packet.index + shift.get(packet.ssrc, 0)) for packet in packets]
        for packet in numbered:
            end.index[packet.ssrc] = (packet.offered, packet.index)
        return numbered
