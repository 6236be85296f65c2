"""An agent as a scenario sees it: a process in a host's namespace, reached over its pipe, and what it heard."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

import trio

from harness.agent.event_log import Said
from harness.agent.messages import CallHeld, CallResumed, ClockStep, Holdings, Mode, Options, PathChanged, PathSpec
from harness.agent.remote import UNDONE, AgentDied, AgentRefused, AskedRequest, EventMissed, RemoteAgent
from harness.errors import AgentError, SpecError
from harness.fabric.agent_view import environment, sockets
from harness.fabric.confinement import Confinement
from harness.fabric.keeper_client import Process
from harness.fabric.network import Network
from harness.lab.demands import Need, check
from harness.lab.live_wire import Seen
from harness.media.measures import Heard
from harness.media.source import PAYLOAD_BYTES
from harness.units import Duration, s
from harness.verdict import AGENT

if TYPE_CHECKING:
    from harness.lab.conversation import Call
    from harness.lab.lab import Lab

PORT = 4433
FLOWS = ("audio", "video", "screen")
"""What an agent can send."""


@dataclass(frozen=True, slots=True)
class Move:
    """A migration that was asked for: who, to which path, when (ns)."""

    peer: Peer
    path: str
    at: int
    call: Call
    answer: str = "yes"
    """Of a move that must not happen: what the stack said to it."""


class Crash(NamedTuple):
    """When an agent was killed, when its process had been seen to be gone, and when another was started in its place, if any (ns)."""

    killed: int
    gone: int
    again: int | None = None


class Life(NamedTuple):
    """What is left of a process of an agent that was killed and started again: its own folder, its log, what it said, its end."""

    folder: Path
    log: Path
    remote: RemoteAgent
    crash: Crash


@dataclass(eq=False)
class Peer:
    """One agent.  ``folder``: what it writes into.  ``calls``: those that a scenario opened with it, newest last."""

    name: str
    remote: RemoteAgent
    process: Process
    network: Network
    folder: Path
    log: Path
    calls: list[Call] = field(default_factory=list)
    crashed: Crash | None = None
    """Set when it was killed on purpose: from then on nothing is expected of it."""
    moves: list[Move] = field(default_factory=list)
    options: Options = field(default_factory=Options)
    listens: bool = True
    past: list[Life] = field(default_factory=list)
    """Its lives before this one, oldest first."""
    lab: Lab | None = None
    leaving: bool = False
    """Set when the run ends: from then on it may end, however it likes."""
    died: bool = False
    """Whether it ended although nobody had asked it to."""
    judged: trio.Event = field(default_factory=trio.Event)
    """Set when its process has ended and it is known whose doing that was."""

    def paths(self) -> list[PathSpec]:
        """The host's interfaces with their addresses, as the agent is told."""
        ports = self.network.topology.ports(self.name)
        return [PathSpec(name=p.name, v4=str(p.v4.ip) if p.v4 else None, v6=str(p.v6.ip) if p.v6 else None) for p in ports]

    @property
    def call(self) -> Call:
        """The one call that is meant when none is named: the only one that goes on, or the only one there was; else SpecError."""
        meant = [call for call in self.calls if call.closed is None] or self.calls
        if not meant:
            raise SpecError(f"agent {self.name}", "it has no call; open one with `async with lab.call(…)`")
        if len(meant) > 1:
            raise SpecError(f"agent {self.name}", f"it has {len(meant)} calls; say which is meant")
        return meant[0]

    def need(self, *capabilities: str) -> None:
        """CapabilityLacking unless the agent's hello names all of ``capabilities``."""
        check((Need(capabilities),), {self.name: self.offers})

    @property
    def offers(self) -> tuple[str, ...]:
        """The capabilities that its hello names."""
        hello = self.remote.hello_said
        return () if hello is None else hello.capabilities

    async def migrate(self, path: str, *, within: Duration = 5 * s) -> None:
        """Move the call to ``path``, make-before-break; returns when the host has sent by that path what moves the connection.

        A stack that refuses or does not do it ``within`` the time has failed, by name, and the scenario goes on to its verdicts.  What the
        stack says of it does not count: the receipt is the new 4-tuple in the callee's capture.
        """
        doing = f"{self.name} migrates to {path}"
        try:
            await self.start_migrating(path)
        except (AgentRefused, AgentDied) as error:
            self.call.miss(doing, error)
        else:
            await self.moved(path, since=self.moves[-1].at, within=within, doing=doing)

    async def moved(self, path: str, *, since: int, within: Duration = 5 * s, doing: str = "") -> None:
        """Wait until the host has sent by ``path``, since ``since``, what moves the connection (RFC 9000 §9.2); else a failed verdict."""
        interface = f"{self.name}/{path}"
        await self._sees(
            lambda seen: seen.udp.interface == interface and seen.moves, since, within, doing or f"{self.name} moves to {path}"
        )

    async def challenges(self, *, since: int, within: Duration = 5 * s) -> None:
        """Wait until the host has sent a PATH_CHALLENGE (RFC 9000 §8.2) since ``since`` (ns); else a failed verdict."""

        def challenged(seen: Seen) -> bool:
            return seen.peer == self.name and seen.packet is not None and bool(seen.packet.having("PATH_CHALLENGE"))

        await self._sees(challenged, since, within, f"{self.name} validates the path")

    async def _sees(self, what: Callable[[Seen], bool], since: int, within: Duration, doing: str) -> None:
        began = self.call.lab.now()
        seen = await self.call.lab.live.wait_for(what, since=since, within=within)
        if seen is None:
            text = f"agent {self.name}: {doing}: not seen at its host within {within}"
            self.call.miss(doing, EventMissed(text, began, self.call.lab.now()))

    async def path_event(self, kind: str, path: str | None = None, *, since: int = 0, within: Duration = 5 * s, doing: str = "") -> None:
        """Wait until the stack has told ``kind`` of a path (of ``path``, when named) since the mark ``since``; else a failed verdict."""
        try:
            await self.remote.wait_for(
                PathChanged,
                where=lambda event: event.call == self.call.id and event.kind == kind and path in (None, event.path),
                within=within,
                since=since,
                doing=f"{kind} {path or 'path'}",
            )
        except (EventMissed, AgentDied) as error:
            self.call.miss(doing or f"{kind} at {self.name}", error)

    async def start_migrating(self, path: str) -> None:
        """Ask the stack to move the call to ``path``, and go on without waiting."""
        self.need("migrate")
        move = Move(self, path, self.call.lab.now(), self.call)
        await self.remote.migrate(self.call.id, path)
        self.moves.append(move)
        self.call.lab.expect_move(move)

    async def expect_no_move(self, path: str) -> None:
        """Ask the stack to move the call to ``path``, which it must not do: it may refuse, or say yes and stay.

        At the run's end the verdict "<name> stays where it is" is given, from the callee's captures: no packet of the call comes from
        another address after the request; and the fault has its receipt: that the stack was asked.
        """
        self.need("migrate")
        asked = self.call.lab.now()
        try:
            await self.remote.migrate(self.call.id, path)
            answer = "yes"
        except AgentRefused as refused:
            answer = f"{refused.kind}: {refused.message}"
        self.call.lab.expect_stay(Move(self, path, asked, self.call, answer))

    async def speak(
        self,
        flow: str,
        *,
        call: Call | None = None,
        bitrate_kbps: int | None = None,
        payload_bytes: int | None = None,
        mode: Mode = "datagram",
    ) -> None:
        """Start a source of ``flow`` in ``call``.  AgentRefused when the agent or its stack does not want to; SpecError for no such source.

        ``payload_bytes``, for audio and instead of a bitrate: bytes of RTP payload a packet.
        """
        call = call or self.call
        _check_source(flow, bitrate_kbps, payload_bytes, mode)
        self.need(flow, mode)
        await self.remote.media_start(
            call.id,
            flow,  # type: ignore[arg-type]
            bitrate_kbps=bitrate_kbps,
            payload_bytes=payload_bytes,
            mode=mode,
        )
        call.flows_of(self).append(flow)

    async def mute(self, *flows: str, call: Call | None = None) -> None:
        """Stop the sources of ``flows`` (all that run when none is named): the call stays, and sends only what keeps it alive."""
        meant = call or self.call
        for flow in flows or tuple(meant.flows_of(self)):
            await self.remote.media_stop(meant.id, flow)  # type: ignore[arg-type]
            meant.flows_of(self).remove(flow)

    async def hold(self, call: Call | None = None, *, within: Duration = 5 * s) -> None:
        """Put ``call`` on hold; returns when both sides say that it is.  A side that does not say so ``within`` the time has failed."""
        self.need("hold")
        await self._switch(call or self.call, self.remote.hold, CallHeld, f"{self.name} holds", within)

    async def resume(self, call: Call | None = None, *, within: Duration = 5 * s) -> None:
        """Let go of the hold; returns when both sides say so."""
        self.need("hold")
        await self._switch(call or self.call, self.remote.resume, CallResumed, f"{self.name} resumes", within)

    async def _switch(
        self, call: Call, request: Callable[[str], Awaitable[None]], said: type[CallHeld | CallResumed], name: str, within: Duration
    ) -> None:
        marks = [(peer, peer.remote.mark()) for peer in (call.caller, call.callee)]
        try:
            await request(call.id)
            for peer, since in marks:
                doing = f"{name}, said by {peer.name}"
                await peer.remote.wait_for(said, where=lambda event: event.call == call.id, within=within, since=since, doing=doing)
        except UNDONE as error:
            call.miss(name, error)

    async def crash(self) -> None:
        """Kill the agent, in the middle of whatever it does; returns when it is seen to be gone.  That gives the fault its receipt."""
        killed = time.monotonic_ns()
        self.crashed = Crash(killed, killed)
        await self.network.kill(self.process)
        self.crashed = Crash(killed, time.monotonic_ns())

    async def restart(self) -> None:
        """Start the agent again on its host, after ``crash``: same command, options, paths and port, in a new process that knows nothing.

        It gives its fault a receipt: the old process gone, the new one there, the same addresses.  Records, keys, qlogs and logs of both
        lives are kept (``agents/<name>.2.log``, …); what is heard of a call is read from all of them.  Its calls of before are over.
        SpecError when it has not been killed.
        """
        assert self.lab is not None
        await self.lab.restart(self)

    def bury(self, at: int) -> None:
        """At ``at`` (ns) the agent that was killed is about to be started again: keep what is left of it."""
        assert self.crashed is not None
        self.past.append(Life(self.folder, self.log, self.remote, self.crashed._replace(again=at)))
        self.crashed, self.died, self.judged = None, False, trio.Event()

    @property
    def crashes(self) -> list[Crash]:
        """When it was killed on purpose, each time."""
        return [life.crash for life in self.past] + ([self.crashed] if self.crashed is not None else [])

    def _said(self) -> Iterator[Said]:
        """What it said in all of its lives."""
        return chain(*(life.remote.events for life in self.past), self.remote.events)

    def heard(self, flow: str = "audio", call: Call | None = None) -> Heard:
        """What this agent heard of ``flow`` in ``call``: every packet that the other side offered, and its fate."""
        return (call or self.call).heard_by(self, flow)

    @property
    def clock_stepped(self) -> bool:
        """Whether it told that the wall clock was set: delay figures are void then."""
        return any(isinstance(said.message, ClockStep) for said in self._said())

    @property
    def who(self) -> str:
        """Its name where processes are told apart: "agent alice"."""
        return f"{AGENT}{self.name}"

    @property
    def requests(self) -> list[AskedRequest]:
        """Those of media, holds, moves and ends that it did not refuse, in all of its lives."""
        return [one for remote in (*(life.remote for life in self.past), self.remote) for one in remote.requests]

    @property
    def cut_short(self) -> bool:
        """Whether it was killed on purpose or died: what it had not written by then is not there."""
        return self.crashed is not None or self.died or self.remote.dead

    async def inventory(self) -> Holdings:
        """What the agent holds: sockets, tasks, sources, calls, descriptors."""
        return await self.remote.inventory()

    async def end(self, within: Duration = 5 * s) -> None:
        """Shut the agent down and wait for its exit; AgentError when it does not end.  One that was killed has ended."""
        if self.crashed is not None:
            return
        if self.process.code is None and self.remote.alive:
            with contextlib.suppress(AgentDied):
                await self.remote.shutdown()
        with trio.move_on_after(within.s):
            await self.judged.wait()
        if self.process.code is None:
            self.leaving = True
            self.process.signal(signal.SIGKILL)
            raise AgentError(self.name, f"did not exit within {within} after shutdown; see {self.log.name}")


