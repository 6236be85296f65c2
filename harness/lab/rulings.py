"""What ruled the links over time, told by who carried them, as receipts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.report.drawing import said
from harness.units import Duration
from harness.verdict import Receipt

_SHOWN = 12
"""Steps that a receipt tells one by one; the timeline has all."""


def receipts(told: dict[str, Any], executors: dict[str, str], until: int) -> Iterator[Receipt]:
    """A receipt for each direction that followed a schedule: taken when every step was that was due before ``until`` (ns)."""
    for link, directions in told.items():
        for direction, one in directions.items():
            steps = [ruling for ruling in one["rulings"] if ruling["round"] or ruling["step"]]
            if not steps and "schedule" not in one["asked"]:
                continue
            live = one["rulings"][0]["at"] if one["rulings"] else until
            observed: dict[str, Any] = {"asked": words(one["asked"]), "steps taken": len(steps) + one["unlisted"]}
            if steps:
                observed["latest"] = f"{Duration(max(step['at'] - step['due'] for step in steps))} after its time"
            for step in steps[:_SHOWN]:
                observed[f"at {(step['at'] - live) / 1e9:.3f} s"] = words(step["impairment"])
            missed = one["next"] is not None and one["next"] < until
            yield Receipt(
                fault=f"{link} {direction} over time",
                kind="schedule",
                at=steps[0]["at"] if steps else live,
                observed=observed,
                taken=not missed,
                source=executors[link],
            )


def words(impairment: dict[str, Any]) -> str:
    """``delay 20ms loss 1%``, or ``clear``; from ``fabric.base.brief``."""
    return " ".join(f"{key} {said(value)}" for key, value in impairment.items()) or "clear"
