"""The lanes of a page, and the drawing's states, from the timeline: who was in which state, what was done to the network, what was seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.report.model import Report
from harness.report.story import Lane, Mark, Span

TERMINAL = ("Idle", "Ended", "Rejected", "Failed")
Event = dict[str, Any]


def states(events: list[Event], since_zero: Callable[[int], int], until: int) -> list[Lane]:
    """A lane per peer and call: the states that its agent said it was in.  ``until``: µs, the end of the run."""
    lanes: dict[tuple[str, str], Lane] = {}
    current: dict[tuple[str, str], tuple[int, str]] = {}
    several = len({str(message.get("call")) for event in events if (message := _message(event, "state_changed"))}) > 1
    for event in events:
        message = _message(event, "state_changed")
        if message is None:
            continue
        key = (event["source"], str(message.get("call")))
        at = since_zero(event["at"])
        name = f"{key[0]}, call {key[1][:8]}" if several else key[0]
        lane = lanes.setdefault(key, Lane(group="state", name=name, spans=[], marks=[]))
        since, state = current.pop(key, (at, ""))
        if state:
            lane.spans.append(Span(since=since, until=at, kind=state, text=state))
        if str(message.get("new")) not in TERMINAL:
            current[key] = (at, str(message.get("new")))
        else:
            lane.marks.append(Mark(at=at, kind=str(message.get("new")), text=str(message.get("new"))))
    for key, (since, state) in current.items():
        lanes[key].spans.append(Span(since=since, until=until, kind=state, text=state, detail="to the end of the run"))
    return list(lanes.values())


def paths(events: list[Event], probes: dict[str, list[Mark]], since_zero: Callable[[int], int]) -> list[Lane]:
    """A lane per peer: what its stack did about its paths, and the path validation frames that its qlog tells of."""
    marks: dict[str, list[Mark]] = {peer: list(found) for peer, found in probes.items()}
    for event in events:
        message = _message(event, "path")
        if message is not None:
            text = f"{str(message.get('kind')).replace('_', ' ')}: {message.get('path')} {message.get('remote')}"
            marks.setdefault(event["source"], []).append(Mark(at=since_zero(event["at"]), kind=str(message.get("kind")), text=text))
    return [Lane(group="path", name=peer, marks=sorted(found, key=lambda mark: mark.at)) for peer, found in sorted(marks.items()) if found]


def faults(report: Report, since_zero: Callable[[int], int], until: int) -> list[Lane]:
    """One lane: each fault from its beginning to its end, and its receipts where they were taken."""
    spans = [
        Span(
            since=since_zero(fault.began),
            until=until if fault.ended is None else since_zero(fault.ended),
            kind="fault",
            text=fault.name,
        )
        for fault in report.faults
    ]
    marks = [
        Mark(
            at=since_zero(receipt.at),
            kind="receipt" if receipt.taken else "refuted",
            text=f"{receipt.kind}: {'seen' if receipt.taken else 'NOT SEEN'} by {receipt.source}",
            detail="\n".join([receipt.fault, *(f"{key}: {value}" for key, value in receipt.observed.items())]),
        )
        for receipt in report.receipts
    ]
    return [Lane(group="fault", name="faults", spans=spans, marks=sorted(marks, key=lambda mark: mark.at))] if spans or marks else []


def mappings(events: list[Event], since_zero: Callable[[int], int], until: int) -> list[Lane]:
    """A lane per NAT and endpoint inside: the mappings that it had, one span each."""
    open_: dict[tuple[str, str], tuple[int, Event]] = {}
    lanes: dict[tuple[str, str], Lane] = {}

    def close(key: tuple[str, str], at: int) -> None:
        since, mapping = open_.pop(key)
        inside = str(mapping.get("inside"))
        lane = lanes.setdefault((key[0], inside), Lane(group="nat", name=f"{key[0]}: {inside}", spans=[]))
        detail = "\n".join(f"{name}: {value}" for name, value in mapping.items())
        lane.spans.append(Span(since=since, until=at, kind=str(mapping.get("outside")), text=str(mapping.get("outside")), detail=detail))

    for event in events:
        mapping = event.get("mapping")
        if event["kind"] not in ("mapping", "mapping gone") or not isinstance(mapping, dict):
            continue
        key = (event["source"], repr(sorted((name, str(value)) for name, value in mapping.items())))
        at = since_zero(event["at"])
        if event["kind"] == "mapping":
            open_.setdefault(key, (at, mapping))
        elif key in open_:
            close(key, at)
    for key in list(open_):
        close(key, until)
    return [lane for _, lane in sorted(lanes.items(), key=lambda item: item[0])]


def stalls(report: Report, since_zero: Callable[[int], int]) -> list[Lane]:
    """A lane for each process that did not run although it should have."""
    lanes: dict[str, Lane] = {}
    for stall in report.stalls:
        lane = lanes.setdefault(stall.who, Lane(group="stall", name=stall.who, spans=[]))
        length = f"{(stall.end - stall.start) / 1e6:.1f} ms"
        lane.spans.append(Span(since=since_zero(stall.start), until=since_zero(stall.end), kind="stall", text=length))
    return list(lanes.values())


def _message(event: Event, kind: str) -> Event | None:
    message = event.get("message")
    return message if event["kind"] == "event" and isinstance(message, dict) and message.get("event") == kind else None
