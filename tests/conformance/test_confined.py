"""A hostile agent (``hostile.py``) in a real network: each of its attempts is stopped, and none where the confinement is left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from harness.fabric.confinement import Confinement
from tests.conformance.hostile_run import WIRE
from tests.conformance.networks import opened, run_in, within_deadline

ROOT = Path(__file__).parents[2]
FILE = {"EROFS", "EACCES"}
"""A file that is there and cannot be written: its mount is read-only, and Landlock forbids it where that is all there is."""
HIDDEN = {"ENOENT", "EACCES"}
STOPPED: dict[str, set[str]] = {
    "raw socket": {"EPERM"},
    "packet socket": {"EAFNOSUPPORT"},
    "add an address": {"EPERM"},
    "take a link down": {"EPERM"},
    "mark packets": {"EPERM"},
    "speak as another address": {"EPERM"},
    "listen on port 443": {"EACCES"},
    "reach the hosts loopback": {"ECONNREFUSED"},
    "reach the hypervisor": {"EAFNOSUPPORT"},
    "a service by its socket": {"ENOENT", "EAFNOSUPPORT"},
    "a service by a socket among files": {"EACCES", "ECONNREFUSED", "EAFNOSUPPORT"},
    "a service by its abstract socket": {"ECONNREFUSED", "EAFNOSUPPORT"},
    "shared memory of others": {"ENOENT"},
    "the users keyring": {"EPERM"},
    "signal the runner": {"ESRCH"},
    "stop by kill": {"EPERM"},
    "stop by tkill": {"EPERM"},
    "stop by tgkill": {"EPERM"},
    "stop by a queued signal": {"EPERM"},
    "stop by a signal queued to a thread": {"EPERM"},
    "stop by a descriptor": {"EPERM"},
    "stop by attaching": {"EPERM"},
    "a stop for input": {"EPERM"},
    "a stop when the parent ends": {"EPERM"},
    "a stop when a child ends": {"EPERM"},
    "a stop when a message comes": {"EPERM"},
    "see other processes": {"ESRCH"},
    "the runners environment": HIDDEN,
    "the root of pid 1": {"EACCES"},
    "the memory of pid 1": {"EPERM"},
    "write a file of the user": FILE,
    "truncate a file of the user": FILE | {"EPERM"},
    "change the mode of a file of the user": {"EROFS", "EPERM"},
    "change the times of a file of the user": {"EROFS", "EPERM"},
    "link a file of the user into its own folder": {"EXDEV", "EACCES"},
    "write through a symlink": FILE,
    "make a file beside its folder": FILE,
    "the records of the other agent": HIDDEN,
    "a private key": HIDDEN,
    "password hashes": HIDDEN,
    "a file in somebodys temporary folder": HIDDEN,
    "a file as large as it likes": {"EFBIG"},
    "fill the temporary folder": {"ENOSPC"},
    "physical memory": HIDDEN,
    "a disk": HIDDEN,
    "a tap": HIDDEN,
    "a sysctl": FILE,
    "a sysctl of its network": FILE,
    "a setting in sys": FILE,
    "the magic sysrq key": FILE,
    "escape the oom killer": FILE,
    "a program in the kernel": {"EPERM"},
    "io uring": {"ENOSYS"},
    "read the kernels log": {"EPERM"},
    "another network": {"EPERM"},
    "a user namespace": {"EPERM"},
    "mount a filesystem": {"EPERM"},
    "uncover what is hidden": {"EPERM"},
    "change root": {"EPERM"},
    "change owner": {"EPERM", "EINVAL"},
    "become another user": {"EPERM", "EINVAL"},
    "make a device": {"EPERM"},
    "a better nice value": {"EACCES", "EPERM"},
    "real time priority": {"EPERM"},
    "more descriptors": {"EPERM"},
    "reboot": {"EPERM"},
    "gain by setuid": {"EPERM"},
    "inherited descriptors": {"ENOENT"},
}
"""Every attempt, and the errors with which it may end."""

WITHOUT_MOUNTS = {"see other processes", "fill the temporary folder"}
"""What Landlock cannot stop; the run says so."""

BY_OTHER_MEANS = {
    "inherited descriptors",  # nothing is inherited by any process that the keeper starts
    "signal the runner",  # the run's PID namespace
    "reach the hosts loopback",  # the node's network namespace
    "a service by its abstract socket",
}
"""What is stopped without the confinement, too."""

UNPRIVILEGED = {
    *("change owner", "become another user", "make a device", "mount a filesystem", "a better nice value", "real time priority", "reboot"),
    *("read the kernels log", "password hashes", "physical memory", "a disk", "a sysctl", "a setting in sys", "the magic sysrq key"),
    *("the runners environment", "the root of pid 1", "uncover what is hidden", "a program in the kernel"),
}
"""What the user namespace of an unprivileged run refuses without the confinement, too."""

UNCERTAIN = {
    "physical memory": ("/dev/mem", os.O_RDONLY),
    "a disk": (f"/dev/{Path('/proc/partitions').read_text().split()[-1]}", os.O_RDONLY),
    "a tap": ("/dev/net/tun", os.O_RDWR),
    "password hashes": ("/etc/shadow", os.O_RDONLY),
    "a sysctl": ("/proc/sys/kernel/panic", os.O_WRONLY),
    "a sysctl of its network": ("/proc/sys/net/ipv4/conf/all/forwarding", os.O_WRONLY),
    "a setting in sys": ("/sys/kernel/rcu_expedited", os.O_WRONLY),
    "the magic sysrq key": ("/proc/sysrq-trigger", os.O_WRONLY),
    "the root of pid 1": ("/proc/1/root/etc", os.O_RDONLY),
}
"""What a machine may not have, or a container keep from whoever runs this: the file that it takes."""
SYS_PTRACE, SYS_BOOT, SYS_NICE, SYSLOG = 19, 22, 23, 34
POWERS = {
    "the memory of pid 1": SYS_PTRACE,
    "reboot": SYS_BOOT,
    "a better nice value": SYS_NICE,
    "real time priority": SYS_NICE,
    "read the kernels log": SYSLOG,
}
"""The capability (linux/capability.h) that it takes."""


def out_of_reach() -> set[str]:
    """What of the uncertain this process cannot have itself."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    powers = int(status["CapEff"], 16)
    filtered = {"the users keyring"} if int(status["Seccomp"]) else set()  # a container's filter refuses it even to root
    files = {name for name, (path, flags) in UNCERTAIN.items() if not openable(path, flags)}
    return files | {name for name, power in POWERS.items() if not powers >> power & 1} | filtered


