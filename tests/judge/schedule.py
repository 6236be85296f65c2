"""The lab's schedule: from when to when a side owed media of a flow, by the lab's requests and the signalling that came to its host.

A request counts from its line in timeline.jsonl, unless the agent refused it.  What the other side asks for (hold, resume, end) counts for
this side from the moment at which its signal came to this side's host.  An agent that the lab killed owes nothing from then on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.judge.silence import Span
from tests.judge.wire import Signal

FLOW_REQUESTS = {"media_start": True, "media_stop": False}
KILLED = re.compile(r"(\S+) is killed")


@dataclass(frozen=True, slots=True)
class Request:
    """One request to an agent that it did not refuse: ``at`` ns; ``flow`` is "" where it is for the whole call.

    ``operation``: as in the agent protocol, or "killed", which is for all calls (``call`` is "").
    """

    at: int
    agent: str
    operation: str
    call: str
    flow: str


def requests(timeline: Iterable[dict[str, Any]]) -> list[Request]:
    """The requests of a run that name a call and were not refused, in order of time."""
    asked: dict[tuple[str, int], Request] = {}
    for line in timeline:
        message = line.get("message", {})
        if line["kind"] == "request" and "call" in message:
            key = line["source"], message["id"]
            asked[key] = Request(line["at"], line["source"], message["op"], message["call"], message.get("flow", ""))
        elif line["kind"] == "answer" and "error" in message:
            asked.pop((line["source"], message["id"]), None)
        elif line["kind"] == "receipt" and line["receipt"]["kind"] == "process" and (killed := KILLED.match(line["text"])):
            asked[killed[1], -1] = Request(line["at"], killed[1], "killed", "", "")
    return sorted(asked.values(), key=lambda request: request.at)


def spans(asked: Sequence[Request], signals: Sequence[Signal], *, call: str, speaker: str, flow: str) -> list[Span]:
    """When ``speaker`` owed media of ``flow`` in ``call``.

    ``signals``: of that call, as they passed the speaker's host, on the clock of the requests.
    """
    acts = [(one.at, one.operation, speaker) for one in asked if one.call in ("", call) and one.agent == speaker and one.flow in ("", flow)]
    for signal in signals:
        if not signal.outgoing and (kind := signal.message.get("type")) in ("hold", "resume", "bye"):
            acts.append((signal.at, "end" if kind == "bye" else str(kind), "the other side"))
    found: list[Span] = []
    on, over, holders = False, False, set[str]()
    since: int | None = None
    for at, operation, who in sorted(acts):
        if operation in FLOW_REQUESTS:
            on = FLOW_REQUESTS[operation]
        elif operation == "hold":
            holders.add(who)
        elif operation == "resume":
            holders.discard(who)
        elif operation in ("end", "fail", "killed"):
            over = True
        owed = on and not holders and not over
        if owed and since is None:
            since = at
        elif not owed and since is not None:
            found.append(Span(since, at))
            since = None
    if since is not None:
        found.append(Span(since))
    return found
