"""Networks opened for a test, and talkers in them: every wait has a limit."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from harness.fabric.confinement import Confinement
from harness.fabric.keeper_client import Process
from harness.fabric.network import Network, open_network
from harness.fabric.receipts import Observation
from harness.spec.topology import Topology

TALKER = (sys.executable, "-I", str(Path(__file__).with_name("talker.py")))
DEADLINE = 60


def within_deadline(test: Callable[[], Awaitable[None]]) -> None:
    """Run ``test`` under trio; trio.TooSlowError after DEADLINE seconds."""

    async def main() -> None:
        with trio.fail_after(DEADLINE):
            await test()

    trio.run(main)


@contextlib.asynccontextmanager
async def opened(
    topology: Topology,
    folder: Path,
    *,
    impair: str = "auto",
    translate: str = "auto",
    captures: bool = False,
    seen: list[Observation] | None = None,
) -> AsyncIterator[Network]:
    """A built network, not probed; ``seen`` gets its receipts."""
    into = folder / "capture" if captures else None
    if into is not None:
        into.mkdir()
    observe = (lambda observation: None) if seen is None else seen.append
    log = folder / "keeper.log"
    async with open_network(topology, impair=impair, translate=translate, seed=1, captures=into, log=log, observe=observe) as network:
        yield network


def exactly(text: str) -> str:
    """The pattern that only ``text`` matches."""
    return f"^{re.escape(text)}$"


class Talker:
    """A ``talker`` in a node."""

    def __init__(self, process: Process, to: trio.lowlevel.FdStream, back: trio.lowlevel.FdStream) -> None:
        self.process = process
        self._to = to
        self._back = back
        self._pending = b""

    async def ask(self, op: str, **fields: Any) -> Any:
        """The answer to one request; AssertionError when the talker has ended."""
        await self._to.send_all(json.dumps({"op": op, **fields}).encode() + b"\n")
        while b"\n" not in self._pending:
            chunk = await self._back.receive_some(1 << 20)
            assert chunk, "the talker has ended; its words are on standard error"
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return json.loads(line)


@contextlib.asynccontextmanager
async def talking(network: Network, node: str, argv: tuple[str, ...] = TALKER) -> AsyncIterator[Talker]:
    """A talker in ``node`` for the length of the block."""
    their_in, to = os.pipe2(os.O_CLOEXEC)
    back, their_out = os.pipe2(os.O_CLOEXEC)
    try:
        process = await network.spawn(node, list(argv), stdin=their_in, stdout=their_out, stderr=2, cwd=Path("/"))
    except BaseException:
        os.close(to)
        os.close(back)
        raise
    finally:
        os.close(their_in)
        os.close(their_out)
    async with trio.lowlevel.FdStream(to) as sending, trio.lowlevel.FdStream(back) as receiving:
        yield Talker(process, sending, receiving)


async def run_in(
    network: Network, node: str, argv: list[str], *, confine: Confinement | None = None, processes: list[Process] | None = None
) -> tuple[int | None, str]:
    """Run a command in ``node`` to its end: exit code and standard output; ``processes`` gets the process."""
    back, their_out = os.pipe2(os.O_CLOEXEC)
    empty = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        process = await network.spawn(node, argv, stdin=empty, stdout=their_out, stderr=2, cwd=Path("/"), confine=confine)
    except BaseException:
        os.close(back)
        raise
    finally:
        os.close(their_out)
        os.close(empty)
    out = b""
    async with trio.lowlevel.FdStream(back) as receiving:
        async for chunk in receiving:
            out += chunk
    await process.ended.wait()
    if processes is not None:
        processes.append(process)
    return process.code, out.decode()
