"""Who is served first on a busy machine.  Needs nothing but Python: the doctor tries it too."""

from __future__ import annotations

import contextlib
import os


def prefer_this_process() -> str:
    """Be scheduled before the agents, since a link that waits for a core is no link: realtime where allowed, else nice, else neither."""
    if os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR):  # whoever started the run has said so for all of it
        return "realtime"
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        return "realtime"
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
        return "nice"
    return "normal"


def be_ordinary() -> None:
    """Undo ``prefer_this_process``; realtime that whoever started the run has asked for stays."""
    if os.sched_getscheduler(0) & os.SCHED_RESET_ON_FORK:  # set there, and by nobody else
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
    be_nice(0)


def be_nice(niceness: int, pid: int = 0) -> None:
    """Give ``pid`` (0: this process) that niceness where it is allowed; else the one that the run was started with stands."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
