"""One target in this process: inputs made one after the other, each timed, until there have been enough or one is a defect.

Two engines make the inputs.  ``atheris`` is libFuzzer: it keeps what reached new code and changes that again; its own changes are mixed
with ``mutations``, which know JSON.  ``random`` changes the seeds and what came of them by ``mutations`` alone; it needs nothing installed.
Both draw from a seed.

What is looked for: an error that the target does not allow; an input that takes ``LONGEST`` of this process's processor time (a timer of
the kernel interrupts it); more than ``MEMORY``; and growth: what the process, and the reader under test, hold at the end beyond what they
held after a fifth of the inputs.  The input that is being tried stands in a file shared with the parent, which so knows it even when this
process dies of it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import resource
import signal
import struct
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import FrameType
from typing import NoReturn

import msgspec

from tests.fuzz.mutations import mutated
from tests.fuzz.target import Ready, Target

LONGEST = 20.0
"""Seconds of processor time that one input may take: a hundred times what any takes that is read in order."""
MEMORY = 3 << 30
"""Bytes of address space that a target's process may use beyond what it began with."""
KEPT = 512
"""Inputs that the ``random`` engine goes on from."""
_HEAD = struct.Struct("<QQ")
ROOM = 1 << 20


class Hang(BaseException):
    """An input took too long.  No ``Exception``, so that no reader catches it."""


class Outcome(msgspec.Struct, kw_only=True):
    """What became of a target: ``defect`` is a traceback, "" when there was none, and ``input`` what caused it."""

    name: str
    engine: str
    inputs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    slowest_input: bytes = b""
    corpus: str = ""
    grown_kib: int = 0
    state: int = 0
    state_grown: int = 0
    defect: str = ""
    input: bytes = b""


class Shared:
    """The number of inputs tried and the input that is being tried, in a file that the parent reads."""

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            file.truncate(_HEAD.size + ROOM)
            self._map = mmap.mmap(file.fileno(), _HEAD.size + ROOM)

    def begin(self, count: int, data: bytes) -> None:
        data = data[:ROOM]
        self._map[_HEAD.size : _HEAD.size + len(data)] = data
        self._map[: _HEAD.size] = _HEAD.pack(count, len(data))

    def latest(self) -> tuple[int, bytes]:
        count, size = _HEAD.unpack(self._map[: _HEAD.size])
        return count, self._map[_HEAD.size : _HEAD.size + size]


class Watch:
    """Runs inputs and measures; ``over`` when there were ``limit`` of them."""

    def __init__(self, target: Target, ready: Ready, limit: int, shared: Shared, engine: str) -> None:
        self._ready = ready
        self._limit = limit
        self._shared = shared
        self._began = time.monotonic()
        self._settled: tuple[int, int] | None = None
        self.outcome = Outcome(name=target.name, engine=engine)

    @property
    def over(self) -> bool:
        return self.outcome.inputs >= self._limit or bool(self.outcome.defect)

    def run(self, data: bytes) -> None:
        """Try one input."""
        outcome = self.outcome
        outcome.inputs += 1
        self._shared.begin(outcome.inputs, data)
        before = time.process_time()
        try:
            with interrupted(LONGEST):
                self._ready.run(data)
        except (Exception, Hang):
            outcome.defect, outcome.input = traceback.format_exc(), data
        took = time.process_time() - before
        if took > outcome.slowest:
            outcome.slowest, outcome.slowest_input = took, data
        if self._settled is None and outcome.inputs >= self._limit / 5:
            self._settled = resident(), self._ready.state()

    def finish(self) -> Outcome:
        """The outcome, with what is only known at the end."""
        outcome = self.outcome
        outcome.seconds = time.monotonic() - self._began
        outcome.state = self._ready.state()
        if self._settled is not None:
            outcome.grown_kib = resident() - self._settled[0]
            outcome.state_grown = outcome.state - self._settled[1]
        return outcome


def resident() -> int:
    """KiB of memory that this process has in use."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


@contextlib.contextmanager
def interrupted(after: float) -> Iterator[None]:
    """Raise Hang in the middle of it when it has taken ``after`` seconds of processor time."""
    signal.setitimer(signal.ITIMER_PROF, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _hang(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Hang(f"an input has taken {LONGEST} s of processor time")


def prepare() -> None:
    """What a process that runs targets needs: the timer's handler, and a limit on memory."""
    signal.signal(signal.SIGPROF, _hang)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    with contextlib.suppress(ValueError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))


def run_random(target: Target, ready: Ready, limit: int, seed: int, shared: Shared) -> Outcome:
    """Seeds first, then changes of changes: a pool of inputs, of which new ones take the places of old ones."""
    rng = Random(f"{target.name}/{seed}")
    watch = Watch(target, ready, limit, shared, "random")
    pool = list(ready.seeds)
    for one in pool:
        if not watch.over:
            watch.run(one)
    while not watch.over:
        data = mutated(rng, target.kind, rng.choice(pool), target.longest)
        watch.run(data)
        if rng.random() < 0.1:
            if len(pool) < KEPT:
                pool.append(data)
            elif (place := rng.randrange(KEPT)) >= len(ready.seeds):
                pool[place] = data
    watch.outcome.corpus = f"{len(pool)}"
    return watch.finish()


def run_atheris(target: Target, ready: Ready, limit: int, seed: int, shared: Shared, folder: Path, done: Callable[[Outcome], None]) -> None:
    """libFuzzer, which never comes back: ``done`` is called with the outcome, and the process ends."""
    import atheris

    watch = Watch(target, ready, limit, shared, "atheris")
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, one in enumerate(ready.seeds):
        (corpus / f"{number:04}").write_bytes(one)

    def one(data: bytes) -> None:
        watch.run(data)
        if watch.over:
            outcome = watch.finish()
            reached = re.findall(r"\bcov: (\d+)", (folder / "log").read_text(errors="replace"))
            outcome.corpus = f"{sum(1 for _ in corpus.iterdir())} / {reached[-1] if reached else 0}"
            done(outcome)
            os._exit(0)

    def change(data: bytes, longest: int, number: int) -> bytes:
        return mutated(Random(number), target.kind, data, longest, atheris.Mutate)

    argv = [
        target.name,
        f"-seed={seed}",
        f"-max_len={target.longest}",
        "-len_control=0",
        "-timeout=86400",
        f"-artifact_prefix={folder}/",
        "-rss_limit_mb=0",
        "-handle_int=0",
    ]
    atheris.Setup([*argv, "-detect_leaks=0", "-print_final_stats=0", str(corpus)], one, custom_mutator=change)
    atheris.Fuzz()
