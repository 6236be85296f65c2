"""How the death of an agent is told and whose doing it was: its own, or that of a machine that had no more memory."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from harness.errors import AgentCrashed, EnvironmentUnfit
from harness.fabric.keeper_client import Process
from harness.lab import deaths

MINE = Process("bob", os.getpid(), -1)
HELD = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-signal.SIGSEGV, "was killed by SIGSEGV"),
        (-signal.SIGABRT, "was killed by SIGABRT"),
        (-(signal.SIGRTMIN + 3), f"was killed by signal {signal.SIGRTMIN + 3}"),
        (0, "exited with code 0"),
        (70, "exited with code 70"),
        (139, "exited with code 139, with which a shell tells of SIGSEGV"),
        (255, "exited with code 255"),
    ],
)
def test_an_end_in_words(code: int, words: str) -> None:
    assert deaths.how(code) == words


def test_the_last_lines_and_the_path_of_the_log_are_told(tmp_path: Path) -> None:
    log = tmp_path / "bob.log"
    assert "cannot be read: No such file" in deaths.last_lines(log)
    log.write_text("")
    assert deaths.last_lines(log) == f"its log {log} is empty"
    log.write_text("".join(f"line {n}\n" for n in range(9)))
    assert deaths.last_lines(log) == f"its log {log} ends: line 4 | line 5 | line 6 | line 7 | line 8"


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    path = tmp_path / "memory.events"
    path.write_text("low 0\noom 4\noom_kill 3\noom_group_kill 0\n")
    return path


@pytest.mark.parametrize(
    ("risen", "size", "environment"),
    [
        pytest.param(True, 100 * HELD, True, id="others took the memory"),
        pytest.param(True, HELD, False, id="it took the memory itself"),
        pytest.param(False, 100 * HELD, False, id="the kernel killed nobody"),
    ],
)
def test_sigkill_is_the_environment_s_only_where_the_kernel_ran_out_of_memory(
    counter: Path, risen: bool, size: int, environment: bool
) -> None:
    memory = deaths.Memory(counters=[counter], size=size)
    memory.look([MINE])
    if risen:
        counter.write_text("oom_kill 4\n")
    error = deaths.judge("bob", -signal.SIGKILL, counter, 0, memory.ran_out(MINE))
    assert isinstance(error, EnvironmentUnfit if environment else AgentCrashed)
    assert error.blame == ("environment" if environment else "product")
    assert "agent bob" in str(error)
    assert "SIGKILL" in str(error)


def test_another_signal_is_never_the_environment_s(counter: Path) -> None:
    memory = deaths.Memory(counters=[counter], size=100 * HELD)
    memory.look([MINE])
    counter.write_text("oom_kill 4\n")
    assert isinstance(deaths.judge("bob", -signal.SIGSEGV, counter, 0, memory.ran_out(MINE)), AgentCrashed)


def test_this_machine_tells_how_much_memory_it_has() -> None:
    assert 2 * HELD < deaths.Memory().size < 1 << 62
