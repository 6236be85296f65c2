"""One flow of one call as figures need it: every packet that the lab's schedule owed, with its fate as the captures show it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.lab.path_delay import PathDelays
from harness.lab.wire_media import WirePacket
from harness.media.records import MediaPacket, SentRecord
from harness.media.schedule import Schedule, SentFrame

NEVER_DEPARTED = "never departed"
"""Why a place is empty when no record says why."""


@dataclass(frozen=True)
class FlowEnds:
    """Whose flow it is: the call's id, the flow's name, and the two agents."""

    call: str
    flow: str
    speaker: str
    listener: str


def media_packets(
    ends: FlowEnds,
    wire: Sequence[WirePacket],
    unsent: Iterable[SentRecord],
    schedule: Schedule,
    delays: PathDelays,
    until: int,
    *,
    patience: int | None = None,
) -> list[MediaPacket]:
    """Every packet that the flow owed up to ``until`` (ns), by place; packets that departed outside of all spans as well.

    ``wire``: the flow's packets in the order of departure.  ``unsent``: records of packets that the sender's stack says it never sent.
    ``patience`` (ns), of a flow that goes on: frames that departed after ``until`` are left out, but for those that were due before it and
    departed within the patience.
    """
    frames = _frames(wire)
    delay = 0
    found: list[MediaPacket] = []
    due_of: dict[tuple[int, int], tuple[int, int]] = {}
    for number, frame in enumerate(frames):
        first = frame[0].rtp
        if patience is not None and frame[0].departed >= until:
            expected = schedule.expected(first.ssrc, first.timestamp)
            if expected is None or expected >= until or frame[0].departed >= until + patience:
                continue
        due = schedule.place(SentFrame(first.ssrc, first.timestamp, frame[0].departed, frame[-1].departed))
        due_of[first.ssrc, first.timestamp] = due, number
        for packet in frame:
            if packet.arrivals:
                ways = f"{ends.speaker}/{packet.path}", f"{packet.listener}/{packet.arrivals[0].path}"
                delay = delays.delay(*ways, packet.departed, packet.udp, version=6 if packet.remote.count(":") > 1 else 4)
            found.append(_packet(ends, packet, due, number, delay))
    empty = schedule.empty(until)
    found += _unsent(ends, list(unsent), schedule, due_of, empty, frames)
    found += [_placeholder(ends, due, len(due_of) + number, schedule.pace.clock) for number, due in enumerate(empty)]
    found.sort(key=lambda packet: (packet.offered, packet.index))
    return found


def _frames(wire: Iterable[WirePacket]) -> list[list[WirePacket]]:
    """The packets of each frame (one SSRC and RTP timestamp), frames by the departure of their last packet."""
    frames: dict[tuple[int, int], list[WirePacket]] = {}
    for packet in wire:
        frames.setdefault((packet.rtp.ssrc, packet.rtp.timestamp), []).append(packet)
    return sorted(frames.values(), key=lambda frame: frame[-1].departed)


def _unsent(
    ends: FlowEnds,
    records: Sequence[SentRecord],
    schedule: Schedule,
    due_of: dict[tuple[int, int], tuple[int, int]],
    empty: list[int],
    frames: Sequence[Sequence[WirePacket]],
) -> list[MediaPacket]:
    """Packets that never left, each in its frame.

    ``due_of``: the place and number of each frame; those of which nothing left are added, and ``empty`` loses their places.
    """
    near = {packet.rtp.ssrc: packet.index for frame in frames for packet in frame}
    half = schedule.pace.interval // 2
    found = []
    for record in records:
        key = record.ssrc, record.rtp
        if key in due_of:
            due, number = due_of[key]
        else:
            expected = schedule.expected(record.ssrc, record.rtp)
            wanted = record.offered if expected is None else expected
            due = min(empty, key=lambda place: abs(place - wanted), default=wanted)
            if due not in empty or abs(due - wanted) > half:
                continue  # nothing was owed then: the call was on hold, or muted
            empty.remove(due)
            number = len(due_of)
            due_of[key] = due, number
        index = near.get(record.ssrc, record.seq)
        step = (record.seq - index) & 0xFFFF
        found.append(
            MediaPacket(
                call=ends.call,
                flow=ends.flow,
                ssrc=record.ssrc,
                seq=record.seq,
                index=index + step - (0x10000 if step >= 0x8000 else 0),
                rtp=record.rtp,
                pt=record.pt,
                frame=number,
                marker=record.marker,
                size=record.size,
                offered=due,
                sent=None,
                path=None,
                remote=None,
                udp=None,
                mode=record.mode,
                unsent=record.unsent or NEVER_DEPARTED,
                crc=record.crc,
            )
        )
    return found


def _placeholder(ends: FlowEnds, due: int, number: int, clock: int) -> MediaPacket:
    return MediaPacket(
        call=ends.call,
        flow=ends.flow,
        ssrc=0,
        seq=0,
        index=number,
        rtp=due * clock // 1_000_000_000 & 0xFFFF_FFFF,
        pt=0,
        frame=number,
        marker=True,
        size=0,
        offered=due,
        sent=None,
        path=None,
        remote=None,
        udp=None,
        mode="datagram",
        unsent=NEVER_DEPARTED,
    )


def _packet(ends: FlowEnds, packet: WirePacket, due: int, frame: int, delay: int) -> MediaPacket:
    return MediaPacket(
        call=ends.call,
        flow=ends.flow,
        ssrc=packet.rtp.ssrc,
        seq=packet.rtp.seq,
        index=packet.index,
        rtp=packet.rtp.timestamp,
        pt=packet.rtp.payload_type,
        frame=frame,
        marker=packet.rtp.marker,
        size=packet.rtp.size,
        offered=due,
        sent=packet.departed,
        path=packet.path,
        remote=packet.remote,
        udp=packet.udp,
        mode=packet.mode,
        arrivals=tuple(packet.arrivals),
        taken=packet.taken,
        delay=delay,
        corrupted=packet.corrupted,
        crc=packet.rtp.crc,
    )
