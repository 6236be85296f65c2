"""The lab's handle on a run's network: starts the keeper, asks it, and turns its answers into receipts.

Everything here runs in the lab's own process, under trio, and enters no namespace.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import trio

from harness.errors import EnvironmentUnfit, HarnessError, SpecError
from harness.fabric import wires
from harness.fabric.base import DIRECTIONS, Direction, Dropped, Mapping
from harness.fabric.plan import reach
from harness.fabric.receipts import Observation
from harness.spec.link import CLEAR, Impairment
from harness.spec.topology import Router, Topology, from_text, to_plain
from harness.units import Duration, percent, s

_ANSWER_WITHIN = 60 * s  # under software emulation an interpreter needs half of that to import the keeper
_END_WITHIN = 5 * s
_POLL_S = 0.01


@dataclass(slots=True)
class Process:
    """A command in a namespace.  ``pid`` is its number in this process's PID namespace, read from the pidfd."""

    name: str
    pid: int
    pidfd: int
    ended: trio.Event = field(default_factory=trio.Event)
    code: int | None = None

    def signal(self, number: int) -> None:
        """Send a signal by descriptor: never to another process that has since got the number."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)


class Network:
    """A built network.  ``observe`` is called with every Observation (a fault's raw receipt) as it is made."""

    def __init__(self, topology: Topology, keeper: Keeper, report: dict[str, Any], observe: Callable[[Observation], None]) -> None:
        self.topology = topology
        self.report = report
        self.probed: dict[str, Any] = {}
        self._keeper = keeper
        self._observe = observe

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
        self._observe(
            Observation(f"{host} routes by {interface}", "route", answer["at"], answer, answer["after"] == interface, "rtnetlink")
        )

    @contextlib.asynccontextmanager
    async def port_taken(self, host: str, ip: str, port: int) -> AsyncIterator[None]:
        """For the length of the block another program of ``host`` has bound UDP ``port`` of its own address ``ip``."""
        answer = await self.ask("take_port", node=host, ip=ip, port=port)
        self._observe(Observation(f"{host} {ip} port {port} taken", "port", answer["at"], answer, True, "bind"))
        try:
            yield
        finally:
            await self.ask("leave_port", node=host, ip=ip, port=port)

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
        return dict((await self.ask("flush"))["captures"])

    async def finish(self) -> dict[str, Any]:
        """Close the captures; the last counters of links and captures."""
        return await self.ask("finish")

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
        self._observe(Observation(f"{process.name} is killed", "process", at, seen, process.code == -signal.SIGKILL, "keeper"))

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
    ) -> Process:
        """Start ``argv`` in ``node``'s namespace; HarnessError unless it is seen, from outside, to be in that namespace."""
        self.topology.node(node)
        return await self._keeper.spawn(node, argv, [stdin, stdout, stderr], dict(os.environ if env is None else env), cwd or Path.cwd())


