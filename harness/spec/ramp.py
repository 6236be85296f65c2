"""From one impairment to another in a straight line, as a schedule."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.errors import SpecError
from harness.spec.link import Impairment, Schedule, Step, validate_quantity
from harness.units import Duration, Quantity, Rate, Ratio, ms

EVERY = 100 * ms
"""A ramp goes in steps of this (the last one may come sooner after the one before)."""
LONGEST = Duration(3_600 * 10**9)

_STRAIGHT: dict[str, type[Quantity]] = {
    "delay": Duration,
    "jitter": Duration,
    "loss": Ratio,
    "duplicate": Ratio,
    "corrupt": Ratio,
    "reorder": Ratio,
}
"""What ramps from and to None as if it were 0."""
_SPREAD = ("distribution", "truncate", "reordering")  # mean nothing without jitter
_REFUSED = ("burst", "queue", "queue_time", "mtu", "too_big", "rate_trace")


def ramp(was: Impairment, wanted: Impairment, over: Duration, where: str) -> Impairment:
    """From ``was`` (what rules at its start) to ``wanted`` (what rules from ``over`` on), linear in steps of ``EVERY``.

    ``delay``, ``jitter``, ``loss``, ``duplicate``, ``corrupt``, ``reorder`` and ``rate`` ramp.  The others have nothing between: SpecError
    names ``where`` and the one that differs.  So it does for a rate on one side only: there is no half way to no limit at all.
    """
    validate_quantity(Duration, over, f"{where}, over", optional=False)
    if not EVERY <= over <= LONGEST:
        raise SpecError(f"{where}, over", f"{over} is no time for a ramp, which goes in steps of {EVERY}; allowed is {EVERY} to {LONGEST}")
    if wanted.schedule is not None:
        raise SpecError(f"{where}, schedule", "a ramp is a schedule, and does not end in another; impair without over")
    spread = _SPREAD if was.jitter is not None and wanted.jitter is not None else ()
    for field in (*_REFUSED, *spread):
        before, after = getattr(was, field), getattr(wanted, field)
        if before != after:
            raise SpecError(f"{where}, {field}", f"there is nothing between {before} and {after}; impair without over, or leave it")
    if was.drop or wanted.drop:
        raise SpecError(f"{where}, drop", "picked packets are counted anew at each step of a ramp; impair without over")
    if (was.rate is None) != (wanted.rate is None):
        raise SpecError(f"{where}, rate", f"there is nothing between {was.rate} and {wanted.rate}; give a rate on both sides, or on none")
    count = -(-over.ns // EVERY.ns)
    steps = [Step(n * EVERY, _between(was, wanted, n * EVERY.ns, over.ns)) for n in range(1, count)]
    last = Step(over, msgspec.structs.replace(wanted, rate_trace=None))
    return msgspec.structs.replace(was, schedule=Schedule((*steps, last)))


def _between(was: Impairment, wanted: Impairment, passed: int, over: int) -> Impairment:
    """What rules when ``passed`` of ``over`` ns have passed."""

    def between(low: int, high: int, up: bool = True) -> int:
        return -(-(low * over + (high - low) * passed) // over) if up else (low * over + (high - low) * passed) // over

    fields: dict[str, Any] = {"rate_trace": None}
    for field, kind in _STRAIGHT.items():
        before, after = getattr(was, field), getattr(wanted, field)
        if before is not None or after is not None:
            low, high = (0 if value is None else value.count for value in (before, after))
            fields[field] = kind(between(low, high, up=field != "jitter"))  # so that rounding leaves no jitter above its delay
    if was.rate is not None and wanted.rate is not None:
        fields["rate"] = Rate(between(was.rate.count, wanted.rate.count))
    spread = wanted if wanted.jitter is not None else was
    return msgspec.structs.replace(spread, **fields, drop=wanted.drop, schedule=None)
