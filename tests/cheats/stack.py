"""``python -m tests.cheats.stack NAME``: one cheating stack, as an agent of the harness.

NAME may end in ``@often``: then it strikes every 0.9 s of a call as well, not only when a path has changed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time

from harness.agent.driver import Driver
from harness.agent.process import run
from harness.agent.stdio import claim
from harness.call.session import Endpoint
from harness.parent import die_with_parent
from tests.cheats import ends, media, stalls
from tests.cheats.seams import OFTEN_S, Cheating

DRIVERS: dict[str, type[Driver]] = {**stalls.DRIVERS, **media.DRIVERS, **ends.DRIVERS}
ENDPOINTS: dict[str, type[Endpoint]] = {**stalls.ENDPOINTS, **media.ENDPOINTS, **ends.ENDPOINTS}
NAMES = (*DRIVERS, *(name for name in ENDPOINTS if name not in DRIVERS))
OFTEN = "often"


def main(name: str) -> int:
    """Be the stack ``name`` until it is over; returns its exit code.  SystemExit for a name that is none."""
    kind, _, when = name.partition("@")
    driver = DRIVERS.get(kind, Driver)
    if kind not in NAMES or when not in ("", OFTEN) or (when and not issubclass(driver, Cheating)):
        raise SystemExit(f"usage: python -m tests.cheats.stack {'|'.join(NAMES)}[@{OFTEN}]")
    if when:
        driver = type(driver.__name__, (driver,), {"every": OFTEN_S})
    if kind == "stops-its-child":
        code = fork(driver)
        if code is not None:
            return code
    return run([], endpoint_factory=ENDPOINTS.get(kind, Endpoint), driver_factory=driver, agent=f"cheat: {name}")


def fork(driver: type[Driver]) -> int | None:
    """Go on as two processes.  None in the inner one, which is the stack; the outer one's exit code, once the inner one has ended.

    The outer one stops the inner one for as long as ``Blocks`` blocks when it is asked to.
    """
    claim()
    mine, theirs = socket.socketpair()
    pid = os.fork()
    if not pid:
        die_with_parent(signal.SIGKILL)
        mine.close()
        driver.minder = theirs.detach()  # type: ignore[attr-defined]
        return None
    theirs.close()
    for descriptor in (0, 1, claim()):  # the pipes are the inner one's
        os.close(descriptor)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda given, _: os.kill(pid, given))
    while mine.recv(1):
        mine.send(b"y" if stopped(pid) else b"n")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def stopped(pid: int) -> bool:
    """Whether ``pid`` was stopped, and goes on again; False where the kernel refuses."""
    with contextlib.suppress(PermissionError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(stalls.BLOCK_S)
        os.kill(pid, signal.SIGCONT)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