@dataclass(frozen=True, slots=True)
class LinkHandle:
    """Faults of one link."""

    network: Network
    end: str

    async def down(self) -> None:
        """Take both ends down, as when the radio is switched off; addresses stay, routes go."""
        await self._set(False)

    async def up(self) -> None:
        """Take both ends up again, with all addresses and routes."""
        await self._set(True)

    async def _set(self, up: bool) -> None:
        answer = await self.network.ask("link", end=self.end, up=up)
        taken = all(state["up"] == up for state in answer["after"].values())
        name = f"{self.end} {'up' if up else 'down'}"
        seen = {end: f"{_state(answer['before'][end])} → {_state(after)}" for end, after in answer["after"].items()}
        self.network._observe(Observation(name, "link", answer["at"], seen, taken, "rtnetlink", answer["began"], tuple(seen)))

    async def impair(self, both: Impairment | None = None, *, a_to_b: Impairment | None = None, b_to_a: Impairment | None = None) -> int:
        """Let ``both`` rule both directions from now on, or one impairment per direction; ``CLEAR`` sets back to nothing.

        Returns when the last of it was done, ns.
        """
        at = 0
        wanted: dict[Direction, Impairment | None] = {"a_to_b": a_to_b or both, "b_to_a": b_to_a or both}
        if not any(wanted.values()):
            raise SpecError(f"link {self.end}", "impair() was given no impairment; to set back to nothing give CLEAR")
        for direction in DIRECTIONS:
            impairment = wanted[direction]
            if impairment is None:
                continue
            answer = await self.network.ask("impair", end=self.end, direction=direction, impairment=to_plain(impairment))
            taken = msgspec.convert(answer["now"], Impairment, dec_hook=from_text) == impairment
            name, at = f"{self.end} {direction} {describe(impairment)}", int(answer["at"])
            self.network._observe(Observation(name, "impair", at, answer, taken, self.network.carrier(self.end)))
        return at

    async def dropped(self, direction: Direction, *, within: Duration = 5 * s) -> list[Dropped]:
        """Wait until the packets that the impairment of ``direction`` picks (its ``drop``) have come and been dropped: they, in order.

        The observation is taken when all of them came ``within`` the time.
        """
        counted: dict[str, Any] = {}
        with trio.move_on_after(within.s):
            while not counted or counted.get("awaited"):
                counted = (await self.counters())[direction]
                await trio.sleep(_POLL_S)
        seen = {"dropped": counted.get("picked_packets", []), "awaited": counted.get("awaited", 0)}  # netem has neither
        found = msgspec.convert(seen["dropped"], list[Dropped])
        at = found[-1].at if found else time.monotonic_ns()
        name = f"{self.end} {direction} drops {', '.join(str(one.pick) for one in found) or 'nothing'}"
        taken = bool(found) and not seen["awaited"]
        self.network._observe(Observation(name, "drop", at, seen, taken, self.network.carrier(self.end)))
        return found

    async def drops(self) -> int:
        """How many packets the link has dropped so far, both directions, for whatever reason."""
        counters = await self.counters()  # the relay tells one kind of drop from another, netem does not
        kinds = ("lost", "picked", "queue_dropped", "cut_dropped", "refused", "dropped")
        return sum(int(counters[direction].get(kind, 0)) for direction in DIRECTIONS for kind in kinds)

    async def show_drops(self, since: int) -> int:
        """How many packets the link has dropped beyond ``since`` (an earlier ``drops()``), as an observation: taken when it is any."""
        now = await self.drops()
        seen = {"dropped before": since, "dropped now": now}
        name = f"{self.end} dropped {now - since} packets"
        self.network._observe(Observation(name, "drop counter", time.monotonic_ns(), seen, now > since, self.network.carrier(self.end)))
        return now - since

    async def dark(self) -> None:
        """Let nothing through in either direction, while both ends stay up: neither host nor router can tell."""
        await self.impair(Impairment(loss=100 * percent))

    async def light(self) -> int:
        """Put both directions back to what the topology has them; returns when that was done, ns."""
        link = self.network.topology.link(self.end)
        return await self.impair(a_to_b=link.a_to_b or CLEAR, b_to_a=link.b_to_a or CLEAR)

    async def counters(self) -> dict[str, Any]:
        """The executor's counters of this link."""
        answer = await self.network.ask("counters")
        return dict(answer["links"][self.network.topology.link(self.end).name])


