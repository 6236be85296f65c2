"""Measures a built network against its spec before any call: who reaches whom, each link's delay, rate and MTU, what class each NAT is.

Every socket is opened by the keeper inside the node's namespace, so one process sees both ends of every packet; arrival times are the
kernel's (SO_TIMESTAMPNS).  What differs is named in ``differs``; the lab then refuses to go on.

Links are measured in ``link_probe``, the NATs are classified in ``natclass``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from harness.errors import SpecError
from harness.fabric.link_probe import probe_link
from harness.fabric.natclass import classify
from harness.fabric.plan import reach
from harness.fabric.vantage import receive, udp
from harness.spec.topology import Host

if TYPE_CHECKING:
    from harness.fabric.build import Build

_TIME_LIMIT_S = 10.0
_RETRY_S = 0.25
_UNFORWARDED_PORT = 7  # echo


def measure(build: Build) -> dict[str, Any]:
    """Everything, in parallel: ``links`` (asked, built and measured), ``reach`` (pairs), ``nats`` (class), ``differs`` (texts)."""
    return trio.run(_measure, build)


async def _measure(build: Build) -> dict[str, Any]:
    result: dict[str, Any] = {"links": {}, "reach": [], "nats": {}, "differs": []}
    async with trio.open_nursery() as nursery:
        for link in build.topology.links:
            nursery.start_soon(probe_link, build, link, result)
        for callee in build.topology.hosts:
            nursery.start_soon(_probe_reach, build, callee, result)
        for router in build.topology.routers:
            if router.nat is not None:
                nursery.start_soon(classify, build, router, router.nat, result)
    return result


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
