"""Starts an agent, which is anybody's program: from a fork of the keeper that gives away its privileges and then executes the program.

A fork and not ``subprocess``: what has to happen between the two (capabilities, limits) is Python here, and an interpreter of its own for
that would cost each start 20 ms.  The keeper is single-threaded, so its fork may run Python.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from harness.errors import EnvironmentUnfit
from harness.fabric import privileges

_STATUS = 3
"""The descriptor on which a child tells why it could not execute the program; closed by executing it."""
_SIGNALS = (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ)
_NOT_STARTED = 127


class _Refusal(msgspec.Struct):
    """Why a child ends without having executed the program: an errno and what met it, or 0 and what this machine lacks."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """What to execute: ``streams`` become its descriptors 0, 1 and 2 and are all that it gets."""

    argv: Sequence[str]
    env: dict[str, str]
    cwd: str
    streams: tuple[int, int, int]


def start(command: Command) -> int:
    """Start ``command`` without privileges in the namespaces that are current; returns its PID once the program is executed.

    OSError when it cannot be executed, EnvironmentUnfit when its privileges cannot be taken away.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _become(command, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as status:
        told = status.read()
    if not told:
        return pid
    os.waitpid(pid, 0)
    refusal = msgspec.json.decode(told, type=_Refusal)
    raise OSError(refusal.code, refusal.text) if refusal.code else EnvironmentUnfit(refusal.text)


def _become(command: Command, status: int) -> None:
    """Never returns."""
    try:
        _arrange_descriptors((*command.streams, status))
        os.setsid()
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        os.chdir(command.cwd)
        privileges.limit_resources()
        privileges.shrink_bounds()
        privileges.forbid_new_privileges()
        privileges.drop_capabilities()
        os.execvpe(command.argv[0], list(command.argv), command.env)
    except EnvironmentUnfit as error:
        _tell(0, str(error))
    except OSError as error:
        _tell(error.errno or errno.EIO, error.strerror or str(error))
    except BaseException:
        traceback.print_exc()  # into the agent's log, which is where its descriptor 2 leads
        _tell(errno.EIO, "a bug between fork and exec: see its log")
    finally:
        os._exit(_NOT_STARTED)


def _tell(code: int, text: str) -> None:
    os.write(_STATUS, msgspec.json.encode(_Refusal(code, text)))


def _arrange_descriptors(wanted: Sequence[int]) -> None:
    """Make ``wanted`` descriptors 0, 1, 2 and ``_STATUS`` and close all others."""
    aside = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _STATUS + 1) for fd in wanted]  # none is among those that are about to be replaced
    for number, fd in enumerate(aside):
        os.dup2(fd, number, inheritable=number != _STATUS)
    os.closerange(_STATUS + 1, os.sysconf("SC_OPEN_MAX"))
