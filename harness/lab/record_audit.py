"""Agents' media records against the wire, one to one: a record without a packet is a breach, and so is a packet that left without record.

A packet is known by SSRC, sequence number and CRC-32, so a record that names other bytes than the wire shows matches nothing.  No figure
rests on records; what breaks this audit is named.  An agent that leaves no records at all breaks nothing, nor does one that records no
arrival of what it discarded: packets of a connection that it has given up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.lab.wire_media import WirePacket
from harness.media.records import ArrivedRecord, Record
from harness.units import many, ms

CLOCK_SLACK = 1 * ms
"""Between an agent's stamp and the capture's of one packet: the same kernel stamp, converted by two samples of the clock offset."""

Swallowed = Callable[[str | None, int, int], bool]
"""Whether the interface of a path was going up or down between two instants (ns): the kernel drops what was sent then uncaptured."""

_Key = tuple[int, int, int]


class _Claim(NamedTuple):
    """A record that waits for its packet."""

    path: str | None
    since: int
    until: int
    text: str


@dataclass
class RecordAudit:
    """One agent's records.  ``take`` may be called as both grow; ``breaches`` are what is left unmatched then.

    ``sent_too``: whether what it sent is captured before any impairment; else a record of a packet sent proves nothing either way.
    ``cut_short``: the agent was killed on purpose, so its last records are missing.
    """

    sent_too: bool
    swallowed: Swallowed
    cut_short: bool = False
    checked: int = 0
    _sent: dict[_Key, list[_Claim]] = field(default_factory=dict)
    _came: dict[_Key, list[_Claim]] = field(default_factory=dict)
    _unsent: set[_Key] = field(default_factory=set)
    _refused: set[_Key] = field(default_factory=set)
    """Of streams: the kernel refused the datagram, and QUIC may repeat what was in it."""
    _departed: Counter[_Key] = field(default_factory=Counter)
    _arrived: Counter[_Key] = field(default_factory=Counter)
    _first: dict[_Key, int] = field(default_factory=dict)
    _early: list[str] = field(default_factory=list)
    _denied: list[str] = field(default_factory=list)

    def take(self, records: Iterable[Record], sent: Iterable[WirePacket], came: Iterable[WirePacket]) -> None:
        """More records, and more packets that this agent's host ``sent`` or that ``came`` to it; each packet once."""
        for packet in sent:
            self._departed[_key(packet)] += packet.departures
        for packet in came:
            self._arrived[_key(packet)] += len(packet.arrivals)
            if packet.arrivals:
                self._first[_key(packet)] = packet.arrivals[0].at
        for record in records:
            self.checked += 1
            key = record.ssrc, record.seq, record.crc
            if isinstance(record, ArrivedRecord):
                claim = _Claim(record.path, record.arrived, record.arrived, f"{record.flow} packet {record.seq} arrived")
                self._came.setdefault(key, []).append(claim)
            elif record.sent is None:
                (self._refused if record.mode == "stream" and record.remote is not None else self._unsent).add(key)
            else:
                claim = _Claim(record.path, record.sent, record.done or record.sent, f"{record.flow} packet {record.seq} sent")
                self._sent.setdefault(key, []).append(claim)
        self._settle(self._sent, self._departed)
        self._settle(self._came, self._arrived)
        for key in self._unsent & self._departed.keys():
            self._denied.append(f"packet {key[1]}")
            self._unsent.discard(key)
            del self._departed[key]
        for key in self._refused & self._departed.keys():
            del self._departed[key]

    def _settle(self, claims: dict[_Key, list[_Claim]], packets: Counter[_Key]) -> None:
        for key in claims.keys() & packets.keys():
            mine = claims[key]
            while mine and packets[key]:
                claim = mine.pop(0)
                packets[key] -= 1
                if packets is self._arrived and claim.since < self._first.get(key, 0) - CLOCK_SLACK.ns:
                    self._early.append(claim.text)
            if not mine:
                del claims[key]
            if not packets[key]:
                del packets[key]
                self._first.pop(key, None)

    def breaches(self) -> list[str]:
        """What contradicts the wire, a sentence each."""
        if not self.checked:
            return []
        slack = CLOCK_SLACK.ns
        unproven = [claim for claims in self._came.values() for claim in claims]
        if self.sent_too:
            sent = (claim for claims in self._sent.values() for claim in claims)
            unproven += [one for one in sent if not self.swallowed(one.path, one.since - slack, one.until + slack)]
        unproven.sort(key=lambda claim: claim.since)
        found = []
        if unproven:
            found.append(f"{many(len(unproven), 'media record')} of {self.checked} match no packet; the first: {unproven[0].text}")
        unrecorded = sum(self._departed.values())
        if unrecorded and not self.cut_short:
            found.append(f"{many(unrecorded, 'packet')} that left {'have' if unrecorded > 1 else 'has'} no record")
        if self._early:
            found.append(f"{many(len(self._early), 'record')} of arrivals before the capture saw them; the first: {self._early[0]}")
        if self._denied:
            found.append(f"{many(len(self._denied), 'packet')} left that records say never left; the first: {self._denied[0]}")
        return found


def _key(packet: WirePacket) -> _Key:
    return packet.rtp.ssrc, packet.rtp.seq, packet.rtp.crc
