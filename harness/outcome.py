"""What a run comes to.

* A fault without a receipt, or whose receipt says that it did not take, makes the run INCONCLUSIVE with blame harness.
* A FAIL that the machine's own stalls explain is INCONCLUSIVE (``excuse``).
* A run that asserts nothing is an error of its author, not a pass.
* A mistake of the author or the command line (``SpecError``, an exception in the scenario's own code) is ERROR, blame author.
* An agent that lacks what the scenario needs makes the run NOT RUN, blame agent.

The order for the whole run: any FAIL is FAIL, a crash before figures that are missed; then ERROR; then NOT RUN; then errors, missing
receipts and unmeasured figures, each INCONCLUSIVE with its own blame; else PASS.  Every reason is kept, also those that did not decide.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath

import msgspec

from harness.errors import AgentCrashed, BlamedError, CapabilityLacking, SpecError, exhausted
from harness.excuse import excuse
from harness.verdict import Blame, Life, Receipt, Result, Stall, Verdict


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
    life: Life | None = None,
    voids: Sequence[BaseException] = (),
    scenario: str = "the scenario",
) -> Outcome:
    """The run's outcome.  ``faults``: names of the faults that were begun, each of which wants a receipt that says it took.

    An error counts by its ``blame`` (product: FAIL, author: ERROR, else INCONCLUSIVE), also inside an exception group; a failed bare
    ``assert`` is a FAIL of the product; any other exception is the author's if it was raised outside the harness's own code, else the
    harness's.  ``unfit``: what the network did that nobody had asked of it (a relay that this
    machine is too slow for): whatever came of it proves nothing, be it green or red.  ``voids``: the same of what befell the run's
    own processes (a relay that was killed, an agent that was stopped, a full disk), each with its own blame.  ``stalls`` and ``life``: see
    ``excuse``.

    SpecError "asserts nothing" when there is neither a verdict nor an error.
    """
    if not verdicts and not errors:
        raise SpecError(scenario, "a scenario that asserts nothing proves nothing; give it at least one verdict")
    final = tuple(msgspec.structs.replace(excuse(verdict, stalls, life), figure=msgspec.UNSET) for verdict in verdicts)
    against: list[tuple[Result, Blame, str]] = [_failure(error) for error in _leaves(errors) if isinstance(error, AgentCrashed)]
    for verdict in final:
        if verdict.result is Result.FAIL:
            against.append((Result.FAIL, verdict.blame or Blame.PRODUCT, _sentence(verdict)))
    against += [_failure(error) for error in _leaves(errors) if not isinstance(error, AgentCrashed)]
    against += [(Result.INCONCLUSIVE, Blame.HARNESS, reason) for reason in _unproven(faults, receipts)]
    for verdict in final:
        if verdict.result is Result.INCONCLUSIVE:
            against.append((Result.INCONCLUSIVE, verdict.blame or Blame.HARNESS, _sentence(verdict)))
    against.sort(key=lambda item: _ORDER.index(item[0]))  # stable: the order above within each
    against[:0] = [(Result.INCONCLUSIVE, Blame.ENVIRONMENT, text) for text in unfit]
    against[:0] = [(Result.INCONCLUSIVE, *_failure(error)[1:]) for error in voids]
    if not against:
        return Outcome(result=Result.PASS, blame=None, reasons=(), verdicts=final)
    return Outcome(result=against[0][0], blame=against[0][1], reasons=tuple(reason for _, _, reason in against), verdicts=final)


_ORDER = (Result.FAIL, Result.ERROR, Result.NOT_RUN, Result.INCONCLUSIVE)
"""Which of the reasons against a run decides: the first of these that there is."""
_HARNESS = PurePath(__file__).parent


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
    refuted = [
        f"fault {one.fault!r} did not take effect: {one.kind}, seen by {one.source}"
        + (f"; {why}" if (why := one.observed.get("why not")) else "")
        for one in receipts
        if not one.taken
    ]
    return [*missing, *refuted]


def _failure(error: BaseException) -> tuple[Result, Blame, str]:
    if isinstance(error, AssertionError):
        return Result.FAIL, Blame.PRODUCT, f"assertion failed: {error}{_place(error)}"
    text = str(error) if isinstance(error, BlamedError) else f"{type(error).__name__}: {error}{_place(error)}"
    try:
        blame = Blame.ENVIRONMENT if exhausted(error) else Blame(getattr(error, "blame", _whose(error)))
    except ValueError:
        blame = Blame.HARNESS
    if isinstance(error, CapabilityLacking):
        return Result.NOT_RUN, blame, text
    return {Blame.PRODUCT: Result.FAIL, Blame.AUTHOR: Result.ERROR}.get(blame, Result.INCONCLUSIVE), blame, text


def _whose(error: BaseException) -> Blame:
    """Whose mistake an exception is that carries no blame: the author's if the scenario's own code raised it."""
    frames = _frames(error)
    outside = isinstance(error, Exception) and frames and not PurePath(frames[-1].filename).is_relative_to(_HARNESS)
    return Blame.AUTHOR if outside else Blame.HARNESS


def _place(error: BaseException) -> str:
    """Where an error that does not say so itself was raised: the innermost frame that is nobody's library."""
    frames = _frames(error)
    return f" ({PurePath(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    return [frame for frame in traceback.extract_tb(error.__traceback__) if "/lib/python" not in frame.filename]


def _sentence(verdict: Verdict) -> str:
    value = "not measured" if verdict.value is None else str(verdict.value)
    where = f" ({verdict.direction})" if verdict.direction else ""
    note = f"; {verdict.note}" if verdict.note else ""
    return f"{verdict.name}{where}: {value}, wanted {verdict.relation.sign} {verdict.bound}{note}"
