"""A process outside the run that stops an agent for 0.4 s when the agent's log asks for it (row 4)."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import trio

from tests.cheats.stalls import BLOCK_S, STOP_ME

POLL_S = 0.005
AGENT = b"tests.cheats.stack"


async def stop_when_asked(folder: Path, run: int) -> None:
    """Wait until an agent's log in ``folder`` asks for it, then stop that agent of the process ``run``, and let it go on."""
    while True:
        if asked(folder):
            break
        await trio.sleep(POLL_S)
    for pid in agents_of(run):
        os.kill(pid, signal.SIGSTOP)
        try:
            await trio.sleep(BLOCK_S)
        finally:
            os.kill(pid, signal.SIGCONT)


def asked(folder: Path) -> bool:
    """Whether the log of an agent of a run in ``folder`` asks for it."""
    return any(STOP_ME in log.read_text(errors="replace") for log in folder.rglob("agents/*.log"))


def agents_of(run: int) -> list[int]:
    """The processes below ``run`` that are cheating stacks."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if AGENT in (entry / "cmdline").read_bytes() and run in ancestors(int(entry.name)):
                found.append(int(entry.name))
    return found


def ancestors(pid: int) -> list[int]:
    """Parent, grandparent and so on.  OSError when one of them is gone."""
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found
