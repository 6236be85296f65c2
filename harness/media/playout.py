"""A playout with a constant delay: which packets are in time, and which frames can be shown.

The model is a receiver whose buffer plays every packet a fixed delay after it was offered to the sender's stack.  A packet that arrives
later than that is late, and late is lost for the listener, however reliably the network delivered it (a stall repaired by retransmission is
still a hole).  Adaptive buffers are out on purpose: they would judge two stacks by different yardsticks.

CLOCK_MONOTONIC is shared by all namespaces of one kernel, so arrival minus offered is exact here, and means nothing between two machines.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from harness.media.records import MediaPacket

AUDIO_DELAY = 150_000_000
VIDEO_DELAY = 400_000_000


def in_time(packet: MediaPacket, delay: int = AUDIO_DELAY) -> bool:
    """Whether the first copy of ``packet`` came at most ``delay`` ns after it was offered; the instant itself is still in time."""
    return packet.heard_by(delay)


def late(packet: MediaPacket, delay: int = AUDIO_DELAY) -> bool:
    """Whether ``packet`` came, but too late to be played: lost for the listener, delivered for the network."""
    return bool(packet.arrivals) and not packet.heard_by(delay)


class FrameFate(NamedTuple):
    """What became of a frame of ``packets`` packets, all times ns: ``complete`` is when the last of them came (None: never whole).

    ``rendered``: whether that was in time, counted from when the frame's first packet was offered.
    """

    ssrc: int
    frame: int
    offered: int
    packets: int
    complete: int | None
    rendered: bool


def assemble(packets: Iterable[MediaPacket], delay: int = VIDEO_DELAY) -> list[FrameFate]:
    """The fate of each frame, in the order in which they were offered; packets in any order.

    Built from what the sender offered, so a frame whose first or last packet was lost is known to be incomplete: a receiver alone cannot
    tell when the marker before it is lost too.
    """
    frames: dict[tuple[int, int], list[MediaPacket]] = {}
    for packet in packets:
        frames.setdefault((packet.ssrc, packet.frame), []).append(packet)
    fates = []
    for (ssrc, frame), parts in frames.items():
        offered = min(part.offered for part in parts)
        arrived = [part.arrived for part in parts if part.arrived is not None]
        complete = max(arrived) if len(arrived) == len(parts) else None
        fates.append(FrameFate(ssrc, frame, offered, len(parts), complete, complete is not None and complete - offered <= delay))
    return sorted(fates, key=lambda fate: (fate.offered, fate.ssrc, fate.frame))
