"""One run of one scenario: builds, starts, injects faults, collects, judges.  One nursery, one seed, one folder."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio
import trustme

from harness import verdict
from harness.agent.event_log import Said
from harness.agent.messages import CallEvent, ClockStep, Event, Holdings, Log, Media, MediaSet, Mode, Options, QualityChanged, SendError
from harness.agent.remote import AgentDied, AgentRefused, RemoteAgent
from harness.errors import AgentCrashed, AgentError, BlamedError, EnvironmentUnfit, HarnessError, SpecError
from harness.fabric.base import Dropped
from harness.fabric.keeper_client import Process, stat
from harness.fabric.network import Network, open_network
from harness.fabric.receipts import Observation
from harness.fabric.sampler import Sampler, start_sampler
from harness.fabric.samples import FILE, QueueSample, Samples
from harness.lab import deaths, demands, exchange, left, merged, network_lines, path_bounds, proofs, recordings, rulings, severed
from harness.lab import folder as folders
from harness.lab.attacker import Attacker
from harness.lab.bytecode import compile_ahead
from harness.lab.conversation import Call
from harness.lab.decrypted import Decrypted
from harness.lab.demands import Need
from harness.lab.endurance import Pace
from harness.lab.evidence import Evidence
from harness.lab.kept import Kept
from harness.lab.live_wire import LiveWire
from harness.lab.log_times import LogTimes
from harness.lab.met import Change, settle, traffic
from harness.lab.path_bounds import Path as CallPath
from harness.lab.path_bounds import Way
from harness.lab.path_delay import PathDelays
from harness.lab.paths import dialled_by
from harness.lab.peer import PORT, Move, Peer, own_folder, spawn
from harness.lab.proofs import Proof
from harness.lab.stalls import life_of, stalls_of, told
from harness.lab.timeline import Timeline, View
from harness.media import kinds
from harness.media.figure import Figure, Moment, counted
from harness.media.kinds import MediaKind
from harness.media.measures import Heard
from harness.report import hostile
from harness.spec.topology import Topology
from harness.units import Count, Duration, Quantity, s
from harness.verdict import RELAY, RUNNER, Fault, Life, Measured, Receipt, Relation, Stack, Stall, Verdict

NO_MEDIA = MediaSet()
_SALVAGE_WITHIN = 3 * s
_LAST_WORDS = 1 * s
"""How long what an agent said before its end is waited for."""
_HELLO_WITHIN = 30 * s  # an interpreter under software emulation takes half of that to import its stack


@dataclass(frozen=True)
class Orders:
    """What a run was told from outside: declared once, in the plugin's options."""

    artifacts: Path
    seed: int = 1
    impair: str = "auto"
    translate: str = "auto"
    patience: Duration = 5 * s
    """How long a scenario waits for media beyond the time that it wants to hear it."""
    media: MediaKind = "synthetic"
    endurance: Pace | None = None
    """Of the scenario of that name; None: its short form."""
    agents: dict[str, str] = field(default_factory=dict)
    sealed: bool = False
    """Whether agents may leave no keys: what is sealed is then judged by the sizes and times of datagrams alone."""
    confine: bool = True
    """Whether agents are kept from this machine; else they have every privilege that the network has."""


@dataclass(slots=True)
class FaultMark:
    """A fault in a scenario: ``began`` and ``ended`` (ns) are what figures are asked ``since``; ``until`` is when the next one began.

    ``number``: from 0 on, in the order of their beginning.  ``beside_the_call``: whether it is to meet none of the call's packets.
    """

    name: str
    began: int
    ended: int | None = None
    until: int | None = None
    number: int = 0
    beside_the_call: bool = False


@dataclass(frozen=True)
class _Expected:
    """A receipt that the captures will give once they are closed."""

    fault: str
    kind: str
    at: int
    peer: Peer
    prove: Callable[[Decrypted], Proof]


