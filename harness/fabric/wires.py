"""Messages of the keeper's conversations, with the lab and with its helpers.

One JSON object per datagram on a SOCK_SEQPACKET pair, descriptors beside it.  Requests carry ``id`` and ``op``; answers carry the ``id``
and ``ok`` or ``error``; events (a process ended) carry ``event``.  A message above ``DATAGRAM`` bytes (recorded links, long schedules) goes
as a file in memory, whose descriptor comes in its place: the kernel bounds the room in a socket (net.core.wmem_max).
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import msgspec

from harness.errors import BlamedError, EnvironmentUnfit, HarnessError, SpecError, exhausted

DATAGRAM = 1 << 17  # bytes; a unix socket's default buffer holds more than one of these
LIMIT = 1 << 26  # bytes of one message
_ROOM = 1 << 20
_MAX_FDS = 16
SPACE = socket.CMSG_LEN(_MAX_FDS * 4)
"""Bytes of the control message that comes with a datagram at most."""

Control = list[tuple[int, int, bytes]]


def prepare(end: socket.socket) -> None:
    """Make room for several messages, where the kernel allows as much."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)


@contextlib.contextmanager
def packed(message: dict[str, Any], fds: list[int] | None = None) -> Iterator[tuple[bytes, Control]]:
    """One datagram and its control message, to be sent within the block; HarnessError when it is above ``LIMIT``."""
    data = msgspec.json.encode(message)
    if len(data) <= DATAGRAM:
        yield data, ancillary(fds or [])
        return
    if len(data) > LIMIT:
        raise HarnessError(f"a message of {len(data)} bytes is above {LIMIT}")
    with os.fdopen(os.memfd_create("message"), "wb") as file:
        file.write(data)
        file.flush()
        yield msgspec.json.encode({"enclosed": len(data)}), ancillary([file.fileno(), *(fds or [])])


def ancillary(fds: list[int]) -> Control:
    """The control message that carries ``fds``; nothing for none."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())] if fds else []


def decode(data: bytes, control: Control) -> tuple[dict[str, Any] | None, list[int]]:
    """A received message and its descriptors; None when the other side is gone."""
    fds: list[int] = []
    for level, kind, payload in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received = array.array("i")
            received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
            fds.extend(received)
    if not data:
        return None, fds
    message = msgspec.json.decode(data)
    if "enclosed" in message:
        with os.fdopen(fds.pop(0), "rb") as file:
            file.seek(0)
            message = msgspec.json.decode(file.read())
    return message, fds


def send(end: socket.socket, message: dict[str, Any], fds: list[int] | None = None, flags: int = 0) -> None:
    """Send one message with the descriptors ``fds``, waiting for room unless ``flags`` say otherwise."""
    with packed(message, fds) as (data, control):
        end.sendmsg([data], control, flags)


def receive(end: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message and its descriptors, waiting for one."""
    data, control, _flags, _address = end.recvmsg(DATAGRAM, SPACE, socket.MSG_CMSG_CLOEXEC)
    return decode(data, control)


def describe(error: Exception) -> dict[str, Any]:
    """An error as plain data for the other side; of several at once (a nursery's) the first."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, SpecError):
        return {"kind": "SpecError", "where": error.where, "text": error.what}
    if exhausted(error):
        return {"kind": "EnvironmentUnfit", "text": f"this machine has no more of something that the network needs: {error}"}
    if isinstance(error, EnvironmentUnfit):
        return {"kind": "EnvironmentUnfit", "text": str(error)}
    return {"kind": "HarnessError", "text": str(error) if isinstance(error, BlamedError) else f"{type(error).__name__}: {error}"}


def rebuild(error: dict[str, Any]) -> BlamedError:
    """The error that ``describe`` told of."""
    if error["kind"] == "SpecError":
        return SpecError(error["where"], error["text"])
    return EnvironmentUnfit(error["text"]) if error["kind"] == "EnvironmentUnfit" else HarnessError(error["text"])