@dataclass(frozen=True, slots=True)
class NatHandle:
    """Faults of one NAT."""

    network: Network
    router: str

    def _outside(self) -> LinkHandle:
        router = self.network.topology.node(self.router)
        if not isinstance(router, Router) or router.nat is None:
            raise SpecError(f"NAT {self.router}", "there is no NAT on it")
        return self.network.link(f"{self.router}/{router.nat.outside}")

    def address(self, version: int = 4) -> str:
        """Its first outside address, by which those behind it are seen."""
        name = self._outside().end
        port = next(port for port in self.network.topology.ports(self.router) if port.path == name)
        outside = port.v4 if version == 4 else port.v6
        if outside is None:
            raise SpecError(f"NAT {self.router}", f"it has no IPv{version} address outside")
        return str(outside.ip)

    async def mappings(self) -> list[Mapping]:
        """The UDP flows that it maps now."""
        answer = await self.network.ask("mappings", router=self.router)
        return msgspec.convert(answer["mappings"], list[Mapping])

    async def carries(self, host: str, *, within: Duration = 5 * s) -> None:
        """Wait until it maps a UDP flow of ``host``; HarnessError when there is none ``within`` the time."""
        inside = {str(address.ip) for port in self.network.topology.ports(host) for address in (port.v4, port.v6) if address}
        with trio.move_on_after(within.s):
            while True:
                if any(mapping.inside[0] in inside for mapping in await self.mappings()):
                    return
                await trio.sleep(_POLL_S)
        raise HarnessError(f"NAT {self.router}: no UDP flow of {host} within {within}")

    async def rebind(self, host: str, *, address: bool = False, dark: Duration | None = None, within: Duration = 5 * s) -> Observation:
        """Give every UDP flow of ``host`` a new outside port (and address); returns once a new mapping is seen to carry the flow.

        ``dark``: for how long nothing passes the router's outside link meanwhile, as when it restarts.  Without it a client that sends
        nothing but acknowledgements is healed by the one that is under way (seen), and with it it is not.

        The observation is taken when the old mapping is gone and the new one, really different, was seen within ``within``; or when
        the host has no flow at all by then: it has sent nothing that could have been mapped.
        """
        outside = self._outside()
        if dark is not None:
            await outside.down()
        answer = await self.network.ask("rebind", router=self.router, host=host, address=address)
        if dark is not None:
            await trio.sleep(dark.s)
            await outside.up()
        seen: list[tuple[str, int]] = []
        with trio.move_on_after(within.s):
            while not seen:
                for flow in answer["expected"]:
                    now = await self.network.ask(
                        "mapping", router=self.router, version=flow["version"], inside=flow["inside"], remote=flow["remote"]
                    )
                    if now["mapping"] is not None and now["mapping"]["outside"] == flow["outside"]:
                        seen.append((flow["outside"][0], flow["outside"][1]))
                if not seen:
                    await trio.sleep(_POLL_S)
        old = {tuple(m["outside"]) for m in answer["before"]}
        different = all(new not in old and (not address or new[0] not in {o[0] for o in old}) for new in seen)
        kind = "rebind address and port" if address else "rebind port"
        seen_there = {
            "before": sorted(f"{m['inside'][0]} {m['inside'][1]} as {m['outside'][0]} {m['outside'][1]}" for m in answer["before"]),
            "after": sorted(f"{address} {port}" for address, port in seen),
            "old mapping gone": answer["old_gone"],
            "flows now": sum(mapping.inside in {tuple(m["inside"]) for m in answer["before"]} for mapping in await self.mappings()),
            "took_us": answer["took_ns"] // 1000,
        }
        observation = Observation(
            f"{self.router} rebinds {host}: {'new address and port' if address else 'new port'}",
            kind,
            answer["at"],
            seen_there,
            (different if seen else not seen_there["flows now"]) and answer["old_gone"],
            answer["source"],
        )
        self.network._observe(observation)
        return observation


def _state(interface: dict[str, Any]) -> str:
    return f"{'up' if interface['up'] else 'down'} after {interface['tx_packets']} sent, {interface['rx_packets']} received"


def describe(impairment: Impairment) -> str:
    """The impairment in tc's words: ``delay 20ms loss 1% drop #3 ≥ 1000 B``, or ``clear``."""
    words = {**to_plain(impairment), **({"drop": ", ".join(map(str, impairment.drop))} if impairment.drop else {})}
    return " ".join(f"{key} {value}" for key, value in words.items()) or "clear"


_Waiting = tuple[trio.Event, list[Any]]
"""Set when the answer is there, or will never be; the answer and its descriptors, or nothing."""


