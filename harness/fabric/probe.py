"""Measures a built network against its spec before any call: who reaches whom, each link's delay and MTU, what class each NAT is.

Every socket is opened by the keeper inside the node's namespace, so one process sees both ends of every packet; arrival times are the
kernel's (SO_TIMESTAMPNS).  A stall of this machine only ever adds delay, so a link's figure is the least of several packets, and a figure
that is too large is measured on until it fits or the time is up.  What differs is named in ``differs``; the lab then refuses to go on.

The NATs are classified in ``natclass``.
"""

from __future__ import annotations

import errno
import math
import struct
import time
from typing import TYPE_CHECKING, Any

import trio

from harness.errors import SpecError
from harness.fabric.base import DIRECTIONS, Direction
from harness.fabric.link_ends import impairment_of
from harness.fabric.natclass import classify
from harness.fabric.plan import reach
from harness.fabric.vantage import receive, udp
from harness.spec.link import Impairment
from harness.spec.topology import Host, Link, Router

if TYPE_CHECKING:
    from harness.fabric.build import Build

_SAMPLES = 5
_SLACK_NS = 2_000_000  # how much later than asked the fastest of the samples may be
_EARLY_NS = 200_000  # how much earlier: clocks of sender and kernel stamp are read apart
_TIME_LIMIT_S = 10.0
_PERIOD_S = 0.002
_HEADERS = {4: 28, 6: 48}  # IP and UDP
_RETRY_S = 0.25
_UNFORWARDED_PORT = 7  # echo


def measure(build: Build) -> dict[str, Any]:
    """Everything, in parallel: ``links`` (asked and measured, ns), ``reach`` (pairs), ``nats`` (class), ``differs`` (texts)."""
    return trio.run(_measure, build)


async def _measure(build: Build) -> dict[str, Any]:
    result: dict[str, Any] = {"links": {}, "reach": [], "nats": {}, "differs": []}
    async with trio.open_nursery() as nursery:
        for link in build.topology.links:
            nursery.start_soon(_probe_link, build, link, result)
        for callee in build.topology.hosts:
            nursery.start_soon(_probe_reach, build, callee, result)
        for router in build.topology.routers:
            if router.nat is not None:
                nursery.start_soon(classify, build, router, router.nat, result)
    return result


# -- links -----------------------------------------------------------------------------------------------------------------------------


async def _probe_link(build: Build, link: Link, result: dict[str, Any]) -> None:
    """Least one-way delay of each direction, then one packet of the full MTU each way.

    A NAT's outside end speaks first, since it takes nothing unasked; the other end answers to where the packet came from.
    """
    first, second = build.topology.port(link.a), build.topology.port(link.b)
    directions: tuple[Direction, Direction] = DIRECTIONS
    node = build.topology.node(second.node)
    if isinstance(node, Router) and node.nat is not None and node.nat.outside == second.name:
        first, second, directions = second, first, ("b_to_a", "a_to_b")
    version = 4 if first.v4 is not None else 6
    addresses = [str((port.v4 if version == 4 else port.v6).ip) for port in (first, second)]  # type: ignore[union-attr]
    asked = {direction: impairment_of(link, direction) for direction in directions}
    least: dict[Direction, float] = dict.fromkeys(directions, math.inf)
    count: dict[Direction, int] = dict.fromkeys(directions, 0)
    if any(impairment.loss is not None and impairment.loss.fraction > 0.9 for impairment in asked.values()):
        result["links"][link.name] = {"asked": {d: _asked_ns(asked[d], version, 16) for d in directions}, "measured": None}
        return
    async with udp(build, first.node, addresses[0]) as here, udp(build, second.node, addresses[1]) as there:
        target = there.getsockname()[:2]
        large = link.mtu - _HEADERS[version]
        mtu_seen = trio.Event()

        async def answer() -> None:
            while True:
                data, arrived, source = await receive(there)
                _note(least, count, directions[0], data, arrived)
                await _sent(there, len(data), source)

        async def hear() -> None:
            while True:
                data, arrived, _source = await receive(here)
                _note(least, count, directions[1], data, arrived)
                if len(data) == large:
                    mtu_seen.set()

        def fits() -> bool:
            return all(count[d] >= _SAMPLES and least[d] <= _asked_ns(asked[d], version, 16) + _SLACK_NS for d in directions)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            nursery.start_soon(hear)
            with trio.move_on_after(_TIME_LIMIT_S):
                while not fits():
                    await here.sendto(_stamped(16), target)
                    await trio.sleep(_PERIOD_S)
            measured = {d: None if math.isinf(least[d]) else int(least[d]) for d in directions}
            with trio.move_on_after(_TIME_LIMIT_S):
                while not mtu_seen.is_set() and await _sent(here, large, target):
                    with trio.move_on_after(0.25):
                        await mtu_seen.wait()
            nursery.cancel_scope.cancel()
    result["links"][link.name] = {
        "asked": {d: _asked_ns(asked[d], version, 16) for d in directions},
        "measured": measured,
        "mtu": link.mtu if mtu_seen.is_set() else None,
    }
    for d in directions:
        least_asked = _asked_ns(asked[d], version, 16)
        got = measured[d]
        if got is None:
            result["differs"].append(f"link {link.name}, {d}: nothing arrives")
        elif not least_asked - _EARLY_NS <= got <= least_asked + _SLACK_NS:
            result["differs"].append(f"link {link.name}, {d}: asked {least_asked / 1e6:.3f} ms of least delay, measured {got / 1e6:.3f} ms")
    if not mtu_seen.is_set():
        result["differs"].append(f"link {link.name}: no packet of its MTU, {link.mtu} bytes, passes")


