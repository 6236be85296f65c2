"""How an agent is confined: what is asked for, and what the kernel says of the process, from outside, before the run goes on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from harness.fabric.mounts import DEVICES, WRITABLE

_EMPTY = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_FILTERED = "2"
_NAMESPACES = ("pid", "ipc")


class Confinement(msgspec.Struct, frozen=True):
    """What the run wants of an agent's view: ``own`` is its folder; what is below ``hidden`` is not there, but for what is ``shown``."""

    own: Path
    hidden: tuple[Path, ...] = ()
    shown: tuple[Path, ...] = ()


class How(msgspec.Struct, frozen=True):
    """What could be done here.

    ``mounts``: a mount namespace; ``why`` not, if not.  ``landlock``: its version, 0 for none.  ``proc``: why the agent's /proc is not of
    its own PID namespace, "" if it is.  ``processes``: how many processes and threads it can have, 0 where only RLIMIT_NPROC bounds them.
    """

    mounts: bool
    why: str
    landlock: int
    proc: str = ""
    processes: int = 0

    @property
    def lacks(self) -> list[str]:
        """What is not as it should be, in words for the run's own story."""
        lacking = []
        if not self.mounts:
            lacking.append(f"no mount namespace ({self.why}), files are kept by Landlock alone, and it gets no unix sockets")
        elif self.proc:
            lacking.append(f"/proc shows the processes that are here ({self.proc})")
        if not self.landlock:
            lacking.append("no Landlock in this kernel")
        return lacking


def seen(pid: int, how: How, own: Path) -> tuple[dict[str, Any], list[str]]:
    """What /proc says of process ``pid``, and what of that must not be so; FileNotFoundError or ProcessLookupError if it is gone."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    observed: dict[str, Any] = {name: status[name] for name in (*_EMPTY, "NoNewPrivs", "Seccomp")}
    wrong = [f"{name} is {status[name]}" for name in _EMPTY if int(status[name], 16)]
    wrong += [f"{name} is {status[name]}" for name, wanted in (("NoNewPrivs", "1"), ("Seccomp", _FILTERED)) if status[name] != wanted]
    if status["State"].startswith("Z"):
        raise ProcessLookupError(f"{pid} has ended")
    for kind in (*_NAMESPACES, *(("mnt",) if how.mounts else ())):
        theirs = os.stat(f"/proc/{pid}/ns/{kind}").st_ino
        observed[f"{kind} namespace"] = theirs
        if theirs == os.stat(f"/proc/self/ns/{kind}").st_ino:
            wrong.append(f"its {kind} namespace is ours")
    if how.mounts:
        allowed = {*WRITABLE, *(f"/dev/{name}" for name in DEVICES), os.path.realpath(own)}
        observed["writable"] = sorted(set(_writable(pid)))
        wrong += [f"{path} is mounted writable" for path in observed["writable"] if path not in allowed]
    return {**observed, **msgspec.to_builtins(how)}, wrong


def _writable(pid: int) -> Iterator[str]:
    """The mount points of process ``pid`` that are not read-only."""
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if "ro" not in fields[5].split(","):
            yield re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