def _check_source(flow: str, kbps: int | None, payload_bytes: int | None, mode: str) -> None:
    """SpecError that names the field, its value and what is allowed."""
    least, most = PAYLOAD_BYTES
    for field_, value, allowed in (("flow", flow, FLOWS), ("mode", mode, get_args(Mode))):
        if value not in allowed:
            raise SpecError(f"speak, {field_}", f"{value!r} is not known; allowed are {', '.join(allowed)}")
    if payload_bytes is not None and flow != "audio":
        raise SpecError("speak, payload_bytes", f"{payload_bytes} for {flow}; allowed is it for audio alone, {flow} takes bitrate_kbps")
    if payload_bytes is not None and kbps is not None:
        raise SpecError("speak, payload_bytes", f"{payload_bytes} beside bitrate_kbps {kbps}; allowed is one of them")
    if payload_bytes is not None and not least <= payload_bytes <= most:
        raise SpecError("speak, payload_bytes", f"{payload_bytes} is out of range; allowed is {least} to {most}")
    if kbps is not None and kbps < 1:
        raise SpecError("speak, bitrate_kbps", f"{kbps} is out of range; allowed is 1 or more")


async def refusal(asked: Awaitable[object]) -> AgentRefused | None:
    """What an agent answered to a request that it must not carry out; None when it was done all the same."""
    try:
        await asked
    except AgentRefused as refused:
        return refused
    return None


