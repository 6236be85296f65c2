"""Whose the cores were: how much of this machine others took while a run was going on, by the kernel's own accounts."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from harness.fabric.keeper_client import stat
from harness.lab.footprint import descendants
from harness.media.figure import share
from harness.units import Ratio, percent

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_THROTTLED = b"throttled_usec"


class Occupancy(NamedTuple):
    """Accounts that only grow, ns, of the cores that this process may run on.

    ``busy``: all that ran there, and what the hypervisor took (interrupts left out: they may be for this run's own packets).
    ``own``: what ran of this process and of all that stem from it, also of those that have ended.
    ``throttled``: for how long a limit of the control group kept them from a core.
    """

    at: int
    busy: int
    own: int
    throttled: int


def read() -> Occupancy:
    """As it is now."""
    return Occupancy(time.monotonic_ns(), _busy(), sum(map(_used, [os.getpid(), *descendants(os.getpid())])), _throttled())


def taken(before: Occupancy, after: Occupancy) -> Ratio:
    """The share of the cores, between both, that others had or that was kept from this run; the kernel counts in ticks of 10 ms."""
    others = max(0, (after.busy - before.busy) - (after.own - before.own)) + after.throttled - before.throttled
    return min(share(others, (after.at - before.at) * len(os.sched_getaffinity(0))) or Ratio(0), 100 * percent)


def _busy() -> int:
    ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *counts = line.split()
        if name in ours:
            user, nice, system, _idle, _iowait, _irq, _softirq, steal = map(int, counts[:8])
            ticks += user + nice + system + steal
    return ticks * _TICK_NS


def _used(pid: int) -> int:
    """By the process, and by its children that have ended and were waited for."""
    try:
        return sum(map(int, stat(pid)[11:15])) * _TICK_NS
    except OSError:  # it has just ended: its parent has it now
        return 0


def _throttled() -> int:
    """Control groups of version 2; 0 where there is no limit."""
    try:
        lines = Path("/sys/fs/cgroup/cpu.stat").read_bytes().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1000 for line in lines if line.startswith(_THROTTLED))
