"""Samples the agents of a run from outside, every 5 ms: receive queues, waits for a core, stops; and whether each core runs at all.

``python -m harness.fabric.sampler_process FILE`` is a child of the lab, in the lab's PID namespace: it knows agents by the lab's PIDs.
Standard input: a line ``NAME PID ROOT`` for each agent (``ROOT``: the process from which all of the agent's stem); at its end the sampler
writes what it has and ends.  The kernel kills it when the lab ends first.  What it writes is described in ``samples``.

* An agent's *wait*: field 2 of /proc/PID/task/*/schedstat grew, which it does when the thread gets its core: it waited until just now.  A
  thread whose priority or affinity the agent has lowered itself is left out, then and later.
* A core's *theft*: a process that is pinned to it wakes late and has not waited for another process.  A process a core does nothing else;
  the sampler is the ticker of its own core.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import select
import signal
import sys
import time
from collections import deque
from pathlib import Path

from harness.fabric.agent_tree import WAIT, AgentTree
from harness.fabric.core_ticker import EVENT, SHORTEST, CoreClock, tick_forever
from harness.fabric.scheduling import prefer_this_process
from harness.parent import die_with_parent
from harness.rotation import RotatedFile

PERIOD = 5_000_000
LATE = 10_000_000
_EVERY = 20
"""Ticks between two looks at what changes slowly: the tickers' events, the file; twice as many for the threads of an agent."""
_REMEMBERED = 1000
_TICKERS = 16
"""Cores that have a ticker, at most: 70 us of a core every 5 ms each."""
_HEARD = 4096
STOLEN_AWAKE = 20_000_000
"""A ticker with realtime priority waits so long, ns, only where its core was taken just when it had woken (or by a program above it)."""


