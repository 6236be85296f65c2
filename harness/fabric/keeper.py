"""The keeper: the one process that holds a run's network and its agents.

``python -m harness.fabric.keeper FD LAB`` enters a user namespace (when not root), a PID and a network namespace, forks, and the child is
PID 1 of that PID namespace: when it dies, however it dies, the kernel kills every agent and frees every namespace, link, rule and conntrack
entry.  So clean-up needs no clean-up code.  It dies when the socket ``FD`` to the lab closes, on SIGTERM, and with its parent, at once even
while it is at work: the outer process is killed with the lab, whose PID is ``LAB``, and PID 1 with the outer process.

It is single-threaded and does all kernel work itself, synchronously, on request (``wires``); ``Build`` does the building.  Unasked it takes
the steps of those schedules whose executor does not (netem's), when their time has come and no request is being answered, and takes in what
the kernel tells of the flows of NATs (``flow_events``).
"""

from __future__ import annotations

import os
import signal
import sys

from harness.parent import die_with_parent

if __name__ == "__main__":  # before all else is imported, which on a busy machine takes seconds
    die_with_parent(signal.SIGKILL)
    if os.getppid() != int(sys.argv[2]):
        os._exit(1)  # the lab has ended already

import contextlib
import select
import socket
import subprocess
from typing import Any

from harness.errors import HarnessError
from harness.fabric import agent_start, child, wires
from harness.fabric.agent_view import view_for
from harness.fabric.build import Build
from harness.fabric.flow_events import FlowEvents
from harness.fabric.netns import enter_run_namespaces, inside, shrink_udp_tables
from harness.fabric.scheduling import be_nice
from harness.timer import Timer

_OWN_NICENESS = -11  # a fault takes it about a millisecond of work, for which agents under load would make it wait several
_SIGNALS = (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP)


def main(arguments: list[str]) -> int:
    """Run the keeper on the socket whose descriptor is ``arguments[0]``; returns the exit code.  ``arguments[1]`` was looked at above."""
    control = socket.socket(fileno=int(arguments[0]))
    os.set_inheritable(control.fileno(), False)
    wires.prepare(control)
    for number in (signal.SIGINT, signal.SIGHUP):  # Ctrl-C goes to the whole foreground group; the lab decides when we end
        signal.signal(number, signal.SIG_IGN)
    try:
        enter_run_namespaces()
        shrink_udp_tables()
    except Exception as error:
        wires.send(control, {"id": 0, "error": wires.describe(error)})
        return 1
    first = os.fork()
    if first:
        die_with_parent(signal.SIGKILL)  # again: entering a user namespace would have taken it back
        control.close()
        _pid, status = os.waitpid(first, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)  # the lab waits for this, and taking the interpreter down takes 80 ms
    die_with_parent(signal.SIGKILL)
    Keeper(control).serve()
    os._exit(0)


