"""What all cheats share: when they strike, what they tell, and what they write into their records.

A cheat strikes when a path has changed (its own or its peer's).  With ``every`` it also strikes again and again while a call is connected,
and whenever anything happens to a path or a hold is over: so it can be held against every scenario.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from typing import Any, ClassVar

import trio

from harness.agent import messages
from harness.agent.driver import Driver
from harness.agent.sources import Repertoire
from harness.call.events import CallResumed, Event, PathEvent, StateChanged
from harness.call.states import State
from harness.media.records import Record, RecordWriter
from harness.media.source import Source

MOVED = ("peer_moved", "migrated")
OFTEN_S = 0.9
"""Between two strikes of a cheat that does not wait for a move: every scenario with a second of media has one."""
PAUSE = 500_000_000
"""Least time between two strikes, ns: a move is told in several events."""


class Doctored:
    """A record writer that writes what ``doctor`` makes of each record."""

    def __init__(self, writer: RecordWriter, cheat: Cheating) -> None:
        self._writer = writer
        self._cheat = cheat

    def write(self, record: Record) -> None:
        for made in self._cheat.doctor(record):
            self._writer.write(made)


class OwnSources(Repertoire):
    """The reference sources, with another class each where one is given."""

    audio_class: type[Any] | None = None
    video_class: type[Any] | None = None

    def source(self, flow: str, *, kbps: int | None, payload_bytes: int | None, rng: random.Random, now: int) -> Source:
        made = super().source(flow, kbps=kbps, payload_bytes=payload_bytes, rng=rng, now=now)
        wanted = self.audio_class if flow == "audio" else self.video_class
        if wanted is not None:
            made.__class__ = wanted  # type: ignore[assignment]  # the same state, other methods
        return made


class Cheating(Driver):
    """The reference driver with the seams that cheats need."""

    hushed: ClassVar[tuple[type, ...]] = ()
    """Events that it does not tell."""
    every: ClassVar[float | None] = None
    """Seconds between strikes; None: it strikes only when a path has changed."""
    kinds: ClassVar[tuple[str, ...]] = MOVED
    """What a path must have done."""
    audio_class: ClassVar[type[Any] | None] = None
    video_class: ClassVar[type[Any] | None] = None

    def __init__(self, *args: Any, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.connected = trio.Event()
        self.struck_at = 0

    def strike(self) -> None:
        """Do what this cheat does."""

    def doctor(self, record: Record) -> Iterable[Record]:
        """What is written instead of ``record``."""
        return (record,)

    def tell(self, *events: messages.Event) -> None:
        super().tell(*[event for event in events if not isinstance(event, self.hushed)])

    def configure(self, request: messages.Configure) -> messages.Done:
        done = super().configure(request)
        self.studio._records = Doctored(self.studio._records, self)  # type: ignore[assignment]
        if self.audio_class is not None or self.video_class is not None:
            sources = self.studio._repertoire = OwnSources(request.options.media)
            sources.audio_class, sources.video_class = self.audio_class, self.video_class
        if self.every is not None:
            self._nursery.start_soon(self._strike_often, self.every, name="strike")
        return done

    async def _strike_often(self, every: float) -> None:
        await self.connected.wait()
        while True:
            await trio.sleep(every)
            if self.files is None:
                return
            if State.CONNECTED in self.calls.values():
                self._strike_once()
                self.pump()

    def _strike_once(self) -> None:
        if time.monotonic_ns() > self.struck_at + PAUSE:
            self.strike()
            self.struck_at = time.monotonic_ns()

    def happened(self, event: Event) -> None:
        super().happened(event)
        if isinstance(event, StateChanged) and event.new is State.CONNECTED:
            self.connected.set()
        often = self.every is not None and isinstance(event, PathEvent | CallResumed)
        if often or (isinstance(event, PathEvent) and event.kind in self.kinds):
            self._strike_once()

    def after(self, seconds: float, do: Any) -> None:
        """Call ``do`` in ``seconds``."""

        async def later() -> None:
            await trio.sleep(seconds)
            if self.files is not None:
                do(time.monotonic_ns())
                self.pump()

        self._nursery.start_soon(later, name="later")
