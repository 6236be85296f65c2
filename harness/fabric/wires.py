"""Messages between the lab's process and the keeper: one JSON object per datagram on a SOCK_SEQPACKET pair, descriptors beside it.

Requests carry ``id`` and ``op``; answers carry the ``id`` and ``ok`` or ``error``; events (a process ended) carry ``event``.
"""

from __future__ import annotations

import array
import socket
from typing import Any

import msgspec

from harness.errors import BlamedError, EnvironmentUnfit, HarnessError, SpecError

LIMIT = 1 << 20  # bytes of one message: a topology of hundreds of nodes fits
_MAX_FDS = 16


def prepare(end: socket.socket) -> None:
    """Make room for messages of ``LIMIT`` bytes, where the kernel allows as much."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LIMIT)


def encode(message: dict[str, Any]) -> bytes:
    """One datagram; HarnessError when it is too large."""
    data = msgspec.json.encode(message)
    if len(data) > LIMIT:
        raise HarnessError(f"a message of {len(data)} bytes to the keeper is above {LIMIT}")
    return data


def ancillary(fds: list[int]) -> list[tuple[int, int, bytes]]:
    """The control message that carries ``fds``; nothing for none."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())] if fds else []


def decode(data: bytes, control: list[tuple[int, int, bytes]]) -> tuple[dict[str, Any] | None, list[int]]:
    """A received message and its descriptors; None when the other side is gone."""
    fds: list[int] = []
    for level, kind, payload in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received = array.array("i")
            received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
            fds.extend(received)
    return (msgspec.json.decode(data) if data else None), fds


def send(end: socket.socket, message: dict[str, Any], fds: list[int] | None = None) -> None:
    """Send one message with the descriptors ``fds``, waiting for room."""
    end.sendmsg([encode(message)], ancillary(fds or []))


def receive(end: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message and its descriptors, waiting for one."""
    data, control, _flags, _address = end.recvmsg(LIMIT, socket.CMSG_LEN(_MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC)
    return decode(data, control)


def describe(error: Exception) -> dict[str, Any]:
    """An error as plain data for the other side."""
    if isinstance(error, SpecError):
        return {"kind": "SpecError", "where": error.where, "text": error.what}
    if isinstance(error, EnvironmentUnfit):
        return {"kind": "EnvironmentUnfit", "text": str(error)}
    return {"kind": "HarnessError", "text": str(error) if isinstance(error, BlamedError) else f"{type(error).__name__}: {error}"}


def rebuild(error: dict[str, Any]) -> BlamedError:
    """The error that ``describe`` told of."""
    if error["kind"] == "SpecError":
        return SpecError(error["where"], error["text"])
    return EnvironmentUnfit(error["text"]) if error["kind"] == "EnvironmentUnfit" else HarnessError(error["text"])
