"""When a listening process took what arrived at its host: proven from outside, by its sockets' queue and by its acknowledgements.

Two kinds of evidence say until when a datagram was *not* taken:

* its socket's receive queue, sampled from outside every few milliseconds: the queue is FIFO, so what a sample counts are the newest
  arrivals, those included that came while it was read.  The kernel counts an skb's ``truesize``, not bytes of payload; it is learnt from
  samples between which one datagram came;
* the first ACK that leaves the listener's host and covers its packet number, less the listener's usual delay: this has no holes and sees
  listeners that empty their socket and process nothing.  An ACK that the anti-amplification limit (RFC 9000 §8.1) may hold back proves
  nothing.

The later of both counts, and a datagram is never taken before it arrived.  The error, at most one sample, favours the stack.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from harness.fabric.samples import QueueSample
from harness.fabric.udp_packets import UdpPacket
from harness.lab.crossings import Crossing

MAX_ACK_DELAY = 25_000_000
"""RFC 9000 §18.2's default of max_ack_delay, ns."""
AMPLIFICATION = 3
ACK_SIZE = 100
"""A datagram with an ACK alone is no larger, bytes."""
_TRUESIZES = ((320, 832), (800, 1280))
_LARGE_TRUESIZE = 2304
"""By payload size: measured on Linux 6.18, for packets that crossed a veth or a TAP."""


def untaken_until(arrivals: Sequence[tuple[int, int]], samples: Sequence[QueueSample]) -> list[int]:
    """Until when (ns) each datagram was proven to be in its socket's queue; 0 where nothing proves it.

    ``arrivals``: (ns, bytes of payload) of one socket, by time.  ``samples``: of that socket, by time.
    """
    found = [0] * len(arrivals)
    times = [at for at, _ in arrivals]
    sizes = _learnt(arrivals, times, samples)
    for sample in samples:
        left = sample.rqueue
        number = bisect_right(times, sample.by) - 1
        while left > 0 and number >= 0:
            found[number] = sample.at
            left -= sizes(arrivals[number][1])
            number -= 1
    return found


def _learnt(arrivals: Sequence[tuple[int, int]], times: Sequence[int], samples: Sequence[QueueSample]) -> _Truesizes:
    known = _Truesizes()
    for before, after in pairwise(samples):
        first, end = bisect_right(times, before.by), bisect_right(times, after.by)
        if end - first == 1 and after.rqueue > before.rqueue > 0:
            known.learn(arrivals[first][1], after.rqueue - before.rqueue)
    return known


class _Truesizes:
    """What the kernel counts for a datagram in a socket's queue, by its payload."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}

    def learn(self, payload: int, counted: int) -> None:
        if counted >= payload:
            self._known[payload] = max(counted, self._known.get(payload, 0))

    def __call__(self, payload: int) -> int:
        return self._known.get(payload) or next((size for most, size in _TRUESIZES if payload <= most), _LARGE_TRUESIZE)


def first_acks(crossed: Iterable[Crossing]) -> dict[tuple[str, str, int], int]:
    """When the first ACK of each packet left the listener's host (ns), by connection, the packet's speaker and its number."""
    found: dict[tuple[str, str, int], int] = {}
    known: dict[tuple[str, str], _Acked] = defaultdict(_Acked)
    others: dict[str, dict[str, str]] = defaultdict(dict)
    crossed = list(crossed)
    for one in crossed:
        others[one.packet.connection][one.packet.sender] = one.speaker
    for one in crossed:
        speaker = others[one.packet.connection].get("server" if one.packet.sender == "client" else "client")
        if speaker is None:
            continue
        for frame in one.packet.having("ACK"):
            for number in known[one.packet.connection, speaker].fresh(frame.fields["ranges"]):
                found[one.packet.connection, speaker, number] = one.departed
    return found


class _Acked:
    """Which packet numbers of one side were acknowledged so far."""

    def __init__(self) -> None:
        self._largest = -1
        self._holes: set[int] = set()

    def fresh(self, ranges: Sequence[tuple[int, int]]) -> list[int]:
        """The numbers of ``ranges``, (lowest, highest), that were not acknowledged before."""
        before = self._largest
        found: list[int] = []
        for low, high in ranges:
            if high > before:
                found += range(max(low, before + 1), high + 1)
                self._largest = max(self._largest, high)
        if self._holes:
            filled = [number for number in self._holes if any(low <= number <= high for low, high in ranges)]
            found += filled
            self._holes.difference_update(filled)
        if self._largest > before:
            new = set(found)
            self._holes |= {number for number in range(before + 1, self._largest) if number not in new}
        return found


class Amplification:
    """Whether the anti-amplification limit may have kept a listener from sending, by what its host received from and sent to an address."""

    def __init__(self, packets: Sequence[UdpPacket], validated: Mapping[tuple[str, int], int]) -> None:
        """``packets``: all of the host's, by time.  ``validated``: from when (ns) an address counted as validated."""
        self._validated = validated
        self._steps: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        room: dict[tuple[str, int], int] = defaultdict(int)
        for packet in packets:
            peer = packet.destination if packet.outgoing else packet.source
            room[peer] += -packet.size if packet.outgoing else AMPLIFICATION * packet.size
            if packet.monotonic is not None and packet.monotonic < validated.get(peer, 1 << 62):
                self._steps[peer].append((packet.monotonic, room[peer]))

    def limits(self, peer: tuple[str, int], since: int, until: int) -> bool:
        """Whether at some time between both there was no room for an ACK to ``peer``."""
        validated = self._validated.get(peer, 1 << 62)
        if validated <= since:
            return False
        until = min(until, validated)
        steps = self._steps.get(peer, [])
        number = max(0, bisect_right(steps, (since, 1 << 62)) - 1)
        while number < len(steps) and steps[number][0] <= until:
            if steps[number][1] < ACK_SIZE:
                return True
            number += 1
        return False


class Bounds(NamedTuple):
    """What the evidence says of one datagram: it was in the queue until ``queued`` and acknowledged at ``acked`` (ns; 0: not known)."""

    queued: int
    acked: int


def usual_delay(delays: Iterable[int]) -> int:
    """A listener's usual ACK delay (ns): the 99th percentile of what was seen before the first fault, at least ``MAX_ACK_DELAY``."""
    ordered = sorted(delays)
    return max(MAX_ACK_DELAY, ordered[(len(ordered) - 1) * 99 // 100] if ordered else 0)


def taken_at(arrived: int, bounds: Bounds, usual: int) -> int:
    """When a datagram that ``arrived`` was surely taken at the latest time at which it was proven untaken (ns)."""
    return max(arrived, bounds.queued, bounds.acked - usual if bounds.acked else 0)
