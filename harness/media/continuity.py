"""Silence: the one quantity behind "longest gap", "longest silence" and "interruption", per flow and direction.

For two packets a and b heard one after the other ("heard": the first copy came, and within the playout deadline):

    silence(a, b) = (arrival of b - arrival of a) - (largest interval between consecutive packets offered from a to b), floored at 0

* A pause of the source (mute, hold) is not the network's silence: it is the largest interval, and is taken off.
* What counts as offered is what the source gave the *stack*.  A frame that the stack let expire in its own queue was offered: its silence
  is the stack's, not an excuse.
* Lost packets are silence: 10 packets of 20 ms lost are 200 ms.  A slower new path shows as its extra delay.
* A perfectly hidden rebind gives 0 whatever the path delay: packets in flight at the fault are heard, so they are no gap.
* Before the first packet heard, the packets offered and not heard count as lost ones do; the delay of the first does not.
* A flow that never comes back counts to the end of the window.  A flow of which nothing at all was heard by then, or of which nothing was
  offered and nothing heard in the window, is silent for the whole window: never 0, and no pause is assumed.

A gap belongs to the window in which it *ends*; it may have begun before.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median_low

from harness.media.figure import Gap
from harness.media.records import MediaPacket
from harness.media.window import check
from harness.units import Duration


def silences(packets: Sequence[MediaPacket], *, since: int, until: int, deadline: int | None) -> list[Gap]:
    """Every silence above 0 that ends in the window, by time.  ``deadline``: ns from offered in which a packet must arrive to be heard."""
    check(since, until)
    offered = sorted((packet for packet in packets if packet.offered <= until), key=lambda packet: packet.offered)
    heard: list[tuple[int, int]] = []  # (arrival, position in offered), by arrival
    for position, packet in enumerate(offered):
        arrived = packet.arrived
        if arrived is not None and arrived <= until and packet.heard_by(deadline):
            heard.append((arrived, position))
    heard.sort()

    active = any(packet.offered >= since for packet in offered) or any(arrived >= since for arrived, _ in heard)
    if not heard or not active:
        return [Gap(Duration(until - since), since, until, recovered=False)] if until > since else []

    steps = [after.offered - before.offered for before, after in pairwise(offered)]
    gaps = [_head(offered, steps, heard[0])]
    for (left_at, left), (came_at, came) in pairwise(heard):
        if came_at >= since:
            pause = max(steps[min(left, came) : max(left, came)])
            gaps.append(Gap(Duration(max(0, came_at - left_at - pause)), left_at, came_at))
    gaps.append(_tail(offered, steps, heard, until))
    return [gap for gap in gaps if gap.excess.ns > 0 and gap.end >= since]


def _head(offered: Sequence[MediaPacket], steps: Sequence[int], first: tuple[int, int]) -> Gap:
    """The silence before anything was heard: as if one packet more, before the first, had been heard with the same delay."""
    arrived, position = first
    usual = median_low([step for step in steps if step > 0] or [0])
    excess = offered[position].offered - offered[0].offered + usual - max([usual, *steps[:position]])
    return Gap(Duration(excess), arrived - excess, arrived)


def _tail(offered: Sequence[MediaPacket], steps: Sequence[int], heard: Sequence[tuple[int, int]], until: int) -> Gap:
    """The silence that runs into the end of the window; 0 unless something was offered after the newest packet heard.

    After the last packet offered the source itself pauses: from when that packet was due (at the delay of the newest heard) until the end.
    """
    last_heard = heard[-1][0]
    newest = max(position for _, position in heard)
    delay = (offered[newest].arrived or 0) - offered[newest].offered
    pause = max(*steps[newest:], until - (offered[-1].offered + delay), 0)
    return Gap(Duration(max(0, until - last_heard - pause)), last_heard, until, recovered=False)


def longest(gaps: Sequence[Gap], *, since: int) -> Gap:
    """The longest of ``gaps`` (the earliest of equals); a gap of 0 at ``since`` when there is none."""
    return max(gaps, key=lambda gap: gap.excess.ns, default=Gap(Duration(0), since, since))


def longest_gap(packets: Sequence[MediaPacket], *, since: int, until: int, deadline: int | None) -> Gap:
    """The longest silence that ends in the window."""
    return longest(silences(packets, since=since, until=until, deadline=deadline), since=since)


def first_fresh(packets: Sequence[MediaPacket], *, after: int, until: int, deadline: int | None) -> int | None:
    """When the first packet heard of those offered at or after ``after`` arrived (ns); None when none did by ``until``."""
    arrivals = [packet.arrivals[0].at for packet in packets if packet.offered >= after and packet.heard_by(deadline)]
    return min((arrived for arrived in arrivals if arrived <= until), default=None)


def recovery(packets: Sequence[MediaPacket], *, after: int, until: int, deadline: int | None) -> Gap:
    """From ``after`` to the first fresh arrival, path delay included; to the end of the window, not recovered, when there is none."""
    check(after, until)
    came = first_fresh(packets, after=after, until=until, deadline=deadline)
    end = until if came is None else came
    return Gap(Duration(end - after), after, end, recovered=came is not None)


def interruptions(packets: Sequence[MediaPacket], *, at: int, until: int, deadline: int | None) -> list[Gap]:
    """The silences of a fault at ``at``: those that end between it and the first fresh arrival after it, or the end of the window.

    A fault that takes hold only after a fresh packet slipped through shows in the whole window (``silences``), not here.
    """
    came = first_fresh(packets, after=at, until=until, deadline=deadline)
    gaps = silences(packets, since=at, until=until, deadline=deadline)
    return gaps if came is None else [gap for gap in gaps if gap.end <= came]


def source_pauses(packets: Sequence[MediaPacket], *, since: int, until: int) -> list[Gap]:
    """The intervals in which the source offered nothing, edges of the window included, by time.

    Silence forgives the source's pauses, so an agent could hide an outage by pausing its source: bound the longest of these as well.
    """
    check(since, until)
    moments = sorted(packet.offered for packet in packets if since <= packet.offered <= until)
    edges = [since, *moments, until]
    return [Gap(Duration(right - left), left, right, recovered=right < until) for left, right in pairwise(edges) if right > left]