def openable(path: str, flags: int) -> bool:
    try:
        os.close(os.open(path, flags))
    except OSError:
        return False
    return True


def hostile(folder: Path, *without: str) -> dict[str, Any]:
    """What the agent came to, and what was seen of it from outside."""
    command = [sys.executable, "-m", "tests.conformance.hostile_run", str(folder), *without]
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT, text=True, timeout=90, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("without", [(), ("landlock",), ("mounts",)], ids=["all", "no Landlock", "no mounts"])
def test_every_attempt_is_stopped(tmp_path: Path, without: tuple[str, ...]) -> None:
    told = hostile(tmp_path, *without)
    answers = told["answers"]
    assert answers.keys() == STOPPED.keys()
    missing = out_of_reach()
    passed = {name: answer for name, answer in answers.items() if answer not in STOPPED[name] and name not in missing}
    if "mounts" in without:
        assert passed == dict.fromkeys(WITHOUT_MOUNTS, "done")
        return
    assert passed == {}


def test_no_attempt_is_stopped_where_the_confinement_is_left_out(tmp_path: Path) -> None:
    answers = hostile(tmp_path, "confinement")["answers"]
    stopped = {name for name, answer in answers.items() if answer in STOPPED[name]}
    assert stopped - BY_OTHER_MEANS - out_of_reach() <= (set() if os.geteuid() == 0 else UNPRIVILEGED)


def test_its_folder_can_be_written_where_nothing_else_is_seen_and_temporary_files_are_its_own() -> None:
    program = "import sys, tempfile; open(sys.argv[1] + '/mine', 'w').close(); print(tempfile.mkstemp()[1])"

    async def test() -> None:
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            own = Path(folder) / "own"
            own.mkdir()
            async with opened(WIRE, Path(folder)) as network:
                argv = [sys.executable, "-I", "-c", program, f"{own}"]
                code, made = await run_in(network, "alice", argv, confine=Confinement(own, hidden=(Path(folder),)))
            assert code == 0
            assert os.listdir(own) == ["mine"]
            assert Path(made.strip()).name not in os.listdir("/tmp")

    within_deadline(test)


def test_a_command_that_cannot_be_executed_is_named(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(WIRE, tmp_path) as network:
            with pytest.raises(Exception, match=r"^/no/such could not be started in alice: No such file or directory$"):
                await run_in(network, "alice", ["/no/such"])

    within_deadline(test)
