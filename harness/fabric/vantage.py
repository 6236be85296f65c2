"""A place to send from and listen at inside a run's network: one UDP socket of a node, held by the keeper, with kernel arrival stamps."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import trio

from harness import stamps
from harness.fabric.netns import inside

if TYPE_CHECKING:
    from harness.fabric.build import Build

_IPV6_DONTFRAG = 62
_IP_MTU_DISCOVER, _IP_PMTUDISC_DO = 10, 2


@contextlib.asynccontextmanager
async def udp(build: Build, node: str, address: str, port: int = 0) -> AsyncIterator[trio.socket.SocketType]:
    """A UDP socket of ``node``, bound, stamping arrivals, never fragmenting."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(build.nodes[node].namespace.fd):
        plain = socket.socket(family, socket.SOCK_DGRAM)
    plain.setsockopt(*stamps.STAMPED, 1)
    if family == socket.AF_INET6:
        plain.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)
    else:
        plain.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
    with trio.socket.from_stdlib_socket(plain) as end:
        await end.bind((address, port))
        yield end


async def receive(end: trio.socket.SocketType) -> tuple[bytes, int, tuple[str, int]]:
    """Payload, arrival (ns of CLOCK_REALTIME, the kernel's) and source of the next packet."""
    source: Any
    data, control, _flags, source = await end.recvmsg(65535, stamps.SPACE)
    return data, stamps.stamp_of(control) or time.time_ns(), (source[0], source[1])
