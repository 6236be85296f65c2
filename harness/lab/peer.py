"""An agent as a scenario sees it: a process in a host's namespace, reached over its pipe, and what it heard."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from harness.agent.messages import Holdings, Lag, Mode, PathChanged, PathSpec
from harness.agent.remote import AgentRefused, EventMissed, RemoteAgent
from harness.errors import AgentError, CapabilityLacking, SpecError
from harness.fabric.network import Network, Process
from harness.media.measures import Heard
from harness.units import Duration, s
from harness.verdict import Stall

if TYPE_CHECKING:
    from harness.lab.conversation import Call

PORT = 4433


@dataclass(frozen=True, slots=True)
class Move:
    """A migration that was asked for: who, to which path, when (ns)."""

    peer: Peer
    path: str
    at: int
    call: Call


@dataclass(eq=False)
class Peer:
    """One agent.  ``calls``: those that a scenario opened with it, newest last."""

    name: str
    remote: RemoteAgent
    process: Process
    network: Network
    folder: Path
    log: Path
    calls: list[Call] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)

    def paths(self) -> list[PathSpec]:
        """The host's interfaces with their addresses, as the agent is told."""
        ports = self.network.topology.ports(self.name)
        return [PathSpec(name=p.name, v4=str(p.v4.ip) if p.v4 else None, v6=str(p.v6.ip) if p.v6 else None) for p in ports]

    @property
    def call(self) -> Call:
        """The newest call; SpecError when the scenario opened none."""
        if not self.calls:
            raise SpecError(f"agent {self.name}", "it has no call; open one with `async with lab.call(…)`")
        return self.calls[-1]

    def need(self, *capabilities: str) -> None:
        """CapabilityLacking unless the agent's hello names all of ``capabilities``."""
        hello = self.remote.hello_said
        lacking = [one for one in capabilities if hello is None or one not in hello.capabilities]
        if lacking:
            raise CapabilityLacking(self.name, f"it does not offer {', '.join(lacking)}, which this scenario needs")

    async def migrate(self, path: str, *, within: Duration = 5 * s) -> None:
        """Move the newest call to ``path``, make-before-break; returns when the stack says that it has switched.

        A stack that refuses or does not do it ``within`` the time has failed, by name, and the scenario goes on to its verdicts.

        What the stack says is no proof: the receipt is the new 4-tuple in the callee's capture.
        """
        since = self.remote.mark()
        try:
            await self.start_migrating(path)
            await self.remote.wait_for(
                PathChanged, where=lambda event: event.kind == "migrated", within=within, since=since, doing=f"migrated to {path}"
            )
        except (AgentRefused, EventMissed) as error:
            self.call.miss(f"{self.name} migrates to {path}", error)

    async def start_migrating(self, path: str) -> None:
        """Ask the stack to move the newest call to ``path``, and go on without waiting."""
        self.need("migrate")
        move = Move(self, path, self.call.lab.now(), self.call)
        await self.remote.migrate(self.call.id, path)
        self.moves.append(move)
        self.call.lab.expect_move(move)

    async def speak(
        self,
        flow: str,
        *,
        call: Call | None = None,
        bitrate_kbps: int | None = None,
        payload_bytes: int | None = None,
        mode: Mode = "datagram",
    ) -> None:
        """Start a source of ``flow`` in ``call`` (the newest).  AgentRefused when the agent or its stack does not want to."""
        call = call or self.call
        await self.remote.media_start(
            call.id,
            flow,  # type: ignore[arg-type]
            bitrate_kbps=bitrate_kbps,
            payload_bytes=payload_bytes,
            mode=mode,
        )
        call.flows_of(self).append(flow)

    async def mute(self, *flows: str) -> None:
        """Stop the sources of ``flows`` (all that run when none is named): the call stays, and sends only what keeps it alive."""
        for flow in flows or tuple(self.call.flows_of(self)):
            await self.remote.media_stop(self.call.id, flow)  # type: ignore[arg-type]
            self.call.flows_of(self).remove(flow)

    def heard(self, flow: str = "audio", call: Call | None = None) -> Heard:
        """What this agent heard of ``flow`` in ``call`` (the newest): every packet that the other side offered, and its fate."""
        return (call or self.call).heard_by(self, flow)

    def stalls(self) -> list[Stall]:
        """When the agent's own loop was late, as it told."""
        return [
            Stall(said.message.at - said.message.late_ns, said.message.at, f"agent {self.name}")
            for said in self.remote.events
            if isinstance(said.message, Lag)
        ]

    async def inventory(self) -> Holdings:
        """What the agent holds: sockets, tasks, sources, calls, descriptors."""
        return await self.remote.inventory()

    async def end(self, within: Duration = 5 * s) -> None:
        """Shut the agent down and wait for its exit; AgentError when it does not end cleanly."""
        if self.process.code is None and self.remote.alive:
            await self.remote.shutdown()
        with trio.move_on_after(within.s):
            await self.process.ended.wait()
        if self.process.code is None:
            self.process.signal(signal.SIGKILL)
            raise AgentError(self.name, f"did not exit within {within} after shutdown; see {self.log.name}")
        if self.process.code != 0:
            raise AgentError(self.name, f"exited with code {self.process.code}; {_last_line(self.log)}")


async def refusal(asked: Awaitable[object]) -> AgentRefused | None:
    """What an agent answered to a request that it must not carry out; None when it was done all the same."""
    try:
        await asked
    except AgentRefused as refused:
        return refused
    return None


async def spawn(network: Network, name: str, argv: list[str], folder: Path) -> tuple[Process, int, int, Path]:
    """Start ``argv`` in host ``name``; the process, the descriptors to write to it and read from it, and its log."""
    log = folder / "agents" / f"{name}.log"
    their_in, to_agent = os.pipe2(os.O_CLOEXEC)
    from_agent, their_out = os.pipe2(os.O_CLOEXEC)
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        process = await network.spawn(name, argv, stdin=their_in, stdout=their_out, stderr=errors)
    except BaseException:
        os.close(to_agent)
        os.close(from_agent)
        raise
    finally:
        _close((their_in, their_out, errors))
    return process, to_agent, from_agent, log


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return f"its log ends: {lines[-1][:300]!r}" if lines else "its log is empty"
