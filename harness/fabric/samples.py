"""What the sampler saw of agents and machine, and the reader of its file.

``samples.log`` is lines of words, a kind first (``harness.fabric.sampler_process`` writes them); all times are ns of CLOCK_MONOTONIC:

====  =======================================================  =================================================================
kind  fields                                                   meaning
====  =======================================================  =================================================================
V     version, cores, period, realtime (0 or 1)                what the sampler is: first line of every part
A     agent, name, pid, start                                  an agent is watched from ``start`` on
S     socket, agent, local address and port as in /proc/net    a number for a local address of an agent
Q     socket, at, by, rqueue, drops                            bytes in its receive queue, datagrams dropped since it was bound
W     agent, start, end                                        a thread was runnable and did not run
T     agent, start, end, own (0 or 1)                          a process was stopped; ``own``: one of its timers names a stop signal
I     core, start, end, steal, used                            the ticker of a core was late by itself: ``steal`` and agents' CPU time
M     core, start, end                                         the ticker of a core waited for it (20 ms or more, if realtime)
H     start, end                                               a control group was throttled
L     start, end                                               the sampler itself was late
C     at, used                                                 CPU time of all agents since they are watched
E     since, until, used                                       its own CPU time since it began to sample, tickers included
====  =======================================================  =================================================================
"""

from __future__ import annotations

import ipaddress
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.rotation import LineTail

FILE = "samples.log"
VERSION = "2"
_TICK = 10_000_000
"""ns of one unit of steal in /proc/stat (USER_HZ is 100 on every architecture that is supported)."""
_BARELY = 1_000_000


class QueueSample(msgspec.Struct, frozen=True):
    """What one local address held: ``rqueue`` in bytes as the kernel accounts for them (truesize), ``drops`` in datagrams.

    ``at``, ``by``: before it was read, and after (ns); a sampler that has to wait for a core in between counts what came meanwhile.
    Only samples with ``rqueue`` above 0 or with other ``drops`` than before are kept, and the first with 0 after them.
    """

    at: int
    by: int
    address: str
    port: int
    rqueue: int
    drops: int


class Stop(msgspec.Struct, frozen=True):
    """A process of an agent was stopped (state T).  ``own``: a timer of that agent sends a stop signal, so it may be its own doing."""

    start: int
    end: int
    own: bool


class Theft(msgspec.Struct, frozen=True):
    """``core`` did not run from ``start`` to ``end``: its ticker was late, and had not waited for another process.

    ``steal``: what /proc/stat says was stolen of that core meanwhile, ns.  ``used``: CPU time of agents on that core meanwhile, ns.
    """

    core: int
    start: int
    end: int
    steal: int
    used: int

    @property
    def confirmed(self) -> bool:
        """Whether the hypervisor says so, or no agent used that core meanwhile."""
        length = self.end - self.start
        return self.steal >= max(_TICK, length // 2) or self.used <= max(_BARELY, length // 10)


class Intervals:
    """Pairs of start and end, ns, as numbers: on a busy machine there are hundreds of thousands in a long call."""

    def __init__(self) -> None:
        self._times = array("q")

    def append(self, start: int, end: int) -> None:
        """One more."""
        self._times.extend((start, end))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._times[::2], self._times[1::2], strict=True)


class CpuCurve:
    """CPU time of all agents over time, by points of which those near waits are 5 ms apart and the others 100 ms."""

    def __init__(self) -> None:
        self._at: array[int] = array("q")
        self._used: array[int] = array("q")
        self._in_order = True

    def add(self, at: int, used: int) -> None:
        """One more point, in any order."""
        self._in_order = self._in_order and (not self._at or at > self._at[-1])
        self._at.append(at)
        self._used.append(used)

    def between(self, start: int, end: int) -> int:
        """CPU time used from ``start`` to ``end``, ns; straight lines between the points, nothing beyond them."""
        if not self._in_order:
            ordered = sorted(zip(self._at, self._used, strict=True))
            self._at, self._used = array("q", [at for at, _ in ordered]), array("q", [used for _, used in ordered])
            self._in_order = True
        return max(0, self._value(end) - self._value(start))

    def _value(self, at: int) -> int:
        if not self._at:
            return 0
        after = bisect_right(self._at, at)
        if after in (0, len(self._at)):
            return self._used[min(after, len(self._at) - 1)]
        begin, end = self._at[after - 1], self._at[after]
        low, high = self._used[after - 1], self._used[after]
        return low + (high - low) * (at - begin) // max(1, end - begin)


