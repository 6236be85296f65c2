"""Video freezes and pauses by the text of W3C webrtc-stats (not libwebrtc's code, which differs by a few milliseconds at the threshold).

* A frame is rendered when its last packet is taken: all of its packets, the marker among them.  Which packets a frame has is taken from the
  sender's list, since a receiver cannot know them when the marker is lost.  A frame older than one already rendered is dropped.
* Freeze: the interval between two rendered frames is at least max(3 × avg, avg + 150 ms), avg being the linear mean of the last 30
  intervals before it (fewer at the start).  The whole interval counts as frozen, not its excess.
* Pause: an interval above 5 s; by the text it is a freeze too.
* An outage that never ends is no freeze, as no frame ends it: ``since_last`` tells it, and ``longest`` includes it.

Whether a decoder could use a frame whose reference was lost is not modelled: a figure here is the least that a viewer sees.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from harness.media.figure import Gap
from harness.media.records import MediaPacket
from harness.media.window import check
from harness.units import Duration

PAUSE = 5_000_000_000
EXTRA = 150_000_000
FRAMES = 30


class VideoReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a viewer saw in a window.  ``frames_offered`` of the source, ``frames_rendered`` and ``frames_dropped`` (whole, but overtaken).

    ``intervals``: between frames shown one after the other, by time, and last the standstill that the window's end cut short.  ``freezes``
    and ``pauses``: those of them that are.  ``since_last``: from the last rendered frame (the window's start, if there is none)
    to the window's end.  ``total_inter_frame_delay`` and ``..squared..``: in seconds, as webrtc-stats has them.
    """

    frames_offered: int
    frames_rendered: int
    frames_dropped: int
    freezes: tuple[Gap, ...]
    pauses: tuple[Gap, ...]
    intervals: tuple[Gap, ...]
    since_last: Duration
    total_inter_frame_delay: float
    total_squared_inter_frame_delay: float

    @property
    def longest(self) -> Gap:
        """The longest time without a new picture, one that never ended included."""
        return max(self.intervals, key=lambda gap: gap.excess.ns)

    @property
    def freeze_count(self) -> int:
        """webrtc-stats freezeCount."""
        return len(self.freezes)

    @property
    def total_freezes_duration(self) -> Duration:
        """webrtc-stats totalFreezesDuration: whole intervals."""
        return Duration(sum(gap.excess.ns for gap in self.freezes))

    @property
    def pause_count(self) -> int:
        """webrtc-stats pauseCount."""
        return len(self.pauses)

    @property
    def total_pauses_duration(self) -> Duration:
        """webrtc-stats totalPausesDuration."""
        return Duration(sum(gap.excess.ns for gap in self.pauses))

    @property
    def inter_frame_delay_variance(self) -> float | None:
        """(sum of squares - sum² / n) / n in s², n being the frames rendered; None without any."""
        n = self.frames_rendered
        return (self.total_squared_inter_frame_delay - self.total_inter_frame_delay**2 / n) / n if n else None


def is_freeze(interval: int, before: Sequence[int]) -> bool:
    """Whether ``interval`` ns is a freeze after the intervals ``before`` (the last 30 of them count); never, without any."""
    last = before[-FRAMES:]
    if not last:
        return False
    # Multiplied by the count of intervals: integers, so that the threshold is exact.
    return interval * len(last) >= max(3 * sum(last), sum(last) + EXTRA * len(last))


class ShownFrame(NamedTuple):
    """A frame that was shown: when (ns), its number among those offered, its packets in the order offered."""

    at: int
    number: int
    packets: list[MediaPacket]


class Shown(NamedTuple):
    """``frames`` in the order shown; when each frame that was whole too late to show was so; when each frame was offered (ns)."""

    frames: list[ShownFrame]
    dropped: list[int]
    offered: list[int]


def shown(packets: Sequence[MediaPacket], *, until: int) -> Shown:
    """Which frames were rendered up to ``until``."""
    frames: list[list[MediaPacket]] = []
    for packet in sorted((packet for packet in packets if packet.offered <= until), key=lambda packet: packet.offered):
        # A frame's packets are offered together; an index that comes again later (a source started anew) is another frame.
        if frames and (frames[-1][0].ssrc, frames[-1][0].frame) == (packet.ssrc, packet.frame):
            frames[-1].append(packet)
        else:
            frames.append([packet])
    complete = []
    for number, frame in enumerate(frames):
        arrivals = [packet.taken for packet in frame if packet.taken is not None]
        if len(arrivals) == len(frame) and any(packet.marker for packet in frame) and max(arrivals) <= until:
            complete.append((max(arrivals), number))
    inorder: list[ShownFrame] = []
    dropped: list[int] = []
    newest = -1
    for at, number in sorted(complete):
        if number < newest:
            dropped.append(at)
        else:
            newest = number
            inorder.append(ShownFrame(at, number, frames[number]))
    return Shown(inorder, dropped, [frame[0].offered for frame in frames])


def rendered(packets: Sequence[MediaPacket], *, until: int) -> tuple[list[int], list[int], list[int]]:
    """Up to ``until``, in ns: when each shown frame was rendered, when those too late to show were whole, when each frame was offered."""
    found = shown(packets, until=until)
    return [frame.at for frame in found.frames], found.dropped, found.offered


def video_report(packets: Sequence[MediaPacket], *, since: int, until: int) -> VideoReport:
    """What a viewer saw from ``since`` to ``until``: intervals that end in the window, judged by what was rendered before them.

    Every packet of the flow is wanted, also those before the window: the average and the first interval need them.
    """
    check(since, until)
    times, dropped, offered = rendered(packets, until=until)
    before: deque[int] = deque(maxlen=FRAMES)
    gaps: list[tuple[Gap, bool]] = []
    previous: int | None = None
    for at in times:
        if previous is not None:
            interval = at - previous
            if at >= since:
                gaps.append((Gap(Duration(interval), previous, at), is_freeze(interval, tuple(before))))
            before.append(interval)
        previous = at
    last = since if previous is None else previous
    standstill = Gap(Duration(until - last), last, until, recovered=False)
    seconds = [gap.excess.s for gap, _ in gaps]
    return VideoReport(
        frames_offered=sum(at >= since for at in offered),
        frames_rendered=sum(at >= since for at in times),
        frames_dropped=sum(at >= since for at in dropped),
        freezes=tuple(gap for gap, frozen in gaps if frozen),
        pauses=tuple(gap for gap, _ in gaps if gap.excess.ns > PAUSE),
        intervals=(*(gap for gap, _ in gaps), standstill),
        since_last=standstill.excess,
        total_inter_frame_delay=sum(seconds),
        total_squared_inter_frame_delay=sum(value * value for value in seconds),
    )
