"""Named figures against bounds, and what a run comes to.

* A verdict is a quantity, a relation and a bound of the same unit.  Bare numbers are refused where a unit is meant; whole numbers may stand
  for counts.  What could not be measured (None) is INCONCLUSIVE, never PASS.
* A missed bound is the product's unless the author of the scenario says otherwise.
* Stalls of the runner, the relay and the agents only add silence.  So a PASS on an upper bound stands; a FAIL is INCONCLUSIVE with blame
  environment when, in *every* gap above the bound, stalls inside that very gap cover the excess over the bound.
* A fault without a receipt, or whose receipt says that it did not take, makes the run INCONCLUSIVE with blame harness.
* A run that asserts nothing is an error of its author, not a pass.

The order for the whole run: any FAIL is FAIL; then errors, missing receipts and unmeasured figures, each INCONCLUSIVE with its own blame;
else PASS.  Every reason is kept, also those that did not decide.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import PurePath
from typing import Any

import msgspec

from harness.errors import BlamedError, SpecError
from harness.media.figure import Figure, Gap
from harness.units import Count, Duration, Quantity, Rate, Ratio


class Result(StrEnum):
    """What a verdict, or a whole run, comes to."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class Blame(StrEnum):
    """Whose it is when it is not a PASS."""

    PRODUCT = "product"
    ENVIRONMENT = "environment"
    AGENT = "agent"
    HARNESS = "harness"


class Relation(StrEnum):
    """How a figure must lie to its bound; the bound itself is allowed."""

    AT_MOST = "at_most"
    AT_LEAST = "at_least"
    EQUAL = "equal"

    @property
    def sign(self) -> str:
        """≤, ≥ or =."""
        return {"at_most": "≤", "at_least": "≥", "equal": "="}[self.value]


class Stall(msgspec.Struct, frozen=True):
    """``who`` ("runner", "relay", "agent alice") did not run from ``start`` to ``end`` (ns) although it should have."""

    start: int
    end: int
    who: str


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
    stretch (a count, a share).  ``evidence``: where to look (artifact names, packet numbers).
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
    """The verdict on one figure.  ``blame``: whose a FAIL is.  ``direction`` and ``note`` default to the figure's own.

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
        blame=None if result is Result.PASS else blame if failed else Blame.HARNESS,
        direction=direction or figure.direction,
        note=note or figure.note,
        evidence=tuple(evidence),
        gaps=_above(figure.gaps, limit) if failed and relation is Relation.AT_MOST else (),
        where=next((gap for gap in figure.gaps if gap.excess == measured and gap.end > gap.start), None),
    )


def excuse(verdict: Verdict, stalls: Iterable[Stall]) -> Verdict:
    """``verdict``, made INCONCLUSIVE with blame environment when stalls explain its FAIL; unchanged otherwise.

    Only an upper bound on time that was missed by gaps can be explained, and only if the stalls inside each gap above the bound add up to
    at least its excess over the bound.  Where they explain some gaps and not all, the verdict stands on the worst that is not explained.
    """
    bound = verdict.bound
    if verdict.result is not Result.FAIL or verdict.relation is not Relation.AT_MOST or not verdict.gaps or not isinstance(bound, Duration):
        return verdict
    known = list(stalls)
    unexplained = [gap for gap in verdict.gaps if covered(gap, known).ns < gap.excess.ns - bound.ns]
    if len(unexplained) == len(verdict.gaps):
        return verdict
    if unexplained:
        forgiven = len(verdict.gaps) - len(unexplained)
        note = _joined(verdict.note, f"{forgiven} longer or further gap{'s' if forgiven > 1 else ''} explained by stalls left out")
        return msgspec.structs.replace(verdict, value=unexplained[0].excess, gaps=tuple(unexplained), where=unexplained[0], note=note)
    worst = verdict.gaps[0]
    who = sorted({stall.who for stall in known if stall.start < worst.end and stall.end > worst.start})
    note = _joined(verdict.note, f"stalls of {', '.join(who)} cover {covered(worst, known)} of this gap")
    return msgspec.structs.replace(verdict, result=Result.INCONCLUSIVE, blame=Blame.ENVIRONMENT, note=note)


def covered(gap: Gap, stalls: Iterable[Stall]) -> Duration:
    """How much of ``gap`` lies within stalls; where two of them overlap it counts once."""
    total, reached = 0, gap.start
    for stall in sorted(stalls, key=lambda stall: stall.start):
        start, end = max(stall.start, reached), min(stall.end, gap.end)
        if end > start:
            total += end - start
            reached = end
    return Duration(total)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a run comes to: result, blame (None on PASS), every reason against it (the deciding one first), and the final verdicts."""

    result: Result
    blame: Blame | None
    reasons: tuple[str, ...]
    verdicts: tuple[Verdict, ...]