class Samples:
    """All that the sampler wrote.  ``cores``: how many the run may use.  By agent's name: ``queues``, ``waits``, ``stops``, ``since``.

    ``waits``, ``machine_waits``, ``throttled`` and ``late``: (start, end).  ``cost``: the share of one core that sampling took.
    ``until``: the time of the newest look, ns.  ``lost``: why not all that was written could be read, "" if it could.
    """

    def __init__(self) -> None:
        self.cores = 1
        self.realtime = False
        self.since: dict[str, int] = {}
        self.until = 0
        self.queues: dict[str, list[QueueSample]] = {}
        self.waits: dict[str, Intervals] = {}
        self.stops: dict[str, list[Stop]] = {}
        self.thefts: list[Theft] = []
        self.machine_waits: list[tuple[int, int]] = []
        self.throttled: list[tuple[int, int]] = []
        self.late: list[tuple[int, int]] = []
        self.cpu = CpuCurve()
        self.cost: float | None = None
        self.lost = ""

    def forget_queues(self, before: int) -> None:
        """Let go of what the queues held ``before`` (ns): a call of hours is judged in legs."""
        for samples in self.queues.values():
            del samples[: bisect_left(samples, before, key=lambda sample: sample.at)]


class SampleReader:
    """Reads the sampler's file while it grows: each ``read`` adds what came since the last."""

    def __init__(self, path: Path) -> None:
        self.samples = Samples()
        self._tail = LineTail(path)
        self._names: dict[str, str] = {}
        self._sockets: dict[str, tuple[str, str, int]] = {}

    def read(self) -> Samples:
        """All samples until now; the same object every time."""
        try:
            lines = self._tail.fresh()
        except LookupError as error:
            self.samples.lost = str(error)
            return self.samples
        for line in lines:
            self._take(line.decode("ascii", "replace").split())
        return self.samples

    def _take(self, words: list[str]) -> None:
        kind, samples = words[0], self.samples
        if kind == "Q":
            name, address, port = self._sockets[words[1]]
            samples.queues[name].append(QueueSample(int(words[2]), int(words[3]), address, port, int(words[4]), int(words[5])))
        elif kind == "C":
            samples.cpu.add(int(words[1]), int(words[2]))
            samples.until = max(samples.until, int(words[1]))
        elif kind == "W":
            samples.waits[self._names[words[1]]].append(int(words[2]), int(words[3]))
        elif kind == "T":
            samples.stops[self._names[words[1]]].append(Stop(int(words[2]), int(words[3]), words[4] == "1"))
        elif kind == "I":
            samples.thefts.append(Theft(*map(int, words[1:6])))
        elif kind == "M":
            samples.machine_waits.append((int(words[2]), int(words[3])))
        elif kind in ("H", "L"):
            (samples.throttled if kind == "H" else samples.late).append((int(words[1]), int(words[2])))
        elif kind == "E":
            samples.cost = int(words[3]) / max(1, int(words[2]) - int(words[1]))
        else:
            self._introduce(kind, words)

    def _introduce(self, kind: str, words: list[str]) -> None:
        samples = self.samples
        if kind == "S":
            address, _, port = words[3].partition(":")
            self._sockets[words[1]] = (self._names[words[2]], local_address(address), int(port, 16))
        elif kind == "A":
            self._names[words[1]] = name = words[2]
            samples.since.setdefault(name, int(words[4]))
            samples.queues.setdefault(name, [])
            samples.waits.setdefault(name, Intervals())
            samples.stops.setdefault(name, [])
        elif kind == "V" and words[1] == VERSION:
            samples.cores, samples.realtime = int(words[2]), words[4] == "1"


def local_address(text: str) -> str:
    """An address as /proc/net/udp writes it: words of 32 bits in hex, each in the order of this machine's bytes."""
    packed = b"".join(int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8))
    return str(ipaddress.ip_address(packed))
