"""Named figures against bounds.

* A verdict is a quantity, a relation and a bound of the same unit.  Bare numbers are refused where a unit is meant; whole numbers may stand
  for counts.  What could not be measured (None) is INCONCLUSIVE, never PASS.
* A missed bound is the product's unless the author of the scenario says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from harness.errors import SpecError
from harness.media.figure import Figure, Gap, Moment
from harness.units import Count, Duration, Quantity, Rate, Ratio


class Result(StrEnum):
    """What a verdict, or a whole run, comes to.  ERROR and NOT_RUN are results of runs alone.

    ERROR: the scenario's author or the command line made a mistake.  NOT_RUN: an agent lacks a capability that the scenario needs.
    """

    PASS = "PASS"
    FAIL = "FAIL"
    ERROR = "ERROR"
    NOT_RUN = "NOT RUN"
    INCONCLUSIVE = "INCONCLUSIVE"


class Blame(StrEnum):
    """Whose it is when it is not a PASS."""

    PRODUCT = "product"
    ENVIRONMENT = "environment"
    AGENT = "agent"
    HARNESS = "harness"
    AUTHOR = "author"


class Relation(StrEnum):
    """How a figure must lie to its bound; the bound itself is allowed."""

    AT_MOST = "at_most"
    AT_LEAST = "at_least"
    EQUAL = "equal"

    @property
    def sign(self) -> str:
        """≤, ≥ or =."""
        return {"at_most": "≤", "at_least": "≥", "equal": "="}[self.value]


MOMENTS = 40
"""How many moments a verdict tells of what it counts."""
AGENT = "agent "
"""What an agent's name stands behind where processes are told apart."""
MACHINE, RELAY, RUNNER = "machine", "relay", "runner"


class Stall(msgspec.Struct, frozen=True):
    """``who`` ("agent alice", "machine", "relay", "runner") did not run from ``start`` to ``end`` (ns) although it should have.

    ``kind``: "waited" for a core, "stopped" by a signal, "stolen" (a core was gone), "throttled" by a control group; "" of the others.
    """

    start: int
    end: int
    who: str
    kind: str = ""


class Life(NamedTuple):
    """From ``since`` to ``until`` (ns) agents were sampled, on ``cores``.

    ``used``: CPU time (ns) of all agents between two times (ns).
    """

    since: int
    until: int
    cores: int
    used: Callable[[int, int], int]


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """A stack that ran: the agent's name in the scenario (``agent``), and ``name`` and ``version`` as its hello gave them.

    ``sealed``: no key opened what it sent, so that it was judged by the sizes and times of datagrams alone.
    """

    agent: str
    name: str
    version: str
    sealed: bool = False


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Proof, from outside the agents, that a fault took effect, or that it did not.

    ``fault``: the fault's name.  ``kind``: what was looked at ("new 4-tuple", "old path dead", "drop counter").  ``at``: ns.
    ``observed``: the evidence, plain JSON.  ``source``: who saw it ("conntrack", "translator", "capture alice/wifi", "qdisc").
    """

    fault: str
    kind: str
    at: int
    observed: dict[str, Any]
    taken: bool
    source: str


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A change made during the run: ``name`` (its receipts carry it), ``began`` and ``ended`` in ns, ``what`` was done in plain JSON."""

    name: str
    began: int
    ended: int | None = None
    what: dict[str, Any] = {}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One named figure against its bound.

    ``value`` None: could not be measured.  ``direction``: "alice → bob audio".  ``blame``: None on PASS.  ``gaps``: the stretches that
    miss an upper bound, the worst first.  ``where``: the stretch that the value was taken from, on PASS too; None when it is of no one
    stretch (a count, a share).  ``moments``: when what a missed figure counts happened, the first ``MOMENTS`` of them, and how many
    ``more`` there were.  ``call``: that it is about.  ``figure``: what the value was taken from, on FAIL, for ``excuse``; it is not kept.
    ``evidence``: where to look (artifact names, packet numbers).
    """

    name: str
    relation: Relation
    value: Quantity | None
    bound: Quantity
    result: Result
    blame: Blame | None = None
    direction: str = ""
    note: str = ""
    evidence: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()
    where: Gap | None = None
    moments: tuple[Moment, ...] = ()
    more: int = 0
    call: str = ""
    figure: Figure | msgspec.UnsetType = msgspec.UNSET

    def holds(self, value: Quantity) -> bool:
        """Whether ``value`` would have lain as it must."""
        return _HOLDS[self.relation](value, self.bound)

    @property
    def margin(self) -> Quantity | None:
        """How far the value is inside its bound, negative when it is missed; for ``equal`` minus the distance; None when unmeasured."""
        if self.value is None:
            return None
        if self.relation is Relation.AT_LEAST:
            return self.value - self.bound
        if self.relation is Relation.EQUAL:
            return -_distance(self.value, self.bound)
        return self.bound - self.value


Measured = Figure | Quantity | int | None
"""What a verdict takes: a measure's figure, a quantity, a whole number where the bound is a count, or None for "could not be measured"."""


