"""A session that is going to be killed: started as a person would, its processes by their parts, and how far its run has come."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

from harness.report.history import RUN
from tests.killed import host_state
from tests.killed.host_state import Process

ROOT = Path(__file__).parents[2]
PHASES = (
    "starting",
    "keeper",
    "namespaces",
    "folder",
    "built",
    "agents",
    "probed",
    "connected",
    "fault",
    "hung up",
    "judged",
    "merging",
    "reported",
    "listed",
)
"""How far a run has come: each is what is seen first of it from outside, in this order as a rule."""


class Victim:
    """``argv`` run with ``environment`` added, its output in ``log``; on a terminal of its own where ``terminal``.

    ``limits``: resource → soft and hard limit, as for setrlimit.
    """

    def __init__(
        self,
        argv: Sequence[str],
        artifacts: Path,
        log: Path,
        *,
        terminal: bool = False,
        environment: dict[str, str] | None = None,
        limits: dict[int, int] | None = None,
    ) -> None:
        self.artifacts = artifacts
        self.before = set(_folders(artifacts))
        self.indexed = _changed(artifacts / "index.html")
        self.shown = bytearray()
        self._ours = -1
        self.began = time.monotonic()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        env = {**inherited, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "TERM": "xterm-256color", **(environment or {})}

        def prepare() -> None:
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
                signal.signal(number, signal.SIG_DFL)  # a shell's background job ignores SIGINT, and all that it starts inherits that
            if terminal:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            for what, limit in (limits or {}).items():
                resource.setrlimit(what, (limit, limit))

        streams: tuple[int, int]
        if terminal:
            self._ours, theirs = pty.openpty()
            os.set_blocking(self._ours, False)
            self.modes = termios.tcgetattr(theirs)
            self._kept = os.dup(theirs)
            streams = theirs, theirs
        else:
            streams = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._log = log
        self.process = subprocess.Popen(
            argv, cwd=ROOT, env=env, stdin=streams[0], stdout=streams[1], stderr=streams[1], start_new_session=True, preexec_fn=prepare
        )
        for fd in set(streams):
            os.close(fd)

    # -- the terminal ----------------------------------------------------------------------------------------------------------------------

    def type(self, keys: bytes) -> None:
        """As if somebody typed it."""
        os.write(self._ours, keys)

    def read(self) -> None:
        """Take what it has drawn, so that it need not wait for room."""
        while self._ours >= 0:
            try:
                got = os.read(self._ours, 65536)
            except OSError:
                return
            if not got:
                return
            self.shown += got

    def pending(self, number: int) -> bool:
        """Whether a signal is still to be delivered to the process that was started."""
        try:
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        except OSError:
            return False
        sets = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd:", "ShdPnd:"))]
        return any(one >> (number - 1) & 1 for one in sets)

    def hang_up(self) -> None:
        """Take the terminal away, as a closed window does."""
        self.read()
        os.close(self._kept)
        os.close(self._ours)
        self._ours = self._kept = -1

    def terminal_left(self) -> list[str]:
        """What is not as it was on the terminal."""
        if self._ours < 0:
            return []
        self.read()
        left = [] if termios.tcgetattr(self._kept) == self.modes else ["the terminal's modes are changed"]
        hidden, shown = self.shown.rfind(b"\x1b[?25l"), self.shown.rfind(b"\x1b[?25h")
        return [*left, "the cursor is hidden"] if hidden > shown else left

    def close(self) -> None:
        """Let go of the terminal, and keep what was on it."""
        if self._ours >= 0:
            self.hang_up()
        if self.shown:
            self._log.write_bytes(bytes(self.shown))

    # -- its processes ---------------------------------------------------------------------------------------------------------------------

    def parts(self) -> dict[str, list[Process]]:
        """Its processes by what they are: runner, worker, keeper, PID 1, relay, capture, agent."""
        found: dict[str, list[Process]] = {}
        every = {one.pid: one for one in host_state.processes()}
        for one in every.values():
            if one.state != "Z" and self.owns(one, every):
                found.setdefault(self._part(one), []).append(one)
        return found

    def owns(self, one: Process, every: dict[int, Process]) -> bool:
        """Whether it descends from the process that was started."""
        while one.pid != self.process.pid:
            above = every.get(one.parent)
            if above is None:
                return False
            one = above
        return True

    def _part(self, one: Process) -> str:
        if one.pid == self.process.pid:
            return "runner"
        if "harness.agent" in one.argv:
            return "agent"
        if "harness.fabric.keeper" in one.argv:
            inside = one.numbers[-1]
            if len(one.numbers) == len(_own_numbers()):
                return "keeper"
            if inside == 1:
                return "PID 1" if len(one.numbers) == len(_own_numbers()) + 1 else "minder"
            return "capture" if any(name.endswith(".pcapng") for name in _open_files(one.pid)) else "relay"
        if one.parent == self.process.pid and "import sys;exec(eval(sys.stdin.readline()))" in one.argv:
            return "worker"
        return "other"

    # -- how far it has come ---------------------------------------------------------------------------------------------------------------

    def folders(self) -> list[Path]:
        """The folders of its runs."""
        return sorted(set(_folders(self.artifacts)) - self.before)

    def phase(self) -> str:
        """How far its newest run has come."""
        if _changed(self.artifacts / "index.html") != self.indexed:
            return "listed"
        folders = self.folders()
        if folders:
            folder = max(folders, key=lambda one: one.stat().st_mtime)
            if (folder / "report.json").exists():
                return "reported"
            if any(folder.glob("*capture.pcapng*")):
                return "merging"
            told = _told(folder / "timeline.jsonl")
            if told:
                return told
        parts = self.parts()
        for part, phase in (("agent", "agents"), ("PID 1", "namespaces"), ("keeper", "keeper")):
            if part in parts:
                return phase
        return "folder" if folders else "starting"


def _told(timeline: Path) -> str:
    """The last phase that a timeline tells of; "" when it tells of none."""
    try:
        lines = timeline.read_bytes().splitlines()
    except OSError:
        return ""
    phase, calls = "", 0
    for line in lines:
        if b'"source":"lab"' not in line and b'"kind":"agent"' not in line:
            continue
        try:
            kind = json.loads(line).get("kind")
        except ValueError:
            continue
        if kind == "call":
            calls += 1
            phase = "connected" if calls == 1 else "hung up"
        else:
            found = {"built": "built", "agent": "agents", "probed": "probed", "fault": "fault", "verdict": "judged", "signals": "merging"}
            phase = found.get(kind, phase)
    return phase


def _folders(artifacts: Path) -> list[Path]:
    return [path for path in artifacts.glob("*/*/*") if RUN.fullmatch(path.name)]


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _own_numbers() -> tuple[int, ...]:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("NSpid:"))
    return tuple(map(int, line.split()[1:]))


def _open_files(pid: int) -> list[str]:
    found = []
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except OSError:
                continue
    except OSError:
        return found
    return found


def run(*names: str) -> list[str]:
    """The command of ``harness run``."""
    return [sys.executable, "-m", "harness.cli", "run", *names]


def parallel(*tests: str) -> list[str]:
    """The command of a session with two parallel workers."""
    return [sys.executable, "-m", "pytest", "-p", "harness.pytest_plugin", "-q", "-n", "2", *tests]


def passed(output: str) -> bool:
    """Whether pytest says that all has passed."""
    return re.search(r"\b\d+ passed\b", output) is not None and "failed" not in output and "error" not in output
