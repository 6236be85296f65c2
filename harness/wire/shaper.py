"""One direction of one link: which packets it loses, and when it lets the others out.

Rules, in the order in which they meet a packet:

1. Every packet that enters takes an index, and with it one draw from the loss stream and one from the jitter stream, whether loss or
   jitter is in force or not.  So the n-th packet's luck depends on the seed and n alone: not on timing, not on the other impairment, not on
   earlier changes; and raising the loss only adds losses.  *Chatter* (a link's housekeeping: ARP, neighbour discovery, MLD), whose number
   nobody controls, has streams of its own and shifts nobody's luck.
2. A cut link takes nothing, and picks nothing.  A packet that the impairment picks by number is dropped, whatever its luck.  A lost packet
   takes no room and no rate.
3. A packet that finds ``queue`` others in the link is dropped at its tail.  A packet whose departure has come is no longer in the link,
   even if nobody has collected it yet.
4. In order (the default): ``departure = max(the one before, now + delay ± jitter) + size / rate``.  The rate is thus exact at the exit and
   no one overtakes.  These are sch_netem's sums when it has a rate, so that both executors agree.
5. With ``reordering``: serialised on entry, then ``delay ± jitter`` each on its own; the later may leave first.

A change spares what is in the link: those packets keep their departures, and where the old or the new impairment is in order nobody who
comes after the change overtakes one who came before.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import Generic, TypeVar

import msgspec

from harness.errors import SpecError
from harness.spec.link import Impairment, Pick

QUEUE = 10_000
"""Packets that a link holds when the impairment names no ``queue``."""

T = TypeVar("T")


class Drop(enum.Enum):
    """Why a packet never leaves."""

    LOST = "lost"
    PICKED = "picked"
    QUEUE_FULL = "queue_full"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Picked(Generic[T]):
    """A packet that was dropped for its number: by which ``pick``, ``at`` what time, as which ``number`` under its impairment."""

    pick: Pick
    number: int
    at: int
    packet: T


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """Packets so far.  ``received == delivered + lost + picked + queue_dropped + cut_dropped + in_flight``, always."""

    received: int
    delivered: int
    lost: int
    picked: int
    queue_dropped: int
    cut_dropped: int
    in_flight: int


class Shaper(Generic[T]):
    """One direction of a link, running ``impairment``; ``rng`` gives the seeds of the streams and is not kept.

    Times are nanoseconds of one clock that never goes back.  The packets themselves are opaque; ``datagram_size`` tells the bytes of UDP
    payload in one (None: it is no UDP), and is asked only while the impairment has picked a packet that has not come yet.

    ``picked``: what the impairment in force has dropped for its number.
    """

    def __init__(self, impairment: Impairment, rng: Random, datagram_size: Callable[[T], int | None] = lambda packet: None) -> None:
        self._datagram_size = datagram_size
        self._queue: list[tuple[int, int, T]] = []  # a heap of (departure, place in the order of entry, packet)
        self._entered = 0
        self._departed: list[T] = []  # left the link, not yet collected
        self._last = 0  # the latest departure promised so far
        self._barrier = 0  # with reordering: nobody leaves before this
        self._busy = 0  # with reordering: the entry is serialising until then
        self._cut = False
        self._adopt(impairment)
        self.restart(rng)

    @property
    def impairment(self) -> Impairment:
        """The impairment in force for packets that enter now."""
        return self._impairment

    @property
    def is_cut(self) -> bool:
        """Whether the link takes nothing at present."""
        return self._cut

    @property
    def awaited(self) -> int:
        """How many picks of the impairment in force have not met their packet yet."""
        return len(self._awaited)

    @property
    def next_departure(self) -> int | None:
        """When ``release`` will next have something; None when the link is empty."""
        return self._queue[0][0] if self._queue else None

    @property
    def counters(self) -> Counters:
        """What became of every packet so far; a packet is in flight until it is collected or found to be due."""
        return Counters(
            received=self._received,
            delivered=self._delivered,
            lost=self._lost,
            picked=self._picked,
            queue_dropped=self._queue_dropped,
            cut_dropped=self._cut_dropped,
            in_flight=len(self._queue),
        )

    def push(self, packet: T, size: int, now: int, chatter: bool = False) -> int | Drop:
        """Let ``packet`` of ``size`` bytes (of IP packet) enter at ``now``: the time of its departure, or why it has none."""
        self._received += 1
        if chatter:
            luck, spread = self._chatter_draw(), self._chatter_draw()
        else:
            luck, spread = self._loss_draw(), self._jitter_draw()
        if self._cut:
            self._cut_dropped += 1
            return Drop.CUT
        if self._awaited and not chatter and self._is_picked(packet, now):
            self._picked += 1
            return Drop.PICKED
        if luck < self._loss:
            self._lost += 1
            return Drop.LOST
        if len(self._queue) >= self._limit:
            self._settle(now)
            if len(self._queue) >= self._limit:
                self._queue_dropped += 1
                return Drop.QUEUE_FULL
        departure = now + self._delay
        if self._jitter:
            departure += int((2 * spread - 1) * self._jitter)
        if self._in_order:
            departure = max(departure, self._last)
            if self._rate:
                departure += size * 8_000_000_000 // self._rate
            self._last = departure
        else:
            if self._rate:
                waits = max(self._busy - now, 0) + size * 8_000_000_000 // self._rate
                self._busy = now + waits
                departure += waits
            departure = max(departure, self._barrier)
            self._last = max(departure, self._last)
        self._entered += 1
        heappush(self._queue, (departure, self._entered, packet))
        return departure

    def release(self, now: int) -> list[T]:
        """Collect the packets whose departure has come, in the order of departure."""
        if self._queue and self._queue[0][0] <= now:
            self._settle(now)
        departed, self._departed = self._departed, []
        return departed

    def change(self, impairment: Impairment, now: int) -> None:
        """Let ``impairment`` rule the packets that enter from ``now`` on."""
        self._settle(now)
        if self._in_order or not impairment.reordering:
            self._barrier = self._last
            self._busy = now
        self._adopt(impairment)

    def cut(self, now: int) -> None:
        """Cut the link: what is in it is dropped, and so is what enters until ``uncut``."""
        self._settle(now)
        self._cut_dropped += len(self._queue)
        self._queue.clear()
        self._last = self._barrier = self._busy = now
        self._cut = True

    def uncut(self) -> None:
        """Mend the link; it is empty, and has the impairment that it had or has been given since."""
        self._cut = False

    def restart(self, rng: Random) -> None:
        """Count and draw from the beginning: the next packet has index 0.  What is in the link stays there, as if just received."""
        # The order of these seeds is part of what "the same seed" means: a further stream is added behind them, never between.
        self._loss_draw = Random(rng.getrandbits(64)).random
        self._jitter_draw = Random(rng.getrandbits(64)).random
        self._chatter_draw = Random(rng.getrandbits(64)).random
        self._received = len(self._queue)
        self._delivered = 0
        self._lost = 0
        self._picked = 0
        self._queue_dropped = 0
        self._cut_dropped = 0
        self._pick_anew()

    def _adopt(self, impairment: Impairment) -> None:
        for field in ("burst", "duplicate", "corrupt", "reorder", "queue_time", "mtu", "rate_trace", "schedule"):
            if getattr(impairment, field) is not None:
                raise SpecError(field, "the relay has not built it yet")
        if impairment.distribution != "uniform" or impairment.truncate:
            raise SpecError("distribution", f"the relay has not built {impairment.distribution} yet")
        self._impairment = impairment
        self._pick_anew()
        self._delay = impairment.delay.ns if impairment.delay else 0
        self._jitter = impairment.jitter.ns if impairment.jitter else 0
        self._loss = impairment.loss.fraction if impairment.loss else 0.0
        self._rate = impairment.rate.bits_per_second if impairment.rate else 0
        self._limit = impairment.queue if impairment.queue is not None else QUEUE
        self._in_order = not impairment.reordering

    def _pick_anew(self) -> None:
        self.picked: list[Picked[T]] = []
        self._awaited = [(pick, 0) for pick in self._impairment.drop or ()]  # with how many of those it counts have come
        self._number = 0

    def _is_picked(self, packet: T, now: int) -> bool:
        size = self._datagram_size(packet)
        self._number += 1
        met = [(pick, come + pick.counts(size)) for pick, come in self._awaited]
        self._awaited = [(pick, come) for pick, come in met if come < pick.nth]
        here = [Picked(pick, self._number, now, packet) for pick, come in met if come == pick.nth]
        self.picked += here
        return bool(here)

    def _settle(self, now: int) -> None:
        queue, departed = self._queue, self._departed
        before = len(departed)
        while queue and queue[0][0] <= now:
            departed.append(heappop(queue)[2])
        self._delivered += len(departed) - before
