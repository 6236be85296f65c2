"""One agent as /proc shows it from outside: its processes and threads, and its UDP sockets.

Files are opened once and read again: a read of schedstat costs 1.5 us, one of /proc/PID/net/udp 3 us and 6 us for each socket
(``netns.shrink_udp_tables``).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque

WAIT = 500_000
"""Shorter waits between two looks are not told, ns."""
_BUSY = 1_000_000
"""A thread that ran for so long between two looks is told with its core, ns."""
_THREADS = 256
"""Threads of one agent that are looked at, at most."""
_UNCOUNTED = 20_000_000
"""What the kernel's coarse accounts may differ by without meaning anything, ns."""
_RESET = getattr(os, "SCHED_RESET_ON_FORK", 0x4000_0000)
_LOW = (3, 5)  # SCHED_BATCH, SCHED_IDLE
_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_RARELY = 20
_STOPS = (b"signal: 19/", b"signal: 20/", b"signal: 21/", b"signal: 22/")


class Thread:
    """``ran`` and ``waited``: fields 1 and 2 of its schedstat, ns."""

    __slots__ = ("fd", "lowered", "ran", "raw", "tid", "waited")

    def __init__(self, pid: int, tid: int) -> None:
        self.tid = tid
        self.fd = os.open(f"/proc/{pid}/task/{tid}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        self.raw = os.pread(self.fd, 64, 0)
        self.ran, self.waited = map(int, self.raw.split()[:2])
        self.lowered = False


class Process:
    """``idle``: looks since its first thread ran last.  ``stopped``: since when its state is T, None if it is not."""

    __slots__ = ("idle", "pid", "stat", "stopped", "threads")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        self.threads: dict[int, Thread] = {}
        self.idle = 0
        self.stopped: int | None = None

    def close(self) -> None:
        """Give its descriptors back."""
        os.close(self.stat)
        for thread in self.threads.values():
            os.close(thread.fd)


class Sockets:
    """The sockets of one table (udp or udp6) of an agent's network."""

    def __init__(self, agent: AgentTree, table: str) -> None:
        self._agent = agent
        self._fd = os.open(f"/proc/{agent.pid}/net/{table}", os.O_RDONLY | os.O_CLOEXEC)
        self._raw = b""
        self._held: dict[str, tuple[int, int]] = {}  # local address and port: (rqueue, drops)
        self._looks = 0

    def sample(self, at: int, lines: list[str]) -> None:
        """Note what has changed since the look that began at ``at`` (ns); a table without sockets is looked at rarely."""
        self._looks += 1
        if not self._held and self._looks % _RARELY != 1:
            return
        try:
            raw = os.pread(self._fd, 1 << 16, 0)
        except OSError:
            return
        by = time.monotonic_ns()  # after it: what came between both times may be counted
        if raw == self._raw:
            for key, (rqueue, drops) in self._held.items():
                if rqueue:
                    lines.append(f"Q {self._agent.socket(key)} {at} {by} {rqueue} {drops}\n")
            return
        self._raw = raw
        seen: dict[str, tuple[int, int]] = {}
        for line in raw.decode("ascii").splitlines()[1:]:
            words = line.split()
            rqueue, drops = seen.get(words[1], (0, 0))
            seen[words[1]] = (rqueue + int(words[4].partition(":")[2], 16), drops + int(words[12]))
        for key, (rqueue, drops) in seen.items():
            before = self._held.get(key, (0, 0))
            if rqueue or (rqueue, drops) != before:
                lines.append(f"Q {self._agent.socket(key)} {at} {by} {rqueue} {drops}\n")
        for key in self._held.keys() - seen.keys():
            if self._held[key][0]:
                lines.append(f"Q {self._agent.socket(key)} {at} {by} 0 {self._held[key][1]}\n")
        self._held = seen


class AgentTree:
    """An agent: process ``pid`` and all that stem from ``root``, which is itself one of them only where it is ``pid``."""

    _sockets = 0  # of all agents: each has its own number

    def __init__(self, number: int, pid: int, root: int, lines: list[str]) -> None:
        self.number = number
        self.pid = pid
        self._root = root
        self._lines = lines
        self._processes: dict[int, Process] = {}
        self._numbers: dict[str, int] = {}
        self._tables: list[Sockets] = []
        self._affinity = os.sched_getaffinity(os.getppid())
        self._counted = 0
        self._accounted: int | None = None
        self._niceness = 0
        self._first_niceness = 0
        with contextlib.suppress(OSError):
            self._niceness = max(0, os.getpriority(os.PRIO_PROCESS, os.getppid()))
            self._first_niceness = min(self._niceness, os.getpriority(os.PRIO_PROCESS, pid))
        with contextlib.suppress(OSError):
            self._tables = [Sockets(self, table) for table in ("udp", "udp6")]

    def socket(self, key: str) -> int:
        """The number of a local address, told when it is new."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = AgentTree._sockets
            AgentTree._sockets += 1
            self._lines.append(f"S {number} {self.number} {key}\n")
        return number

    def sample(self, last: int, at: int, busy: deque[tuple[int, int, int, int]]) -> tuple[int, int]:
        """Look at sockets and threads: the longest wait that has ended since ``last``, and the CPU time used since; ns."""
        for table in self._tables:
            table.sample(at, self._lines)
        longest = used = 0
        for process in self._processes.values():
            for thread in process.threads.values():
                try:
                    raw = os.pread(thread.fd, 64, 0)
                except OSError:  # it has ended
                    continue
                ran_at_all = raw != thread.raw
                if thread.tid == process.pid:
                    process.idle = 0 if ran_at_all else process.idle + 1
                    if process.stopped is not None or (process.idle and process.idle % 2 == 0):
                        self._look_at_state(process, last, at)
                if not ran_at_all:
                    continue
                thread.raw = raw
                words = raw.split()
                ran, waited = int(words[0]), int(words[1])
                ran, thread.ran = ran - thread.ran, ran
                waited, thread.waited = waited - thread.waited, waited
                used += ran
                if ran >= _BUSY:
                    busy.append((last, at, _core(process.pid, thread.tid), ran))
                if waited >= WAIT and waited > longest and not self._lowered(thread):
                    longest = waited
        self._counted += used
        return longest, used

    def look_again(self, at: int) -> int:
        """Look which processes and threads there are; CPU time (ns) of those that no ``sample`` has seen."""
        there = self._tree()
        for pid in [pid for pid in self._processes if pid not in there]:
            self._gone(self._processes.pop(pid), at)
        new = accounted = 0
        room = _THREADS - sum(len(process.threads) for process in self._processes.values())
        for pid in there:
            try:
                process = self._processes.get(pid) or Process(pid)
                self._processes[pid] = process
                new += self._look_at_threads(process, room)
                accounted += _accounted(process.stat)
            except OSError:
                continue
        if self._root not in there:
            with contextlib.suppress(OSError):
                fd = os.open(f"/proc/{self._root}/stat", os.O_RDONLY | os.O_CLOEXEC)
                accounted += _accounted(fd)
                os.close(fd)
        if self._accounted is None:  # what was used before it is watched does not count
            self._accounted, new = accounted, 0
        self._counted += new
        missing = accounted - self._accounted - self._counted
        if missing > _UNCOUNTED:  # of threads and processes that came and went between two looks
            self._counted += missing
            new += missing
        return new

    def end(self, at: int) -> None:
        """Note the stops that have not ended."""
        for process in self._processes.values():
            self._gone(process, at)
        self._processes.clear()

    def _gone(self, process: Process, at: int) -> None:
        if process.stopped is not None:
            self._lines.append(f"T {self.number} {process.stopped} {at} {self._own_stop(process.pid)}\n")
        process.close()

    def _tree(self) -> list[int]:
        """All processes of the agent."""
        found = [self._root] if self._root == self.pid else []
        waiting = [self._root]
        while waiting and len(found) < _THREADS:
            pid = waiting.pop()
            try:
                tasks = os.listdir(f"/proc/{pid}/task")
                for task in tasks:
                    with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                        children = [int(one) for one in file.read().split()]
                    found += children
                    waiting += children
            except OSError:
                continue
        return found

    def _look_at_threads(self, process: Process, room: int) -> int:
        tids = [int(name) for name in os.listdir(f"/proc/{process.pid}/task")]
        for tid in process.threads.keys() - set(tids):
            os.close(process.threads.pop(tid).fd)
        new = 0
        for tid in tids:
            thread = process.threads.get(tid)
            if thread is None and room > 0:
                with contextlib.suppress(OSError):
                    thread = process.threads[tid] = Thread(process.pid, tid)
                    new += thread.ran
                    room -= 1
            if thread is not None:
                self._lowered(thread)
        return new

    def _lowered(self, thread: Thread) -> bool:
        """Whether the agent has lowered the thread's priority or narrowed its cores, now or before: it may undo that at any time."""
        if not thread.lowered:
            allowed = self._first_niceness if thread.tid == self.pid else self._niceness
            with contextlib.suppress(OSError):
                thread.lowered = (
                    os.sched_getscheduler(thread.tid) & ~_RESET in _LOW
                    or os.getpriority(os.PRIO_PROCESS, thread.tid) > allowed
                    or not os.sched_getaffinity(thread.tid) >= self._affinity
                )
        return thread.lowered

    def _look_at_state(self, process: Process, last: int, at: int) -> None:
        try:
            stopped = os.pread(process.stat, 512, 0).rpartition(b")")[2].split()[0] == b"T"
        except OSError:
            return
        if stopped and process.stopped is None:
            process.stopped = last
        elif not stopped and process.stopped is not None:
            self._lines.append(f"T {self.number} {process.stopped} {at} {self._own_stop(process.pid)}\n")
            process.stopped = None

    def _own_stop(self, pid: int) -> int:
        """1 when a timer of any of the agent's processes sends a stop signal (/proc/PID/timers): no filter can see what it is made with."""
        for one in {pid, *self._processes}:
            with contextlib.suppress(OSError), open(f"/proc/{one}/timers", "rb") as file:
                if any(line.startswith(_STOPS) for line in file):
                    return 1
        return 0


def _core(pid: int, tid: int) -> int:
    """The core that the thread ran on last (proc_pid_stat(5), field 39); -1 when it has ended."""
    try:
        with open(f"/proc/{pid}/task/{tid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[36])
    except OSError:
        return -1


def _accounted(stat: int) -> int:
    """CPU time of a process and its children that have ended and were waited for, ns, in the kernel's coarse ticks."""
    words = os.pread(stat, 512, 0).rpartition(b")")[2].split()
    return sum(int(word) for word in words[11:15]) * _TICK
