"""How the keeper talks with the processes that it starts for packets (relay, capture): one JSON message per datagram (``wires``).

The keeper asks, the process answers: ``{"id": 3, "op": "cut", "link": …}`` → ``{"id": 3, "ok": {…}}`` or
``{"id": 3, "error": {"kind": "SpecError", "where": …, "text": …}}``.  The process says nothing unasked, and ends when the socket closes.
Every wait of the asking side has a time limit; an answer that comes after its limit is recognised by its id and thrown away.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

from harness.errors import BlamedError, HarnessError
from harness.fabric import wires
from harness.fabric.wires import describe, rebuild
from harness.units import Duration, s

Handler = Callable[[dict[str, Any]], dict[str, Any]]


def pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair: the first for the asking side, the second to be inherited by the process."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Asker:
    """The asking side, synchronous, for a single-threaded caller.  ``whose`` names the process in errors."""

    def __init__(self, sock: socket.socket, whose: str, within: Duration = 5 * s) -> None:
        self._socket = sock
        self._whose = whose
        self._within = within
        self._last_id = 0

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """The answer's ``ok``.  Raises the error that the process answered; HarnessError when it is dead or silent for too long."""
        self._last_id += 1
        deadline = time.monotonic_ns() + self._within.ns
        try:
            self._socket.settimeout(self._within.s)
            wires.send(self._socket, {"id": self._last_id, "op": op, **fields})
            while True:
                self._socket.settimeout(max(deadline - time.monotonic_ns(), 1_000) / 1e9)
                answer, _fds = wires.receive(self._socket)
                if answer is None:
                    raise HarnessError(f"the {self._whose} process ended before it answered {op!r}; its stderr says why")
                if answer.get("id") == self._last_id:
                    break
        except TimeoutError:
            raise HarnessError(f"the {self._whose} process did not answer {op!r} within {self._within}") from None
        except OSError as error:
            raise HarnessError(f"the {self._whose} process is gone, it cannot be asked {op!r}: {error.strerror}") from None
        if "ok" not in answer:
            raise _error(self._whose, answer["error"])
        return dict(answer["ok"])

    def close(self) -> None:
        """Close the socket, which ends the process; safe to call twice."""
        self._socket.close()


def _error(whose: str, error: dict[str, Any]) -> BlamedError:
    told = rebuild(error)
    return HarnessError(f"{whose}: {told}") if isinstance(told, HarnessError) else told


class Answerer:
    """The answering side: give it to epoll (it has ``fileno``) and call ``serve`` when readable."""

    def __init__(self, fd: int, handler: Handler) -> None:
        self._socket = socket.socket(fileno=fd)
        self._handler = handler

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._socket.fileno()

    def serve(self) -> bool:
        """Answer one request; False when the asking side has closed.

        A BlamedError of the handler becomes an error answer; any other exception too, and is then raised: it is a bug here.
        """
        try:
            message, _fds = wires.receive(self._socket)
        except ConnectionResetError:
            return False
        if message is None:
            return False
        bug: Exception | None = None
        try:
            answer = {"id": message.get("id"), "ok": self._handler(message)}
        except Exception as error:
            answer = {"id": message.get("id"), "error": describe(error)}
            bug = None if isinstance(error, BlamedError) else error
        self._send(answer)
        if bug is not None:
            raise bug
        return True

    def _send(self, answer: dict[str, Any]) -> None:
        # Waiting for a keeper that does not read would stall every link, so the answer is sent now or never.
        try:
            wires.send(self._socket, answer, flags=socket.MSG_DONTWAIT)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return
