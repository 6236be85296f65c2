"""Agents as subprocesses under trio, for tests: every wait has a limit, and nothing outlives its test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from harness.agent.remote import RemoteAgent, Said

REPOSITORY = Path(__file__).parents[3]
REFERENCE = (sys.executable, "-m", "harness.agent")
DEADLINE = 60


def within_deadline(test: Callable[[], Awaitable[None]]) -> None:
    """Run ``test`` under trio; trio.TooSlowError after DEADLINE seconds."""

    async def main() -> None:
        with trio.fail_after(DEADLINE):
            await test()

    trio.run(main)


class Started:
    """A process and the handle on it."""

    def __init__(self, process: trio.Process, agent: RemoteAgent) -> None:
        self.process = process
        self.agent = agent


@asynccontextmanager
async def started(
    name: str, command: Sequence[str] = REFERENCE, *, tee: Callable[[Said], None] | None = None, log: Path | None = None
) -> AsyncIterator[Started]:
    """``command`` as an agent, read from the start, killed at the end if it is still there; ``log`` gets its standard error."""
    agent_reads, we_write = os.pipe()
    we_read, agent_writes = os.pipe()
    stderr = subprocess.DEVNULL if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        process = await trio.lowlevel.open_process(
            list(command), stdin=agent_reads, stdout=agent_writes, stderr=stderr, cwd=str(REPOSITORY)
        )
    finally:
        os.close(agent_reads)
        os.close(agent_writes)
        if log is not None:
            os.close(stderr)
    agent = RemoteAgent.from_fds(name, we_write, we_read, tee=tee)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(agent.run)
        try:
            yield Started(process, agent)
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                if process.poll() is None:
                    process.kill()
                await process.wait()
                await agent.aclose()
