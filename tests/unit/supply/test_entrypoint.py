"""The image's first process, as the first process of a PID namespace: what it runs, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.supply.tools import ROOT, load

ENTRY = load(".docker/entrypoint.py")

FIRST = """
import ctypes, os, sys
uid, gid = os.geteuid(), os.getegid()
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x30000000):  # a user and a PID namespace
    raise OSError(ctypes.get_errno(), "unshare")
for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
    with open(f"/proc/self/{name}", "w") as file:
        file.write(text)
child = os.fork()
if child:
    print(child, flush=True)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sys.path.insert(0, sys.argv[1])
import entrypoint
entrypoint.GRACE_S = float(sys.argv[2])
assert os.getpid() == 1
sys.exit(entrypoint.run([sys.executable, "-c", sys.argv[3]], os.environ))
"""

READY = "import os, signal, sys\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\nprint('ready', flush=True)\n"
WAIT = "signal.sigwait([signal.SIGINT])\n"
ENDS = READY + WAIT + "sys.exit(7)"
ENDS_AT_THE_SECOND = READY + WAIT + "print('asked', flush=True)\n" + WAIT + "sys.exit(9)"
STUBBORN = READY + "while True:\n    " + WAIT
ORPHANS = """
import os, signal
for _ in range(20):
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()
print("ready", flush=True)
signal.pause()
"""


@contextmanager
def first_process(program: str, grace: float = 60) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """``program`` run by the entry point as PID 1, and that PID 1's number out here; both are ended with the block."""
    command = [sys.executable, "-c", FIRST, str(ROOT / ".docker"), str(grace), program]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        try:
            assert process.stdout.readline() == "ready\n"
            yield process, pid
        finally:
            if process.poll() is None:
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_is_ctrl_c_to_the_command_whose_exit_code_it_keeps(number: int) -> None:
    with first_process(ENDS) as (process, pid):
        os.kill(pid, number)
        assert process.wait(30) == 7


def test_a_second_signal_is_a_second_ctrl_c() -> None:
    with first_process(ENDS_AT_THE_SECOND) as (process, pid):
        assert process.stdout is not None
        os.kill(pid, signal.SIGTERM)
        assert process.stdout.readline() == "asked\n"
        os.kill(pid, signal.SIGTERM)
        assert process.wait(30) == 9


def test_what_does_not_end_in_its_grace_is_killed() -> None:
    with first_process(STUBBORN, grace=0.1) as (process, pid):
        os.kill(pid, signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGKILL


def test_orphans_are_reaped() -> None:
    with first_process(ORPHANS) as (process, pid):
        tasks = Path(f"/proc/{pid}/task/{pid}/children")
        while len(children := tasks.read_text().split()) > 1:  # a zombie is a child until it is waited for
            assert process.poll() is None
            os.sched_yield()
        assert len(children) == 1


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["scenario", "NAME=migration"], ["harness", "run", "migration"]),
        (
            ["scenario", "NAME=migration", "ARGS=--seed 7 --impair relay"],
            ["harness", "run", "migration", "--seed", "7", "--impair", "relay"],
        ),
        (["scenario", "migration", "--seed=7"], ["harness", "run", "migration", "--seed=7"]),
        (["scenario", "NAME=rebind_port[ipv6]", "-k", "x"], ["harness", "run", "rebind_port[ipv6]", "-k", "x"]),
        (["soak", "NAME=migration", "N=5"], ["harness", "soak", "migration", "--runs", "5"]),
        (["test"], ["make", "--no-print-directory", "test-image"]),
        (["test", "JOBS=2"], ["make", "--no-print-directory", "test-image", "JOBS=2"]),
        (["doctor", "--json"], ["python3", "-m", "harness.doctor", "--json"]),
        (["list"], ["harness", "list"]),
        (["make", "test", "JOBS=2"], ["make", "--no-print-directory", "test-image", "JOBS=2"]),
        (["make", "unit"], ["make", "--no-print-directory", "unit"]),
    ],
)
def test_what_is_run(words: list[str], command: list[str]) -> None:
    assert ENTRY.command_of(words) == command


@pytest.mark.parametrize("words", [["scenario"], ["scenario", "--seed=7"], ["bash"], ["tests"]])
def test_what_it_does_not_know_it_refuses_with_what_there_is(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert ENTRY.main(words) == 2
    assert "NAME=migration" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["help"], ["--help"]])
def test_help_is_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert ENTRY.main(words) == 0
    assert "scenario NAME=migration" in capsys.readouterr().out


def test_a_folder_that_may_not_be_written_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ENTRY, "ARTIFACTS", tmp_path / "gone")
    assert ENTRY.main(["scenario", "NAME=migration"]) == 2
    assert "mkdir artifacts first" in capsys.readouterr().err


def test_a_home_that_may_not_be_written_is_tmp() -> None:
    assert ENTRY.environment({"HOME": "/", "SEED": "1"})["HOME"] == "/tmp"
    assert ENTRY.environment({"HOME": "/nowhere"})["HOME"] == "/tmp"
    assert ENTRY.environment({"HOME": os.getcwd(), "RUFF_CACHE_DIR": "/mine"})["RUFF_CACHE_DIR"] == "/mine"


def test_roots_files_go_to_the_folders_owner(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.json").write_text("{}")
    (tmp_path / "latest").symlink_to("run")
    os.link(tmp_path / "run" / "report.json", tmp_path / "run" / "second")
    (tmp_path / "run" / "timeline.jsonl").write_text("")
    (other := tmp_path.with_name("elsewhere")).write_text("not in the folder")
    (tmp_path / "outside").symlink_to(other)
    owner = (1000, 1000) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    if os.geteuid() == 0:
        os.chown(tmp_path, *owner)
    ENTRY.give(tmp_path)
    for name in ("run", "run/timeline.jsonl", "latest", "outside"):
        told = (tmp_path / name).lstat()
        assert (told.st_uid, told.st_gid) == owner
    for path in (other, tmp_path / "run/report.json", tmp_path / "run/second"):
        assert path.stat().st_uid == os.geteuid(), "what has a name elsewhere stays whose it was"
