"""How much memory the processes of a run have to themselves, and how many descriptors they hold: read from /proc, from outside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.fabric.keeper_client import Process
from harness.verdict import AGENT

_OWN = (b"Anonymous:", b"Swap:")


class Footprint(NamedTuple):
    """``memory``: bytes that stand in no file, swapped ones included: what a process has asked for and written to.

    Those that a fork still shares with its parent count for both, or each would seem to grow as they part.  ``descriptors``: open ones.
    """

    memory: int
    descriptors: int


def footprint(pid: int) -> Footprint:
    """Of process ``pid`` (in the PID namespace of this one's /proc); OSError when it is gone, or may not be looked at."""
    with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        sizes = [int(line.split()[1]) for line in file if line.startswith(_OWN)]
    looks = [len(os.listdir(f"/proc/{pid}/fd")) for _ in range(2)]  # one that is closed and opened anew just then is missed once at most
    return Footprint(sum(sizes) * 1024, max(looks))


def processes(agents: dict[str, Process]) -> dict[str, int]:
    """The processes of this run by what they are, with their PIDs: runner, keeper, relay, captures, and ``agents`` by name."""
    found = {"runner": os.getpid(), **{AGENT + name: process.pid for name, process in agents.items()}}
    known = set(found.values())
    for pid in descendants(os.getpid()):
        name = _name(pid) if pid not in known else ""
        if name and (name != "keeper" or any(_name(child) in _FORKS.values() for child in _children(pid))):
            found[name] = pid  # the keeper is the one of those with its command that has the forks
    return found


def descendants(pid: int) -> Iterator[int]:
    """All processes that stem from ``pid`` and have not ended."""
    waiting = _children(pid)
    while waiting:
        child = waiting.pop()
        yield child
        waiting += _children(child)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    except FileNotFoundError:
        pass
    return found


_FORKS = {"relay_process": "relay", "capture_process": "captures"}


def _name(pid: int) -> str:
    """Which of the harness's processes it is; "" when it is none of those.  The keeper's forks tell by their names (``fabric.child``)."""
    try:
        fork = _FORKS.get(Path(f"/proc/{pid}/comm").read_text().strip())
        keeper = b"harness.fabric.keeper" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return fork or ("keeper" if keeper else "")