class Keeper:
    """PID 1 of the run: requests in, answers and events out, until the lab is gone."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._build: Build | None = None
        self._running: dict[int, subprocess.Popen[bytes] | agent_start.Started] = {}
        """Those that ``spawn`` started, by PID; of an agent its minder's."""
        self._timer = Timer()
        self._flows = FlowEvents()
        self._wake, self._woken = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)

    def serve(self) -> None:
        """Answer until the lab closes its end or SIGTERM comes; then simply end, and the kernel does the rest."""
        for number in _SIGNALS:  # PID 1 has no default actions: without a handler SIGTERM is ignored
            signal.signal(number, self._note_signal)  # no wakeup descriptor: the probe's event loop wants that for itself
        be_nice(_OWN_NICENESS)
        wires.send(self._control, {"id": 0, "ok": {"pid": os.getpid()}})
        sources: list[Any] = [self._control, self._wake, self._timer]
        while True:
            resting = self._flows.rests_until
            self._timer.arm(min((at for at in (self._next_step(), resting) if at), default=0))
            readable, _, _ = select.select(sources if resting else [*sources, self._flows], [], [])
            if self._timer in readable and self._build is not None:
                self._build.take_steps()
            if self._flows in readable:
                self._flows.look()
            if self._wake in readable:
                if signal.SIGTERM in self._wake.recv(4096):
                    return
                self._reap()
            if self._control in readable:
                try:
                    message, fds = wires.receive(self._control)
                except ConnectionError:
                    return
                if message is None:
                    return
                try:
                    self._answer(message, fds)
                except (BrokenPipeError, ConnectionError):
                    return

    def _next_step(self) -> int:
        """When a link's schedule wants its next step taken, ns; 0: none does."""
        return (self._build.next_step if self._build is not None else None) or 0

    def _note_signal(self, number: int, _frame: object) -> None:
        with contextlib.suppress(BlockingIOError):  # it is full of signals already
            self._woken.send(bytes([number]))

    def _answer(self, message: dict[str, Any], fds: list[int]) -> None:
        identity, op = message.pop("id"), message.pop("op")
        out: list[int] = []
        try:
            if op == "build":
                self._build = Build(**message)
                self._flows.follow(self._build.told())
                result = self._build.report()
            elif op == "spawn":
                result, out = self._spawn(fds, **message)
            else:
                result = self._network.do(op, message)
            answer = {"id": identity, "ok": result}
        except Exception as error:
            answer = {"id": identity, "error": wires.describe(error)}
        wires.send(self._control, answer, out)
        for fd in (*fds, *out):
            with contextlib.suppress(OSError):
                os.close(fd)

    @property
    def _network(self) -> Build:
        if self._build is None:
            raise HarnessError("nothing is built yet")
        return self._build

    def _spawn(
        self, fds: list[int], node: str, argv: list[str], env: dict[str, str], cwd: str, confine: dict[str, Any] | None
    ) -> tuple[dict[str, Any], list[int]]:
        """Start ``argv`` in ``node`` with ``fds`` as its standard streams; answers a number for it and a pidfd for the lab.

        ``confine``: as an agent, with this ``Confinement``.  What is not confined has all of the keeper's privileges.
        """
        namespace = self._network.nodes[node].namespace
        try:
            if confine is not None:
                view = view_for(argv, env, cwd, **confine)
                started = agent_start.start(agent_start.Command(argv, env, cwd, fds, namespace.fd, view))
                self._running[started.minder] = started
                return {"pid": started.minder, "inode": namespace.inode, "how": started.how}, [started.pidfd]
            with inside(namespace.fd):
                process = self._start(argv, env, cwd, *fds)
        except OSError as error:
            raise HarnessError(f"{argv[0]} could not be started in {node}: {error.strerror}") from None
        self._running[process.pid] = process
        return {"pid": process.pid, "inode": namespace.inode}, [os.pidfd_open(process.pid)]

    @staticmethod
    def _start(argv: list[str], env: dict[str, str], cwd: str, stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            argv, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd, close_fds=True, start_new_session=True
        )
        be_nice(agent_start.AGENT_NICENESS, process.pid)  # what is measured is served before those who look on
        return process

    def _reap(self) -> None:
        """Collect every child that ended, orphans included, and tell what became of those we started.

        They ended; of helpers also that they were stopped, and went on.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status) or os.WIFCONTINUED(status):
                if pid in child.STARTED:
                    what = {"event": "stopped", "signal": os.WSTOPSIG(status)} if os.WIFSTOPPED(status) else {"event": "continued"}
                    wires.send(self._control, {**what, "helper": child.STARTED[pid]})
                continue
            code = os.waitstatus_to_exitcode(status)
            process = self._running.pop(pid, None)
            if isinstance(process, agent_start.Started):
                code = process.exit_code()
            elif process is not None:
                process.returncode = code
            if process is not None:
                wires.send(self._control, {"event": "exited", "pid": pid, "code": code})
            elif pid in child.STARTED:
                wires.send(self._control, {"event": "exited", "helper": child.STARTED[pid], "code": code})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