def at_most(name: str, value: Measured, bound: Quantity | int, **detail: Any) -> Verdict:
    """``value`` must not be above ``bound``; details as in ``judge``."""
    return judge(name, Relation.AT_MOST, value, bound, **detail)


def at_least(name: str, value: Measured, bound: Quantity | int, **detail: Any) -> Verdict:
    """``value`` must not be below ``bound``; details as in ``judge``."""
    return judge(name, Relation.AT_LEAST, value, bound, **detail)


def equal(name: str, value: Measured, bound: Quantity | int, **detail: Any) -> Verdict:
    """``value`` must be exactly ``bound``; details as in ``judge``."""
    return judge(name, Relation.EQUAL, value, bound, **detail)


def judge(
    name: str,
    relation: Relation,
    value: Measured,
    bound: Quantity | int,
    *,
    blame: Blame = Blame.PRODUCT,
    direction: str = "",
    note: str = "",
    evidence: Sequence[str] = (),
) -> Verdict:
    """The verdict on one figure.  ``direction`` and ``note`` default to the figure's own.

    ``blame``: whose a FAIL is; ENVIRONMENT is also to blame when the figure could not be measured, which else is the harness.

    SpecError, naming the verdict, when the bound has no unit, is not finite, or is of another dimension than the value.
    """
    if not name.strip():
        raise SpecError("verdict", "it has no name")
    where = f"verdict {name!r}"
    limit = _quantity(bound, where, "bound")
    if limit is None:
        raise SpecError(where, "it has no bound")
    figure = value if isinstance(value, Figure) else Figure(_quantity(value, where, "value"))
    measured = figure.value
    if measured is not None and type(measured) is not type(limit):
        missing = "has no unit" if isinstance(value, int) else f"is a {_kind(measured)}"
        raise SpecError(where, f"the value {measured} {missing}, the bound {limit} is a {_kind(limit)}")

    result = Result.INCONCLUSIVE
    if measured is not None:
        result = Result.PASS if _HOLDS[relation](measured, limit) else Result.FAIL
    failed = result is Result.FAIL
    return Verdict(
        name=name,
        relation=relation,
        value=measured,
        bound=limit,
        result=result,
        blame=None if result is Result.PASS else blame if failed or blame is not Blame.PRODUCT else Blame.HARNESS,
        direction=direction or figure.direction,
        note=note or figure.note,
        evidence=tuple(evidence),
        gaps=_above(figure.gaps, limit) if failed and relation is Relation.AT_MOST and isinstance(limit, Duration) else (),
        where=figure.where or next((gap for gap in figure.gaps if gap.excess == measured and gap.end > gap.start), None),
        moments=() if result is Result.PASS else figure.moments[:MOMENTS],
        more=0 if result is Result.PASS else len(figure.moments[MOMENTS:]),
        call=figure.call,
        figure=figure if failed else msgspec.UNSET,
    )


def _above(gaps: Iterable[Gap], bound: Quantity) -> tuple[Gap, ...]:
    return tuple(sorted((gap for gap in gaps if gap.excess.count > bound.count), key=lambda gap: -gap.excess.ns))


_HOLDS: dict[Relation, Callable[[Quantity, Quantity], bool]] = {
    Relation.AT_MOST: lambda value, bound: value.count <= bound.count,
    Relation.AT_LEAST: lambda value, bound: value.count >= bound.count,
    Relation.EQUAL: lambda value, bound: value.count == bound.count,
}

_EXAMPLES = "400 * ms, 3 * percent, 300 * kbit, 3 * packets"


def _quantity(value: object, where: str, what: str) -> Quantity | None:
    if value is None or isinstance(value, Quantity):
        return value
    if isinstance(value, bool):
        raise SpecError(where, f"the {what} {value!r} is a yes or no, not a figure: count something")
    if isinstance(value, float) and not math.isfinite(value):
        raise SpecError(where, f"the {what} {value!r} is not a finite quantity")
    if isinstance(value, int):
        return Count(value)
    raise SpecError(where, f"the {what} {value!r} has no unit; write for example {_EXAMPLES}")


def _kind(value: Quantity) -> str:
    return {Duration: "duration", Rate: "rate", Ratio: "ratio", Count: "count without a unit"}.get(type(value), type(value).__name__)


def _distance(value: Quantity, bound: Quantity) -> Quantity:
    return type(value)(abs(value.count - bound.count))