def conclude(
    verdicts: Sequence[Verdict],
    *,
    faults: Sequence[str] = (),
    receipts: Sequence[Receipt] = (),
    stalls: Sequence[Stall] = (),
    errors: Sequence[BaseException] = (),
    unfit: Sequence[str] = (),
    scenario: str = "the scenario",
) -> Outcome:
    """The run's outcome.  ``faults``: names of the faults that were begun, each of which wants a receipt that says it took.

    An error counts by its ``blame`` (product: FAIL, else INCONCLUSIVE), also inside an exception group; a failed bare ``assert`` is a FAIL
    of the product; any other exception is the harness's.  ``unfit``: what the network did that nobody had asked of it (a relay that this
    machine is too slow for): whatever came of it proves nothing, be it green or red.

    SpecError "asserts nothing" when there is neither a verdict nor an error.
    """
    if not verdicts and not errors:
        raise SpecError(scenario, "a scenario that asserts nothing proves nothing; give it at least one verdict")
    final = tuple(excuse(verdict, stalls) for verdict in verdicts)
    against: list[tuple[Result, Blame, str]] = []
    for verdict in final:
        if verdict.result is Result.FAIL:
            against.append((Result.FAIL, verdict.blame or Blame.PRODUCT, _sentence(verdict)))
    against += [_failure(error) for error in _leaves(errors)]
    against += [(Result.INCONCLUSIVE, Blame.HARNESS, reason) for reason in _unproven(faults, receipts)]
    for verdict in final:
        if verdict.result is Result.INCONCLUSIVE:
            against.append((Result.INCONCLUSIVE, verdict.blame or Blame.HARNESS, _sentence(verdict)))
    against.sort(key=lambda item: item[0] is not Result.FAIL)  # stable: the order above within each
    against[:0] = [(Result.INCONCLUSIVE, Blame.ENVIRONMENT, text) for text in unfit]
    if not against:
        return Outcome(result=Result.PASS, blame=None, reasons=(), verdicts=final)
    return Outcome(result=against[0][0], blame=against[0][1], reasons=tuple(reason for _, _, reason in against), verdicts=final)


def _leaves(errors: Iterable[BaseException]) -> Iterator[BaseException]:
    """The errors themselves: a nursery wraps what its tasks raise in groups."""
    for error in errors:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error.exceptions)
        else:
            yield error


def _unproven(faults: Sequence[str], receipts: Sequence[Receipt]) -> list[str]:
    proven = {receipt.fault for receipt in receipts}
    missing = [
        f"fault {fault!r} has no receipt: nothing proves that it took effect" for fault in dict.fromkeys(faults) if fault not in proven
    ]
    refuted = [f"fault {one.fault!r} did not take effect: {one.kind}, seen by {one.source}" for one in receipts if not one.taken]
    return [*missing, *refuted]


def _failure(error: BaseException) -> tuple[Result, Blame, str]:
    if isinstance(error, AssertionError):
        return Result.FAIL, Blame.PRODUCT, f"assertion failed: {error}{_place(error)}"
    text = str(error) if isinstance(error, BlamedError) else f"{type(error).__name__}: {error}{_place(error)}"
    try:
        blame = Blame(getattr(error, "blame", "harness"))
    except ValueError:
        blame = Blame.HARNESS
    return (Result.FAIL if blame is Blame.PRODUCT else Result.INCONCLUSIVE), blame, text


def _place(error: BaseException) -> str:
    """Where an error that does not say so itself was raised: the innermost frame that is nobody's library."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/lib/python" not in frame.filename]
    return f" ({PurePath(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""


def _sentence(verdict: Verdict) -> str:
    value = "not measured" if verdict.value is None else str(verdict.value)
    where = f" ({verdict.direction})" if verdict.direction else ""
    note = f"; {verdict.note}" if verdict.note else ""
    return f"{verdict.name}{where}: {value}, wanted {verdict.relation.sign} {verdict.bound}{note}"


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


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