class Lab:
    """A scenario's only argument."""

    port = PORT

    def __init__(self, scenario: str, test: str, orders: Orders, view: View, command: str) -> None:
        self.scenario = scenario
        self.test = test
        self.orders = orders
        self.command = command
        self.folder = folders.new_folder(orders.artifacts, scenario, test, orders.seed)
        folders.point_latest(orders.artifacts, scenario, self.folder)
        self.timeline = Timeline(self.folder / "timeline.jsonl", view)
        self.evidence = Evidence(self)
        self.live = LiveWire(self)
        self.verdicts: list[Verdict] = []
        self.faults: list[FaultMark] = []
        self.receipts = Kept[Receipt]()
        self.stalls: list[Stall] = []
        self.frozen: list[Stall] = []
        """When the scenario itself stopped agents: that is no doing of the machine's."""
        self.life: Life | None = None
        """Of the agents, once it is over."""
        self.unfit: list[str] = []
        self.moves: list[Move] = []
        self.stays: list[Move] = []
        """Migrations that were asked for and must not happen."""
        self.switching: list[Observation] = []
        """Links that went up or down, with the time that it took."""
        self.peers: dict[str, Peer] = {}
        self.attackers: list[Attacker] = []
        self.network: Network | None = None
        self.final: dict[str, Any] = {}
        self._history: dict[str, Any] = {}
        self.needs: tuple[Need, ...] = ()
        """What the scenario says that it needs of its agents."""
        self.lacking: frozenset[str] = frozenset()
        """The capabilities that agents lack for this scenario, if it was given up for that."""
        self.durations: dict[str, Duration] = {}
        self.crashes: list[AgentCrashed] = []
        """Of agents that ended although nobody had asked them to."""
        self._memory = deaths.Memory()
        self._expected: list[_Expected] = []
        self._changes: list[tuple[Change, int]] = []
        """What was changed in the network, and which of the receipts says so."""
        self._live = self.now()
        self.samples = Samples()
        """Of the agents, from outside; whole once they have ended."""
        self._sampler: Sampler | None = None
        self._live_now = False
        """Whether the network has been probed and is captured."""
        self._authority: trustme.CA | None = None
        self._stack = AsyncExitStack()
        self._nursery: trio.Nursery
        self._fault: FaultMark | None = None
        self._befallen: list[BlamedError] = []

    @staticmethod
    def now() -> int:
        """Nanoseconds of CLOCK_MONOTONIC, the clock of every record."""
        return time.monotonic_ns()

    # -- life of a run -----------------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Lab]:
        """The run itself; leaving it closes captures, ends agents and network, and reads the evidence."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                log_times = LogTimes(self.folder / "agents")
                nursery.start_soon(log_times.follow)
                nursery.start_soon(self._memory.watch, lambda: [peer.process for peer in self.peers.values() if peer.process.code is None])
                try:
                    async with self._stack:
                        try:
                            yield self
                        except BaseException:
                            await self._know_the_dead()
                            await self._salvage()
                            raise
                        await self._finish()
                finally:
                    nursery.cancel_scope.cancel()
                    with contextlib.ExitStack() as last:  # each of them, even when another fails
                        for step in (
                            self._merge_captures,
                            self._write_signals,
                            self._write_calls,
                            self._take_over,
                            self.evidence.close,
                            log_times.close,
                        ):
                            last.callback(step)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of what a run holds from the moment that it is made; safe to call twice."""
        self.timeline.close()

    def _look_at_agents(self) -> None:
        """Note those that somebody has stopped, before they are ended."""
        for peer in self.peers.values():
            if peer.process.stopped:
                self._befallen.append(AgentError(peer.name, "its process was stopped (SIGSTOP) and has not gone on"))

    async def _mourn(self, peer: Peer) -> None:
        """Wait for the end of a peer's process; when nobody had asked for it, say how it was and let everybody who waits know."""
        process, remote, judged = peer.process, peer.remote, peer.judged
        await process.ended.wait()
        with trio.move_on_after(_LAST_WORDS.s):  # a child may hold its pipe open for ever
            await remote.closed.wait()
        unasked = remote.hello_said is not None and peer.crashed is None and not peer.leaving and peer.process is process
        if unasked and not (remote.shut_down and process.code == 0):
            peer.died = True
            error = deaths.judge(peer.name, process.code or 0, peer.log, self.timeline.started, self._memory.ran_out(process))
            if isinstance(error, AgentCrashed):
                self.crashes.append(error)
            else:
                self._befallen.append(error)
            self.timeline.note(peer.name, "died", f"{peer.name} {deaths.how(process.code or 0)}, unasked", aloud=True)
            remote.died(deaths.how(process.code or 0))
        judged.set()

    async def _know_the_dead(self) -> None:
        """Wait until it is known how those agents ended that have closed their pipes; one that goes on has broken its contract."""
        with trio.CancelScope(shield=True):
            for peer in self.peers.values():
                if peer.remote.dead and peer.crashed is None:
                    with trio.move_on_after(2 * _LAST_WORDS.s):
                        await peer.judged.wait()
                    if not peer.died:
                        self.evidence.errors.append(AgentError(peer.name, "closed its pipe, unasked, and its process goes on"))
                        peer.leaving = True

    def followed(self, error: BaseException) -> bool:
        """Whether an error that ended the scenario only followed from the end of an agent, which is told for itself."""
        dead = any(peer.remote.dead for peer in self.peers.values())
        return isinstance(error, AgentDied) or (dead and not isinstance(error, BlamedError))

    def voids(self) -> list[BlamedError]:
        """What befell the run itself, so that it proves nothing, whatever its verdicts say: killed, stopped, or out of room."""
        found = [*(self.network.troubles() if self.network is not None else []), *self._befallen]
        if self.timeline.failure is not None:
            found = [EnvironmentUnfit(f"the run's files in {self.folder} are not whole: {self.timeline.failure}"), *found]
        elif not folders.has_room(self.folder):
            found = [EnvironmentUnfit(f"the run's files in {self.folder} may not be whole: no room is left on that disk"), *found]
        return found

    def gather_keys(self) -> Path:
        """The run's key log, from those of the agents as they are now; it is not there when none has written one."""
        owners = {peer.name: peer.folder for peer in self.peers.values() if peer.folder != self.folder}
        owners |= {f"{peer.name}, life {n}": life.folder for peer in self.peers.values() for n, life in enumerate(peer.past, 1)}
        return left.gather_keys(self.folder, owners)

    def history(self) -> dict[str, Any]:
        """What each direction of each link was impaired by, from when (``Network.finish``); as it is known now."""
        return dict(self.final.get("rulings") or self._history)

    def queue_samples(self) -> dict[str, list[QueueSample]]:
        """The receive queues of each agent's sockets so far, sampled from outside, by its name."""
        return self._sampler.read().queues if self._sampler is not None else {}

    def _take_over(self) -> None:
        """Bring what the agents left together, now that they have ended; that it cannot be done changes no verdict."""
        try:
            self.gather_keys()
            for name, peer in self.peers.items():
                left.take_over(self.folder, name, peer.folder)
                peer.folder = self.folder
                for life in peer.past:  # of its records the newest life's are there by now: those before stay where they are
                    left.take_over(self.folder, name, life.folder)
        except (BlamedError, OSError) as error:
            self.timeline.note("lab", "left", f"not all that the agents left could be taken over: {error}", aloud=True)

    @property
    def measured(self) -> tuple[dict[str, Any], ...]:
        """What was measured of the network, and seen of how each agent is confined, before the run went on."""
        probed = self.network.probed if self.network is not None else {}
        agents = {name: {"confined": self.orders.confine, **peer.process.confined} for name, peer in self.peers.items()}
        return tuple(told for told in (probed, {"agents": agents} if agents else {}) if told)

    def _write_calls(self) -> None:
        """Leave ``calls.jsonl``, however the run ended: who called whom, and the time in which it was judged."""
        calls = dict.fromkeys(call for peer in self.peers.values() for call in peer.calls)
        lines = msgspec.json.Encoder().encode_lines([call.told() for call in calls])
        (self.folder / "calls.jsonl").write_bytes(lines)

    def _write_signals(self) -> None:
        """Leave ``signals.jsonl``, however the run ended; that it cannot be told changes no verdict."""
        if self.network is None:
            return
        began = self.now()
        try:
            captured = {name: self.evidence.captured(peer, whole=False) for name, peer in self.peers.items()}
            gone = [missing for peer in self.peers.values() for missing in self.evidence.gone(peer)]
            told = exchange.write(self.folder, captured, exchange.resolver(self.network.topology, self.port), gone, self.evidence.opened)
        except FileNotFoundError:
            told = f"no {exchange.FILE}: nothing was captured"
        except Exception as error:  # whatever a capture or an agent's key log holds: this is there to be looked at, and judges nothing
            told = f"no {exchange.FILE}: {type(error).__name__}: {error}"
        self.timeline.note("lab", "signals", told, took_ns=self.now() - began)

    def _merge_captures(self) -> None:
        """Leave ``capture.pcapng``, however the run ended; that there is none changes no verdict."""
        began = self.now()
        try:
            about = f"{self.test}: {self.command}"
            told = merged.merge_captures(self.folder, self.fault_records(), tuple(self.receipts), about, merged.LIMIT)
        except (BlamedError, OSError) as error:
            told = f"no {merged.NAME}: {error}"
        self.timeline.note("lab", "capture", told, took_ns=self.now() - began)

    async def _finish(self) -> None:
        """End the agents, close the captures, and add what they prove."""
        self._look_at_agents()
        await self._know_the_dead()
        for peer in self.peers.values():
            await peer.end()
        await self._close_captures()
        self.receipts.extend(self.evidence.receipt(move, self.fault_at(move.at, f"{move.peer.name} moves")) for move in self.moves)
        for move in self.stays:
            self.equal(f"{move.peer.name} stays where it is: packets from elsewhere", self.evidence.strayed(move), 0)
        self.receipts.extend(self._proven(expected) for expected in self._expected)
        self.receipts.extend(
            self.evidence.last_words(peer, crash, self.fault_at(crash.killed, f"{peer.name} is killed"))
            for peer in self.peers.values()
            for crash in peer.crashes
        )
        if not self.evidence.in_legs:
            calls = dict.fromkeys(call for peer in self.peers.values() for call in peer.calls)
            self.receipts.extend(receipt for call in calls for receipt in dialled_by(self, call))
        self._look_what_faults_met()
        self.evidence.audit()
        if self.attackers:
            self.evidence.quality[hostile.KEY] = msgspec.to_builtins([attacker.told() for attacker in self.attackers])
        if self.orders.media != "synthetic":
            began = self.now()
            recordings.make(self)
            self.durations["listen"] = Duration(self.now() - began)

    async def _close_captures(self) -> None:
        if self._sampler is not None:
            self.samples = await self._sampler.end()
            self.stalls = self.outside_stalls()
            self.life = self.life_so_far()
            self.timeline.note("lab", "machine", told(self.samples, self.stalls), aloud=bool(self.samples.lost))
            if self.samples.lost:
                self.unfit.append(f"who took what, and what the machine kept from whom, is not known to the end: {self.samples.lost}")
        if self.network is not None:
            until = self.now()
            self.final = await self.network.finish()
            executors = {name: choice["executor"] for name, choice in self.network.report["links"].items()}
            self.timeline.lines(network_lines.rulings(self.final["rulings"], self.network.topology, executors, self._live))
            self.timeline.lines(network_lines.mappings(self.final["mappings"]))
            self.timeline.lines(network_lines.dropped(self.final, self.network.topology, until))
            self.receipts.extend(rulings.receipts(self.final["rulings"], executors, until))
            self.stalls += [Stall(start, end, RELAY) for start, end in self.final["stalls"]]
            self.unfit += self.final["shortfalls"]

    def forget_queue_samples(self, before: int) -> None:
        """Let go of what ``queue_samples`` tells of the time ``before`` (ns)."""
        if self._sampler is not None:
            self._sampler.read().forget_queues(before)

    def outside_stalls(self) -> list[Stall]:
        """What was seen until now, from outside, of agents and machine that did not run, and of requests that were slow to be written."""
        if self._sampler is None:
            return []
        confined = [name for name, peer in self.peers.items() if peer.process.how is not None]
        slow = [Stall(start, end, RUNNER) for peer in self.peers.values() for start, end in peer.remote.slow]
        return [*stalls_of(self._sampler.read(), confined, self.frozen), *slow]

    def life_so_far(self) -> Life | None:
        """When agents were sampled until now, and what of the cores they used; None when they never were."""
        return None if self._sampler is None else life_of(self._sampler.read())

    async def settle(self) -> None:
        """Put what was captured into its files and learn what the links did so far: figures of a call that is over rest on both."""
        if self.network is not None:
            await self.network.flush()
            self._history = dict(await self.network.ask("rulings"))

    async def _salvage(self) -> None:
        """After an error: whole captures, and the stalls that may explain it.  What ended the run is worth more than what fails here."""
        self._look_at_agents()
        for peer in self.peers.values():
            peer.leaving = True
        with trio.CancelScope(shield=True), trio.move_on_after(_SALVAGE_WITHIN.s), contextlib.suppress(BlamedError, OSError):
            await self._close_captures()

    def fault_at(self, at: int, otherwise: str) -> str:
        """The name of the fault that was going on at ``at`` (ns)."""
        during = [fault.name for fault in self.faults if fault.began <= at and (fault.ended is None or at <= fault.ended)]
        return during[-1] if during else otherwise

    def _look_what_faults_met(self) -> None:
        """Put into each change's receipt which of the calls' packets it met; one that met none did not take."""
        if not self._changes or self.network is None:
            return
        changes, receipts = [change for change, _ in self._changes], list(self.receipts)
        seen = traffic(self, self.network.topology)
        met = [seen.met(change, changes) for change in changes]
        beside = frozenset(mark.number for mark in self.faults if mark.beside_the_call)
        for (_, place), one, why in zip(self._changes, met, settle(changes, met, beside), strict=True):
            was = receipts[place]
            observed = {**was.observed, "met": str(one), **({"why not": why} if why else {})}
            self.receipts.replace(place, msgspec.structs.replace(was, observed=observed, taken=was.taken and not why))
            if why:
                self.timeline.note("fabric", "receipt", f"{was.fault}: NOT TAKEN: {why}", at=was.at, aloud=True)

    def _proven(self, expected: _Expected) -> Receipt:
        taken, observed = expected.prove(self.evidence.decrypted(expected.peer))
        source = f"capture {expected.peer.name}, decrypted"
        return Receipt(fault=expected.fault, kind=expected.kind, at=expected.at, observed=observed, taken=taken, source=source)

    # -- building ----------------------------------------------------------------------------------------------------------------------

    async def build(self, topology: Topology) -> Network:
        """Build ``topology``.  It is probed when the agents start, and before any call."""
        if self.network is not None:
            raise SpecError("lab.build", "a run has one network; it is built already")
        hosts = [host.name for host in topology.hosts]
        for name in self.orders.agents:
            if name not in hosts:
                raise SpecError(f"--agent {name}", f"{topology.name} has no host {name!r}; allowed are {', '.join(hosts)}")
        (self.folder / "topology.json").write_text(topology.to_json())
        began = self.now()
        self.network = await self._stack.enter_async_context(
            open_network(
                topology,
                impair=self.orders.impair,
                translate=self.orders.translate,
                seed=self.orders.seed,
                captures=self.folder / "capture",
                log=self.folder / "agents" / "keeper.log",
                observe=self.observe,
            )
        )
        self._nursery.start_soon(self.network.breaks)
        report = self.network.report
        self.durations["build"] = Duration(self.now() - began)
        nats = [f", NAT {name} in userspace ({nat['why']})" for name, nat in report["nats"].items() if nat["executor"] == "userspace"]
        text = f"{topology.name} on {report['executor']} ({report['why']}){''.join(nats)}, seed {self.orders.seed}"
        text += "".join(f", {name} runs {command}" for name, command in self.orders.agents.items())
        self.timeline.note("lab", "built", text, aloud=True, built_ns=report["built_ns"])
        return self.network

    async def agents(self, *names: str, options: Options | dict[str, Options] | None = None, listen: bool = True) -> list[Peer]:
        """Start an agent in each of the hosts ``names``, all of them listening (or not); before they may speak the network is probed.

        ``options``: of all of them, or by name; those not named get the usual ones, ``auto_answer``.
        """
        network = self._built("lab.agents")
        if self._sampler is None:
            self._sampler = start_sampler(self.folder / FILE, self.folder / "agents" / "keeper.log")
            self._stack.callback(self._sampler.kill)
        self._expect_new(names)
        wanted = {name: (options.get(name) if isinstance(options, dict) else options) or Options(auto_answer=True) for name in names}
        for name in names:
            await self._start(network, name, wanted[name], listen)
        self._certify(names)  # while the agents import what they need, as does the probe
        probed = await self._probe(network, names) if not self._live_now else None
        await self._greet(names)
        media = Need(kinds.CAPABILITIES[self.orders.media])
        answering = [Need(("auto_answer",), of=(name,)) for name in names if wanted[name].auto_answer]
        demands.check((media, *self.needs, *answering), {name: self.peers[name].offers for name in names})
        if probed is not None:
            await self._go_live(network, probed)
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(self._introduce, self.peers[name])
        return [self.peers[name] for name in names]

    def _expect_new(self, names: Sequence[str]) -> None:
        """SpecError unless each of ``names`` is a host of the network, and runs no agent yet."""
        hosts = [host.name for host in self._built("lab.agents").topology.hosts]
        for name, times in Counter(names).items():
            if name not in hosts:
                raise SpecError("lab.agents", f"the network has no host {name!r}; allowed are {', '.join(hosts)}")
            if times > 1 or name in self.peers:
                raise SpecError("lab.agents", f"{name!r} is started already; one that was killed starts again with `await peer.restart()`")

    async def _probe(self, network: Network, names: tuple[str, ...]) -> dict[str, Any]:
        """Measure the network, while agents start."""
        try:
            return await network.probe()
        except EnvironmentUnfit:  # agents that start can slow a packet, and never speed one: what still differs with them at rest, differs
            await self._greet(names)
            return await network.probe()

    async def _go_live(self, network: Network, probed: dict[str, Any]) -> None:
        """The network is what was asked for: begin to capture; from here on it is not probed any more."""
        self.timeline.note("lab", "probed", f"the network is what was asked for ({_summary(probed)})", aloud=True, **probed)
        self._live, self._live_now = self.now(), True
        await network.capture()
        self.timeline.lines(network_lines.links_at_start(network.topology, self._live))

    async def restart(self, peer: Peer) -> None:
        """Start the agent of ``peer``, which was killed, again on its host, as it was started first; see ``Peer.restart``."""
        network, old = self._built("peer.restart"), peer.process
        if peer.crashed is None:
            raise SpecError(f"agent {peer.name}, restart", "it has not been killed; `await peer.crash()` first")
        if old.code is None:
            raise HarnessError(f"agent {peer.name} was killed, and its process {old.pid} has not ended")
        at = self.now()
        peer.bury(at)
        await self._start(network, peer.name, peer.options, peer.listens, again=peer)
        await self._greet((peer.name,))
        await self._introduce(peer)
        addresses = {path.name: [one for one in (path.v4, path.v6) if one] for path in peer.paths()}
        new = peer.process
        seen = {
            "old pid": old.pid,
            "old exit code": old.code,
            "new pid": new.pid,
            "addresses": addresses,
        }
        taken = new.code is None and new.pid != old.pid  # that it is in its host's namespace was seen as it started
        self.observe(Observation(f"{peer.name} starts again", "process restarted", at, seen, taken, "keeper"))

    @property
    def stacks(self) -> tuple[Stack, ...]:
        """The stacks that said hello, by agent."""
        said = ((name, peer.remote.hello_said) for name, peer in self.peers.items())
        sealed = self.evidence.sealed
        return tuple(Stack(agent=n, name=hello.agent, version=hello.version, sealed=n in sealed) for n, hello in said if hello is not None)

    async def _greet(self, names: tuple[str, ...]) -> None:
        for name in names:
            hello = await self.peers[name].remote.hello(within=_HELLO_WITHIN)
            self.timeline.note(name, "agent", f"{hello.agent} {hello.version}", capabilities=hello.capabilities)

    def _certify(self, names: tuple[str, ...]) -> None:
        """The certificate authority of this run, and from it a certificate for each name."""
        authority = self._authority = self._authority or trustme.CA()
        for name in names:
            leaf, folder = authority.issue_cert(name), self.folder / "tls" / name
            authority.cert_pem.write_to_path(folder / "ca.pem")
            leaf.private_key_pem.write_to_path(folder / "key.pem")
            leaf.cert_chain_pems[0].write_to_path(folder / "certificate.pem")

    async def _start(self, network: Network, name: str, options: Options, listens: bool, again: Peer | None = None) -> None:
        command = self.orders.agents.get(name)
        argv = shlex.split(command) if command else [sys.executable, "-m", "harness.agent"]
        compile_ahead()
        life = 1 if again is None else len(again.past) + 1
        process, to_agent, from_agent, log = await spawn(network, name, argv, self.folder, confined=self.orders.confine, life=life)
        self._sample(name, process)
        self._tell_confinement(name, process)
        remote = RemoteAgent.from_fds(name, to_agent, from_agent, tee=self._heard_of)
        self._nursery.start_soon(remote.run)
        self._stack.push_async_callback(remote.aclose)
        own = own_folder(self.folder, name, life)
        if again is None:
            self.peers[name] = Peer(name, remote, process, network, own, log, options=options, listens=listens, lab=self)
        else:
            again.remote, again.process, again.folder, again.log = remote, process, own, log
        self._nursery.start_soon(self._mourn, self.peers[name])

    def _sample(self, name: str, process: Process) -> None:
        """A confined agent's minder collects its orphans: all that the agent starts stems from there."""
        assert self._sampler is not None
        with contextlib.suppress(OSError):  # it has ended
            self._sampler.watch(name, process.pid, process.pid if process.how is None else int(stat(process.pid)[1]))

    def _tell_confinement(self, name: str, process: Process) -> None:
        """Aloud where it is less than it should be."""
        if process.how is None:
            text, lacking = "is not confined: it can do on this machine what the harness can", True
        else:
            lacking = bool(process.how.lacks)
            text = f"confined, but: {'; '.join(process.how.lacks)}" if lacking else "confined"
        self.timeline.note(name, "confined", f"{name} {text}" if lacking else text, aloud=lacking, seen=process.confined)

    async def _introduce(self, peer: Peer) -> None:
        tls = self.folder / "tls" / peer.name
        await peer.remote.configure(
            paths=peer.paths(),
            folder=str(peer.folder),
            seed=self.orders.seed,
            certificate=str(tls / "certificate.pem"),
            key=str(tls / "key.pem"),
            ca=str(tls / "ca.pem"),
            server_name=peer.name,
            options=msgspec.structs.replace(peer.options, media=self.orders.media),
        )
        if peer.listens:
            await peer.remote.listen(self.port)

    def _built(self, where: str) -> Network:
        if self.network is None:
            raise SpecError(where, "there is no network yet; `await lab.build(topology)` first")
        return self.network

    def _heard_of(self, said: Said) -> None:
        """Every message of every agent, into the timeline; what tells the story, aloud."""
        message = said.message
        if said.to_agent or not isinstance(message, Event):
            self.timeline.note(said.agent, "request" if said.to_agent else "answer", at=said.at, message=message)
            return
        aloud = isinstance(message, CallEvent | SendError | ClockStep | Log) and not isinstance(message, Media | QualityChanged)
        self.timeline.note(
            said.agent, "event", _told(message) if aloud else "", at=getattr(message, "at", said.at), aloud=aloud, message=message
        )

    async def attacker(self, host: str, *, tap: str, callee: Peer, addresses: int = 1) -> Attacker:
        """Put an attacker at ``host``, who hears what passes ``tap`` of calls to ``callee`` and sends from ``addresses`` of her own."""
        network = self._built("lab.attacker")
        ip, port = network.reach(host, callee.name, self.port)
        self.attackers.append(Attacker(self, host, await network.attacker(host, tap=tap, callee=(ip, port), addresses=addresses)))
        return self.attackers[-1]

    # -- calls and faults --------------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def call(
        self,
        caller: Peer,
        callee: Peer,
        *,
        video: bool = False,
        screen: bool = False,
        path: str | None = None,
        version: int = 4,
        mode: Mode = "datagram",
        within: Duration = 10 * s,
    ) -> AsyncIterator[Call]:
        """A call with audio (video, screen) both ways for the length of the block, hung up cleanly at its end if it still goes on."""
        call = await self.dial(caller, callee, video=video, screen=screen, path=path, version=version)
        await call.connected(within)
        await call.talk(mode)
        with _outliving():
            yield call
        if call.closed is None:
            await call.hang_up()
        await caller.network.flush()

    @contextlib.asynccontextmanager
    async def calls(self, caller: Peer, *callees: Peer, video: bool = False, screen: bool = False) -> AsyncIterator[list[Call]]:
        """A call with each of ``callees`` at once, all dialled before one is waited for; those that go on at the end are hung up there."""
        calls = [await self.dial(caller, callee, video=video, screen=screen) for callee in callees]
        for call in calls:
            await call.connected()
        for call in calls:
            await call.talk()
        with _outliving():
            yield calls
        for call in calls:
            if call.closed is None:
                await call.hang_up()
        await caller.network.flush()

    async def dial(
        self,
        caller: Peer,
        callee: Peer,
        *,
        audio: bool = True,
        video: bool = False,
        screen: bool = False,
        path: str | None = None,
        version: int = 4,
        optional: MediaSet = NO_MEDIA,
    ) -> Call:
        """A call that was asked for, and nothing more: what it needs besides (``rings``, ``answer``, ``connected``) the scenario does.

        ``optional`` is offered to the callee without being insisted on.
        """
        flows = tuple(flow for flow, wanted in (("audio", audio), ("video", video), ("screen", screen)) if wanted)
        for peer in (caller, callee):
            peer.need(*flows, f"ipv{version}")
        call = Call(self, caller, callee, flows, version, optional)
        await call.ask(path)
        return call

    @contextlib.asynccontextmanager
    async def fault(self, name: str, *, beside_the_call: bool = False) -> AsyncIterator[FaultMark]:
        """A named fault: whatever the block changes in the network gives its receipts; without one the run is INCONCLUSIVE.

        So it is when what was changed met none of the calls' packets; of a fault that is ``beside_the_call`` on purpose, when it met any.
        A second fault of the same name is called ``name (2)``: no fault is proven by another one's receipts.
        """
        alike = sum(mark.name == name or mark.name.startswith(f"{name} (") for mark in self.faults)
        name = f"{name} ({alike + 1})" if alike else name
        mark = FaultMark(name, self.now(), number=len(self.faults), beside_the_call=beside_the_call)
        if self.faults:
            self.faults[-1].until = mark.began
        self.faults.append(mark)
        self._fault = mark
        self.timeline.note("lab", "fault", name, aloud=True)
        try:
            yield mark
        finally:
            mark.ended = self.now()
            self._fault = None
            self.timeline.note("lab", "fault over", name)

    async def left_behind(self, peer: Peer, before: Holdings) -> Figure:
        """How many sockets, tasks, sources, calls, stack objects and descriptors ``peer`` holds beyond what it held ``before``.

        Asked until it is none or 3 s have passed: a closed connection drains for three times its PTO first (RFC 9000 §10.2).
        """
        try:
            excess = _excess(before, await peer.remote.settled(before, within=3 * s))
        except AgentDied as died:
            return Figure(None, note=f"not measured: {died}")
        if excess:
            self.timeline.note("lab", "left behind", f"{peer.name} still holds {'; '.join(excess)}", aloud=True)
        now = self.now()
        return counted((Moment(now, f"{peer.name} still holds {what}") for what in excess), "; ".join(excess))

    def expect_move(self, move: Move) -> None:
        """A migration was asked for: its receipt will be looked for in the captures."""
        self.moves.append(move)

    def expect_stay(self, move: Move) -> None:
        """A migration was asked for that must not happen: whether it did will be judged by the captures."""
        self.stays.append(move)
        seen = {"asked to move to": move.path, "answer": move.answer}
        self.observe(Observation(f"{move.peer.name} is asked to move", "request", move.at, seen, True, f"agent {move.peer.name}"))

    def expect_lost(self, dropped: Sequence[Dropped], sender: Peer, frame: str) -> None:
        """Packets that ``sender`` sent were ``dropped`` by a link: the receipt of each will be that it carried a ``frame``."""
        for one in dropped:
            self._expect(f"lost {frame}", one.at, sender, partial(proofs.carried, dropped=one, frame=frame))

    def expect_unanswered(self, prober: Peer, since: int, at: int) -> None:
        """The receipt will be that at ``at`` the first PATH_CHALLENGE that ``prober`` sent after ``since`` was out and not answered."""
        self._expect("path being validated", at, prober, partial(proofs.unanswered, since=since, at=at, held=self.evidence.held))

    def _expect(self, kind: str, at: int, peer: Peer, prove: Callable[[Decrypted], Proof]) -> None:
        if self._fault is None:
            raise SpecError("lab.expect", "this belongs in the block of the fault that it proves: `async with lab.fault(…)`")
        self._expected.append(_Expected(self._fault.name, kind, at, peer, prove))

    def observe(self, seen: Observation) -> None:
        """Take what was seen of a fault, from outside the agents, as a receipt of the run."""
        name = self._fault.name if self._fault is not None else seen.fault
        if seen.interfaces:
            self.switching.append(seen)
        receipt = Receipt(fault=name, kind=seen.kind, at=seen.at, observed=seen.seen, taken=seen.taken, source=seen.source)
        if seen.touches is not None and not self.evidence.in_legs:
            fault = (self._fault.number, self._fault.began) if self._fault is not None else (None, 0)
            self._changes.append((Change(seen.at, seen.touches, *fault), len(self.receipts)))
        self.receipts.append(receipt)
        if seen.unfit:
            self.unfit.append(seen.unfit)
        text = f"{seen.fault}: {'seen' if seen.taken else 'NOT SEEN'} by {seen.source}"
        self.timeline.note("fabric", "receipt", text, at=seen.at, aloud=True, receipt=msgspec.to_builtins(receipt))
        if seen.line:
            self.timeline.lines([{"at": seen.at, "source": "fabric", "text": text, **seen.line}])

    # -- bounds ------------------------------------------------------------------------------------------------------------------------

    def path(self, caller_by: str | None = None, callee_by: str | None = None, *, call: Call | None = None) -> CallPath:
        """A path of ``call`` (the only one, when none is named) as the topology has it, by the names of the interfaces at its two ends.

        Of each the first when it is not named.  SpecError when nothing leads from the one to the other.
        """
        topology = self._built("lab.path").topology
        meant = call or next(iter(self.peers.values())).call
        caller, callee = (
            next((port.path for port in topology.ports(peer.name) if name in (None, port.name)), f"{peer.name}/{name}")
            for peer, name in ((meant.caller, caller_by), (meant.callee, callee_by))
        )
        delays = PathDelays(topology)
        there, back = delays.links(caller, callee, 0), delays.links(callee, caller, 0)
        if not (there and back):
            raise SpecError("lab.path", f"no path leads from {caller} to {callee}")
        return CallPath(Way.of(there), Way.of(back))

    def bound(self, base: Duration, old: str, new: str, *, call: Call | None = None) -> Duration:
        """``base``, and the delay that the caller's path ``new`` has more than ``old``: that much of a move to a slower path is silence."""
        return path_bounds.moved(base, self.path(old, call=call), self.path(new, call=call))

    def picture_bound(self, base: Duration, seen: Heard) -> Duration:
        """``base``, and what the paths that carried the video ``seen`` take to send its largest frame, at their configured rates."""
        delays = PathDelays(self._built("lab.picture_bound").topology)
        ways = {(one.path, one.arrivals[0].path) for one in seen.packets if one.path is not None and one.arrivals}
        links = (delays.links(f"{seen.speaker}/{left}", f"{seen.listener}/{came}", 0) for left, came in ways)
        return max((path_bounds.picture(base, seen.largest_frame, Way.of(one)) for one in links), default=base)

    # -- verdicts ----------------------------------------------------------------------------------------------------------------------

    def at_most(self, name: str, value: Measured, bound: Quantity | int, *, beyond: str = "", **detail: Any) -> None:
        """Judge that a figure is not above its bound; ``beyond``: what that bound demands beyond RFC 9000, for the note."""
        if beyond and isinstance(value, Figure):
            value = path_bounds.beyond(value, beyond)
        self.add(verdict.judge(name, Relation.AT_MOST, value, bound, **detail))

    def at_least(self, name: str, value: Measured, bound: Quantity | int, **detail: Any) -> None:
        """Judge that a figure is not below its bound."""
        self.add(verdict.judge(name, Relation.AT_LEAST, value, bound, **detail))

    def never(self, name: str, moments: Iterable[Moment]) -> None:
        """Judge that something never happened that no delay can bring about: no stall of this machine excuses it."""
        self.at_most(name, counted(moments, timeless=True), 0)

    def refused(self, name: str, refusal: AgentRefused | None, kind: str, *mentions: str, at: int | None = None) -> None:
        """Judge that a request was refused with the error ``kind``, in words that hold all of ``mentions``; ``at``: when, in ns."""
        right = refusal is not None and refusal.kind == kind and all(word in refusal.message for word in mentions)
        told = "done" if refusal is None else f"{refusal.kind}: {refusal.message}"
        self._yes(name, right, told if right else f"{told}; wanted: {' '.join((kind, *mentions))}", at)

    def same(self, name: str, got: object, wanted: object, *, at: int | None = None) -> None:
        """Judge that something that is no quantity is what was ``wanted``; ``at``: when it was had, in ns."""
        told = _listed(got)
        self._yes(name, got == wanted, told if got == wanted else f"{told}; wanted: {_listed(wanted)}", at)

    def _yes(self, name: str, right: bool, note: str, at: int | None) -> None:
        moments = () if at is None else (Moment(at),)  # the note tells what it was
        self.equal(name, Figure(Count(int(right)), note=note, moments=moments), 1)

    def equal(self, name: str, value: Measured, bound: Quantity | int, **detail: Any) -> None:
        """Judge that a figure is exactly its bound."""
        self.add(verdict.judge(name, Relation.EQUAL, value, bound, **detail))

    def add(self, one: Verdict) -> None:
        """Take a verdict into the run's table; a PASS of what began after a call's wait was missed is taken as not measured."""
        calls = {call.id: call.broken_at for peer in self.peers.values() for call in peer.calls}
        one = severed.judged(one, {call: at for call, at in calls.items() if at is not None})
        self.verdicts.append(one)
        self.timeline.note("lab", "verdict", f"{one.name}: {one.value} ({one.result})", verdict=msgspec.to_builtins(one, enc_hook=str))

    def fault_records(self) -> list[Fault]:
        """The faults for the report."""
        return [Fault(name=mark.name, began=mark.began, ended=mark.ended) for mark in self.faults]


