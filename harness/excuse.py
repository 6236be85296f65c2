"""What the machine's own stalls explain: a red that they account for is INCONCLUSIVE, blame environment, with the evidence; never FAIL.

Stalls of the runner, the relay and the agents only add delay.  So a PASS on an upper bound stands, and of a FAIL it is asked what delay can
have done:

* a *gap* above its bound is explained when stalls inside it, or no more than ``AFTERMATH`` before it, add up to its excess over the bound;
* a *packet* that came late, or that the stack gave up, is explained likewise (``explained``); the bound must hold without those;
* anything else (a count, a rate, a yes or no) has no time of its own, so it is explained only by a machine that stood still for ``BUSY`` of
  the run: one on which a stack's timers and decisions are not what its author meant.

What no delay can bring about stays a FAIL whatever the machine did: a packet lost on the way, doubled, overtaken, changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from harness.media.figure import Gap, Overdue, share
from harness.units import Duration, Quantity, Ratio, percent
from harness.verdict import Blame, Relation, Result, Stall, Verdict

AFTERMATH = 200_000_000
"""How long after a stall, ns, what it has left behind may still be in the way: the backlog of the sources, and a congestion window that was
closed because acknowledgements came late.  As long as what is said may still be heard."""
NOTICED = 10_000_000
"""What stalls of less than this, together, leave behind is nothing, ns: agents and runner record none that is shorter."""
BUSY = 5 * percent
"""Measured over 65 scenarios each: agents and relay stall for 1 % of a run on a quiet machine (9 % at most, in one), for 13 to 20 % where
both cores are taken away for 0.2 s every second and a half, and for a quarter where six other processes want them."""
RUNNER = "runner"


def excuse(verdict: Verdict, stalls: Iterable[Stall], lived: tuple[int, int] | None = None) -> Verdict:
    """``verdict``, made INCONCLUSIVE with blame environment when stalls explain its FAIL; unchanged otherwise.

    Where they explain some of its gaps, or packets, and not all, the verdict stands on what is not explained.  ``lived``: from when to when
    (ns) stalls of agents were recorded; without it no machine is ``BUSY``.
    """
    figure = verdict.figure or None  # UNSET is false
    if verdict.result is not Result.FAIL or (figure is not None and figure.timeless):
        return verdict
    known = sorted(stalls, key=lambda stall: stall.start)
    if verdict.relation is Relation.AT_MOST and verdict.gaps and isinstance(verdict.bound, Duration):
        return _excuse_gaps(verdict, verdict.bound, known)
    if figure is not None and figure.overdue and verdict.relation is not Relation.AT_LEAST:
        return _excuse_packets(verdict, figure.overdue, figure.of, known)
    stood = still(known, lived)
    if stood < BUSY:
        return verdict
    return _inconclusive(verdict, f"agents and relay stalled for {stood.percent:.0f} % of the run: this machine is too busy")


def still(stalls: Iterable[Stall], lived: tuple[int, int] | None) -> Ratio:
    """The share of ``lived`` (ns) in which an agent or the relay stalled.  The runner's own do not count: it also computes."""
    if lived is None:
        return Ratio(0)
    since, until = lived
    others = [stall for stall in stalls if stall.who != RUNNER]
    return share(covered(Gap(Duration(0), since, until), others).ns, until - since) or Ratio(0)


def _excuse_gaps(verdict: Verdict, bound: Duration, stalls: Sequence[Stall]) -> Verdict:
    unexplained = [gap for gap in verdict.gaps if covered(_and_before(gap), stalls).ns < gap.excess.ns - bound.ns]
    if len(unexplained) == len(verdict.gaps):
        return verdict
    if unexplained:
        forgiven = len(verdict.gaps) - len(unexplained)
        note = _joined(verdict.note, f"{forgiven} longer or further gap{'s' if forgiven > 1 else ''} explained by stalls left out")
        return msgspec.structs.replace(verdict, value=unexplained[0].excess, gaps=tuple(unexplained), where=unexplained[0], note=note)
    worst = _and_before(verdict.gaps[0])
    length = Duration(AFTERMATH)
    return _inconclusive(verdict, f"stalls of {_who(worst, stalls)} cover {covered(worst, stalls)} of this gap and the {length} before it")


def _excuse_packets(verdict: Verdict, overdue: Sequence[Overdue], of: int, stalls: Sequence[Stall]) -> Verdict:
    forgiven = [packet for packet in overdue if explained(packet, stalls)]
    if not forgiven or verdict.value is None:
        return verdict
    part = share(len(forgiven), of)  # None where the packets are counted
    left: Quantity = type(verdict.value)(verdict.value.count - (len(forgiven) if part is None else part.count))
    stretch = Gap(Duration(0), min(packet.start for packet in forgiven) - AFTERMATH, max(packet.end for packet in forgiven))
    said = f"{len(forgiven)} of these packets explained by stalls of {_who(stretch, stalls)}"
    if verdict.holds(left):
        return _inconclusive(verdict, said)
    return msgspec.structs.replace(verdict, value=left, note=_joined(verdict.note, f"{said}, left out"))


def explained(packet: Overdue, stalls: Iterable[Stall]) -> bool:
    """Whether stalls explain that ``packet`` came too late, or was given up.

    Inside the time from ``AFTERMATH`` before it was offered to its arrival, or to when it was given up, they add up to at least what it was
    late by; to ``NOTICED`` when it never left, since nobody knows when it would have come.
    """
    stretch = Gap(Duration(0), packet.start - AFTERMATH, packet.end)
    return covered(stretch, stalls).ns >= (NOTICED if packet.excess is None else packet.excess.ns)


def covered(gap: Gap, stalls: Iterable[Stall]) -> Duration:
    """How much of ``gap`` lies within stalls; where two of them overlap it counts once."""
    total, reached = 0, gap.start
    for stall in sorted(stalls, key=lambda stall: stall.start):
        start, end = max(stall.start, reached), min(stall.end, gap.end)
        if end > start:
            total += end - start
            reached = end
    return Duration(total)


def _and_before(gap: Gap) -> Gap:
    return msgspec.structs.replace(gap, start=gap.start - AFTERMATH)


def _who(stretch: Gap, stalls: Sequence[Stall]) -> str:
    """Who stalled in ``stretch``."""
    return ", ".join(sorted({stall.who for stall in stalls if stall.start < stretch.end and stall.end > stretch.start}))


def _inconclusive(verdict: Verdict, why: str) -> Verdict:
    return msgspec.structs.replace(verdict, result=Result.INCONCLUSIVE, blame=Blame.ENVIRONMENT, note=_joined(verdict.note, why))


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
