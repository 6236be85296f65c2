"""One direction of one link: which packets it loses, harms or doubles, and when it lets the others out.

Rules, in the order in which they meet a packet:

1. Every packet that enters takes an index, and with it a draw from the loss stream, one from the jitter stream, and one from a stream that
   holds all its further luck, whatever is in force.  So the n-th packet's luck depends on the seed and n alone: not on timing, not on the
   other impairments, not on earlier changes; and raising a share only adds to those that it meets.  Bursts have a memory: the chain takes
   one step per index from the change that brought it, in the good state, to the one that takes it away.  *Chatter* (a link's housekeeping:
   ARP, neighbour discovery, MLD), whose number nobody controls, has a stream of its own, steps no chain and shifts nobody's luck; it is
   never doubled, harmed or let ahead.
2. A cut link takes nothing.  A packet above the ``mtu`` is too big.  Neither is counted by picks.
3. A packet that the impairment picks by number is dropped, whatever its luck.  It has no copy.
4. A packet may be lost, by ``loss`` or by the state of the burst.  A lost packet takes no room and no rate.
5. If it is to enter twice, its copy comes right behind it and meets rules 4 to 9 once more, with luck of its own, that is drawn with the
   index that they share: either may be lost, harmed or let ahead without the other.  A copy is never doubled, nor counted by picks, and
   steps no chain: it meets the state that the packet has left.  (netem gives a copy a step of the chain, and lets the one through when the
   other is lost: the same but for shares where both are large.)
6. A packet that finds ``queue`` others in the link is dropped at its tail.  A packet whose departure has come is no longer in the link,
   even if nobody has collected it yet.
7. With ``reorder``, some are let ahead: they leave at once, past those in the link, and take no rate (as with netem).
8. A packet that would wait for the rate longer than ``queue_time`` is dropped: longer than what entered before it still takes to
   serialise.
9. In order (the default): ``departure = max(the one before, now, now + delay ± jitter) + size / rate``.  The rate is thus exact at the
   exit and no one overtakes.  These are sch_netem's sums when it has a rate, so that both executors agree.
10. With ``reordering``: serialised on entry, then ``delay ± jitter`` each on its own; the later may leave first.
11. With a ``rate_trace`` in the place of a rate, a packet leaves at the delivery opportunity that holds its last byte (``opportunities``):
    in order, of those that come when it would leave otherwise or later; with ``reordering``, of those after its entry, and then the delay.
    One that would wait for that longer than ``queue_time`` is dropped.

A change spares what is in the link: those packets keep their departures, and where the old or the new impairment is in order nobody who
comes after the change overtakes one who came before.  A trace that the change leaves as it was goes on; another begins with the change.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import Generic, TypeVar

import msgspec

from harness.spec.link import LARGEST_MTU, Impairment, Pick
from harness.spec.spread import ENTRIES, SCALE, table
from harness.wire.burst import LUCK, Burst
from harness.wire.opportunities import Opportunities

QUEUE = 10_000
"""Packets that a link holds when the impairment names no ``queue``."""

T = TypeVar("T")

# A packet's further luck is a number of so many bits, in words of 32 from the lowest: the burst's loss and step; the copy; then its own for
# reorder and corrupt, and the place of the bit; then the copy's loss, burst's loss, jitter, reorder, corrupt and place.
_MORE = 12 * 32
_FOREVER = 1 << 63


def _word(luck: int, number: int) -> int:
    return (luck >> (32 * number)) & (LUCK - 1)


def _keeps_order(impairment: Impairment) -> bool:
    return not impairment.reordering and (impairment.reorder is None or impairment.reorder.count == 0)


class Drop(enum.Enum):
    """Why a packet never leaves."""

    LOST = "lost"
    PICKED = "picked"
    QUEUE_FULL = "queue_full"
    CUT = "cut"
    TOO_BIG = "too_big"


@dataclass(frozen=True, slots=True)
class Picked(Generic[T]):
    """A packet that was dropped for its number: by which ``pick``, ``at`` what time, as which ``number`` under its impairment."""

    pick: Pick
    number: int
    at: int
    packet: T


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """Packets so far.

    Always ``received + duplicated == delivered + lost + picked + too_big + queue_dropped + cut_dropped + in_flight``, where ``duplicated``
    are the copies that entered behind their packets.  ``corrupted`` and ``reordered`` (let ahead) are among those that found room.
    """

    received: int
    duplicated: int
    delivered: int
    lost: int
    picked: int
    too_big: int
    queue_dropped: int
    cut_dropped: int
    in_flight: int
    corrupted: int
    reordered: int


class Shaper(Generic[T]):
    """One direction of a link, running ``impairment`` (which has no schedule: see ``timetable``); ``rng`` gives the streams their seeds.

    Times are nanoseconds of one clock that never goes back.  The packets themselves are opaque; ``datagram_size`` tells the bytes of UDP
    payload in one (None: it is no UDP), and is asked only while the impairment has picked a packet that has not come yet.  ``harmed``
    gives a packet with one bit flipped, where: at this share of its length (0 ≤ share < 1).

    ``picked``: what the impairment in force has dropped for its number.
    """

    def __init__(
        self,
        impairment: Impairment,
        rng: Random,
        datagram_size: Callable[[T], int | None] = lambda packet: None,
        harmed: Callable[[T, float], T] = lambda packet, share: packet,
    ) -> None:
        self._datagram_size = datagram_size
        self._harmed = harmed
        self._burst: Burst | None = None
        self._queue: list[tuple[int, int, T]] = []  # a heap of (departure, place in the order of entry, packet)
        self._entered = 0
        self._departed: list[T] = []  # left the link, not yet collected
        self._departed_at = 0  # when the first of those left
        self._last = 0  # the latest departure promised so far
        self._barrier = 0  # whoever may overtake does not leave before this
        self._busy = 0  # at its rate, what has entered is serialised by then
        self._cut = False
        self._trace: Opportunities | None = None
        self._adopt(impairment, 0)
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
        """When ``release`` will next have something, or had it first; None when the link is empty."""
        if self._departed:
            return self._departed_at
        return self._queue[0][0] if self._queue else None

    @property
    def counters(self) -> Counters:
        """What became of every packet so far; a packet is in flight until it is collected or found to be due."""
        return Counters(
            received=self._received,
            duplicated=self._duplicated,
            delivered=self._delivered,
            lost=self._lost,
            picked=self._picked,
            too_big=self._too_big,
            queue_dropped=self._queue_dropped,
            cut_dropped=self._cut_dropped,
            in_flight=len(self._queue),
            corrupted=self._corrupted,
            reordered=self._reordered,
        )

    def push(self, packet: T, size: int, now: int, chatter: bool = False) -> int | Drop:
        """Let ``packet`` of ``size`` bytes (of IP packet) enter at ``now``: the time of its departure, or why it has none.

        Nothing is said of a copy, which may be in the link though the packet is not.
        """
        self._received += 1
        if chatter:
            lost, spread, more = self._chatter_draw() < self._loss, self._chatter_draw(), 0
            if self._burst is not None:
                lost |= self._burst.strikes(int(self._chatter_draw() * LUCK))
        else:
            lost, spread, more = self._loss_draw() < self._loss, self._jitter_draw(), self._more_bits(_MORE)
            if self._burst is not None:
                lost |= self._burst.passes(_word(more, 0), _word(more, 1))
        if self._cut:
            self._cut_dropped += 1
            return Drop.CUT
        if size > self._mtu:
            self._too_big += 1
            return Drop.TOO_BIG
        if self._awaited and not chatter and self._is_picked(packet, now):
            self._picked += 1
            return Drop.PICKED
        if self._is_plain or chatter:
            if lost:
                self._lost += 1
                return Drop.LOST
            return self._enter(packet, size, now, spread)
        fate = self._meet(packet, size, now, lost, spread, more >> 96)
        if _word(more, 2) < self._duplicate:
            self._duplicated += 1
            copy = more >> 192
            lost = _word(copy, 0) < self._loss * LUCK or (self._burst is not None and self._burst.strikes(_word(copy, 1)))
            self._meet(packet, size, now, lost, _word(copy, 2) / LUCK, copy >> 96)
        return fate

    def _meet(self, packet: T, size: int, now: int, lost: bool, spread: float, luck: int) -> int | Drop:
        """What a packet or its copy meets while some are corrupted or let ahead."""
        if lost:
            self._lost += 1
            return Drop.LOST
        ahead, corrupt = _word(luck, 0) < self._reorder, _word(luck, 1) < self._corrupt
        if corrupt:
            packet = self._harmed(packet, _word(luck, 2) / LUCK)
        fate = self._enter(packet, size, now, spread, ahead)
        if fate.__class__ is int:
            self._reordered += ahead
            self._corrupted += corrupt
        return fate

    def _enter(self, packet: T, size: int, now: int, spread: float, ahead: bool = False) -> int | Drop:
        """Take a place in the link if there is one."""
        if len(self._queue) >= self._limit:
            self._settle(now)
            if len(self._queue) >= self._limit:
                self._queue_dropped += 1
                return Drop.QUEUE_FULL
        if ahead:
            departure = max(now, self._barrier)
        else:
            takes = waits = 0
            if self._rate:
                waits = max(self._busy - now, 0)
                if waits > self._longest:
                    self._queue_dropped += 1
                    return Drop.QUEUE_FULL
                takes = size * 8_000_000_000 // self._rate
                self._busy = now + waits + takes
            departure = now + self._delay
            if self._jitter:
                if self._table is None:
                    departure += int((2 * spread - 1) * self._jitter)
                else:
                    departure += self._table[int(spread * ENTRIES)] * self._jitter // SCALE
                if departure < now:
                    departure = now
            if self._trace is not None:
                begins = max(departure, self._last) if self._in_order else now
                leaves, *used = self._trace.departure(size, begins)
                if leaves - (departure if self._in_order else now) > self._longest:
                    self._queue_dropped += 1
                    return Drop.QUEUE_FULL
                self._trace.use(*used)
                takes = leaves - begins
            departure = max(departure, self._last) + takes if self._in_order else max(departure + waits + takes, self._barrier)
        if departure > self._last:
            self._last = departure
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
        if _keeps_order(self._impairment) or _keeps_order(impairment):
            self._barrier = self._last
        self._adopt(impairment, now)

    def cut(self, now: int) -> None:
        """Cut the link: what is in it is dropped, and so is what enters until ``uncut``."""
        self._settle(now)
        self._cut_dropped += len(self._queue)
        self._queue.clear()
        self._last = self._barrier = self._busy = now
        if self._trace is not None:
            self._trace.free(now)
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
        self._more_bits = Random(rng.getrandbits(64)).getrandbits
        if self._burst is not None:
            self._burst.restart()
        self._received = len(self._queue)
        self._duplicated = 0
        self._delivered = 0
        self._lost = 0
        self._picked = 0
        self._too_big = 0
        self._queue_dropped = 0
        self._cut_dropped = 0
        self._corrupted = 0
        self._reordered = 0
        self._pick_anew()

    def _adopt(self, impairment: Impairment, now: int) -> None:
        if impairment.schedule is not None:
            raise ValueError("a shaper knows no schedule: what rules when is for a Timetable to say, and for change() to put in force")
        if impairment.rate_trace is None:
            self._trace = None
        elif self._trace is None or self._trace.trace != impairment.rate_trace:
            self._trace = Opportunities(impairment.rate_trace, now)
        self._impairment = impairment
        self._pick_anew()
        self._delay = impairment.delay.ns if impairment.delay else 0
        self._jitter = impairment.jitter.ns if impairment.jitter else 0
        self._table = table(impairment.distribution)
        self._loss = impairment.loss.fraction if impairment.loss else 0.0
        if impairment.burst is None:
            self._burst = None
        elif self._burst is None:
            self._burst = Burst(impairment.burst)
        else:
            self._burst.adopt(impairment.burst)
        self._duplicate, self._corrupt, self._reorder = (
            round(share.fraction * LUCK) if share else 0 for share in (impairment.duplicate, impairment.corrupt, impairment.reorder)
        )
        self._is_plain = not (self._duplicate or self._corrupt or self._reorder)
        self._mtu = impairment.mtu if impairment.mtu is not None else LARGEST_MTU
        self._rate = impairment.rate.bits_per_second if impairment.rate else 0
        self._limit = impairment.queue if impairment.queue is not None else QUEUE
        self._longest = impairment.queue_time.ns if impairment.queue_time is not None else _FOREVER
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
        if not departed and queue:
            self._departed_at = queue[0][0]
        while queue and queue[0][0] <= now:
            departed.append(heappop(queue)[2])
        self._delivered += len(departed) - before
