"""All that an agent told, in order: the newest as they came, older ones as bytes, and old running figures not at all.

Those come ten times a second and flow, and would fill the memory in hours; of the rest an object each is four times the room of its line.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import msgspec

from harness.agent.lines import decode_agent_line
from harness.agent.messages import Answer, Event, Media, QualityChanged, Request


class Said(NamedTuple):
    """One message as the harness saw it: ``at`` (monotonic ns, when it was written or read), the agent's name, which way it went."""

    at: int
    agent: str
    to_agent: bool
    message: Request | Answer | Event


class EventLog:
    """Iterating gives what is kept.  Every event has its place, which counts from 0, whatever was let go."""

    NEWEST = 2_000
    """How many of the newest events are kept whatever they are."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._newest: deque[Said] = deque()
        self._old = bytearray()
        self._places = array("q")  # of each old one that is kept: its place, when it was read, and where its line ends
        self._times = array("q")
        self._ends = array("q")
        self.end = 0
        """The place of the next one."""

    def append(self, said: Said) -> None:
        """One more."""
        self._newest.append(said)
        self.end += 1
        if len(self._newest) > self.NEWEST:
            place, oldest = self.end - len(self._newest), self._newest.popleft()
            if not isinstance(oldest.message, Media | QualityChanged):
                self._old += msgspec.json.encode(oldest.message)
                self._places.append(place)
                self._times.append(oldest.at)
                self._ends.append(len(self._old))

    def since(self, place: int) -> Iterator[Said]:
        """Those at ``place`` and after it."""
        begin = self.end - len(self._newest)
        if place < begin:
            yield from self._older(place)
        yield from islice(self._newest, max(place - begin, 0), None)

    def _older(self, place: int) -> Iterator[Said]:
        start = 0
        for at, time, end in zip(self._places, self._times, self._ends, strict=True):
            if at >= place:
                yield Said(time, self._agent, False, decode_agent_line(bytes(self._old[start:end])))
            start = end

    def __iter__(self) -> Iterator[Said]:
        return self.since(0)
