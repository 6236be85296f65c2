"""PID 1 of the image: turns ``docker run IMAGE scenario NAME=migration`` into the project's own commands, and ends as a good first process.

* Signals: PID 1 has no default actions, so it passes them on.  The first SIGTERM, SIGINT, SIGHUP or SIGQUIT (``docker stop``, Ctrl-C) is
  Ctrl-C to the run, which then ends its network and writes what it has; the next is Ctrl-C once more.  What has not ended ``GRACE_S``
  after the first is killed, within the ten seconds that ``docker stop`` gives.
* Orphans are reaped.
* What root wrote to the mounted artifacts folder is given to the folder's owner.
* The exit code is the command's, 128 + n where signal n ended it.

Needs nothing but Python, so that ``doctor`` can tell what else lacks.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
ARTIFACTS = Path("/artifacts")
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
GRACE_S = 8.0
USAGE_ERROR = 2
HARNESS_COMMANDS = ("list", "run", "soak", "report", "index", "compare", "capture", "presets", "doctor")
HELP = """docker run [OPTIONS] IMAGE COMMAND
  scenario NAME=migration [ARGS="--seed 7 …"]   run a scenario; further words go to pytest
  test [JOBS=2]                                 every test, scenario and control (what the image lacks for it, it says)
  doctor [--json]                               what this machine can do, and the one command that would fix each lack
  list, soak NAME=…, report, compare, presets   as `harness …`
  make TARGET                                   as on a machine of your own
OPTIONS: --privileged, or --cap-add NET_ADMIN --cap-add SYS_ADMIN; -v "$PWD/artifacts:/artifacts" keeps what a run leaves.
         As yourself: --user "$(id -u):$(id -g)" --security-opt seccomp=unconfined --security-opt systempaths=unconfined"""


WRITES = ("scenario", "soak", "test", "run")


class UsageError(Exception):
    """The command is none that the image has."""


def command_of(words: list[str]) -> list[str]:
    """What is run for the words after IMAGE."""
    name, *rest = words or ["help"]
    if name == "scenario":
        return ["harness", "run", *_named(name, rest)]
    if name == "soak":
        return ["harness", "soak", *_named(name, rest)]
    if name == "doctor":
        return ["python3", "-m", "harness.doctor", *rest]
    if name in HARNESS_COMMANDS:
        return ["harness", name, *rest]
    if name == "make" and rest[:1] == ["test"]:
        name, rest = "test", rest[1:]
    if name == "test":
        return ["make", "--no-print-directory", "test-image", *rest]
    if name == "make":
        return ["make", "--no-print-directory", *rest]
    raise UsageError(f"there is no command {name!r} here\n{HELP}")


def _named(command: str, words: list[str]) -> list[str]:
    """``NAME=migration ARGS="--seed 7" --impair relay``, or the name as it is, as the arguments of ``harness``."""
    name, arguments = None, []
    for word in words:
        key, _, value = word.partition("=")
        if key == "NAME":
            name = value
        elif key == "ARGS":
            arguments += value.split()
        elif key == "N" and command == "soak":
            arguments += ["--runs", value]
        elif name is None and not word.startswith("-"):
            name = word
        else:
            arguments.append(word)
    if not name:
        raise UsageError(f"{command}: which one?  {command} NAME=migration; `list` lists them")
    return [name, *arguments]


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The command's environment: caches and a home where this user may write."""
    home = given.get("HOME", "/")
    ours = {
        "HOME": home if os.access(home, os.W_OK) and home != "/" else "/tmp",
        "MYPY_CACHE_DIR": "/tmp/mypy",
        "RUFF_CACHE_DIR": "/tmp/ruff",
        "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return {**ours, **given, "HOME": ours["HOME"]}


def run(command: list[str], env: Mapping[str, str]) -> int:
    """Run ``command`` to its end, pass signals on, reap whoever else is ours; its exit code."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (*PASSED_ON, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    child = os.posix_spawnp(command[0], command, dict(env), setsid=True, setsigmask=[], setsigdef=[*PASSED_ON, signal.SIGCHLD])
    asked: float | None = None
    while True:
        wait = None if asked is None else max(0.0, asked + GRACE_S - time.monotonic())
        select.select([read], [], [], wait)
        noted = _drain(read)
        if set(noted) & {int(number) for number in PASSED_ON}:
            asked = asked or time.monotonic()
            _signal_group(child, signal.SIGINT)
        if asked is not None and time.monotonic() >= asked + GRACE_S:
            _signal_group(child, signal.SIGKILL)
        if (code := _reap(child)) is not None:
            return code


def _drain(read: int) -> bytes:
    try:
        return os.read(read, 4096)
    except BlockingIOError:
        return b""


def _signal_group(child: int, number: signal.Signals) -> None:
    """To everything of the command's session that has not started one of its own, as a terminal does."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, number)


def _reap(child: int) -> int | None:
    """Collect whoever has ended; the command's exit code once it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            ended = os.waitstatus_to_exitcode(status)
            code = ended if ended >= 0 else 128 - ended


def give(folder: Path) -> None:
    """Give what root has written into ``folder``, in this run or in one that was killed, to the folder's owner, who mounted it.

    A file with a second name stays root's: that name might stand anywhere.
    """
    owner = folder.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(parent, name)
            try:
                told = os.lstat(path)
                if told.st_uid == 0 and (stat.S_ISDIR(told.st_mode) or told.st_nlink == 1):
                    os.lchown(path, owner.st_uid, owner.st_gid)
            except OSError as error:  # it has gone, or this root may not: say so, the run's result stands
                print(f"{path} stays root's: {error.strerror}", file=sys.stderr)


def main(words: list[str]) -> int:
    """Run what the words ask for."""
    if words in ([], ["help"], ["--help"], ["-h"]):
        print(HELP)
        return 0
    try:
        command = command_of(words)
    except UsageError as error:
        print(error, file=sys.stderr)
        return USAGE_ERROR
    if words[0] in WRITES and not os.access(ARTIFACTS, os.W_OK | os.X_OK):
        owner = ARTIFACTS.stat().st_uid if ARTIFACTS.exists() else None
        print(
            f"{ARTIFACTS} cannot be written by uid {os.geteuid()}: it is owned by uid {owner}."
            " Where the folder to be mounted is not there, docker makes it, as root: mkdir artifacts first",
            file=sys.stderr,
        )
        return USAGE_ERROR
    os.chdir(ROOT)
    try:
        return run(command, environment(os.environ))
    finally:
        if ARTIFACTS.is_dir():
            give(ARTIFACTS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
