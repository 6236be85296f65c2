"""When a flow was owed: spans from the lab's requests and from the signalling that arrived at the sender's host.

A span opens at the request that starts or resumes a flow and closes at the one that stops or holds it, or ends the call.  For the side that
learns of a hold, a resume or a bye over the network it opens and closes when the message arrives at its host.  No event of an agent counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from harness.agent.messages import End, Fail, Hold, MediaStart, MediaStop, Resume
from harness.agent.remote import AskedRequest
from harness.lab.crossings import Talk
from harness.media.schedule import FOREVER, GRACE, Span


class _Change(NamedTuple):
    """At ``at`` (ns) something began or ended; what was asked must have had its effect ``by`` then."""

    at: int
    by: int
    what: str
    on: bool


def spans(
    call: str, flow: str, speaker: str, requests: Iterable[AskedRequest], talks: Iterable[Talk], *, ends: Iterable[int] = ()
) -> list[Span]:
    """The spans of ``flow`` from ``speaker`` in ``call``, by time.

    ``requests``: those to ``speaker``.  ``talks``: the signalling of the call.  ``ends``: when its agent was killed (ns).
    """
    changes = [*_asked(call, flow, requests), *_heard_of(call, speaker, talks), *(_Change(at, at, "over", True) for at in ends)]
    found: list[Span] = []
    state: set[str] = set()
    opened: _Change | None = None
    for change in sorted(changes, key=lambda change: change.at):  # stable: of one moment as they were asked
        (state.add if change.on else state.discard)(change.what)
        owed = state == {"started"}
        if owed and opened is None:
            opened = change
        elif not owed and opened is not None:
            found.append(Span(opened.at, opened.by, max(change.at, opened.at)))
            opened = None
    if opened is not None:
        found.append(Span(opened.at, opened.by, FOREVER))
    return found


def _asked(call: str, flow: str, requests: Iterable[AskedRequest]) -> Iterable[_Change]:
    for one in requests:
        request = one.request
        if getattr(request, "call", None) != call:
            continue
        if isinstance(request, MediaStart | MediaStop):
            if request.flow == flow:
                yield _Change(one.began, one.written + GRACE, "started", isinstance(request, MediaStart))
        elif isinstance(request, Hold | Resume):
            yield _Change(one.began, one.written + GRACE, "held here", isinstance(request, Hold))
        elif isinstance(request, End | Fail):
            yield _Change(one.began, one.written, "over", True)


def _heard_of(call: str, speaker: str, talks: Iterable[Talk]) -> Iterable[_Change]:
    for talk in talks:
        if talk.speaker == speaker or talk.arrived is None or talk.message.get("session_id") != call:
            continue
        kind = talk.message.get("type")
        if kind in ("hold", "resume"):
            yield _Change(talk.arrived, talk.arrived + GRACE, "held there", kind == "hold")
        elif kind == "bye":
            yield _Change(talk.arrived, talk.arrived, "over", True)