async def spawn(
    network: Network, name: str, argv: list[str], folder: Path, *, confined: bool, life: int = 1
) -> tuple[Process, int, int, Path]:
    """Start ``argv`` as an agent in host ``name``; the process, the descriptors to write to it and read from it, and its log.

    It can write in ``own_folder(folder, name, life)`` alone and sees nothing else of this run, nor of others of this test, nor of its own
    lives before.
    """
    own, tls = own_folder(folder, name, life), folder / "tls" / name
    log = folder / "agents" / f"{own.name}.log"
    own.mkdir()
    tls.mkdir(exist_ok=life > 1)
    confine = Confinement(own, hidden=(folder.parent, *map(Path, sockets())), shown=(tls,)) if confined else None
    their_in, to_agent = os.pipe2(os.O_CLOEXEC)
    from_agent, their_out = os.pipe2(os.O_CLOEXEC)
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        env = environment(os.environ) if confined else None
        process = await network.spawn(name, argv, stdin=their_in, stdout=their_out, stderr=errors, env=env, confine=confine)
    except BaseException:
        os.close(to_agent)
        os.close(from_agent)
        raise
    finally:
        _close((their_in, their_out, errors))
    return process, to_agent, from_agent, log


def own_folder(folder: Path, name: str, life: int = 1) -> Path:
    """Where agent ``name`` of the run in ``folder`` writes; of one that was started again each ``life`` has its own."""
    return folder / "agents" / (name if life == 1 else f"{name}.{life}")


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
