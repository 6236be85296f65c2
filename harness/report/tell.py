"""From a run's artifacts to its ``Story``: the one place that knows which file tells what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from harness.report import acts, broken_off, connections, drawing, flows, lanes, logs, messages, model, sounds
from harness.report.artifacts import Artifacts
from harness.report.clock import Clock
from harness.report.story import Story


def tell(folder: Path) -> Story:
    """The story of the run in ``folder``, also of one without a report.  HarnessError when it is no run's, or its report cannot be read.

    All else that cannot be read is told as unread.
    """
    report = broken_off.report(folder)
    artifacts = Artifacts(folder)
    events = list(artifacts.lines("timeline.jsonl", dict[str, Any], fit=_fit))
    zero = next((event["at"] for event in events if event["kind"] == "began"), events[0]["at"] if events else 0)
    since_zero = Clock(zero)
    strange = [event for event in events if not since_zero.inside(event["at"])]
    if strange:
        artifacts.unread.append(f"timeline.jsonl: {len(strange)} events at times that are not of this run, such as {strange[0]['at']}")
    events = sorted((event for event in events if since_zero.inside(event["at"])), key=lambda event: int(event["at"]))
    end = max([zero, *(event["at"] for event in events)])
    until = since_zero(end)
    quic, probes = connections.read(artifacts, since_zero)
    net = drawing.topology(artifacts)
    signals, about_signals = messages.read(artifacts, since_zero)
    lines, about_lines = logs.read(artifacts, events, since_zero)
    story = Story(
        zero=zero,
        until=until,
        title=f"{report.scenario}: {report.test}",
        report=msgspec.json.decode(model.encode(report)),
        peers=_peers(events),
        flows=flows.read(artifacts, since_zero, end),
        connections=quic,
        lanes=[
            *lanes.states(events, since_zero, until),
            *lanes.faults(report, since_zero, until),
            *lanes.paths(events, probes, since_zero),
            *acts.read(events, since_zero),
            *lanes.mappings(events, since_zero, until),
            *lanes.stalls(report, since_zero),
        ],
        nodes=drawing.nodes(net) if net is not None else [],
        wires=drawing.wires(net, events, since_zero, until) if net is not None else [],
        signals=signals,
        lines=lines,
        dropped=[event["text"] for event in events if event["kind"] == "dropped" and isinstance(event.get("text"), str)],
        unread=artifacts.unread,
        notes={"signals": about_signals, "lines": about_lines},
    )
    heard, about_heard = sounds.read(artifacts, since_zero, story)
    return msgspec.structs.replace(story, sounds=heard, notes={**story.notes, "sounds": about_heard})


def _fit(event: dict[str, Any]) -> str:
    for name, kind in (("at", int), ("source", str), ("kind", str)):
        if type(event.get(name)) is not kind:
            return f"it has no {name}, which is {'a whole number' if kind is int else 'text'}"
    return ""


def _peers(events: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(event["source"] for event in events if event["kind"] == "agent"))
