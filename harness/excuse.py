"""What the machine's own stalls explain: a red that they account for is INCONCLUSIVE, blame environment, with the evidence; never FAIL.

Stalls of the runner, the relay and the agents only add delay.  So a PASS on an upper bound stands, and of a FAIL it is asked what delay can
have done:

* a *gap* above its bound is explained when the stalls that were ``in_the_way`` add up to its excess over the bound;
* a *packet* that came late, was overtaken, or that the stack gave up, is explained likewise; the bound must hold without those;
* anything else is explained only by a machine that others kept from the run for ``BUSY`` of it, one on which a stack's timers and decisions
  are not what its author meant: a count, a rate, a yes or no, which have no time of their own; and a gap of video, which a stack stops for
  seconds when it takes what the machine did for a narrow path.

What no delay can bring about stays a FAIL whatever the machine did: a packet lost on the way, doubled, changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from harness.media.figure import Overdue, share
from harness.units import Duration, Quantity, Ratio, percent
from harness.verdict import AGENT, Blame, Life, Relation, Result, Stall, Verdict

AFTERMATH = 200_000_000
"""For how long after a stall, ns, and its own length, what it has left behind is in the way: the backlog of the sources, and a congestion
window that was closed because acknowledgements came late."""
WAITED = 4
"""A packet was given up because of stalls when they took a quarter of the time that it might wait, or more: less is not why it waited."""
HELD = 10_000_000
"""A packet was overtaken because of stalls when they held it on its way for so long, ns: a core that is taken away keeps what is in its
queue, and what the sender gives to another core meanwhile passes it.  Agents and runner record no shorter one."""
BUSY = 3 * percent
"""Of the least stalled agent.  Measured over 65 scenarios each: 0.4 % in nine of ten runs on a quiet machine, 12 % in the median where both
cores are taken away again and again.  The least stalled: a broken stack can keep its own agent's loop from running."""
OTHERS = 50 * percent
"""Of that, others must have taken the cores for so much at least: two agents that keep each other busy stand still by their own doing."""


def excuse(verdict: Verdict, stalls: Iterable[Stall], life: Life | None = None) -> Verdict:
    """``verdict``, made INCONCLUSIVE with blame environment when stalls explain its FAIL; unchanged otherwise.

    Where they explain some of its gaps, or packets, and not all, the verdict stands on what is not explained.  No machine is ``BUSY``
    without a ``life``.
    """
    figure = verdict.figure or None  # UNSET is false
    if verdict.result is not Result.FAIL or (figure is not None and figure.timeless):
        return verdict
    known = sorted(stalls, key=lambda stall: stall.start)
    judged, of_its_own = verdict, False
    if verdict.relation is Relation.AT_MOST and verdict.gaps and isinstance(verdict.bound, Duration):
        judged, of_its_own = _excuse_gaps(verdict, verdict.bound, known), figure is None or not figure.yields
    elif figure is not None and figure.overdue and verdict.relation is not Relation.AT_LEAST:
        judged, of_its_own = _excuse_packets(verdict, figure.overdue, figure.of, known), True
    if judged.result is not Result.FAIL or of_its_own or life is None:
        return judged
    stood = still(known, life)
    if stood < BUSY or life.taken.fraction < stood.fraction * OTHERS.fraction:
        return judged
    why = f"every agent stalled for {stood.percent:.0f} % of the run or more, and others had {life.taken.percent:.0f} % of the cores"
    return _inconclusive(verdict, f"{why}: this machine is too busy")


def still(stalls: Iterable[Stall], life: Life) -> Ratio:
    """The share of ``life`` in which the least stalled of those agents stalled that did so at all (one that waits for nothing cannot)."""
    since, until, _ = life
    known = [stall for stall in stalls if stall.who.startswith(AGENT)]
    each = [covered((stall for stall in known if stall.who == who), since, until) for who in sorted({stall.who for stall in known})]
    return share(min(each), until - since) or Ratio(0) if len(each) > 1 else Ratio(0)


def _excuse_gaps(verdict: Verdict, bound: Duration, stalls: Sequence[Stall]) -> Verdict:
    unexplained = [gap for gap in verdict.gaps if in_the_way(stalls, gap.start, gap.end) < gap.excess.ns - bound.ns]
    if len(unexplained) == len(verdict.gaps):
        return verdict
    if unexplained:
        forgiven = len(verdict.gaps) - len(unexplained)
        note = _joined(verdict.note, f"{forgiven} longer or further gap{'s' if forgiven > 1 else ''} explained by stalls left out")
        return msgspec.structs.replace(verdict, value=unexplained[0].excess, gaps=tuple(unexplained), where=unexplained[0], note=note)
    worst = verdict.gaps[0]
    length = Duration(in_the_way(stalls, worst.start, worst.end))
    return _inconclusive(verdict, f"stalls of {_who(stalls, worst.start, worst.end)}, {length} together, were in the way")


def _excuse_packets(verdict: Verdict, overdue: Sequence[Overdue], of: int, stalls: Sequence[Stall]) -> Verdict:
    forgiven = [packet for packet in overdue if explained(packet, stalls)]
    if not forgiven or verdict.value is None:
        return verdict
    part = share(len(forgiven), of)  # None where the packets are counted
    left: Quantity = type(verdict.value)(verdict.value.count - (len(forgiven) if part is None else part.count))
    who = _who(stalls, min(packet.start for packet in forgiven), max(packet.end for packet in forgiven))
    said = f"{len(forgiven)} of these packets explained by stalls of {who}"
    if verdict.holds(left):
        return _inconclusive(verdict, said)
    return msgspec.structs.replace(verdict, value=left, note=_joined(verdict.note, f"{said}, left out"))


def explained(packet: Overdue, stalls: Iterable[Stall]) -> bool:
    """Whether stalls explain what became of ``packet``: see ``Overdue`` for the kinds."""
    if packet.kind == "overtaken":
        return covered(stalls, packet.start, packet.end) >= HELD
    needed = packet.excess.ns if packet.kind == "late" else (packet.end - packet.start) // WAITED
    return in_the_way(stalls, packet.start, packet.end) >= needed


def in_the_way(stalls: Iterable[Stall], since: int, until: int) -> int:
    """How long (ns) the stalls are together that lie between ``since`` and ``until``, or whose aftermath does; overlaps count once."""
    return covered((stall for stall in stalls if _over(stall) > since), min(since, 0), until)


def covered(stalls: Iterable[Stall], since: int, until: int) -> int:
    """How much (ns) of the time between ``since`` and ``until`` lies within stalls; where two of them overlap it counts once."""
    total, reached = 0, since
    for stall in sorted(stalls, key=lambda stall: stall.start):
        start, end = max(stall.start, reached), min(stall.end, until)
        if end > start:
            total += end - start
            reached = end
    return total


def _over(stall: Stall) -> int:
    """When what ``stall`` left behind is gone."""
    return stall.end + (stall.end - stall.start) + AFTERMATH


def _who(stalls: Sequence[Stall], since: int, until: int) -> str:
    """Whose stalls were in the way."""
    return ", ".join(sorted({stall.who for stall in stalls if stall.start < until and _over(stall) > since}))


def _inconclusive(verdict: Verdict, why: str) -> Verdict:
    return msgspec.structs.replace(verdict, result=Result.INCONCLUSIVE, blame=Blame.ENVIRONMENT, note=_joined(verdict.note, why))


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
