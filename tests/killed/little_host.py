"""A host of a test's own to kill things on: namespaces of every kind, with interfaces, routes, rules and sysctls that a leak would change.

What a process leaves behind cannot be told apart from what others do on a busy machine.  In here nobody else is: every process, namespace,
mount, socket and file in /tmp that is there afterwards is what the run left.  The computer's own network is not touched by any of it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.fabric.netns import unshare
from harness.parent import die_with_parent
from harness.syscalls import mount, unmount

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_BIND, _MOVE, _REC, _PRIVATE = 0x1000, 0x2000, 0x4000, 0x40000
_TOOLS = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables"}
CANNOT = 77
"""What ``on`` returns where this machine allows no such host."""

CONFIGURATION = """
ip link set lo up
ip link add up0 type veth peer name up1
ip link add br0 type bridge
ip link set up0 addrgenmode none
ip link set up1 addrgenmode none
ip link set br0 addrgenmode none
ip link set up1 master br0
ip addr add 192.168.1.2/24 dev up0
ip addr add 198.51.100.66/28 dev br0
ip -6 addr add 2001:db8:77::1/64 dev up0 nodad
ip link set up0 up
ip link set up1 up
ip link set br0 up
ip route add 203.0.113.0/24 via 192.168.1.1
ip route add 198.51.100.0/24 via 192.168.1.254 table 77
ip -6 route add 2001:db8:99::/48 via 2001:db8:77::fe
ip rule add from 192.168.1.2 table 77 priority 100
ip -6 rule add from 2001:db8:77::1 table 77 priority 100
ip neigh add 192.168.1.1 lladdr 02:00:00:00:00:01 dev up0 nud permanent
tc qdisc add dev up0 root handle 1: htb default 10
tc class add dev up0 parent 1: classid 1:10 htb rate 10mbit
ip netns add theirs
"""
"""On purpose with the topologies' own addresses."""
RULES = """
table inet filter {
  set known { type ipv4_addr; elements = { 192.168.1.1, 203.0.113.2 } }
  chain input { type filter hook input priority filter; policy accept; ip saddr @known accept; udp dport 4433 drop; }
}
table ip nat {
  chain postrouting { type nat hook postrouting priority srcnat; oifname "up0" masquerade; }
}
"""
SYSCTLS = {"net/ipv4/ip_forward": "1", "net/ipv4/conf/up0/rp_filter": "2", "net/ipv6/conf/up0/accept_ra": "0"}


def lacking() -> str:
    """Which programs are not there that a host is made and looked at with, and how to get them; "" when all are."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    packages = sorted({_TOOLS[tool] for tool in missing})
    return f"{', '.join(missing)} not found; install {' '.join(packages)}" if missing else ""


def on(main: Callable[[], int], keep: Iterable[Path]) -> int:
    """Run ``main`` as PID 1 of a little host and return its exit code.  The caller must have no threads.

    ``keep``: folders under /tmp that are to be there as well; all else in /tmp, /run and /dev/shm is empty.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        unshare(_NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    try:
        unshare(_NEWNS | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET)
    except OSError as error:
        print(f"a host of its own cannot be made here: {error.strerror}", file=sys.stderr)
        return CANNOT
    child = os.fork()
    if child:
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    die_with_parent(signal.SIGKILL)
    code = 70
    try:
        try:
            _furnish(keep)
        except OSError as error:
            print(f"a host of its own cannot be furnished here: {error.strerror}", file=sys.stderr)
            code = CANNOT
        else:
            code = main()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _leave_behind_others(keep: Iterable[Path]) -> None:
    """Detach the mounts that containers of the computer have made: they come and go while we look."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target, kind = line.split()[4], line.partition(" - ")[2].split()[0]
        if kind in ("overlay", "nsfs") and not any(path.resolve().is_relative_to(target) for path in keep):
            unmount(target)


def _furnish(keep: Iterable[Path]) -> None:
    here = os.getcwd()
    mount("none", "/", "none", _REC | _PRIVATE)
    _leave_behind_others(keep)
    mount("proc", "/proc", "proc")
    mount("tmpfs", "/run", "tmpfs")
    mount("tmpfs", "/dev/shm", "tmpfs")
    staged = Path("/run/tmp")
    staged.mkdir()
    mount("tmpfs", str(staged), "tmpfs", 0, "mode=1777")
    for folder in sorted({path.resolve() for path in keep}):
        if folder.is_relative_to("/tmp"):
            inside = staged / folder.relative_to("/tmp")
            inside.mkdir(parents=True, exist_ok=True)
            mount(str(folder), str(inside), "none", _BIND)
    mount(str(staged), "/tmp", "none", _MOVE)
    staged.rmdir()
    os.chdir(here)
    for line in CONFIGURATION.strip().splitlines():
        subprocess.run(line.split(), check=True)
    subprocess.run(["nft", "-f", "-"], input=RULES, text=True, check=True)
    for name, value in SYSCTLS.items():
        Path("/proc/sys", name).write_text(value)
