"""Machines that cannot: each lack is told by name with what would fix it, and its opposite works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import EnvironmentUnfit
from tests.conformance.networks import opened, run_in, within_deadline
from tests.conformance.sites import two_radios, wire

ROOT = Path(__file__).parents[2]

NETEM = """
import errno
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
with IPRoute() as ip:
    try:
        ip.tc("add", "netem", 1, delay=1000)
    except NetlinkError as error:
        assert error.code in (errno.ENOENT, errno.EOPNOTSUPP), error
        print("lacking")
    else:
        print("there")
"""


def test_netem_is_used_where_it_is_and_refused_by_name_where_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(wire(), tmp_path) as network:
            code, out = await run_in(network, "alice", [sys.executable, "-c", NETEM])
            assert code == 0
        if out == "there\n":
            async with opened(two_radios(), tmp_path, impair="netem") as network:
                assert network.executor == "netem"
                await network.probe()
            return
        with pytest.RaisesGroup(pytest.RaisesExc(EnvironmentUnfit, match="sch_netem")):
            async with opened(two_radios(), tmp_path, impair="netem"):
                pass
        async with opened(two_radios(), tmp_path) as network:
            assert network.executor == "relay"
            assert "sch_netem" in network.report["why"], "the run says why on its first line"

    within_deadline(main)


# -- privileges ----------------------------------------------------------------------------------------------------------------------------

ENTER = """
import ctypes, os, sys
uid, gid, wish, program = os.geteuid(), os.getegid(), sys.argv[1], sys.argv[2]
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000):  # a user namespace: whoever we are outside, in here we are whom the map says
    raise OSError(ctypes.get_errno(), "unshare")
me = 0 if wish == "no CAP_SYS_ADMIN" else 1000
for name, text in (("setgroups", "deny"), ("uid_map", f"{me} {uid} 1"), ("gid_map", f"{me} {gid} 1")):
    with open(f"/proc/self/{name}", "w") as file:
        file.write(text)
if wish.startswith("max_"):
    with open(f"/proc/sys/user/{wish}", "w") as file:
        file.write("0")
if wish == "no CAP_SYS_ADMIN" and libc.prctl(24, 21, 0, 0, 0):  # PR_CAPBSET_DROP
    raise OSError(ctypes.get_errno(), "prctl")
os.execv(sys.executable, [sys.executable, "-c", program])
"""

TRY = """
import json, os, sys, trio
from pathlib import Path
from harness.errors import BlamedError
from tests.conformance.networks import opened, talking
from tests.conformance.sites import two_radios
with open("/proc/self/status") as file:
    capabilities = next(line.split()[1] for line in file if line.startswith("CapEff:"))
async def main():
    async with opened(two_radios(), Path.cwd()) as network:
        await network.probe()
        async with talking(network, "alice") as alice, talking(network, "bob") as bob:
            await bob.ask("open", name="4", bind=["198.51.100.66", 4433], every=0.01)
            await alice.ask("open", name="4", bind=["192.168.1.2", 4433], to=["198.51.100.66", 4433], every=0.01)
            await bob.ask("heard", name="4", count=3)
            receipt = await network.nat("home").rebind("alice")
            heard = (await bob.ask("heard", name="4"))["count"]
            await bob.ask("heard", name="4", count=heard + 3)
            return {"rebound": receipt.taken, "heard": heard}
try:
    result = trio.run(main)
except* BlamedError as group:
    (error,) = group.exceptions
    result = {"error": str(error), "blame": error.blame}
print(json.dumps({"euid": os.geteuid(), "capabilities": int(capabilities, 16), **result}))
"""


def as_(wish: str, folder: Path) -> dict[str, Any]:
    """What comes of TRY for somebody with less privilege: an ordinary user, with a limit of namespaces of 0, or root without SYS_ADMIN."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ENTER, wish, TRY], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    if "Read-only file system: '/proc/sys/user/" in done.stderr:
        pytest.skip("platform: /proc/sys is read-only here, so no limit can be set")  # a container; see docs/platforms.md
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_an_ordinary_user_can_do_all_of_it(tmp_path: Path) -> None:
    told = as_("user", tmp_path)
    assert (told["euid"], told["capabilities"]) == (1000, 0)
    if "error" in told:  # where mounts are refused too (AppArmor, Docker), IPv6 cannot be forwarded
        assert told["blame"] == "environment"
        assert told["error"].startswith("IPv6 forwarding cannot be switched on: /proc/sys is read-only and a fresh /proc is refused")
        return
    assert told["rebound"]
    assert told["heard"] >= 3


LIMITS = "a limit is reached: raise the sysctls user.max_user_namespaces, user.max_pid_namespaces and user.max_net_namespaces"


@pytest.mark.parametrize(
    ("wish", "euid", "error"),
    [
        ("max_user_namespaces", 1000, f"No space left on device): {LIMITS}"),
        ("max_net_namespaces", 1000, f"No space left on device): {LIMITS}"),
        ("max_pid_namespaces", 1000, f"No space left on device): {LIMITS}"),
        (
            "no CAP_SYS_ADMIN",
            0,
            "Operation not permitted): in Docker run with --privileged, or with --cap-add NET_ADMIN --cap-add SYS_ADMIN "
            "--device /dev/net/tun",
        ),
    ],
)
def test_who_may_make_no_namespace_is_told_what_would_allow_it(tmp_path: Path, wish: str, euid: int, error: str) -> None:
    told = as_(wish, tmp_path)
    assert told["euid"] == euid
    assert told["blame"] == "environment"
    assert told["error"] == f"network namespaces cannot be made here (unshare: {error}"