@contextlib.contextmanager
def _outliving() -> Iterator[None]:
    """The block ends when an agent is found dead in it, and what follows it goes on: verdicts of the run that can still be given are."""
    try:
        yield
    except AgentDied:
        return
    except BaseExceptionGroup as group:
        _, rest = group.split(AgentDied)
        if rest is not None:
            raise rest from None


def _listed(value: object) -> str:
    """A value in words: lists as what is in them."""
    return ", ".join(map(str, value)) or "none" if isinstance(value, list | tuple) else "nothing" if value is None else str(value)


def _excess(before: Holdings, after: Holdings) -> list[str]:
    """What ``after`` holds that ``before`` did not."""
    found = []
    for name in ("sockets", "tasks", "sources", "calls"):
        extra = Counter(map(str, getattr(after, name))) - Counter(map(str, getattr(before, name)))
        found += [f"{name[:-1]} {what}" for what in extra.elements()]
    found += [f"{count} {name}" for name, count in after.stack.items() if count > before.stack.get(name, 0)]
    opened = len(after.descriptors) - len(before.descriptors)
    targets = Counter(d.target.partition(":")[0] for d in after.descriptors) - Counter(
        d.target.partition(":")[0] for d in before.descriptors
    )
    return found + [f"{opened} more descriptors: {', '.join(targets.elements())}"] * (opened > 0)


def _told(message: Event) -> str:
    """An event of a call in a few words."""
    fields = msgspec.to_builtins(message)
    kind = fields.pop("event").replace("_", " ")
    rest = {k: v for k, v in fields.items() if k not in ("at", "call", "odcid", "agreed", "capabilities") and v not in (None, "")}
    if kind == "state changed":
        return f"{rest['old']} → {rest['new']}"
    if kind == "path":
        kind = f"path {rest.pop('kind')}"
    return " ".join([kind, *(f"{value}" for value in rest.values())])


def _summary(probed: dict[str, Any]) -> str:
    return f"{len(probed['links'])} links, {len(probed['reach'])} ways, {len(probed['nats'])} NAT classes measured"
