"""What goes on in a run at this moment, from the lines of its timeline as they come: states, silence per direction, packets, faults.

Pure: lines in, figures out at a time that the asker names.  A line is what ``timeline.jsonl`` holds.  Lines of agents are not believed to
have what they should have; what cannot be read is passed over here, and stands in the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.units import Duration, ms, s

FRESH = 300 * ms
"""Agents tell of their media every 100 ms.  What was told longer ago than this is no longer how it is: the silence has gone on since."""
SENDING = 1 * s
"""A sender whose count has not risen for so long is not sending: what is not sent is nobody's silence."""


@dataclass
class _Count:
    """What an agent told of one flow of a call: packets so far, when (ns) the last was heard, when it told, when ``sent`` last rose."""

    sent: int = 0
    heard: int = 0
    last_heard: int | None = None
    at: int = 0
    began: int | None = None
    rose: int = 0


@dataclass
class CallNow:
    """A call: its members in the order in which they told of it, each with its state; ``over`` when all have gone back to Idle."""

    states: dict[str, str] = field(default_factory=dict)
    counts: dict[tuple[str, str], _Count] = field(default_factory=dict)
    """By member and flow."""

    @property
    def over(self) -> bool:
        """Whether nothing of it goes on."""
        return bool(self.states) and all(state in ("Idle", "Failed") for state in self.states.values())


@dataclass(frozen=True)
class Way:
    """One direction of a flow now: packets ``sent`` and ``heard``, and for how long nothing was; None when nothing is sent."""

    name: str
    sent: int
    heard: int
    silence: Duration | None


@dataclass
class FaultNow:
    """A fault so far: whether it is still being done, and its receipts: (what, seen or not)."""

    name: str
    going_on: bool = True
    receipts: list[tuple[str, bool]] = field(default_factory=list)


class Situation:
    """Takes the timeline's lines; ``began`` is the first one's time."""

    def __init__(self) -> None:
        self.began: int | None = None
        self.calls: dict[str, CallNow] = {}
        self.faults: list[FaultNow] = []

    def take(self, line: dict[str, Any]) -> None:
        """One line, as plain JSON."""
        if self.began is None:
            self.began = line["at"]
        text = str(line.get("text", ""))
        match line["source"], line["kind"]:
            case "lab", "fault":
                self.faults.append(FaultNow(text))
            case "lab", "fault over":
                for fault in self.faults:
                    fault.going_on = fault.going_on and fault.name != text
            case "fabric", "receipt":
                self._receipt(line.get("receipt"))
            case str(agent), "event":
                self._event(agent, line.get("message"))

    def _receipt(self, receipt: object) -> None:
        match receipt:
            case {"fault": str(name), "kind": str(kind), "taken": bool(taken)}:
                known = [fault for fault in self.faults if fault.name == name]
                if not known:
                    known = [FaultNow(name, going_on=False)]
                    self.faults += known
                known[-1].receipts.append((kind, taken))

    def _event(self, agent: str, message: object) -> None:
        match message:
            case {"event": "media", "call": str(call), "flow": str(flow), "sent": int(sent), "heard": int(heard), "at": int(at), **rest}:
                last = rest.get("last_heard")
                self._count(self._call(call, agent), (agent, flow), sent, heard, last if isinstance(last, int) else None, at)
            case {"event": "state_changed", "call": str(call), "new": str(new)}:
                self._call(call, agent).states[agent] = new
            case {"event": str(), "call": str(call)}:
                self._call(call, agent)

    def _call(self, call: str, agent: str) -> CallNow:
        found = self.calls.setdefault(call, CallNow())
        found.states.setdefault(agent, "Idle")
        return found

    @staticmethod
    def _count(call: CallNow, of: tuple[str, str], sent: int, heard: int, last: int | None, at: int) -> None:
        count = call.counts.setdefault(of, _Count())
        if sent > count.sent:
            count.rose = at
            count.began = at if count.began is None else count.began
        count.sent, count.heard, count.last_heard, count.at = sent, heard, last, at

    def going_on(self) -> list[CallNow]:
        """The calls that are not over."""
        return [call for call in self.calls.values() if not call.over]

    def ways(self, call: CallNow, now: int) -> list[Way]:
        """Every direction in which something was ever sent, at ``now`` (ns), the first member's sending first."""
        return [
            self._way(call, sender, listener, flow, now)
            for sender in call.states
            for listener in call.states
            for flow in dict.fromkeys(flow for _member, flow in call.counts)
            if sender != listener and call.counts.get((sender, flow), _Count()).sent
        ]

    @staticmethod
    def _way(call: CallNow, sender: str, listener: str, flow: str, now: int) -> Way:
        out, into = call.counts[sender, flow], call.counts.get((listener, flow), _Count())
        silence = None
        if now - out.rose < SENDING.ns:
            since = into.last_heard if into.last_heard is not None else out.began
            # Told as it was when it was told, which was a moment ago; packets may have come since.  Unless nothing is told any more.
            until = into.at if now - into.at < FRESH.ns and into.last_heard is not None else now
            silence = Duration(max(0, until - (since or now)))
        return Way(f"{sender} → {listener} {flow}", out.sent, into.heard, silence)
