"""What waits to be sent: media by priority, each packet with the time after which it is worth nothing.

Order of sending: audio and RTCP, then video, then screen, then data; first come first served within a class.  A packet is sent before its
``expires`` or not at all.  Each flow may hold ``limit`` packets; one more pushes the oldest out (a stale frame is worth less than a new).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from harness.call.events import Mode
from harness.rtp.packet import RtpPacket

CLASSES: dict[str, int] = {"audio": 0, "rtcp": 0, "video": 1, "screen": 2, "data": 3, "padding": 3}
URGENT = 0
"""The class that does not wait for room in the congestion window (see ``quic``)."""


class Waiting(msgspec.Struct, frozen=True):
    """One RTP or RTCP packet in the queue; ``rtp`` is what ``packet`` says, if it is RTP.

    ``token`` 0 is the stack's own RTCP or padding, which nobody waits for.
    """

    token: int
    flow: str
    packet: bytes
    expires: int
    mode: Mode
    rtp: RtpPacket | None = None


class MediaQueue:
    """The queue of one connection.  Times in nanoseconds."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._classes: tuple[deque[Waiting], ...] = tuple(deque() for _ in range(max(CLASSES.values()) + 1))
        self._count: dict[str, int] = dict.fromkeys(CLASSES, 0)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def is_expired(self, entry: Waiting, now: int) -> bool:
        """Whether it is too late to send ``entry``."""
        return now >= entry.expires

    def put(self, entry: Waiting) -> Waiting | None:
        """Queue ``entry``; returns the packet of the same flow that had to leave for it, if any."""
        waiting = self._classes[CLASSES[entry.flow]]
        pushed = None
        if self._count[entry.flow] >= self._limit:
            pushed = next(other for other in waiting if other.flow == entry.flow)
            self.remove(pushed)
        waiting.append(entry)
        self._count[entry.flow] += 1
        self._length += 1
        return pushed

    def remove(self, entry: Waiting) -> None:
        """Take ``entry`` out: it was sent, or pushed out."""
        waiting = self._classes[CLASSES[entry.flow]]
        if waiting and waiting[0] is entry:
            waiting.popleft()
        else:
            waiting.remove(entry)
        self._count[entry.flow] -= 1
        self._length -= 1

    def expire(self, now: int) -> list[Waiting]:
        """Take out what is too old."""
        old = [entry for entry in self if self.is_expired(entry, now)]
        for entry in old:
            self.remove(entry)
        return old

    def head(self) -> Waiting | None:
        """What is to be sent next."""
        for waiting in self._classes:
            if waiting:
                return waiting[0]
        return None

    def newest_urgent(self) -> Waiting | None:
        """The last audio packet queued, if any audio waits."""
        return next((entry for entry in reversed(self._classes[URGENT]) if entry.flow != "rtcp"), None)

    def next_expiry(self) -> int | None:
        """When the next packet becomes too old."""
        return min((entry.expires for entry in self), default=None)

    def clear(self) -> list[Waiting]:
        """Take everything out."""
        left = list(self)
        for waiting in self._classes:
            waiting.clear()
        self._count = dict.fromkeys(CLASSES, 0)
        self._length = 0
        return left

    def __iter__(self) -> Iterator[Waiting]:
        for waiting in self._classes:
            yield from waiting
