"""A place to send from and listen at inside a run's network: one UDP socket of a node, held by the keeper, with kernel arrival stamps.

The kernel draws ports per namespace, so two hosts behind one NAT, or a host and the NAT itself, may get the same one.  A NAT that preserves
ports must then give one of them another (RFC 4787, section 4.2.1), and would be seen not to preserve.  So no two places of a network have
the same port.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import trio

from harness import stamps
from harness.fabric.netns import EPHEMERAL, inside
from harness.spec.topology import Topology

if TYPE_CHECKING:
    from harness.fabric.build import Build

_STEP = 7_919  # prime to their number, so that all are taken before one comes again; far, so that a host's are not one after the other

_IPV6_DONTFRAG = 62
_IP_MTU_DISCOVER, _IP_PMTUDISC_DO = 10, 2


@contextlib.asynccontextmanager
async def udp(build: Build, node: str, address: str, port: int | None = None) -> AsyncIterator[trio.socket.SocketType]:
    """A UDP socket of ``node``, bound, stamping arrivals, never fragmenting.

    ``port``: None for one that no other place of this network has.  Raises OSError when ``port`` is in use there.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(build.nodes[node].namespace.fd):
        plain = socket.socket(family, socket.SOCK_DGRAM)
    plain.setsockopt(*stamps.STAMPED, 1)
    if family == socket.AF_INET6:
        plain.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)
    else:
        plain.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
    with trio.socket.from_stdlib_socket(plain) as end:
        if port is not None:
            await end.bind((address, port))
        else:
            await _bind_to_own(end, address, build.probe_ports)
        yield end


def own_ports(topology: Topology) -> Iterator[int]:
    """A port of its own for each place, without end; none that a NAT of ``topology`` forwards."""
    forwards = [forward for router in topology.routers if router.nat for forward in router.nat.forwards]
    forwarded = {port for forward in forwards for port in (forward.port, forward.to_port)}
    return (port for n in itertools.count() if (port := EPHEMERAL[n * _STEP % len(EPHEMERAL)]) not in forwarded)


async def _bind_to_own(end: trio.socket.SocketType, address: str, ports: Iterator[int]) -> None:
    while True:
        try:
            await end.bind((address, next(ports)))
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE:  # a program of that host has it
                raise


async def receive(end: trio.socket.SocketType) -> tuple[bytes, int, tuple[str, int]]:
    """Payload, arrival (ns of CLOCK_REALTIME, the kernel's) and source of the next packet."""
    source: Any
    data, control, _flags, source = await end.recvmsg(65535, stamps.SPACE)
    return data, stamps.stamp_of(control) or time.time_ns(), (source[0], source[1])
