"""What each agent was asked to do, and what it said that it did of itself: a lane per agent, of what its states and paths do not tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.report.story import Lane, Mark

Event = dict[str, Any]
PLUMBING = ("configure", "listen", "stats", "inventory", "shutdown")
"""Requests that every run makes and that nothing of a call hangs on."""
_SAID = ("path", "flow", "reason")
"""What of a request is worth a word beside its name."""


def read(events: list[Event], since_zero: Callable[[int], int]) -> list[Lane]:
    """The lanes, in the order in which the agents first did something.  What an agent says is believed to be nothing but text."""
    marks: dict[str, list[Mark]] = {}
    for event in events:
        message = event.get("message")
        if not isinstance(message, dict):
            continue
        found = None
        if event["kind"] == "request" and message.get("op") not in PLUMBING:
            found = ("ask", _asked(message))
        elif event["kind"] == "event":
            found = _said(message)
        if found is not None:
            call = f"call {message['call']}" if isinstance(message.get("call"), str) else ""
            marks.setdefault(event["source"], []).append(Mark(at=since_zero(event["at"]), kind=found[0], text=found[1], detail=call))
    return [Lane(group="act", name=name, marks=sorted(found, key=lambda mark: mark.at)) for name, found in marks.items()]


def _asked(message: Event) -> str:
    words = [str(message[name]) for name in _SAID if isinstance(message.get(name), str)]
    return " ".join(["asked:", str(message.get("op")).replace("_", " "), *(words and [f"({', '.join(words)})"])])


def _said(message: Event) -> tuple[str, str] | None:
    """(kind, words) of an event that belongs here; its fields may be anything."""
    match message.get("event"):
        case "call_held":
            return "hold", f"on hold, by {_by(message)}"
        case "call_resumed":
            return "hold", f"resumed, by {_by(message)}" + ("" if message.get("flows") is True else ": the other side still holds")
        case "video_adapted":
            kbps = message.get("kbps")
            return "adapt", f"{'video stopped' if kbps == 0 else f'video at {kbps} kbit/s'}: {message.get('why')}"
        case "media_updated" if message.get("by") == "here":
            sends = [name.replace("_", " ") for name in ("audio", "video", "screen_share") if message.get(name) is True]
            return "adapt", f"sends {', '.join(sends) or 'nothing'}"
        case "send_error":
            return "trouble", f"cannot send over {message.get('path')}: {message.get('kind')}, {message.get('count')} so far"
        case "overflow":
            return "trouble", f"{message.get('dropped')} datagrams dropped by its kernel, not read in time"
        case "clock_step":
            return "trouble", f"its wall clock was stepped by {message.get('step_ns')} ns"
        case "call_rejected" | "connection_failed" | "call_ended" as what:
            return "end" if what == "call_ended" else "trouble", f"{what.replace('_', ' ')}: {message.get('reason')}"
    return None


def _by(message: Event) -> str:
    return "itself" if message.get("by") == "here" else "the other side"
