"""What the machine explains of a red verdict: measured from outside the agents, subtracted, and only where it was on that direction's way.

* *Stalls* are seen by the sampler and the relay.  ``stolen``: a core was gone.  ``stopped``: by a signal that the agent cannot send itself.
  ``waited``: a thread was runnable and did not run.  ``throttled``: by a control group.  What a stack says of itself excuses nothing.
* A *gap* from x to y of a direction: a stall of the sender is felt later by the transit of the frame that ended the gap; one of the
  listener or the relay when it is; one of the machine both ways, but never for more than its own length.  What of that lies in the gap
  explains it, and so does a stall of an endpoint that ended before x by no more than the ``aftermath``, with all its length.
* A stack can make a wait itself, by using the cores: waits and throttling count x (1 - own / (cores x their length)), where own is the CPU
  time of all agents meanwhile; where that is an ``ORDINARY`` share of the cores they count whole.
* What remains above the bound is a FAIL; else the verdict is INCONCLUSIVE, blame environment.  Of several gaps the worst remainder decides.
* Of *frames* that were missed in a silence as many are explained as are due in what is explained of the silence.
* A *packet* that came late has three legs, each explained by its own process inside its own interval.  A source that such a stall has
  thrown back, and that does not catch up, is not late for ever: its next packets are explained as far as the stall threw it back.
* What has no time of its own (a count, a rate), and a gap of video, which a stack stops for seconds when it takes delay for congestion, is
  explained by a machine that kept every agent from the cores for ``BUSY`` of the run.  So are late packets of which most are explained one
  by one, and all late packets by one that did for ``CROWDED``: what a stalled sender hands over at once to a narrow link waits there for
  longer than the stall.  Likewise silences and unheard frames of audio: by a ``BUSY`` machine where it explains most of them (what takes
  several round trips waits at each of them), all by one that did for ``SWAMPED``.

What no delay can bring about stays a FAIL whatever the machine did: a packet lost on the way, doubled, changed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from harness.media.figure import Figure, Gap, Overdue, share
from harness.units import Duration, Quantity, Ratio, percent
from harness.verdict import AGENT, MACHINE, RELAY, RUNNER, Blame, Life, Relation, Result, Stall, Verdict

LEAST_AFTERMATH = 50_000_000
"""What a stall leaves behind lasts so long at least, ns: a backlog, a congestion window that late acknowledgements have closed."""
WAITED = 4
"""A packet was given up because of stalls when they took a quarter of the time that it might wait, or more: less is not why it waited."""
HELD = 10_000_000
"""A packet was overtaken because of stalls when they held it on its way for so long, ns: a core that is taken away keeps what is in its
queue, and what the sender gives to another core meanwhile passes it."""
BUSY = 3 * percent
"""Of the least stalled agent.  Measured over 65 scenarios each, by the agents' own lateness: 0.4 % in nine of ten runs on a quiet machine,
12 % in the median where both cores are taken away again and again."""
CROWDED = 6 * percent
"""Of a machine that is so busy late packets say nothing, though no stall explains most of them: a burst behind a stall fills a narrow
link's queue, and what a stack takes for congestion then keeps it full.  Measured: 9 % with eight runs at once on two cores."""
SWAMPED = 25 * percent
"""Of a machine that is so busy nothing that delay can bring about says anything: what waits behind stalls grows longer than they are.
Measured with eight runs at once on two cores of which others had half: 26 to 46 %; with every core taken away for 150 to 500 ms every
1.5 s: 12 % in the median."""
NEVER = 101 * percent
"""No machine is."""
ORDINARY = 8
"""Agents that use an eighth of the cores or less keep nobody waiting.  Measured: a call of audio takes 5 % of two cores, 9 % where a core
does half as much as usual; of a wait of three seconds that share alone is longer than a bound."""
LONG = 10_000_000
"""Shorter stalls do not count for ``BUSY``, ns."""
SLIP = 200_000_000
"""Packets of a source that was thrown back follow one another within so long, ns: ten of audio, six of video."""
_SHARED = ("waited", "throttled")
"""Kinds of stalls that agents can have made themselves."""


class Explained(NamedTuple):
    """How much (ns) the machine explains, and whose stalls that were."""

    length: int
    by: tuple[Stall, ...]

    @property
    def words(self) -> str:
        """Who stalled, and how: "agent alice (stopped), machine (stolen)"."""
        return ", ".join(sorted({f"{stall.who} ({stall.kind})" if stall.kind else stall.who for stall in self.by}))


@dataclass(frozen=True)
class _Part:
    """What of ``stall`` counts, from ``start`` to ``end``, where it is felt: later by ``shift`` than it was."""

    stall: Stall
    start: int
    end: int
    shift: int

    @property
    def real(self) -> tuple[int, int]:
        """When that was at the stalled process."""
        return self.start - self.shift, self.end - self.shift


