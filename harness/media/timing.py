"""One-way delay, exact because all namespaces of one kernel share CLOCK_MONOTONIC, and RFC 3550 interarrival jitter on nanosecond arrivals.

Two delays are kept apart: ``network`` from sendmsg to the kernel's receive stamp, ``media`` from the source's offer to it, which holds the
stack's queue too.  Over reliable streams jitter carries retransmission delay; that is what the listener's buffer must hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

import msgspec

from harness.media.records import MediaPacket
from harness.media.window import offered_in
from harness.units import Duration


class DelaySummary(msgspec.Struct, frozen=True, kw_only=True):
    """One-way delay of the first copies; percentiles by nearest rank.  Late packets are in it, lost ones cannot be."""

    packets: int
    least: Duration
    p50: Duration
    p99: Duration
    most: Duration

    @property
    def spread(self) -> Duration:
        """Most less least."""
        return self.most - self.least


def delay(packets: Sequence[MediaPacket], *, since: int, until: int, of: Literal["network", "media"] = "network") -> DelaySummary | None:
    """The delays of the packets offered in the window that came; None when none did."""
    came = [packet for packet in offered_in(packets, since, until) if packet.arrived is not None]
    starts = [(packet.arrived, packet.sent if of == "network" else packet.offered) for packet in came]
    values = sorted(arrived - start for arrived, start in starts if arrived is not None and start is not None)
    if not values:
        return None
    return DelaySummary(
        packets=len(values),
        least=Duration(values[0]),
        p50=Duration(nearest_rank(values, 50)),
        p99=Duration(nearest_rank(values, 99)),
        most=Duration(values[-1]),
    )


def nearest_rank(ascending: Sequence[int], percent: int) -> int:
    """The smallest value that at least ``percent`` of all values do not exceed."""
    return ascending[max(0, -(-percent * len(ascending) // 100) - 1)]


def jitter_after_each(arrivals: Iterable[tuple[int, int]], clock_rate: int) -> list[float]:
    """RFC 3550 §6.4.1 jitter in RTP clock units after each (arrival ns, RTP timestamp), in order of arrival; the first is 0.

    J += (|D| - J) / 16 with D = (Rj - Ri) - (Sj - Si); the timestamp difference is taken modulo 2^32.
    """
    jitter, out = 0.0, [0.0]
    for (left_at, left), (came_at, came) in pairwise(arrivals):
        step = (came - left) & 0xFFFF_FFFF
        step -= 0x1_0000_0000 if step >= 0x8000_0000 else 0
        transit = (came_at - left_at) * clock_rate / 1e9 - step
        jitter += (abs(transit) - jitter) / 16
        out.append(jitter)
    return out


def jitter(packets: Sequence[MediaPacket], *, since: int, until: int, clock_rate: int) -> tuple[Duration, Duration] | None:
    """RFC 3550 jitter over the first copies of the packets offered in the window: (at the end, the highest); None below two arrivals.

    Each SSRC keeps its own estimate, as each has its own timestamps; the end figure is that of the SSRC that arrived last.
    """
    by_ssrc: dict[int, list[tuple[int, int]]] = {}
    for packet in offered_in(packets, since, until):
        if packet.arrived is not None:
            by_ssrc.setdefault(packet.ssrc, []).append((packet.arrived, packet.rtp))
    runs = [sorted(arrivals) for arrivals in by_ssrc.values() if len(arrivals) > 1]
    if not runs:
        return None
    estimates = [jitter_after_each(run, clock_rate) for run in runs]
    last = max(zip(runs, estimates, strict=True), key=lambda pair: pair[0][-1])[1][-1]
    highest = max(max(values) for values in estimates)
    return Duration(round(last * 1e9 / clock_rate)), Duration(round(highest * 1e9 / clock_rate))