class Keeper:
    """The keeper process and the conversation with it."""

    def __init__(self, process: subprocess.Popen[bytes], control: trio.socket.SocketType) -> None:
        self._process = process
        self._control = control
        self._last_id = 0
        self._hello: _Waiting = (trio.Event(), [])
        self._waiting: dict[int, _Waiting] = {0: self._hello}
        self._started: dict[int, Process] = {}
        self._ended_early: dict[int, int] = {}  # told before ``spawn`` had got to read its answer
        self._gone = False

    async def listen(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read answers and events until the keeper ends."""
        task_status.started()
        while True:
            try:
                message, fds = await self._receive()
            except OSError:
                message, fds = None, []
            if message is None:
                break
            if "event" in message:
                process = self._started.get(message["pid"])
                if process is not None:
                    process.code = message["code"]
                    process.ended.set()
                else:
                    self._ended_early[message["pid"]] = message["code"]
                continue
            waiting = self._waiting.pop(message["id"], None)
            if waiting is None:
                for fd in fds:
                    os.close(fd)
                continue
            waiting[1].extend([message, fds])
            waiting[0].set()
        self._gone = True
        for event, _box in self._waiting.values():
            event.set()
        for process in self._started.values():
            process.ended.set()

    async def _receive(self) -> tuple[dict[str, Any] | None, list[int]]:
        data, ancillary, _flags, _address = await self._control.recvmsg(wires.LIMIT, socket.CMSG_LEN(64), socket.MSG_CMSG_CLOEXEC)
        return wires.decode(data, ancillary)

    async def ready(self) -> None:
        """Wait for the keeper's first word."""
        await self._answer(self._hello, "start")

    async def ask(self, op: str, **fields: Any) -> tuple[dict[str, Any], list[int]]:
        """One request; raises what the keeper raised, HarnessError when it is dead or silent."""
        return await self._ask(op, fields, [])

    async def _ask(self, op: str, fields: dict[str, Any], fds: list[int]) -> tuple[dict[str, Any], list[int]]:
        if self._gone:
            raise HarnessError(f"the keeper is gone; it cannot be asked {op!r}: see keeper.log")
        self._last_id += 1
        identity = self._last_id
        waiting = self._waiting[identity] = (trio.Event(), [])
        data = wires.encode({"id": identity, "op": op, **fields})
        await self._control.sendmsg([data], wires.ancillary(fds))
        return await self._answer(waiting, op)

    async def _answer(self, waiting: _Waiting, op: str) -> tuple[dict[str, Any], list[int]]:
        event, box = waiting
        with trio.move_on_after(_ANSWER_WITHIN.s) as scope:
            await event.wait()
        if scope.cancelled_caught:
            raise HarnessError(f"the keeper did not answer {op!r} within {_ANSWER_WITHIN}")
        if not box:
            raise HarnessError(f"the keeper died before it answered {op!r}: see keeper.log")
        message, fds = box
        if "error" in message:
            raise wires.rebuild(message["error"])
        return message["ok"], fds

    async def spawn(self, node: str, argv: list[str], fds: list[int], env: dict[str, str], cwd: Path) -> Process:
        """Start a process and check, from outside, that its network namespace is the node's."""
        answer, received = await self._ask("spawn", {"node": node, "argv": argv, "env": env, "cwd": str(cwd)}, fds)
        pidfd = received[0]
        process = Process(node, _pid_of(pidfd), pidfd)
        self._started[answer["pid"]] = process
        if answer["pid"] in self._ended_early:
            process.code = self._ended_early.pop(answer["pid"])
            process.ended.set()
        with contextlib.suppress(FileNotFoundError):  # it may have ended at once; then its exit is what is to be told
            inode = os.stat(f"/proc/{process.pid}/ns/net").st_ino
            if inode != answer["inode"]:
                raise HarnessError(f"{node}: the process is in network namespace {inode}, not in the node's {answer['inode']}")
        return process

    async def end(self) -> None:
        """Close the conversation, which ends the keeper, and with it everything in its PID namespace; then reap it."""
        self._control.close()
        pidfd = os.pidfd_open(self._process.pid)
        with trio.CancelScope(shield=True), trio.move_on_after(_END_WITHIN.s):
            await trio.lowlevel.wait_readable(pidfd)
        os.close(pidfd)
        self._process.kill()  # a no-op for a process that has ended
        self._process.wait()
        for process in self._started.values():
            os.close(process.pidfd)


def _pid_of(pidfd: int) -> int:
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        for line in file:
            if line.startswith("Pid:"):
                return int(line.split()[1])
    raise HarnessError("a pidfd tells no PID: this kernel is older than 5.5")


def _start_keeper(log: Path) -> Keeper:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    wires.prepare(ours)
    root = str(Path(__file__).resolve().parents[2])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    argv = [sys.executable, "-m", "harness.fabric.keeper", str(theirs.fileno())]
    with theirs, log.open("ab") as out:
        process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)
    return Keeper(process, trio.socket.from_stdlib_socket(ours))


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
    keeper = _start_keeper(log)
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