class _Known:
    """The stalls in order, so that those near a time are found without looking at all."""

    def __init__(self, stalls: Iterable[Stall]) -> None:
        self.all = sorted(stalls, key=lambda stall: stall.start)
        self._starts = [stall.start for stall in self.all]
        self._longest = max((stall.end - stall.start for stall in self.all), default=0)

    def near(self, since: int, until: int) -> Sequence[Stall]:
        """A few more than those that overlap the time from ``since`` to ``until``."""
        return self.all[bisect_left(self._starts, since - self._longest) : bisect_right(self._starts, until)]


def excuse(verdict: Verdict, stalls: Iterable[Stall], life: Life | None = None) -> Verdict:
    """``verdict``, made INCONCLUSIVE with blame environment when stalls explain its FAIL; unchanged otherwise.

    Where they explain some of its gaps, or packets, and not all, the verdict stands on what is not explained.  Without a ``life`` no
    machine is ``BUSY``, and the agents' use of the cores is taken to be none.
    """
    figure = verdict.figure or None  # UNSET is false
    if verdict.result is not Result.FAIL or (figure is not None and figure.timeless):
        return verdict
    known = _Known(stalls)
    judged, enough = verdict, BUSY
    if verdict.relation is Relation.AT_MOST and verdict.gaps and isinstance(verdict.bound, Duration):
        judged, enough = _excuse_gaps(verdict, verdict.bound, figure or Figure(None), known, life)
    elif figure is not None and figure.interval and verdict.relation is not Relation.AT_LEAST:
        judged, enough = _excuse_frames(verdict, figure, known, life)
    elif figure is not None and figure.overdue and verdict.relation is not Relation.AT_LEAST:
        judged, enough = _excuse_packets(verdict, figure, known, life)
    if judged.result is not Result.FAIL or life is None or (stood := still(known.all, life)) < enough:
        return judged
    why = f"every agent was kept from the cores for {stood.percent:.0f} % of the run or more"
    return _inconclusive(verdict, f"{why}: this machine is too busy")


def aftermath(round_trip: int) -> int:
    """For how long after its end a stall of an endpoint still explains what begins then, by the path's ``round_trip``; ns."""
    return max(LEAST_AFTERMATH, 3 * round_trip + 25_000_000)


def explain(gap: Gap, figure: Figure, stalls: Iterable[Stall], life: Life | None = None) -> Explained:
    """How much of ``gap``, of the direction of ``figure``, the ``stalls`` explain."""
    return _explain(gap, figure, _Known(stalls), life)


def explained(packet: Overdue, figure: Figure, stalls: Iterable[Stall], life: Life | None = None) -> bool:
    """Whether ``stalls`` explain what became of ``packet`` of the direction of ``figure``: see ``Overdue`` for the kinds."""
    return _explains(packet, figure, _Known(stalls), life) is not None


def still(stalls: Iterable[Stall], life: Life) -> Ratio:
    """The share of ``life`` in which the least stalled agent stalled, of those that did so at all (one that waits for nothing cannot).

    What the machine was kept from as a whole counts for each of them, and alone where fewer than two stalled.
    """
    known = [stall for stall in stalls if stall.end - stall.start >= LONG]
    machine = [stall for stall in known if stall.who == MACHINE]
    agents = sorted({stall.who for stall in known if stall.who.startswith(AGENT)})
    sets = [[stall for stall in known if stall.who in (who, MACHINE)] for who in agents] if len(agents) > 1 else [machine]
    parts = [[_Part(stall, max(stall.start, life.since), min(stall.end, life.until), 0) for stall in some] for some in sets]
    least = min(_weigh([part for part in some if part.end > part.start], life).length for some in parts)
    return share(least, life.until - life.since) or Ratio(0)


def _excuse_gaps(verdict: Verdict, bound: Duration, figure: Figure, known: _Known, life: Life | None) -> tuple[Verdict, Ratio]:
    """The verdict on what stalls do not explain, and from how busy a machine on it says nothing."""
    found = [(gap, _explain(gap, figure, known, life)) for gap in verdict.gaps]
    if not any(one.length for _, one in found):
        return verdict, _enough(figure, mostly=False)
    found.sort(key=lambda pair: pair[1].length - pair[0].excess.ns)
    standing = [(gap, one) for gap, one in found if gap.excess.ns - one.length > bound.ns]
    worst, one = found[0] if standing else max(found, key=lambda pair: pair[0].excess.ns)
    part = Duration(min(one.length, worst.excess.ns))
    said = f"{worst.excess}, of which the machine explains {part}: {one.words}" if one.length else ""
    if not standing:
        return _inconclusive(verdict, said), NEVER
    mostly = all(2 * one.length > gap.excess.ns for gap, one in standing)
    gaps = tuple(gap for gap, _ in standing)
    left_out = len(found) - len(gaps)
    more = f"{left_out} further gap{'s' if left_out > 1 else ''} explained by the machine left out" if left_out else ""
    note = _joined(verdict.note, said, more)
    judged = msgspec.structs.replace(verdict, value=worst.excess, gaps=gaps, where=worst, note=note)
    return judged, _enough(figure, mostly=mostly)


