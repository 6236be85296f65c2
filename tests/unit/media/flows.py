"""Flows with known faults, from which the instrument must read exactly those faults."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from harness.media.records import Arrival, MediaPacket

MS = 1_000_000
S = 1_000_000_000


def packet(
    index: int,
    *,
    offered: int,
    arrived: int | None,
    sent: int | None = -1,
    ssrc: int = 1,
    frame: int | None = None,
    marker: bool = True,
    rtp: int | None = None,
    taken: bool = True,
    own: int = 0,
) -> MediaPacket:
    """One packet; ``sent`` -1 means 10 µs after it was due, None that it expired.

    ``taken``: whether the listener took it when it arrived.  ``own``: the path's own delay (ns).
    """
    left = offered + 10_000 if sent == -1 else sent
    return MediaPacket(
        call="c1",
        flow="audio",
        ssrc=ssrc,
        seq=index & 0xFFFF,
        index=index,
        rtp=(index * 960) & 0xFFFF_FFFF if rtp is None else rtp,
        pt=111,
        frame=index if frame is None else frame,
        marker=marker,
        size=92,
        offered=offered,
        sent=left,
        path="wifi",
        remote="10.0.0.2:4433",
        udp=130,
        mode="datagram",
        unsent=None if left is not None else "expired",
        arrivals=() if arrived is None else (Arrival(arrived, "eth", "10.0.0.1:5555", 130),),
        taken=arrived if taken else None,
        delay=own,
    )


def audio(
    count: int,
    *,
    start: int = 0,
    interval: int = 20 * MS,
    delay: int | Callable[[int], int] = 30 * MS,
    lost: Collection[int] = (),
    expired: Collection[int] = (),
    untaken: Collection[int] = (),
    pauses: Mapping[int, int] | None = None,
    own: int = 0,
) -> list[MediaPacket]:
    """``count`` packets on a schedule; ``delay`` by index; ``pauses[i]``: ns without a place before packet i.

    ``untaken``: packets that arrive and that the listener never takes.  ``own``: the path's own delay (ns), the same for all.
    """
    out, at = [], start
    for index in range(count):
        at += (pauses or {}).get(index, 0)
        way = delay(index) if callable(delay) else delay
        arrived = None if index in lost or index in expired else at + way
        left = None if index in expired else -1
        out.append(packet(index, offered=at, arrived=arrived, sent=left, taken=index not in untaken, own=own))
        at += interval
    return out


def again(original: MediaPacket, at: int) -> MediaPacket:
    """``original`` with one more copy that arrives at ``at``."""
    copies = sorted([*original.arrivals, Arrival(at, "eth", "10.0.0.1:5555", 130)], key=lambda arrival: arrival.at)
    return MediaPacket(
        **{field: getattr(original, field) for field in original.__struct_fields__ if field != "arrivals"}, arrivals=tuple(copies)
    )
