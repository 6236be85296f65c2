"""Starts an agent, which is anybody's program, so that it can touch nothing but its network and its folder.

Two forks of the keeper, which is single-threaded, so that they may run Python: an interpreter of its own would cost each start 20 ms.

* The *minder* is PID 1 of a PID namespace of the agent's own, which holds what the agent starts and ends with it.  It makes the mount
  namespace (``mounts``), starts the agent, collects its orphans and tells the keeper how it ended.  It stays out of the agent's network.
* The *agent* gives away what it could do (``privileges``, ``landlock``, ``seccomp``), tries whether that is so, and executes the program.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from harness.errors import EnvironmentUnfit
from harness.fabric import landlock, mounts, netns, privileges, seccomp
from harness.fabric.agent_view import View

_STATUS = 3
"""The descriptor of the minder's line to the keeper, and of the agent's to the minder until it executes the program."""
_NETWORK = 4
"""The minder's descriptor of the agent's network namespace."""
_SIGNALS = (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ)
_CLONE_NEWIPC = 0x0800_0000
AGENT_NICENESS = -10
_FIRST_TO_DIE = "1000"
_NAMESPACED_PID_MAX = (6, 14)
_WITHIN_S = 30
_MESSAGE = 1 << 16


@dataclass(frozen=True)
class Command:
    """What to execute in which view: ``streams`` become its descriptors 0, 1 and 2 and are all that it gets.

    ``network``: a descriptor of the network namespace that it is to be in.
    """

    argv: Sequence[str]
    env: dict[str, str]
    cwd: str
    streams: Sequence[int]
    network: int
    view: View


@dataclass(frozen=True)
class Started:
    """An agent that runs: its minder's PID, a descriptor of the agent itself, how it is confined (a ``confinement.How`` as plain data)."""

    minder: int
    pidfd: int
    how: dict[str, Any]
    line: socket.socket

    def exit_code(self) -> int:
        """How the agent ended, once the minder has: its exit code, or minus the signal."""
        with self.line:
            told = self.line.recv(_MESSAGE)
        return int(json.loads(told)["code"]) if told else -signal.SIGKILL


def start(command: Command) -> Started:
    """Start ``command`` confined; returns once the program is executed.

    OSError when it cannot be executed, EnvironmentUnfit when it cannot be confined here.
    """
    seccomp.program(os.uname().machine, own_mounts=True)  # made here it is there in every fork
    told, started = _attempt(command, "")
    if "without" in told:
        told, started = _attempt(command, told["without"])
    if started is None:
        raise OSError(told["code"], told["text"]) if told["code"] else EnvironmentUnfit(told["text"])
    return started


def _attempt(command: Command, ruled_out: str) -> tuple[dict[str, Any], Started | None]:
    """Fork a minder; what it told, and the agent if that runs.  ``ruled_out``: why there can be no mount namespace, "" to try."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, _children_in_a_new_pid_namespace():
        pid = os.fork()
        if pid == 0:
            _live(command, theirs.fileno(), ruled_out)
    ours.settimeout(_WITHIN_S)
    words, fds, _flags, _address = socket.recv_fds(ours, _MESSAGE, 1)
    told: dict[str, Any] = json.loads(words) if words else {"code": errno.EIO, "text": "its minder died: see keeper.log"}
    if "how" in told:
        return told, Started(pid, fds[0], told["how"], ours)
    ours.close()
    os.waitpid(pid, 0)
    return told, None


@contextlib.contextmanager
def _children_in_a_new_pid_namespace() -> Iterator[None]:
    home = os.open("/proc/thread-self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        netns.unshare(netns.CLONE_NEWPID)
        try:
            yield
        finally:
            netns.setns(home, netns.CLONE_NEWPID)
    finally:
        os.close(home)


def _live(command: Command, line: int, ruled_out: str) -> NoReturn:
    """All of a minder's life."""
    try:
        _arrange_descriptors((*command.streams, line, command.network))
        _mind(command, ruled_out)
    except EnvironmentUnfit as error:
        _tell({"code": 0, "text": str(error)})
    except OSError as error:
        _tell({"code": error.errno or errno.EIO, "text": error.strerror or str(error)})
    except BaseException:
        traceback.print_exc()
        _tell({"code": errno.EIO, "text": "a bug before it was executed: see its log"})
    finally:
        os._exit(1)


def _tell(message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    with socket.socket(fileno=os.dup(_STATUS)) as line:
        socket.send_fds(line, [json.dumps(message).encode()], list(fds))


def _arrange_descriptors(wanted: Sequence[int]) -> None:
    """Make ``wanted`` the descriptors from 0 on, those after the streams to be closed by executing a program, and close all others."""
    aside = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, len(wanted)) for fd in wanted]  # none is among those that are about to be replaced
    for number, fd in enumerate(aside):
        os.dup2(fd, number, inheritable=number < _STATUS)
    os.closerange(len(wanted), os.sysconf("SC_OPEN_MAX"))


# -- the minder ----------------------------------------------------------------------------------------------------------------------------


