"""Which packets a figure is about.

Loss, delay, jitter and quality belong to packets *due* in the window (``MediaPacket.offered``), whenever they were taken; a silence belongs
to the window in which it *ends* (see ``silence``).  Both ends are part of the window.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.media.records import MediaPacket


def check(since: int, until: int) -> None:
    """ValueError when the window ends before it begins."""
    if until < since:
        raise ValueError(f"the window ends {since - until} ns before it begins")


def offered_in(packets: Iterable[MediaPacket], since: int, until: int) -> list[MediaPacket]:
    """The packets due from ``since`` to ``until``, in the order in which they were due."""
    check(since, until)
    return sorted((packet for packet in packets if since <= packet.offered <= until), key=lambda packet: packet.offered)
