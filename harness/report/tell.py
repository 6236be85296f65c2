"""From a run's artifacts to its ``Story``: the one place that knows which file tells what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from harness.report import connections, drawing, flows, lanes, model
from harness.report.artifacts import Artifacts, need
from harness.report.story import Line, Story

QUIET = ("media",)
"""Events of agents that come many times a second and that the flows tell better."""


def tell(folder: Path) -> Story:
    """The story of the run in ``folder``.  HarnessError when there is no report.json that can be read; all else is told as unread."""
    artifacts = Artifacts(need(folder))
    raw = (folder / "report.json").read_bytes()
    report = model.decode(raw, str(folder / "report.json"))
    events = [event for event in artifacts.lines("timeline.jsonl", dict[str, Any]) if _whole(event)]
    events.sort(key=lambda event: int(event["at"]))
    zero = next((event["at"] for event in events if event["kind"] == "began"), events[0]["at"] if events else 0)
    end = max([zero, *(event["at"] for event in events)])
    since_zero = _clock(zero)
    until = since_zero(end)
    quic, probes = connections.read(artifacts, since_zero)
    net = drawing.topology(artifacts)
    return Story(
        zero=zero,
        until=until,
        title=f"{report.scenario}: {report.test}",
        report=msgspec.json.decode(raw),
        peers=_peers(events),
        flows=flows.read(artifacts, since_zero, end),
        connections=quic,
        lanes=[
            *lanes.states(events, since_zero, until),
            *lanes.faults(report, since_zero, until),
            *lanes.paths(events, probes, since_zero),
            *lanes.mappings(events, since_zero, until),
            *lanes.stalls(report, since_zero),
        ],
        nodes=drawing.nodes(net) if net is not None else [],
        wires=drawing.wires(net, events, since_zero, until) if net is not None else [],
        lines=_lines(events, since_zero),
        unread=artifacts.unread,
    )


def _clock(zero: int) -> Callable[[int], int]:
    def since_zero(ns: int) -> int:
        return (ns - zero) // 1000

    return since_zero


def _whole(event: dict[str, Any]) -> bool:
    return type(event.get("at")) is int and isinstance(event.get("source"), str) and isinstance(event.get("kind"), str)


def _peers(events: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(event["source"] for event in events if event["kind"] == "agent"))


def _lines(events: list[dict[str, Any]], since_zero: Callable[[int], int]) -> list[Line]:
    found = []
    for event in events:
        message = event.get("message")
        what = message.get("event", message.get("op", "")) if isinstance(message, dict) else ""
        if event["kind"] == "event" and what in QUIET:
            continue
        text = event.get("text") or _brief({name: value for name, value in event.items() if name not in ("at", "source", "kind")})
        found.append(Line(at=since_zero(event["at"]), source=event["source"], kind=str(what or event["kind"]), text=str(text)))
    return found


def _brief(fields: dict[str, Any]) -> str:
    inner = fields.pop("message", None)
    fields |= inner if isinstance(inner, dict) else {}
    return " ".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in fields.items() if name not in ("at", "event", "op"))
