"""What a run may leave on a machine, looked for from outside and without the harness's help: processes, namespaces, and the host's network.

A run is recognised by a token in its environment, which everything that it starts inherits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from tests.killed import host_state

CONTAINERS = re.compile(r"\b(veth[0-9a-f]{7}|docker0|br-[0-9a-f]{12})\b")
INTERFACE = re.compile(r"^(?=\d+: )", re.MULTILINE)
TOKEN = "HARNESS_TEST_RUN"


def processes(token: str) -> list[str]:
    """The living processes whose environment holds ``token``; "pid command" each."""
    wanted, found = f"{TOKEN}={token}".encode(), []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(f"{folder.name} {(folder / 'cmdline').read_bytes()!r}")
        except OSError:
            continue  # it ended meanwhile, or it is not ours to look at
    return found


def children() -> list[int]:
    """The children of this process, zombies too."""
    return sorted(int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split())


def mounts(inodes: Iterable[int]) -> list[str]:
    """The mounts that keep one of these network namespaces alive without any process, as ``ip netns`` makes them.

    Other processes' namespaces are not looked at: the kernel uses inode numbers again at once, and other runs may go on beside.
    """
    names = {f"net:[{inode}]" for inode in inodes}
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if any(name in line for name in names)]


def host() -> dict[str, str]:
    """The network of the namespace that this process is in, as far as the tools to ask for it are installed, and all its sysctls.

    Without the interfaces that Docker makes and removes for other people's containers, and what is said of them: nothing of ours has such
    names.
    """
    found = {}
    for name, text in host_state.network().items():
        if CONTAINERS.search(name):
            continue
        parts = INTERFACE.split(text) if name == "ip -d addr" else text.split("\n")
        found[name] = "\n".join(part for part in parts if not CONTAINERS.search(part.partition("\n")[0]))
    found["interfaces"] = " ".join(name for name in sorted(os.listdir("/sys/class/net")) if not CONTAINERS.search(name))
    return found


def descriptors() -> dict[str, str]:
    """This process's own descriptors and what they are."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # the listing's own
    return found