def _stamped(size: int) -> bytes:
    return struct.pack("=q", time.time_ns()).ljust(size, b"\0")


async def _sent(end: trio.socket.SocketType, size: int, target: Any) -> bool:
    """Whether a packet of ``size`` bytes could be sent at all; False when the interface's own MTU is too small for it."""
    try:
        await end.sendto(_stamped(size), target)
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        return False
    return True


def _note(least: dict[Direction, float], count: dict[Direction, int], direction: Direction, data: bytes, arrived: int) -> None:
    if len(data) == 16:
        count[direction] += 1
        least[direction] = min(least[direction], arrived - struct.unpack_from("=q", data)[0])


def _asked_ns(impairment: Impairment, version: int, payload: int) -> int:
    """The least delay that the spec allows a packet of ``payload`` bytes."""
    delay = impairment.delay.ns if impairment.delay is not None else 0
    jitter = impairment.jitter.ns if impairment.jitter is not None else 0
    bits = 8 * (payload + _HEADERS[version])
    serialised = bits * 1_000_000_000 // impairment.rate.bits_per_second if impairment.rate is not None else 0
    return delay - jitter + serialised


# -- reach -----------------------------------------------------------------------------------------------------------------------------


async def _probe_reach(build: Build, callee: Host, result: dict[str, Any]) -> None:
    """One exchange from every other host, in each family in which the topology gives a way in."""
    topology = build.topology
    forwards = [f.to_port for router in topology.routers if router.nat for f in router.nat.forwards if f.host == callee.name]
    port = forwards[0] if forwards else _UNFORWARDED_PORT
    for version in (4, 6):
        bound = _source(build, callee, version)
        if bound is None:
            continue
        async with udp(build, callee.name, bound, port) as there, trio.open_nursery() as nursery:
            nursery.start_soon(_echo, there)
            async with trio.open_nursery() as callers:
                for caller in topology.hosts:
                    source = _source(build, caller, version)
                    if caller is callee or source is None:
                        continue
                    try:
                        target = reach(topology, caller.name, callee.name, port, version)
                    except SpecError:
                        continue  # the topology gives no way in, so none is promised
                    callers.start_soon(_exchange, build, caller, source, callee, target, result)
            nursery.cancel_scope.cancel()


def _source(build: Build, host: Host, version: int) -> str | None:
    """The address of the host's first interface that is up and has one."""
    for port in build.topology.ports(host.name):
        address = port.v4 if version == 4 else port.v6
        if address is not None:
            return str(address.ip)
    return None


async def _echo(end: trio.socket.SocketType) -> None:
    while True:
        data, _arrived, source = await receive(end)
        await end.sendto(data, source)


async def _exchange(build: Build, caller: Host, source: str, callee: Host, target: tuple[str, int], result: dict[str, Any]) -> None:
    heard = False
    async with udp(build, caller.name, source) as here:
        with trio.move_on_after(_TIME_LIMIT_S):
            while not heard:
                await here.sendto(b"reach", target)
                with trio.move_on_after(_RETRY_S):
                    data, _arrived, _from = await receive(here)
                    heard = data == b"reach"
    result["reach"].append({"from": caller.name, "to": callee.name, "ip": target[0], "port": target[1], "reached": heard})
    if not heard:
        result["differs"].append(f"{caller.name} does not reach {callee.name} at {target[0]} port {target[1]}")
