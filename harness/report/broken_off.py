"""What is known of a run that left no report: as much of one as its timeline tells, so that it has its page all the same.

A run leaves no report when it was killed, interrupted, or has not ended yet.  Nothing is made up: what the timeline does not tell is "not
known", and the first reason says that the run did not end.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness.errors import HarnessError
from harness.report import history, model
from harness.report.artifacts import Artifacts
from harness.verdict import Blame, Fault, Receipt, Result

UNKNOWN = "not known"
T = TypeVar("T")


def report(folder: Path) -> model.Report:
    """The run's report.json, or what is known of a run without one.  HarnessError when ``folder`` is no run's or its report is none."""
    file = folder / model.FILE
    if file.is_file():
        return model.read(file)
    events = [event for event in Artifacts(folder).lines("timeline.jsonl", dict[str, Any]) if isinstance(event.get("at"), int)]
    if not events and not history.RUN.fullmatch(folder.name):
        raise HarnessError(f"{folder}: there is no report.json in it; give the folder of one run, artifacts/<scenario>/<test>/<run>")
    return _made_of(folder, events)


def _made_of(folder: Path, events: list[dict[str, Any]]) -> model.Report:
    named = history.RUN.fullmatch(folder.name)
    scenario, test = folder.resolve().parts[-3:-1]
    took = timedelta(microseconds=(max(e["at"] for e in events) - min(e["at"] for e in events)) / 1000) if events else timedelta(0)
    started = _began(events) or (history.began(named[1]) if named else datetime.fromtimestamp(folder.stat().st_mtime, UTC))
    seed = int(named[2]) if named else 0
    last = f"the last that it told was {events[-1].get('text') or events[-1].get('kind')!r}" if events else "it told nothing"
    state = "the run goes on still" if history.running(folder) else "the run did not end"
    return model.Report(
        scenario=scenario,
        test=test,
        result=Result.INCONCLUSIVE,
        blame=Blame.HARNESS,
        reasons=(f"{state}: it left no report.json; {last}, after {took.total_seconds():.3f} s",),
        receipts=tuple(_all(events, "receipt", Receipt)),
        faults=tuple(_faults(events)),
        seed=seed,
        executor=UNKNOWN,
        kernel=UNKNOWN,
        command=f"harness run {scenario} --seed={seed}",
        started=started,
        ended=started + took,
    )


def _began(events: list[dict[str, Any]]) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(next(event["utc"] for event in events if "utc" in event)))
    except (StopIteration, ValueError):
        return None
    return found if found.tzinfo is not None else None


def _all(events: list[dict[str, Any]], name: str, kind: type[T]) -> Iterator[T]:
    for event in events:
        if name in event:
            try:
                yield msgspec.convert(event[name], kind)
            except msgspec.ValidationError:
                continue  # the page shows the line itself


def _faults(events: list[dict[str, Any]]) -> Iterator[Fault]:
    begun: dict[str, int] = {}
    for event in events:
        name = str(event.get("text"))
        if event.get("kind") == "fault":
            begun[name] = event["at"]
        elif event.get("kind") == "fault over" and name in begun:
            yield Fault(name=name, began=begun.pop(name), ended=event["at"])
    for name, at in begun.items():
        yield Fault(name=name, began=at, ended=None)
