"""The lab's handle on a run's network: asks the keeper, and turns its answers into receipts.

Everything here runs in the lab's own process, under trio, and enters no namespace.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import trio

from harness.errors import EnvironmentUnfit, HarnessError
from harness.fabric.attacker_handle import AttackerHandle
from harness.fabric.confinement import Confinement
from harness.fabric.keeper_client import Keeper, Process, start_keeper
from harness.fabric.link_handle import LinkHandle
from harness.fabric.nat_handle import NatHandle
from harness.fabric.plan import reach
from harness.fabric.receipts import Observation, Touches
from harness.spec.topology import Topology
from harness.units import Duration, s


class Network:
    """A built network.  ``observe`` is called with every Observation (a fault's raw receipt) as it is made."""

    def __init__(self, topology: Topology, keeper: Keeper, report: dict[str, Any], observe: Callable[[Observation], None]) -> None:
        self.topology = topology
        self.report = report
        self.probed: dict[str, Any] = {}
        self.settled: list[HarnessError] | None = None
        self.flushed = 0
        """Until when (ns) all that was captured is in the files."""
        self._keeper = keeper
        self.observe = observe

    @property
    def executor(self) -> str:
        """``netem``, ``relay``, ``netem and relay`` or, when no link can be impaired, ``plain wires``."""
        return str(self.report["executor"])

    def carrier(self, end: str) -> str:
        """``netem``, ``relay`` or ``wire``: what carries the link that has the interface ``node/interface``."""
        chosen = self.report["links"].get(self.topology.link(end).name)
        return "wire" if chosen is None else str(chosen["executor"])

    def link(self, end: str) -> LinkHandle:
        """The link that has the interface ``node/interface``."""
        self.topology.link(end)
        return LinkHandle(self, end)

    def nat(self, router: str) -> NatHandle:
        """The NAT of ``router``."""
        self.topology.node(router)
        return NatHandle(self, router)

    def reach(self, caller: str, callee: str, port: int, version: int = 4) -> tuple[str, int]:
        """The address and port at which ``caller`` reaches ``callee``'s UDP ``port``."""
        return reach(self.topology, caller, callee, port, version)

    async def route(self, host: str, interface: str) -> None:
        """Switch the way out of ``host`` (for sockets bound to no address) to ``interface``."""
        answer = await self.ask("route", node=host, interface=interface)
        line = {"kind": "route", "host": host, "interface": answer["after"]}
        taken = answer["after"] == interface
        touches = Touches(f"route {host}", (f"{host}/{interface}",))
        name = f"{host} routes by {interface}"
        self.observe(Observation(name, "route", answer["at"], answer, taken, "rtnetlink", line=line, touches=touches))

    @contextlib.asynccontextmanager
    async def port_taken(self, host: str, ip: str, port: int) -> AsyncIterator[None]:
        """For the length of the block another program of ``host`` has bound UDP ``port`` of its own address ``ip``."""
        answer = await self.ask("take_port", node=host, ip=ip, port=port)
        self.observe(Observation(f"{host} {ip} port {port} taken", "port", answer["at"], answer, True, "bind"))
        try:
            yield
        finally:
            await self.ask("leave_port", node=host, ip=ip, port=port)

    async def attacker(self, host: str, *, tap: str, callee: tuple[str, int], addresses: int = 1) -> AttackerHandle:
        """Put an attacker at ``host`` (its only interface), who hears what passes ``tap`` (``node/interface``) of calls to ``callee``.

        ``addresses``: how many of her network's addresses she sends from.
        """
        (port,) = self.topology.ports(host)
        await self.ask("attacker", interface=port.path, tap=tap, callee=list(callee), addresses=addresses)
        return AttackerHandle(self, port.path)

    async def probe(self) -> dict[str, Any]:
        """Measure the network against its spec; EnvironmentUnfit when it is not what was asked for."""
        self.probed = await self.ask("probe")
        if self.probed["differs"]:
            raise EnvironmentUnfit("the built network differs from its spec: " + "; ".join(self.probed["differs"]))
        return self.probed

    async def capture(self) -> list[str]:
        """Start the captures, and take those links down that start down."""
        return list((await self.ask("capture"))["files"])

    async def flush(self) -> dict[str, Any]:
        """Put everything captured so far into the files; what was captured, per interface."""
        began = time.monotonic_ns()
        captures = dict((await self.ask("flush"))["captures"])
        self.flushed = began
        return captures

    async def finish(self) -> dict[str, Any]:
        """Close the captures; the last counters of links and captures.  Nothing is wanted of the network after it."""
        last = await self.ask("finish")
        self.settled = self.troubles()
        self._keeper.retire()
        return last

    def troubles(self) -> list[HarnessError]:
        """What has befallen keeper, relay and captures, so that the run proves nothing; as it was at ``finish``."""
        return self._keeper.troubles() if self.settled is None else self.settled

    async def breaks(self) -> None:
        """Wait until a part of the network is gone, and raise what is."""
        await self._keeper.broke.wait()
        raise self._keeper.broken[0]

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """One request to the keeper."""
        answer, _fds = await self._keeper.ask(op, **fields)
        return answer

    async def kill(self, process: Process, within: Duration = 5 * s) -> None:
        """SIGKILL.  The observation is taken when the keeper, whose child it is, has seen it end of that signal ``within`` the time."""
        at = time.monotonic_ns()
        process.signal(signal.SIGKILL)
        with trio.move_on_after(within.s):
            await process.ended.wait()
        seen = {"exit code": process.code, "gone after": str(Duration(time.monotonic_ns() - at))}
        name, killed, touches = f"{process.name} is killed", process.code == -signal.SIGKILL, self.touches_host(process.name)
        self.observe(Observation(name, "process", at, seen, killed, "keeper", touches=touches))

    def touches_host(self, host: str) -> Touches:
        """Everything that passes the interfaces of ``host``, also before: for what happens to its agent."""
        return Touches(f"agent {host}", tuple(port.path for port in self.topology.ports(host)), before=True)

    async def spawn(
        self,
        node: str,
        argv: list[str],
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        confine: Confinement | None = None,
    ) -> Process:
        """Start ``argv`` in ``node``'s namespace; HarnessError unless it is seen, from outside, to be in that namespace.

        ``confine``: as an agent, which can touch nothing but its network and its folder, and HarnessError unless that is seen, too; None
        for what is the harness's own, which has every privilege that the network has.
        """
        self.topology.node(node)
        env = dict(os.environ if env is None else env)
        return await self._keeper.spawn(node, argv, [stdin, stdout, stderr], env, cwd or Path.cwd(), confine)


@contextlib.asynccontextmanager
async def open_network(
    topology: Topology,
    *,
    impair: str,
    seed: int,
    captures: Path | None,
    log: Path,
    observe: Callable[[Observation], None],
    translate: str = "auto",
) -> AsyncIterator[Network]:
    """Build ``topology``; on leaving the block all of it is gone, agents included.

    ``impair``, ``translate``: who impairs links and who translates at NATs (``base.IMPAIR_CHOICES``, ``base.TRANSLATE_CHOICES``).
    ``captures``: the folder for one pcapng per interface, or None for none.  ``log``: the file for the keeper's own stderr.
    """
    keeper = start_keeper(log)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(keeper.listen)
            try:
                await keeper.ready()
                report, _fds = await keeper.ask(
                    "build",
                    topology=topology.to_json(),
                    impair=impair,
                    seed=seed,
                    captures=str(captures) if captures else None,
                    translate=translate,
                )
                yield Network(topology, keeper, report, observe)
            finally:
                nursery.cancel_scope.cancel()
    finally:
        await keeper.end()
