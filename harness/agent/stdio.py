"""The agent's end of the pipes: standard output carries the protocol and nothing else.

``claim`` keeps a private duplicate of file descriptor 1 and points 1 and ``sys.stdout`` at standard error, so that a stray print, also one
from C or from a child process, lands in the log and cannot corrupt the protocol.  Call it before anything that might print is imported.
"""

from __future__ import annotations

import os
import sys

import trio

from harness.agent.lines import encode
from harness.agent.messages import Answer, Event

_LIMIT = 16 << 20

_claimed: int | None = None


def claim() -> int:
    """The private descriptor of the protocol; the same one however often it is asked for."""
    global _claimed
    if _claimed is None:
        sys.stdout.flush()
        _claimed = os.dup(1)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
    return _claimed


class HarnessGone(Exception):  # noqa: N818 - what happened
    """Nobody reads the protocol any more: its pipe is closed, or has not been read for _LIMIT bytes."""


class Output:
    """Lines to the harness without ever blocking the loop: what the pipe does not take now waits here and is written by ``run``."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting = bytearray()
        self._more = trio.Event()
        os.set_blocking(fd, False)

    def tell(self, *messages: Event | Answer) -> None:
        """Send messages, together.  HarnessGone when there is nobody to read them."""
        lines = b"".join([encode(message) for message in messages])
        if self._waiting:
            self._waiting += lines
        elif lines:
            written = self._write(lines)
            self._waiting += lines[written:]
        if self._waiting:
            self._more.set()
        if len(self._waiting) > _LIMIT:
            raise HarnessGone(f"the harness has not read {len(self._waiting)} bytes of events")

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            raise HarnessGone("the harness has closed the pipe of events") from None

    async def run(self) -> None:
        """Write what waits, for ever."""
        while True:
            await self._more.wait()
            await self.drain()
            self._more = trio.Event()

    async def drain(self) -> None:
        """Return when nothing waits."""
        while self._waiting:
            written = self._write(self._waiting)
            del self._waiting[:written]
            if self._waiting and not written:
                await trio.lowlevel.wait_writable(self._fd)
