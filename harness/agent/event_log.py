"""All that an agent told, in order: the newest as they came, older ones as bytes, and old running figures not at all.

Those come ten times a second and flow, and would fill the memory in hours.  Of the rest an object each is four times the room of its line;
of a stall, which a busy machine makes thousands of in an hour, the numbers are a third of that.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import NamedTuple, get_args, get_type_hints

import msgspec

from harness.agent.lines import decode_agent_line
from harness.agent.messages import Answer, Event, Lag, Media, QualityChanged, Request

_BEYOND = 1 << 63
"""An agent may tell of times that no array holds."""
_BEHIND = get_args(get_type_hints(Lag)["behind"])


class Said(NamedTuple):
    """One message as the harness saw it: ``at`` (monotonic ns, when it was written or read), the agent's name, which way it went."""

    at: int
    agent: str
    to_agent: bool
    message: Request | Answer | Event


class _Lines:
    """Events as JSON, one after the other, each with its place and when it was read (ns)."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._places, self._times, self._ends = array("q"), array("q"), array("q")

    def append(self, place: int, time: int, line: bytes) -> None:
        self._text += line
        self._places.append(place)
        self._times.append(time)
        self._ends.append(len(self._text))

    def __iter__(self) -> Iterator[tuple[int, int, Answer | Event]]:
        start = 0
        for place, time, end in zip(self._places, self._times, self._ends, strict=True):
            yield place, time, decode_agent_line(bytes(self._text[start:end]))
            start = end


class _Lags:
    """Stalls as numbers, each with its place and when it was read (ns)."""

    def __init__(self) -> None:
        self._places, self._times, self._ats, self._lates = array("q"), array("q"), array("q"), array("q")
        self._behind = array("B")

    def append(self, place: int, time: int, lag: Lag) -> None:
        self._places.append(place)
        self._times.append(time)
        self._ats.append(lag.at)
        self._lates.append(lag.late_ns)
        self._behind.append(_BEHIND.index(lag.behind))

    def __iter__(self) -> Iterator[tuple[int, int, Answer | Event]]:
        for place, time, at, late, behind in zip(self._places, self._times, self._ats, self._lates, self._behind, strict=True):
            yield place, time, Lag(at=at, late_ns=late, behind=_BEHIND[behind])


class EventLog:
    """Iterating gives what is kept.  Every event has its place, which counts from 0, whatever was let go."""

    NEWEST = 500
    """How many of the newest events are kept whatever they are."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._newest: deque[Said] = deque()
        self._lines = _Lines()
        self._lags = _Lags()
        self.end = 0
        """The place of the next one."""

    def append(self, said: Said) -> None:
        """One more."""
        self._newest.append(said)
        self.end += 1
        if len(self._newest) > self.NEWEST:
            place, oldest = self.end - len(self._newest), self._newest.popleft()
            if isinstance(oldest.message, Lag) and max(abs(oldest.message.at), abs(oldest.message.late_ns)) < _BEYOND:
                self._lags.append(place, oldest.at, oldest.message)
            elif not isinstance(oldest.message, Media | QualityChanged):
                self._lines.append(place, oldest.at, msgspec.json.encode(oldest.message))

    def since(self, place: int) -> Iterator[Said]:
        """Those at ``place`` and after it."""
        begin = self.end - len(self._newest)
        if place < begin:
            yield from self._older(place)
        yield from islice(self._newest, max(place - begin, 0), None)

    def _older(self, place: int) -> Iterator[Said]:
        for at, time, event in merge(self._lines, self._lags, key=lambda one: one[0]):
            if at >= place:
                yield Said(time, self._agent, False, event)

    def __iter__(self) -> Iterator[Said]:
        return self.since(0)