def _enough(figure: Figure, *, mostly: bool) -> Ratio:
    """From how busy a machine on a silence, or its frames, say nothing; ``mostly``: stalls explain more than half of it."""
    return BUSY if mostly or figure.yields else SWAMPED


def _excuse_packets(verdict: Verdict, figure: Figure, known: _Known, life: Life | None) -> tuple[Verdict, Ratio]:
    """The verdict on what stalls do not explain, and from how busy a machine on it says nothing: from none where packets were lost, too."""
    found = [one for _, one in _each(figure, known, life) if one is not None]
    if verdict.value is None:
        return verdict, NEVER
    judged = verdict
    if found:
        left = _without(len(found), verdict.value, figure)
        words = Explained(0, tuple(stall for one in found for stall in one.by)).words
        said = f"{len(found)} of these packets explained by stalls: {words}"
        if verdict.holds(left):
            return _inconclusive(verdict, said), NEVER
        judged = msgspec.structs.replace(verdict, value=left, note=_joined(verdict.note, f"{said}; left out"))
    if not verdict.holds(_without(len(figure.overdue), verdict.value, figure)):
        return judged, NEVER
    return judged, BUSY if 2 * len(found) > len(figure.overdue) else CROWDED


def _without(packets: int, value: Quantity, figure: Figure) -> Quantity:
    """The ``figure`` if so many ``packets`` had not been overdue."""
    part = share(packets, figure.of)  # None where the packets are counted
    return type(value)(value.count - (packets if part is None else part.count))