class Sampler:
    """All that one process does."""

    def __init__(self, path: Path, cores: list[int], *, realtime: bool, events: int) -> None:
        self._file = RotatedFile(path)
        self._file.head = f"V 2 {len(cores)} {PERIOD} {int(realtime)}\n".encode()
        self._lines = [self._file.head.decode()]
        self._agents: list[AgentTree] = []
        self._events = events
        self._realtime = realtime
        self._points: deque[list[int]] = deque(maxlen=_REMEMBERED)  # [at, CPU time of all agents, 1 when it is written]
        self._busy: deque[tuple[int, int, int, int]] = deque(maxlen=_REMEMBERED)  # (from, to, core, CPU time of a thread)
        self._used = 0
        self._last = time.monotonic_ns()
        self._throttle = throttle_files()
        self._throttled = [throttled(fd) for fd in self._throttle]
        self._throttle_at = self._last
        self._ticks = 0

    def watch(self, line: str) -> None:
        """Watch one more agent, by its line of standard input."""
        name, pid, root = line.split()
        number = len(self._agents)
        self._agents.append(AgentTree(number, int(pid), int(root), self._lines))
        self._lines.append(f"A {number} {name} {pid} {time.monotonic_ns()}\n")
        self._agents[-1].look_again(self._last)

    def tick(self, due: int, at: int) -> None:
        """One look at everything."""
        if at - due > LATE:
            self._lines.append(f"L {due} {at}\n")
        longest = 0
        for agent in self._agents:
            waited, used = agent.sample(self._last, at, self._busy)
            self._used += used
            if waited:
                self._lines.append(f"W {agent.number} {at - waited} {at}\n")
                longest = max(longest, waited)
        self._points.append([at, self._used, 0])
        if longest:
            self._write_points(at - longest)
        self._ticks += 1
        step = self._ticks % (2 * _EVERY)
        for agent in self._agents[step :: 2 * _EVERY]:
            self._used += agent.look_again(at)
        step %= _EVERY
        if step % 10 == 9:
            self._look_at_throttling(at)
        if step == _EVERY - 1:
            self._take_events()
            self._write_points(at)
            self.write()
        self._last = at

    def write(self) -> None:
        """Hand over what was noted."""
        if self._lines:
            self._file.write("".join(self._lines).encode())
            self._file.flush()
            self._lines.clear()

    def take_event(self, core: int, start: int, end: int, own: int, steal: int) -> None:
        """What a ticker has seen: late from ``start`` to ``end``, of which it waited ``own`` itself."""
        if end - start - own >= SHORTEST:
            used = sum(ran for since, until, where, ran in self._busy if where == core and since < end and until > start)
            self._lines.append(f"I {core} {start} {end - own} {steal} {used}\n")
        if own >= (STOLEN_AWAKE if self._realtime else WAIT):
            self._lines.append(f"M {core} {end - own} {end}\n")
            self._write_points(end - own)

    def end(self, since: int, before: float) -> None:
        """Close the file, once no ticker runs any more; ``before``: CPU time (s) that was used until ``since``."""
        self._take_events()
        now = time.monotonic_ns()
        for agent in self._agents:
            agent.end(now)
        self._lines.append(f"C {self._last} {self._used}\n")
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = time.process_time() - before + children.ru_utime + children.ru_stime
        self._lines.append(f"E {since} {now} {int(used * 1e9)}\n")
        self.write()
        self._file.close()

    def _write_points(self, since: int) -> None:
        """Write the points from just before ``since`` on that are not written yet."""
        for point in reversed(self._points):
            if not point[2]:
                point[2] = 1
                self._lines.append(f"C {point[0]} {point[1]}\n")
            if point[0] <= since:
                break

    def _take_events(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while heard := os.read(self._events, EVENT.size * _HEARD):
                for event in EVENT.iter_unpack(heard):
                    self.take_event(*event)

    def _look_at_throttling(self, at: int) -> None:
        for number, fd in enumerate(self._throttle):
            now = throttled(fd)
            grown, self._throttled[number] = now - self._throttled[number], now
            if grown > 0:
                start = max(self._throttle_at, at - grown)
                self._lines.append(f"H {start} {at}\n")
                self._write_points(start)
        self._throttle_at = at


def throttle_files() -> list[int]:
    """cpu.stat of this process's control groups that have a limit of CPU time, up to the root; of version 1 and 2."""
    found = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _number, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = Path("/sys/fs/cgroup") / ("cpu" if controllers else "")
        here = mount / path.lstrip("/")
        for folder in (here, *here.parents):
            if not folder.is_relative_to(mount):
                break
            if limited(folder):
                with contextlib.suppress(OSError):
                    found.append(os.open(folder / "cpu.stat", os.O_RDONLY | os.O_CLOEXEC))
    return found


def limited(folder: Path) -> bool:
    """Whether that control group has a limit of CPU time."""
    with contextlib.suppress(OSError):
        return int((folder / "cpu.cfs_quota_us").read_text()) > 0
    with contextlib.suppress(OSError):
        return not (folder / "cpu.max").read_text().startswith("max")
    return False


def throttled(fd: int) -> int:
    """How long the group has been throttled, ns: throttled_usec (version 2) or throttled_time (version 1)."""
    for line in os.pread(fd, 4096, 0).splitlines():
        if line.startswith((b"throttled_usec", b"throttled_time")):
            return int(line.split()[1]) * (1000 if line.startswith(b"throttled_usec") else 1)
    return 0


def start_tickers(cores: list[int], writing: int) -> list[int]:
    """Fork a ticker for each of ``cores``; their PIDs."""
    started = []
    for core in cores:
        pid = os.fork()
        if pid == 0:
            try:
                os.close(0)
                tick_forever(core, PERIOD, writing)
            finally:
                os._exit(1)
        started.append(pid)
    return started


def main(argv: list[str]) -> int:
    """Sample into the file ``argv[0]`` until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group: the lab ends this in order
    die_with_parent(signal.SIGKILL)
    if os.getppid() == 1:
        return 1
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cores = sorted(os.sched_getaffinity(0))
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    tickers = start_tickers(cores[1:_TICKERS], writing)
    realtime = prefer_this_process() == "realtime"
    sampler = Sampler(Path(argv[0]), cores, realtime=realtime, events=reading)
    os.sched_setaffinity(0, {cores[0]})
    gc.collect()
    gc.freeze()
    gc.disable()
    since, before = time.monotonic_ns(), time.process_time()
    try:
        _run(sampler, CoreClock(cores[0]))
    finally:
        for pid in tickers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        sampler.end(since, before)
    return 0


def _run(sampler: Sampler, clock: CoreClock) -> None:
    """Tick until standard input ends."""
    orders = select.poll()
    orders.register(0, select.POLLIN)
    rest = b""
    due = time.monotonic_ns() + PERIOD
    while True:
        time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        at = time.monotonic_ns()
        event = clock.look(due, at)
        sampler.tick(due, at)
        if event is not None:
            sampler.take_event(*event)
        due += PERIOD
        if due <= at:  # what was missed is not made up for
            due += (at - due) // PERIOD * PERIOD + PERIOD
        if orders.poll(0):
            heard = os.read(0, _HEARD)
            if not heard:
                return
            *lines, rest = (rest + heard).split(b"\n")
            for line in lines:
                sampler.watch(line.decode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
