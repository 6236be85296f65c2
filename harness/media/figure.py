"""A figure as a judge takes it: a quantity or the reason why there is none, the direction it belongs to, and the gaps behind it.

A figure that could not be measured has ``value`` None and says why in ``note``; no measure ever puts 0 in its place, because 0 is the best
silence, the best loss and the best delay there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from harness.units import Count, Duration, Quantity, Ratio


class Gap(msgspec.Struct, frozen=True):
    """A stretch of time in which a flow was silent (or late to come back), and how much of it counts.

    ``start`` and ``end``: ns; the last thing heard before it and the first after it, or the edge of the window.  ``excess``: the part that
    counts: the stretch less the sender's own pause.  ``recovered``: False when the stretch ran into the end of the window.
    ``transit``: how long (ns) the frame that ended it was under way, by which a stall of the sender is felt later at the listener.
    """

    excess: Duration
    start: int
    end: int
    recovered: bool = True
    transit: int = 0


class Overdue(msgspec.Struct, frozen=True):
    """One packet that a figure counts because it came too late, was overtaken, or never left: what a machine that stalls does to packets.

    ``late``: from ``start``, when it was offered (ns), to ``end``, its arrival, and ``excess`` past its deadline.  ``given up`` by the
    stack (it expired in the queue, or was pushed out of it): ``end`` is its deadline, ``excess`` 0.  ``overtaken``: from its sending to
    its arrival, ``excess`` 0.  ``departed`` and ``arrived``: when it passed the sender's host and the listener's, ns; 0 where not known.
    """

    kind: Literal["late", "given up", "overtaken"]
    start: int
    end: int
    excess: Duration = Duration(0)
    departed: int = 0
    arrived: int = 0


class Moment(msgspec.Struct, frozen=True):
    """When (ns) one of the things happened that a figure counts, and what it was: the way that a packet took, the words of an answer."""

    at: int
    text: str = ""


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    ``value``: None when it could not be measured.  ``direction``: "alice → bob audio".  ``note``: how to read it, or why it is None.

    ``gaps``: every stretch that the value is the longest of, so that a judge who forgives one of them still sees the next.
    ``where``: the stretch in which it was taken, where that is none of these.  ``moments``: of what it counts, in order of time.
    ``call``: the id of the call that it is of.
    ``overdue``: those of the packets that the value counts, or is the share of, that delay alone can have cost; ``of``: how many packets
    it is a share of, 0 when it counts.  ``timeless``: no delay can make it what it is: a packet that was lost on the way, doubled, changed.
    ``interval``: ns from one to the next of the frames that it counts, 0 when it counts none; ``gaps``: then, all silences meanwhile.
    ``yields``: of a flow that a stack holds back, slows down or stops when it takes delay for congestion: any but audio.
    ``speaker`` and ``listener``: the agents whose direction it is of, "" when it is of none.  ``round_trip``: of the path, ns.
    """

    value: Quantity | None
    direction: str = ""
    gaps: tuple[Gap, ...] = ()
    note: str = ""
    overdue: tuple[Overdue, ...] = ()
    of: int = 0
    timeless: bool = False
    interval: int = 0
    yields: bool = False
    where: Gap | None = None
    moments: tuple[Moment, ...] = ()
    call: str = ""
    speaker: str = ""
    listener: str = ""
    round_trip: int = 0


def between(began: int, ended: int, note: str = "") -> Figure:
    """The time from ``began`` to ``ended`` (ns) as a figure that knows its stretch."""
    gap = Gap(Duration(ended - began), began, ended)
    return Figure(gap.excess, "", (gap,), note)


def over(count: int, since: int, until: int) -> Figure:
    """What was counted, or measured in a unit that the verdict's name tells, from ``since`` to ``until`` (ns)."""
    return Figure(Count(count), where=Gap(Duration(until - since), since, until) if until > since else None)


def counted(moments: Iterable[Moment], note: str = "", *, timeless: bool = False) -> Figure:
    """How many ``moments`` there were, as a figure that knows them."""
    found = tuple(sorted(moments, key=lambda moment: moment.at))
    return Figure(Count(len(found)), note=note, timeless=timeless, moments=found)


def share(part: int, whole: int) -> Ratio | None:
    """``part`` of ``whole`` packets, exact to one in 10^12; None when there is no whole, for nothing is known then."""
    return Ratio((part * 10**12 + whole // 2) // whole) if whole else None
