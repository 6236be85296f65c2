"""The doctor on machines that lack something, each lack made for real: a limit, a mount or a capability less than here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.fabric import libnftables

ROOT = Path(__file__).parents[2]

INTO = """
import ctypes, os, resource, sys
me, steps = int(sys.argv[1]), sys.argv[2:]
uid, gid = os.geteuid(), os.getegid()
libc = ctypes.CDLL(None, use_errno=True)
BIND, REMOUNT, READ_ONLY = 0x1000, 0x20, 0x1
def check(code):
    if code:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def mount(source, target, kind, flags):
    check(libc.mount(source, target.encode(), kind, ctypes.c_ulong(flags), None))
check(libc.unshare(0x10020000))  # a user namespace, in which we are whom the map says, and mounts of our own
for name, text in (("setgroups", "deny"), ("uid_map", f"{me} {uid} 1"), ("gid_map", f"{me} {gid} 1")):
    with open(f"/proc/self/{name}", "w") as file:
        file.write(text)
for step in steps:
    what, value = step.split(" ")
    if what == "limit":
        with open(f"/proc/sys/user/{value}", "w") as file:
            file.write("0")
    elif what == "empty" and os.path.isdir(value):
        mount(b"none", value, b"tmpfs", 0)
    elif what == "empty" and os.path.exists(value):
        mount(b"/dev/null", value, None, BIND)
    elif what == "freeze":
        mount(value.encode(), value, None, BIND)
        mount(b"none", value, None, BIND | REMOUNT | READ_ONLY | 0x2 | 0x4 | 0x8)  # nosuid, nodev, noexec, as proc has
    elif what == "drop":
        check(libc.prctl(24, int(value), 0, 0, 0))  # PR_CAPBSET_DROP
for limit in (resource.RLIMIT_RTPRIO, resource.RLIMIT_NICE):
    resource.setrlimit(limit, (0, 0))
os.execv(sys.executable, [sys.executable, "-m", "harness.doctor", "--json"])
"""

NET_RAW, SYS_ADMIN = "drop 13", "drop 21"


AGREED = """
from harness.doctor import netlink
from harness.fabric import netem, netns
netns.enter_run_namespaces()
print(netlink.takes_netem(), netem.lacking() is None)
"""


def nft_library() -> str:
    """The file that is loaded as libnftables."""
    libnftables.load_library()
    with open("/proc/self/maps") as file:
        return next(line.split()[-1] for line in file if "libnftables.so" in line)


def examined(uid: int, *steps: str) -> tuple[int, dict[str, Any]]:
    """What the doctor tells somebody who is ``uid`` in a user namespace, after ``steps``: its exit code, and its findings by feature."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", INTO, str(uid), *steps]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    if "Read-only file system: '/proc/sys/user/" in done.stderr:
        pytest.skip("platform: /proc/sys is read-only here, so no limit can be set")  # a container; see docs/platforms.md
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert told["fit"] == (done.returncode == 0)
    return done.returncode, {one["feature"]: one for one in told["findings"]}


@pytest.fixture(scope="module")
def here() -> dict[str, Any]:
    """What it tells of an ordinary user of this machine."""
    return examined(1000)[1]


@pytest.mark.parametrize(
    ("lack", "uid", "steps", "needed", "found", "remedy"),
    [
        ("namespaces", 1000, ["limit max_user_namespaces"], True, "No space left on device", "sysctl -w user.max_user_namespaces=15000"),
        ("namespaces", 1000, ["limit max_net_namespaces"], True, "No space left on device", "sysctl -w user.max_net_namespaces=15000"),
        ("namespaces", 0, [SYS_ADMIN], True, "Operation not permitted", ""),
        ("captures", 0, [NET_RAW], True, "no packet socket (Operation not permitted): captures need CAP_NET_RAW", ""),
        ("nftables", 1000, ["empty LIBRARY"], True, "libnftables.so.1 is not installed", "nftables"),
        ("TAP", 1000, ["empty /dev/net"], False, "/dev/net/tun cannot be opened (No such file or directory)", ""),
        ("IPv6 forwarding", 1000, ["freeze /proc/sys"], True, "mount /proc: Operation not permitted", ""),
        ("scheduling", 1000, [], False, "neither real-time priority nor a better nice value is allowed", ""),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
def test_a_lack_is_told_with_its_remedy_and_nothing_else_changes(
    here: dict[str, Any], lack: str, uid: int, steps: list[str], needed: bool, found: str, remedy: str
) -> None:
    code, told = examined(uid, *(step.replace("LIBRARY", nft_library()) for step in steps))
    assert (told[lack]["here"], told[lack]["needed"]) == ("no", needed)
    assert found in told[lack]["found"]
    assert told[lack]["remedy"]
    assert remedy in told[lack]["remedy"]
    anyway = any(one["needed"] and one["here"] != "yes" for one in here.values())  # IPv6, where /proc is masked, as in a container
    assert code == (needed or anyway)
    if lack == "namespaces":
        assert {one["here"] for feature, one in told.items() if feature in ("captures", "nftables", "TAP", "netem")} == {"untried"}
        return
    for feature in ("namespaces", "virtual links", "conntrack", "netem", "pidfds", "captures", "nftables", "TAP"):
        if feature != lack:
            assert told[feature]["here"] == here[feature]["here"]


def test_without_a_tap_links_are_said_to_go_over_packet_sockets(here: dict[str, Any]) -> None:
    _code, told = examined(1000, "empty /dev/net")
    assert told["TAP"]["used"] == "the relay over packet sockets"
    if here["netem"]["here"] == "no":
        assert told["netem"]["used"] == "links: the relay over packet sockets"


def test_of_netem_it_says_what_a_run_finds() -> None:
    told = subprocess.run([sys.executable, "-c", AGREED], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    by_the_doctor, by_a_run = told.stdout.split()
    assert by_the_doctor == by_a_run
