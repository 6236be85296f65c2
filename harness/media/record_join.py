"""Agents' own records of the two ends of a call joined: for the page of a run that ended before its records were made from captures.

What is shown so is what agents say; no verdict rests on it.  Pure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable

import msgspec

from harness.media.records import Arrival, ArrivedRecord, MediaPacket, SentRecord
from harness.rtp.packet import unwrapped

CLOCK_SLACK = 500_000
"""Nanoseconds by which an arrival may lie before its own sending: arrivals are kernel stamps of CLOCK_REALTIME, converted by a sampled
offset, and an offset step above 0.5 ms voids the delay figures anyway."""


class Stray(msgspec.Struct, frozen=True):
    """An arrival that no sent packet explains, and why: evidence against the agent that recorded it."""

    record: ArrivedRecord
    why: str


class Joined(msgspec.Struct, frozen=True):
    """``packets``: one for each packet offered, in that order (those offered at once by number).

    ``strays``: arrivals that match none of them, in order of arrival.
    """

    packets: list[MediaPacket]
    strays: list[Stray]


def join(sent: Iterable[SentRecord], arrived: Iterable[ArrivedRecord], *, slack: int = CLOCK_SLACK, sender_killed: bool = False) -> Joined:
    """Match every arrival with the latest packet of its SSRC and sequence number that had been sent by then (``slack`` ns granted).

    Give it one direction of one call: what one agent sent in that call, and what the other one says arrived in it.  An arrival that matches
    by number but has another checksum is a corrupted copy.  One of another call, flow or mode is a stray, and so is one whose checksum is
    right and whose timestamp, payload type, marker, frame or size is not: the record contradicts itself.  ``sender_killed``: on purpose,
    and its last records died with it, so what came after the last packet that it wrote of is no stray.
    """
    offered = sorted(sent, key=lambda record: record.offered)
    departures: dict[tuple[int, int], list[tuple[int, int]]] = {}  # (ssrc, seq16) -> [(sent, position)], ascending
    for position, record in enumerate(offered):
        if record.sent is not None:
            departures.setdefault((record.ssrc, record.seq), []).append((record.sent, position))
    for times in departures.values():
        times.sort()

    arrivals: dict[int, list[Arrival]] = {}
    corrupted: Counter[int] = Counter()
    strays: list[Stray] = []
    for came in sorted(arrived, key=lambda record: record.arrived):
        times = departures.get((came.ssrc, came.seq), [])
        found = bisect_right(times, (came.arrived + slack, len(offered))) - 1
        if found < 0:
            what = "before any packet with this number was sent" if times else "no packet with this number was ever sent"
            strays.append(Stray(came, f"ssrc {came.ssrc:#010x} seq {came.seq}: {what}"))
            continue
        position = times[found][1]
        differences = _differences(offered[position], came)
        if differences:
            strays.append(Stray(came, f"ssrc {came.ssrc:#010x} seq {came.seq}: {differences}"))
            continue
        if came.crc != offered[position].crc:
            corrupted[position] += 1
            continue
        arrivals.setdefault(position, []).append(Arrival(came.arrived, came.path, came.remote, came.udp))

    if sender_killed:
        written = max((record.sent for record in offered if record.sent is not None), default=0)
        strays = [stray for stray in strays if stray.record.arrived <= written]

    last: dict[int, int] = {}  # ssrc -> extended index of its previous packet
    packets: list[MediaPacket] = []
    for position, record in enumerate(offered):
        index = unwrapped(record.seq, last.get(record.ssrc, record.seq))
        last[record.ssrc] = index
        packets.append(_packet(record, index, tuple(arrivals.get(position, ())), corrupted[position]))
    packets.sort(key=lambda packet: (packet.offered, packet.index))  # records are written as packets leave, whatever their order was
    return Joined(packets, strays)


def _differences(sent: SentRecord, came: ArrivedRecord) -> str:
    intact = came.crc == sent.crc
    fields = ("call", "flow", "mode", "rtp", "pt", "marker", "size") if intact else ("call", "flow", "mode")
    wrong = [
        f"{name} {getattr(sent, name)!r} became {getattr(came, name)!r}" for name in fields if getattr(sent, name) != getattr(came, name)
    ]
    if intact and came.frame is not None and came.frame != sent.frame:
        wrong.append(f"frame {sent.frame} became {came.frame}")
    return ", ".join(wrong)


def _packet(record: SentRecord, index: int, arrivals: tuple[Arrival, ...], corrupted: int) -> MediaPacket:
    return MediaPacket(
        call=record.call,
        flow=record.flow,
        ssrc=record.ssrc,
        seq=record.seq,
        index=index,
        rtp=record.rtp,
        pt=record.pt,
        frame=record.frame,
        marker=record.marker,
        size=record.size,
        offered=record.offered,
        sent=record.sent,
        path=record.path,
        remote=record.remote,
        udp=record.udp,
        mode=record.mode,
        unsent=record.unsent,
        arrivals=arrivals,
        taken=arrivals[0].at if arrivals else None,
        corrupted=corrupted,
        crc=record.crc,
    )
