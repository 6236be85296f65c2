"""The ways in which a run is made to die, each with what is owed after it."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.killed import victims
from tests.killed.little_host import mount
from tests.killed.victims import Victim

SCENARIOS = ("rebind_port[ipv4]", "wifi_to_cellular", "peer_leaves", "outage_short")
PARALLEL = ("scenarios/rebinding.py::test_rebind_port", "scenarios/migration.py::test_break_before_make")
TMPFS_BYTES = (8 << 10, 3 << 20)
DESCRIPTORS = (8, 90)


@dataclass(frozen=True)
class Kind:
    """A way to die.

    ``target``: whose processes the signals go to ("runner", "worker", "keeper", "PID 1", "relay", "capture", "agent", its "minder"; "": no
    signals).
    ``at_once``: nothing may be left 3 s after the death; else the run is to end by itself, and nothing may be left 3 s after that.
    ``codes``: exit codes of the runner that are right when the death came before the end.
    """

    name: str
    target: str = "runner"
    signals: tuple[signal.Signals, ...] = ()
    keys: bytes = b""
    at_once: bool = True
    terminal: bool = False
    parallel: bool = False
    codes: tuple[int, ...] = ()
    plugin: str = ""
    full: bool = False
    few: bool = False
    hang_up: bool = False


KILL, TERM, INT, HUP, STOP = signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSTOP
ENDED_BY_ITSELF = (0, 1, 2, 3)
KINDS = (
    Kind("runner: SIGKILL", signals=(KILL,), codes=(-KILL,)),
    Kind("runner: SIGTERM", signals=(TERM,), codes=(-TERM,)),
    Kind("runner: SIGHUP", signals=(HUP,), codes=(-HUP,)),
    Kind("runner: SIGSTOP, then SIGKILL", signals=(STOP, KILL), codes=(-KILL,)),
    Kind("terminal: Ctrl-C", keys=b"\x03", at_once=False, terminal=True, codes=(1, 2, 130, -INT)),  # 1: while Python itself is starting
    Kind("terminal: Ctrl-C twice", keys=b"\x03\x03", terminal=True, codes=(1, 2, 130, -INT)),
    Kind("terminal: closed", hang_up=True, terminal=True, codes=(-HUP,)),
    Kind("keeper: SIGKILL", "keeper", (KILL,), at_once=False, codes=(1,)),
    Kind("PID 1 of the run: SIGKILL", "PID 1", (KILL,), at_once=False, codes=(1,)),
    Kind("keeper: SIGTERM", "keeper", (TERM,), at_once=False, codes=(1,)),
    Kind("relay: SIGKILL", "relay", (KILL,), at_once=False, codes=(1,)),
    Kind("capture: SIGKILL", "capture", (KILL,), at_once=False, codes=(1,)),
    Kind("agent: SIGKILL", "agent", (KILL,), at_once=False, codes=(1,)),
    Kind("agent's minder: SIGKILL", "minder", (KILL,), at_once=False, codes=(1,)),
    Kind("agent: SIGSTOP", "agent", (STOP,), at_once=False, codes=(1,)),
    Kind("crash inside the harness", "", at_once=False, codes=(1, 3), plugin="tests.killed.crash"),
    Kind("disk full", "", at_once=False, codes=(0, 1, 3), full=True),  # 0: it was large enough
    Kind("descriptors exhausted", "", at_once=False, codes=(1, 2, 3, 4), few=True),
    Kind("session of two workers: SIGKILL", signals=(KILL,), parallel=True, codes=(-KILL,)),
    Kind("session of two workers: SIGTERM", signals=(TERM,), parallel=True, codes=(-TERM,)),
    Kind("session of two workers: Ctrl-C twice", keys=b"\x03\x03", terminal=True, parallel=True, codes=(2, 130, -INT)),
    Kind("worker: SIGKILL", "worker", (KILL,), at_once=False, parallel=True, codes=(0, 1)),  # 0: another took its place before any test
)


@dataclass
class Moment:
    """When to strike: ``after`` the start (s), or ``after`` the phase that is waited for."""

    after: float
    phase: str = ""

    def __str__(self) -> str:
        return f"{self.after * 1000:.0f} ms after {self.phase or 'its start'}"


@dataclass
class Plan:
    """One death of a series, drawn from the series' seed."""

    number: int
    kind: Kind
    moment: Moment
    scenario: str
    seed: int
    size: int
    target: float
    """0 to 1: which of several processes."""
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.number}: {self.kind.name}, {self.moment}, {'two workers' if self.kind.parallel else self.scenario}"


def plans(count: int, seed: int, kinds: tuple[Kind, ...], length: float, phase: str = "") -> list[Plan]:
    """``count`` deaths.  Every kind comes equally often, in a random order; half of the moments lie anywhere in the ``length`` (s) that a
    run takes (one in eight of them in its first 300 ms), half right after a phase has begun; ``phase``: all right after this one."""
    luck = random.Random(seed)
    order = [kinds[i % len(kinds)] for i in range(count)]
    luck.shuffle(order)
    made = []
    for number, kind in enumerate(order):
        if luck.random() < 0.5 and not phase:
            moment = Moment(luck.uniform(0, 0.3 if luck.random() < 0.125 else length))
        else:
            moment = Moment(luck.uniform(0, 0.06), phase or luck.choice(victims.PHASES[1:]))
        size = luck.randint(*TMPFS_BYTES) if kind.full else luck.randint(*DESCRIPTORS)
        made.append(Plan(number, kind, moment, luck.choice(SCENARIOS), luck.randint(1, 10_000), size, luck.random()))
    return made


def start(plan: Plan, artifacts: Path, log: Path) -> Victim:
    """The run that is going to die."""
    kind = plan.kind
    options = [f"--artifacts={artifacts}", f"--seed={plan.seed}"]
    if kind.plugin:
        options += ["-p", kind.plugin]
    if kind.full:
        mount("tmpfs", str(artifacts), "tmpfs", 0, f"size={plan.size}")
    argv = victims.parallel(*PARALLEL, *options) if kind.parallel else victims.run(plan.scenario, *options)
    limits = {resource.RLIMIT_NOFILE: plan.size} if kind.few else {}
    environment = {"HARNESS_TEST_CRASH_AT": str(round(plan.target * 120))} if kind.plugin else {}
    return Victim(argv, artifacts, log, terminal=kind.terminal, limits=limits, environment=environment)


def strike(plan: Plan, victim: Victim, wait: Callable[[], None]) -> bool:
    """Do it; False when there is nothing any more that it could be done to.  ``wait``: look once more a little later."""
    kind = plan.kind
    if kind.keys or kind.hang_up:
        if kind.hang_up:
            victim.hang_up()
        for key in kind.keys:
            victim.type(bytes([key]))
            pause = time.monotonic() + 0.05 + 0.3 * plan.target
            while len(kind.keys) > 1 and (time.monotonic() < pause or victim.pending(signal.SIGINT)):  # two that pend are one
                wait()
        return True
    if not kind.target:
        return True
    while True:
        there = victim.parts().get(kind.target, [])
        if there:
            break
        if victim.process.returncode is not None:
            return False
        wait()
    chosen = there[min(int(plan.target * len(there)), len(there) - 1)]
    for number in kind.signals:
        try:
            os.kill(chosen.pid, number)
        except ProcessLookupError:
            return False
    return True