def _mind(command: Command, ruled_out: str) -> None:
    """Be PID 1 of the agent's PID namespace until the agent has ended."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)  # which means for PID 1: ignored
    how: dict[str, Any] = {"mounts": not ruled_out, "why": ruled_out, "landlock": landlock.version()}
    netns.unshare(_CLONE_NEWIPC)
    _write("/proc/self/oom_score_adj", _FIRST_TO_DIE)  # inherited; of all processes of this machine the kernel ends these first
    if not ruled_out:
        try:
            how["proc"] = mounts.enter(command.view)
            how["processes"] = privileges.PROCESSES if not how["proc"] and _limit_processes() else 0
            mounts.close_proc()
        except OSError as error:
            _tell({"without": f"{error.strerror}"})
            return
    elif not how["landlock"]:
        raise EnvironmentUnfit(
            f"an agent cannot be kept from the files of this machine: it gets no mount namespace ({ruled_out}), and this kernel has no"
            " Landlock; allow mounts or boot a kernel with Landlock in its lsm= list, or run what you trust with --confine=no"
        )
    reading, writing = os.pipe2(os.O_CLOEXEC)
    agent = os.fork()
    if agent == 0:
        netns.setns(_NETWORK, netns.CLONE_NEWNET)
        os.dup2(writing, _STATUS, inheritable=False)
        os.closerange(_STATUS + 1, os.sysconf("SC_OPEN_MAX"))
        _become(command, how)
    for fd in (writing, _NETWORK):
        os.close(fd)
    pidfd = os.pidfd_open(agent)
    with os.fdopen(reading, "rb") as file:
        refusal = file.read()
    if refusal:
        _tell(json.loads(refusal))
        return
    _tell({"how": how}, [pidfd])
    os.close(pidfd)
    for stream in range(_STATUS):
        os.close(stream)
    privileges.forbid_new_privileges()
    privileges.drop_capabilities()
    privileges.hide_memory()
    _tell({"code": _collect(agent)})


def _collect(agent: int) -> int:
    """Collect whatever ends until the agent does; how that was."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == agent:
            return os.waitstatus_to_exitcode(status)


def _limit_processes() -> bool:
    """Bound the processes and threads of this PID namespace, where that has a bound of its own: else it would be the machine's."""
    release = os.uname().release.split(".")
    if not all(part.isdecimal() for part in release[:2]) or tuple(map(int, release[:2])) < _NAMESPACED_PID_MAX:
        return False
    return _write("/proc/sys/kernel/pid_max", str(privileges.PROCESSES))


def _write(path: str, text: str) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(fd, text.encode())
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


# -- the agent -----------------------------------------------------------------------------------------------------------------------------


def _become(command: Command, how: dict[str, Any]) -> NoReturn:
    """Become the program."""
    try:
        os.setsid()
        env = {**command.env, "TMPDIR": "/tmp"}
        if not how["mounts"]:
            env["TMPDIR"] = os.path.join(command.view.own, "tmp")
            os.makedirs(env["TMPDIR"], exist_ok=True)
        os.chdir(os.path.realpath(command.cwd))
        _prefer()
        privileges.limit_resources()
        privileges.shrink_bounds()
        privileges.forbid_new_privileges()
        if how["landlock"]:
            _restrict_files(command.view, how)
        seccomp.restrict(own_mounts=how["mounts"])
        privileges.drop_capabilities()
        _prove(command.view)
        os.execvpe(command.argv[0], list(command.argv), env)
    except EnvironmentUnfit as error:
        _report(0, str(error))
    except OSError as error:
        _report(error.errno or errno.EIO, error.strerror or str(error))
    except BaseException:
        traceback.print_exc()  # into the agent's log, which is where its descriptor 2 leads
        _report(errno.EIO, "a bug before it was executed: see its log")
    finally:
        os._exit(1)


def _report(code: int, text: str) -> None:
    os.write(_STATUS, json.dumps({"code": code, "text": text}).encode())


def _prefer() -> None:
    """What is measured is served before those who look on, where that is allowed; what it forks is not, nor are its further threads."""
    try:
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, AGENT_NICENESS)
    except PermissionError:
        return


def _restrict_files(view: View, how: dict[str, Any]) -> None:
    """With a mount namespace Landlock forbids once more what that does; without one it hides, too."""
    rules = landlock.Ruleset()
    rules.allow_all(view.own)
    devices = [f"/dev/{name}" for name in mounts.DEVICES]
    for path in devices:
        rules.allow(path, landlock.USE_DEVICE)
    rules.allow(sys.stderr.fileno(), landlock.WRITE_FILE)
    if how["mounts"]:
        rules.allow("/", landlock.READ)
        for path in mounts.WRITABLE:
            rules.allow_all(path)
    else:
        landlock.allow_reading(rules, (*view.hidden, "/dev"), view.shown)
    rules.restrict()


def _prove(view: View) -> None:
    """Try to write beside the agent's own folder, if the machine's own is what lies there; EnvironmentUnfit when that is not refused."""
    beside = os.path.join(os.path.dirname(view.own), f".{os.getpid()}")
    if os.stat(os.path.dirname(view.own)).st_dev != os.stat(view.own).st_dev:
        return  # something of the agent's view alone, which ends with it
    try:
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except OSError:
        return
    os.unlink(beside)
    raise EnvironmentUnfit(f"an agent could write {os.path.dirname(view.own)}, which is not its own: it is not confined")
