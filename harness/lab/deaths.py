"""How an agent's process ended although nobody had asked it to, and whose doing that was.

After its hello an agent that ends by a signal, an exit or an exception has crashed: FAIL, blame product.  SIGKILL is the environment's only
if the kernel killed for want of memory (its counter oom_kill rose just before) and the process itself held less than half of the memory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import trio

from harness.errors import AgentCrashed, EnvironmentUnfit
from harness.fabric.keeper_client import Process
from harness.units import Duration, ms, s

_PERIOD = 100 * ms
"""How often the memory of the agents and the kernel's counter are read."""
_JUST_BEFORE = 2 * s
"""How long before a death the kernel may have counted its kill."""
_LINES, _WIDTH = 5, 300
_VMSTAT = Path("/proc/vmstat")
_CGROUPS = Path("/sys/fs/cgroup")


def how(code: int) -> str:
    """A process's end in words: ``code`` as ``os.waitstatus_to_exitcode`` gives it, negative for a signal."""
    if code < 0:
        return f"was killed by {_signal(-code)}"
    shell = f", with which a shell tells of {_signal(code - 128)}" if code > 128 and _is_signal(code - 128) else ""
    return f"exited with code {code}{shell}"


def last_lines(log: Path) -> str:
    """The last lines of an agent's log, and its path."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()[-_LINES:]
    except OSError as error:
        return f"its log {log} cannot be read: {error.strerror}"
    return f"its log {log} ends: {' | '.join(line[:_WIDTH] for line in lines)}" if lines else f"its log {log} is empty"


def _signal(number: int) -> str:
    return signal.Signals(number).name if _is_signal(number) else f"signal {number}"


def _is_signal(number: int) -> bool:
    return number in signal.valid_signals() and number in {one.value for one in signal.Signals}


class Memory:
    """What agents held of the memory, and when the kernel last killed for want of it."""

    def __init__(self, *, counters: Iterable[Path] | None = None, size: int | None = None) -> None:
        self._counters = tuple(counters) if counters is not None else (_VMSTAT, *(group / "memory.events" for group in _groups()))
        self.size = size or _size()
        self._killed = self._read()
        self._rose: int | None = None
        self._held: dict[int, int] = {}

    async def watch(self, processes: Callable[[], Iterable[Process]]) -> None:
        """Look every ``_PERIOD`` until cancelled."""
        while True:
            self.look(processes())
            await trio.sleep(_PERIOD.s)

    def look(self, processes: Iterable[Process]) -> None:
        """Note what the processes hold now, and whether the counter has risen."""
        for process in processes:
            with contextlib.suppress(OSError):
                self._held[process.pid] = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") or (
                    self._held.get(process.pid, 0)  # a process that is being taken down holds nothing any more
                )
        killed = self._read()
        if killed > self._killed:
            self._rose = time.monotonic_ns()
        self._killed = killed

    def _read(self) -> int:
        """The counters' sum."""
        return sum(_counted(path) for path in self._counters)

    def ran_out(self, process: Process) -> str:
        """That the kernel killed ``process`` for want of memory that others held; "" when nothing says so."""
        self.look(())
        held = self._held.get(process.pid, 0)
        rose = self._rose is not None and time.monotonic_ns() - self._rose < _JUST_BEFORE.ns
        if not rose or 2 * held >= self.size:
            return ""
        return f"the kernel ran out of memory and killed it, while it held {held >> 20} of {self.size >> 20} MiB"


def judge(name: str, code: int, log: Path, began: int, ran_out: str) -> AgentCrashed | EnvironmentUnfit:
    """The error for agent ``name``, which ended with ``code`` unasked; ``began``: when the run did, ns."""
    after = Duration(time.monotonic_ns() - began)
    if code == -signal.SIGKILL and ran_out:
        return EnvironmentUnfit(f"agent {name} {how(code)} after {after.s:.3f} s: {ran_out}")
    return AgentCrashed(name, f"{how(code)}, unasked, {after.s:.3f} s after the run began; {last_lines(log)}")


def _counted(path: Path) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return next((int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("oom_kill ")), 0)
    return 0


def _groups() -> list[Path]:
    """The cgroup (v2) that the runner is in; none where there is no such."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                return [_CGROUPS / line[3:].lstrip("/")]
    return []


def _size() -> int:
    """Bytes of memory that there are: the machine's, or what its cgroup allows."""
    with contextlib.suppress(OSError, StopIteration):
        fields = Path("/proc/meminfo").read_text().splitlines()
        size = next(int(line.split()[1]) * 1024 for line in fields if line.startswith("MemTotal:"))
        for group in _groups():
            with contextlib.suppress(OSError, ValueError):
                size = min(size, int((group / "memory.max").read_text()))
        return size
    return 1 << 62
