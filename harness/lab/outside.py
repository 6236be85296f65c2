"""What the kernel says of an agent's process, and what can be done to it, from outside: no agent is asked, and none can help it."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from harness.fabric.keeper_client import Process, stat
from harness.fabric.receipts import Observation
from harness.units import Duration, s
from harness.verdict import Stall

if TYPE_CHECKING:
    from harness.lab.lab import Lab
    from harness.lab.peer import Peer

_TABLES = ("udp", "udp6", "tcp", "tcp6")
_POLL_S = 0.005


def bound_sockets(process: Process) -> set[str]:
    """Every UDP and TCP socket of the process's network namespace, whoever holds it: "udp 192.0.2.1 4433" (/proc/<pid>/net)."""
    found = set()
    for table in _TABLES:
        for line in Path(f"/proc/{process.pid}/net/{table}").read_text().splitlines()[1:]:
            address, port = line.split()[1].split(":")
            found.add(f"{table[:3]} {_ip(address)} {int(port, 16)}")
    return found


def resident(process: Process) -> int:
    """Bytes of memory that the process occupies now (/proc/<pid>/statm)."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _ip(text: str) -> str:
    """The kernel writes an address as words of 32 bits, each in the host's own byte order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)


def descriptors(process: Process) -> list[int]:
    """The numbers of its open file descriptors."""
    return sorted(int(number) for number in os.listdir(f"/proc/{process.pid}/fd"))


def namespace(process: Process) -> int:
    """The inode of its network namespace."""
    return Path(f"/proc/{process.pid}/ns/net").stat().st_ino


def processes_in(namespace: int) -> set[int]:
    """The numbers of all processes in a network namespace, as this process sees them; one that has ended and is not yet reaped is none."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended, or is none of ours
            if (process / "ns" / "net").stat().st_ino == namespace:
                found.add(int(process.name))
    return found


@contextlib.contextmanager
def no_more_descriptors(lab: Lab, peer: Peer) -> Iterator[None]:
    """For the length of the block ``peer``'s process can open no file descriptor beyond those that it holds (RLIMIT_NOFILE).

    The limit is on the numbers: a free one below the highest that is in use could still be had, so the lowest free number is the limit.
    """
    process = peer.process
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    held = descriptors(process)
    lowest_free = next(number for number in range(len(held) + 1) if number not in held)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (lowest_free, hard))
    now = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    seen = {"held": len(held), "limit before": soft, "limit now": now[0]}
    lab.observe(Observation(f"{peer.name} can open nothing more", "limit", time.monotonic_ns(), seen, now[0] == lowest_free, "prlimit"))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.asynccontextmanager
async def frozen(lab: Lab, peer: Peer, within: Duration = 1 * s) -> AsyncIterator[None]:
    """For the length of the block ``peer``'s process does not run (SIGSTOP): its host answers nothing, and refuses nothing either."""
    began = lab.now()
    peer.process.held = True
    peer.process.signal(signal.SIGSTOP)
    with trio.move_on_after(within.s):
        while (state := stat(peer.process.pid)[0]) != "T":  # noqa: ASYNC110 - the kernel has no event for this
            await trio.sleep(_POLL_S)
    name, touches = f"{peer.name} stands still", peer.network.touches_host(peer.name)
    lab.observe(Observation(name, "stopped", time.monotonic_ns(), {"state": state}, state == "T", "/proc", touches=touches))
    try:
        yield
    finally:
        peer.process.signal(signal.SIGCONT)
        lab.frozen.append(Stall(began, lab.now(), peer.who))
