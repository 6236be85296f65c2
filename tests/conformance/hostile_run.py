"""Runs the hostile agent in a real network: ``python -m tests.conformance.hostile_run FOLDER [WITHOUT…]`` prints what it came to as JSON.

WITHOUT: ``mounts`` and ``landlock`` are refused by a filter of system calls that this process puts on itself first, as a security module or
an older kernel would; ``confinement`` is left out altogether.  In FOLDER everything is made that the agent is to find, or not to find.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import socket
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from harness.fabric import privileges
from harness.fabric.agent_view import sockets
from harness.fabric.confinement import Confinement
from harness.spec.topology import Host, Link, Topology
from harness.syscalls import prctl
from tests.conformance.networks import opened, run_in, within_deadline

WIRE = Topology("wire", (Host("alice"), Host("bob")), (Link("alice/eth", "bob/eth", "10.0.0.0/30"),))
HOSTILE = Path(__file__).with_name("hostile.py")
REFUSED = {"mounts": (442, errno.EPERM), "landlock": (444, errno.ENOSYS)}


def refuse(number: int, answer: int) -> None:
    """From here on system call ``number`` fails, in this process and its children."""
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x0005_0000 | answer), (0x06, 0, 0, 0x7FFF_0000)]
    memory = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in code))
    pointer = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(memory)))
    privileges.forbid_new_privileges()
    prctl("seccomp", 22, 2, ctypes.addressof(pointer))


@contextlib.contextmanager
def tempting(folder: Path) -> Iterator[dict[str, Any]]:
    """Make what the agent is after, and listen where it may call."""
    program, victim, home = folder / "cat", folder / "victim", folder / "home"
    program.write_bytes(Path(shutil.which("cat") or "").read_bytes())
    program.chmod(0o4755)
    victim.write_text("the user's\n")
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_ed25519").write_text("a private key\n")
    os.environ["HOME"] = str(home)
    for name in ("alice", "bob"):
        (folder / "run" / "agents" / name).mkdir(parents=True)
    record = folder / "run" / "agents" / "bob" / "bob.media.jsonl"
    record.write_text("{}\n")
    key = 0x5100_0000 | os.getpid()  # of this process alone: such a thing is everybody's, and runs are side by side
    shared = ctypes.CDLL(None).shmget(key, 4096, 0o1600)
    with contextlib.ExitStack() as stack:
        hidden = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        (hidden / "file").write_text("somebody's\n")
        listening = {
            "port": ("127.0.0.1", 0),
            "hidden": str(hidden / "s"),
            "seen": str(folder / "s"),
            "abstract": f"\0harness-{os.getpid()}",
        }
        for name, where in listening.items():
            server = stack.enter_context(socket.socket(socket.AF_INET if name == "port" else socket.AF_UNIX, socket.SOCK_STREAM))
            server.bind(where)
            server.listen()
            listening[name] = server.getsockname()
        try:
            yield {
                "folder": str(folder / "run" / "agents" / "alice"),
                "setuid": str(program),
                "victim": str(victim),
                "home": str(home),
                "record": str(record),
                "temporary": str(hidden / "file"),
                "port": listening["port"][1],
                "hidden socket": listening["hidden"],
                "seen socket": listening["seen"],
                "abstract socket": listening["abstract"][1:].decode(),
                "shared memory": key,
                "runner": os.getpid(),
            }
        finally:
            ctypes.CDLL(None).shmctl(shared, 0, None)


def main(folder: Path, *without: str) -> None:
    for one in without:
        if one in REFUSED:
            refuse(*REFUSED[one])
    told: dict[str, Any] = {}

    async def test() -> None:
        with tempting(folder) as context:
            own, run = Path(context["folder"]), folder / "run"
            confine = None if "confinement" in without else Confinement(own, hidden=(run, *map(Path, sockets())))
            argv = [sys.executable, "-I", str(HOSTILE), json.dumps(context), context["setuid"]]
            async with opened(WIRE, folder) as network:
                code, out = await run_in(network, "alice", argv, confine=confine, processes=(seen := []))
                assert code == 0, code
                told.update(answers=json.loads(out), seen=seen[0].confined, how=msgspec.to_builtins(seen[0].how))

    within_deadline(test)
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
