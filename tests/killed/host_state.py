"""Everything that a run could leave on a host or change about it, read from outside the harness: two readings that are equal are equal
byte for byte.

Left out by name is only what moves by itself: timers and lifetimes that ``ip`` prints, neighbours that the kernel has learnt, and the
sysctl that counts conntrack entries.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

QUESTIONS = (
    "ip -d addr",
    "ip -4 route show table all",
    "ip -6 route show table all",
    "ip -4 rule",
    "ip -6 rule",
    "ip neigh show nud permanent",
    "ip netns",
    "nft list ruleset",
    "tc qdisc",
    "tc class show dev up0",
)
TIMERS = re.compile(r"\b(\w*timer|expires|valid_lft|preferred_lft) +\S+")
COUNTING = {"/proc/sys/net/netfilter/nf_conntrack_count"}
KINDS = ("net", "pid", "user", "mnt", "ipc", "uts", "time", "cgroup")
SOCKETS = ("unix", "udp", "udp6", "tcp", "tcp6", "packet", "raw", "raw6")
FOLDERS = ("/tmp", "/run", "/dev/shm", "/var/lock", "/run/netns")


@dataclass(frozen=True)
class Process:
    """A process as /proc has it.  ``started``: in clock ticks since boot; with ``pid`` it names no other process, ever."""

    pid: int
    started: int
    parent: int
    state: str
    argv: tuple[str, ...]
    numbers: tuple[int, ...]
    """Its PIDs, in this PID namespace and in those below."""

    def __str__(self) -> str:
        return f"{self.pid} {self.state} {' '.join(self.argv)[:120]}"


def processes() -> list[Process]:
    """Every process but this one, zombies too."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            stat = Path("/proc", name, "stat").read_text()
            argv = Path("/proc", name, "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            status = Path("/proc", name, "status").read_text()
        except OSError:
            continue  # it ended meanwhile
        fields = stat.rpartition(")")[2].split()
        numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [name])
        found.append(
            Process(
                pid=int(name),
                started=int(fields[19]),
                parent=int(fields[1]),
                state=fields[0],
                argv=tuple(argv),
                numbers=tuple(map(int, numbers)),
            )
        )
    return found


def namespaces() -> set[str]:
    """Every namespace that a process of this PID namespace is in, or holds by a descriptor."""
    found = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        links = [f"/proc/{name}/ns/{kind}" for kind in KINDS]
        try:
            links += [f"/proc/{name}/fd/{fd}" for fd in os.listdir(f"/proc/{name}/fd")]
        except OSError:
            continue
        for link in links:
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if re.fullmatch(r"[a-z_]+:\[\d+\]", target) and target.partition(":")[0] in (*KINDS, "mnt"):
                found.add(target)
    return found


def network() -> dict[str, str]:
    """The configuration of the network namespace that this process is in: what the tools say of it, and every sysctl under net."""
    found = {}
    for question in QUESTIONS:
        tool, *arguments = question.split()
        if shutil.which(tool) is not None:
            done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=20, check=False)
            found[question] = TIMERS.sub(r"\1", done.stdout) + done.stderr
    devices = Path("/proc/self/net/dev").read_text().splitlines()[2:]
    found["interfaces"] = " ".join(sorted(line.partition(":")[0].strip() for line in devices))
    for folder, _, names in os.walk("/proc/sys/net"):
        for name in names:
            path = f"{folder}/{name}"
            if path not in COUNTING:
                try:
                    found[path] = Path(path).read_text()
                except OSError as error:  # written to and never read, or without a value: that is what it is
                    found[path] = f"errno {error.errno}"
    return found


def host() -> dict[str, str]:
    """``network``, and all else: namespaces, mounts, sockets, shared memory, and the entries of the folders where temporary files go."""
    found = network()
    found["namespaces"] = "\n".join(sorted(namespaces()))
    found["mounts"] = Path("/proc/self/mountinfo").read_text()
    for name in SOCKETS:
        lines = Path("/proc/self/net", name).read_text().splitlines() if Path("/proc/self/net", name).exists() else []
        found[f"sockets: {name}"] = "\n".join(sorted(lines))
    for name in ("shm", "sem", "msg"):
        path = Path("/proc/sysvipc", name)
        found[f"sysvipc: {name}"] = path.read_text() if path.exists() else ""
    for folder in FOLDERS:
        found[f"entries of {folder}"] = "\n".join(sorted(os.listdir(folder))) if Path(folder).is_dir() else ""
    return found


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What is not as it was, a line each."""
    told = []
    for name in sorted({*before, *after}):
        was, is_ = before.get(name), after.get(name)
        if was != is_:
            old, new = set((was or "").splitlines()), set((is_ or "").splitlines())
            told.append(f"{name}: gone {sorted(old - new)}, new {sorted(new - old)}"[:600])
    return told
