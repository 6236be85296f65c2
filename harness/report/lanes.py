"""The lanes of a page, and the drawing's states, from the timeline: who was in which state, what was done to the network, what was seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.report.drawing import said
from harness.report.model import Report
from harness.report.story import Lane, Mark, Span
from harness.verdict import Receipt

TERMINAL = ("Idle", "Ended", "Rejected", "Failed")
Event = dict[str, Any]


def states(events: list[Event], since_zero: Callable[[int], int], until: int) -> list[Lane]:
    """A lane per peer and call: the states that its agent said it was in, and when it was on hold.  ``until``: µs, the end of the run."""
    lanes: dict[tuple[str, str], Lane] = {}
    current: dict[tuple[str, str], tuple[int, str]] = {}
    holders: dict[tuple[str, str], set[str]] = {}
    names = _names(events)

    def turn(key: tuple[str, str], at: int, state: str) -> None:
        """From ``at`` on the call is in ``state``; "" when it is over."""
        since, before = current.pop(key, (at, ""))
        held = " and ".join(sorted(holders.get(key, ())))
        if before:
            text = f"{before}, on hold by {held}" if held else before
            lanes[key].spans.append(Span(since=since, until=at, kind="Held" if held else before, text=text))
        if state:
            current[key] = (at, state)

    for event in events:
        at = since_zero(event["at"])
        if (message := _message(event, "state_changed")) is not None:
            key = (event["source"], str(message.get("call")))
            lane = lanes.setdefault(key, Lane(group="state", name=names[key], spans=[], marks=[]))
            new = str(message.get("new"))
            turn(key, at, "" if new in TERMINAL else new)
            if new in TERMINAL:
                lane.marks.append(Mark(at=at, kind=new, text=new))
        elif (message := _message(event, "call_held") or _message(event, "call_resumed")) is not None:
            key = (event["source"], str(message.get("call")))
            if key in current:
                turn(key, at, current[key][1])
                who = holders.setdefault(key, set())
                (who.add if message["event"] == "call_held" else who.discard)("itself" if message.get("by") == "here" else "the other side")
    for key in list(current):
        turn(key, until, "")
    return list(lanes.values())


def _names(events: list[Event]) -> dict[tuple[str, str], str]:
    """What the lane of each peer and call is called: the peer; where it has several calls, with whom too, or the call's id."""
    calls: dict[str, list[str]] = {}
    for event in events:
        if (message := _message(event, "state_changed")) is not None:
            who = calls.setdefault(str(message.get("call")), [])
            if event["source"] not in who:
                who.append(event["source"])
    names = {}
    for call, who in calls.items():
        for peer in who:
            others = [one for one in who if one != peer]
            alike = sum(set(of) == set(who) for of in calls.values())
            alone = sum(peer in of for of in calls.values()) == 1
            which = f"with {others[0]}" if len(others) == 1 and alike == 1 else call[:8]
            names[(peer, call)] = peer if alone else f"{peer}, call {which}"
    return names


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
            text=f"{receipt.kind}: {seen_by(receipt)}",
            detail="\n".join([receipt.fault, *_observed(receipt.observed)]),
        )
        for receipt in report.receipts
    ]
    return [Lane(group="fault", name="faults", spans=spans, marks=sorted(marks, key=lambda mark: mark.at))] if spans or marks else []


def seen_by(receipt: Receipt) -> str:
    """Whether a receipt was taken, and who saw it."""
    return f"{'seen' if receipt.taken else 'NOT SEEN'} by {receipt.source}"


RULED = {"link", "direction", "was", "now"}
"""What is observed of an impairment that came into force."""


def ruled(observed: dict[str, Any]) -> str:
    """Which direction of which link, what ruled it before and what rules it now; ``observed`` has ``RULED``."""
    link, direction, was, now = (said(observed[key]) for key in ("link", "direction", "was", "now"))
    return f"{link} {direction.replace('_', ' ')}: {was or 'clear'} → {now or 'clear'}"


def _observed(observed: dict[str, Any]) -> list[str]:
    """A receipt's evidence in lines, what changed first; ``at`` is the receipt's own time and left to the mark."""
    change = observed.keys() >= RULED
    rest = {key: value for key, value in observed.items() if key != "at" and not (change and key in RULED)}
    lines = [ruled(observed)] if change else []
    return lines + [f"{key}: {said(value)}" for key, value in rest.items()]


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
        length = f"{stall.kind} {(stall.end - stall.start) / 1e6:.1f} ms".lstrip()
        lane.spans.append(Span(since=since_zero(stall.start), until=since_zero(stall.end), kind="stall", text=length))
    return list(lanes.values())


def _message(event: Event, kind: str) -> Event | None:
    message = event.get("message")
    return message if event["kind"] == "event" and isinstance(message, dict) and message.get("event") == kind else None
