"""The lab's end of the conversation with the keeper: its process, requests and answers by number, and the processes that it starts.

Everything here runs in the lab's own process, under trio, and enters no namespace.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import trio

from harness.errors import EnvironmentUnfit, HarnessError
from harness.fabric import confinement, wires
from harness.fabric.confinement import Confinement, How
from harness.units import s

_ANSWER_WITHIN = 60 * s  # under software emulation an interpreter needs half of that to import the keeper
_END_WITHIN = 5 * s


@dataclass(slots=True)
class Process:
    """A command in a namespace.  ``pid`` is its number in this process's PID namespace, read from the pidfd."""

    name: str
    pid: int
    pidfd: int
    ended: trio.Event = field(default_factory=trio.Event)
    code: int | None = None
    how: How | None = None
    """How it is confined; None if it is not."""
    confined: dict[str, Any] = field(default_factory=dict)
    """What was seen of that, from outside."""
    held: bool = False
    """Whether the scenario itself has stopped it."""

    @property
    def stopped(self) -> bool:
        """Whether it stands still because somebody has stopped it (proc_pid_stat(5): its state is T), and not the scenario."""
        with contextlib.suppress(OSError):
            return not self.held and stat(self.pid)[0] == "T"
        return False

    def signal(self, number: int) -> None:
        """Send a signal by descriptor: never to another process that has since got the number."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)


def stat(pid: int) -> list[str]:
    """The fields of proc_pid_stat(5) from its state on; the name before it may hold anything.  OSError when the process is gone."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


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
        self._retired = False
        self._helpers_stopped: dict[str, int] = {}
        self.broken: list[HarnessError] = []
        """What of the network has broken: from then on nothing that is measured means anything."""
        self.broke = trio.Event()

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
                self._take_event(message)
                continue
            waiting = self._waiting.pop(message["id"], None)
            if waiting is None:
                for fd in fds:
                    os.close(fd)
                continue
            waiting[1].extend([message, fds])
            waiting[0].set()
        self._gone = True
        self._break("the keeper is gone, and with it the network and every agent: see keeper.log")
        for event, _box in self._waiting.values():
            event.set()
        for process in self._started.values():
            process.ended.set()

    def _take_event(self, message: dict[str, Any]) -> None:
        if "helper" in message:
            self._take_helper(message["event"], message["helper"], message)
            return
        process = self._started.get(message["pid"])
        if process is not None:
            process.code = message["code"]
            process.ended.set()
        else:
            self._ended_early[message["pid"]] = message["code"]

    def _take_helper(self, event: str, name: str, message: dict[str, Any]) -> None:
        if event == "stopped":
            self._helpers_stopped[name] = message["signal"]
        elif event == "continued":
            self._helpers_stopped.pop(name, None)
        elif message["code"] != 0:  # it ends with 0 when it is asked to
            how = signal.Signals(-message["code"]).name if message["code"] < 0 else f"exit code {message['code']}"
            self._break(f"the {name} process has ended ({how}): see keeper.log")

    def _break(self, what: str) -> None:
        if not self._retired:
            self.broken.append(HarnessError(what))
            self.broke.set()

    def retire(self) -> None:
        """All that was wanted of the network has been had: from now on it may break."""
        self._retired = True

    def troubles(self) -> list[HarnessError]:
        """What has befallen keeper, relay and captures, so that the run proves nothing: gone, or stopped and still so."""
        found = list(self.broken)
        for name, number in self._helpers_stopped.items():
            found.append(HarnessError(f"the {name} process was stopped ({signal.Signals(number).name}) and has not gone on"))
        return found

    async def _receive(self) -> tuple[dict[str, Any] | None, list[int]]:
        data, control, _flags, _address = await self._control.recvmsg(wires.DATAGRAM, wires.SPACE, socket.MSG_CMSG_CLOEXEC)
        return wires.decode(data, control)

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
        try:
            with wires.packed({"id": identity, "op": op, **fields}, fds) as (data, control):
                await self._control.sendmsg([data], control)
            return await self._answer(waiting, op)
        finally:  # of an answer that nobody waits for any more the descriptors are closed as it comes
            self._waiting.pop(identity, None)

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

    async def spawn(
        self, node: str, argv: list[str], fds: list[int], env: dict[str, str], cwd: Path, confine: Confinement | None = None
    ) -> Process:
        """Start a process; check, from outside, that its network namespace is the node's, and that it is confined if it is to be."""
        wanted = None if confine is None else {name: _plain(getattr(confine, name)) for name in confine.__struct_fields__}
        answer, received = await self._ask("spawn", {"node": node, "argv": argv, "env": env, "cwd": str(cwd), "confine": wanted}, fds)
        if not received:  # the kernel drops descriptors for which there is no room, and says nothing
            raise EnvironmentUnfit(f"{node}: no descriptor is free in the runner; allow it more (ulimit -n)")
        pidfd = received[0]
        process = Process(node, _pid_of(pidfd), pidfd)
        self._started[answer["pid"]] = process
        if answer["pid"] in self._ended_early:
            process.code = self._ended_early.pop(answer["pid"])
            process.ended.set()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may have ended; then its exit is what is to be told
            inode = os.stat(f"/proc/{process.pid}/ns/net").st_ino
            if inode != answer["inode"]:
                raise HarnessError(f"{node}: the process is in network namespace {inode}, not in the node's {answer['inode']}")
            if confine is not None:
                process.how = msgspec.convert(answer["how"], How)
                process.confined, wrong = confinement.seen(process.pid, process.how, confine.own)
                if wrong:
                    raise HarnessError(f"{node}: the process is not confined: {', '.join(wrong)}")
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


def _plain(value: Path | tuple[Path, ...]) -> str | list[str]:
    return str(value) if isinstance(value, Path) else [str(path) for path in value]


def _pid_of(pidfd: int) -> int:
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        for line in file:
            if line.startswith("Pid:"):
                return int(line.split()[1])
    raise HarnessError("a pidfd tells no PID: this kernel is older than 5.5")


def start_keeper(log: Path) -> Keeper:
    """Start the keeper process, its standard error into ``log``."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    wires.prepare(ours)
    root = str(Path(__file__).resolve().parents[2])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    argv = [sys.executable, "-m", "harness.fabric.keeper", str(theirs.fileno()), str(os.getpid())]
    try:
        with theirs, log.open("ab") as out:
            process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)
    except BaseException:
        ours.close()
        raise
    return Keeper(process, trio.socket.from_stdlib_socket(ours))