def _excuse_frames(verdict: Verdict, figure: Figure, known: _Known, life: Life | None) -> tuple[Verdict, Ratio]:
    """Of frames that were missed in a silence as many as are due in what is explained of it; of others those explained one by one.

    To half a frame; and only what stalled within the silence, since the aftermath of one stall would else explain frame after frame.
    """
    late = _each(figure, known, life)
    rest, by, count = [moment.at for moment in figure.moments], list[Stall](), 0
    for gap in figure.gaps:
        inside = [at for at in rest if gap.start - figure.interval <= at <= gap.end]
        rest = [at for at in rest if at not in inside]
        one = _explain(gap, figure, known, life, after=0)
        each = [explained for packet, explained in late if explained is not None and packet.start in inside]
        whole = (min(one.length, gap.excess.ns) + figure.interval // 2) // figure.interval
        found = min(len(inside), max(len(each), whole))
        count += found
        by += one.by if found else ()
    others = [explained for packet, explained in late if explained is not None and packet.start in rest]
    count += len(others)
    by += [stall for one in others for stall in one.by]
    enough = _enough(figure, mostly=2 * count > len(figure.moments))
    if not count or verdict.value is None:
        return verdict, enough
    left = type(verdict.value)(verdict.value.count - count)
    said = f"{count} of these frames explained by stalls: {Explained(0, tuple(by)).words}"
    if verdict.holds(left) or (verdict.relation is Relation.EQUAL and left < verdict.bound):
        return _inconclusive(verdict, said), NEVER
    return msgspec.structs.replace(verdict, value=left, note=_joined(verdict.note, f"{said}; left out")), enough


def _explain(gap: Gap, figure: Figure, known: _Known, life: Life | None, *, after: int | None = None) -> Explained:
    after = aftermath(figure.round_trip) if after is None else after
    parts = []
    for stall in known.near(gap.start - gap.transit - after, gap.end):
        for shift in _shifts(stall, figure, gap.transit):
            start, end = stall.start + shift, stall.end + shift
            if start < gap.end and end > gap.start:
                parts.append(_Part(stall, max(start, gap.start), min(end, gap.end), shift))
            elif stall.who not in (RELAY, RUNNER) and gap.start - after <= end <= gap.start:
                parts.append(_Part(stall, start, end, shift))
    return _weigh(parts, life)


def _shifts(stall: Stall, figure: Figure, transit: int) -> Iterator[int]:
    """By how much later it is felt at the listener, where it is felt at all; of the machine there are two ways."""
    if stall.who == MACHINE:
        yield from {0, transit}
    elif stall.who in (RELAY, RUNNER) or (figure.listener and stall.who == AGENT + figure.listener):
        yield 0
    elif figure.speaker and stall.who == AGENT + figure.speaker:
        yield transit


def _each(figure: Figure, known: _Known, life: Life | None) -> list[tuple[Overdue, Explained | None]]:
    """Every overdue packet, and what explains it.

    A source that a stall has thrown back and that does not catch up is late from then on: what explains one packet explains those that are
    late by no more, each offered within ``SLIP`` of the one before.
    """
    found: list[tuple[Overdue, Explained | None]] = []
    slip = Explained(0, ())
    last = reached = 0
    for packet in sorted(figure.overdue, key=lambda packet: packet.start):
        one = _explains(packet, figure, known, life)
        if packet.kind == "late" and packet.departed:
            back = packet.departed - packet.start
            if packet.start - last > SLIP:
                slip, reached = Explained(0, ()), 0
            if one is not None:
                slip, reached = max(slip, one, key=lambda of: of.length), max(reached, back)
            elif back <= reached and packet.excess.ns <= slip.length:
                one = slip
            else:
                slip, reached = Explained(0, ()), 0
            last = packet.start
        found.append((packet, one))
    return found


def _explains(packet: Overdue, figure: Figure, known: _Known, life: Life | None) -> Explained | None:
    """What explains that ``packet`` is overdue; None when nothing does."""
    if packet.kind == "given up":
        found = _explain(Gap(Duration(0), packet.start, packet.end), figure, known, life)
        return found if found.length and found.length >= (packet.end - packet.start) // WAITED else None
    sender, listener = AGENT + figure.speaker, AGENT + figure.listener
    if packet.kind == "overtaken":
        found = _weigh(_inside(known, packet.departed or packet.start, packet.arrived or packet.end, RELAY), life)
        return found if found.length >= HELD else None
    if packet.departed and packet.arrived:
        legs = [(packet.start, packet.departed, sender), (packet.departed, packet.arrived, RELAY), (packet.arrived, packet.end, listener)]
    else:  # where it was is not known
        legs = [(packet.start, packet.end, who) for who in (sender, RELAY, listener)]
    found = _weigh([part for since, until, who in legs for part in _inside(known, since, until, who)], life)
    return found if found.length >= packet.excess.ns else None


def _inside(known: _Known, since: int, until: int, who: str) -> list[_Part]:
    """What of the stalls of ``who`` and of the machine lies between ``since`` and ``until``."""
    near = [stall for stall in known.near(since, until) if stall.who in (who, MACHINE) and stall.end > since and stall.start < until]
    return [_Part(stall, max(stall.start, since), min(stall.end, until), 0) for stall in near if until > since]  # a leg may take no time


def _weigh(parts: Sequence[_Part], life: Life | None) -> Explained:
    """What ``parts`` are together, each instant counted once, and waits less what the agents used meanwhile."""
    shared = [part for part in parts if part.stall.kind in _SHARED]
    alone = [part for part in parts if part.stall.kind not in _SHARED]
    firm = _capped([part for part in alone if part.stall.who != MACHINE], [part for part in alone if part.stall.who == MACHINE])
    more = 0
    if shared:
        processes = [part for part in parts if part.stall.who != MACHINE]
        more = max(0, _capped(processes, [part for part in parts if part.stall.who == MACHINE]) - firm)
        real = list(_merged(part.real for part in shared))
        length = sum(end - start for start, end in real)
        own = sum(life.used(start, end) for start, end in real) if life is not None else 0
        room = length * (life.cores if life is not None else 1)
        more = more * max(0, room - own) // room if own * ORDINARY > room else more
    return Explained(firm + more, tuple({part.stall: None for part in parts}))


def _capped(parts: Sequence[_Part], both_ways: Sequence[_Part]) -> int:
    """How long the ``parts`` are together with those that are felt ``both_ways``, of which none counts for more than its own length."""
    base = _length((part.start, part.end) for part in parts)
    if not both_ways:
        return base
    together = _length((part.start, part.end) for part in (*parts, *both_ways))
    return min(together, base + _length((part.stall.start, part.stall.end) for part in both_ways))


def _merged(intervals: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The union of ``intervals``, in order."""
    begin = reached = None
    for start, end in sorted(intervals):
        if begin is None or reached is None:
            begin, reached = start, end
        elif start > reached:
            yield begin, reached
            begin, reached = start, end
        else:
            reached = max(reached, end)
    if begin is not None and reached is not None:
        yield begin, reached


def _length(intervals: Iterable[tuple[int, int]]) -> int:
    return sum(end - start for start, end in _merged(intervals))


def covered(stalls: Iterable[Stall], since: int, until: int) -> int:
    """How much (ns) of the time between ``since`` and ``until`` lies within stalls; where two of them overlap it counts once."""
    inside = ((max(stall.start, since), min(stall.end, until)) for stall in stalls)
    return _length((start, end) for start, end in inside if end > start)


def _inconclusive(verdict: Verdict, why: str) -> Verdict:
    return msgspec.structs.replace(verdict, result=Result.INCONCLUSIVE, blame=Blame.ENVIRONMENT, note=_joined(verdict.note, why))


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
