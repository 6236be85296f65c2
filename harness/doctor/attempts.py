"""What the kernel allows, tried as a run does it: ``python3 -m harness.doctor.attempts`` prints a line for each feature.

A line is the feature, a tab, and what came of it: "yes" or "no", and after a comma or colon how, or why not.  A feature whose attempt was
never made, or took this process with it, has no line.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Callable

from harness.doctor import netlink
from harness.errors import BlamedError
from harness.fabric import agent_start, libnftables, netns, packet_sockets, scheduling, taps
from harness.fabric.agent_view import view_for

RULESET = """
table inet doctor {
  counter told {
  }
  ct timeout idle {
    protocol udp
    l3proto ip
    policy = { unreplied : 30, replied : 30 }
  }
  map out_addr {
    type ipv4_addr . inet_service : ipv4_addr
    flags dynamic,timeout
    timeout 30s
  }
  map out_port {
    type ipv4_addr . inet_service : inet_service
    flags dynamic,timeout
    timeout 30s
  }
  chain linger {
    type filter hook prerouting priority raw
    iifname "wan" ip daddr 192.0.2.1 notrack
  }
  chain timeouts {
    type filter hook prerouting priority mangle
    meta l4proto udp ct timeout set "idle"
  }
  chain inward {
    type nat hook prerouting priority dstnat
    iifname "wan" dnat ip to ip daddr . udp dport map @out_addr : ip daddr . udp dport map @out_port
  }
  chain outward {
    type nat hook postrouting priority srcnat
    meta mark set jhash ip6 saddr . udp sport mod 4294967295 seed 1
    snat ip to ip saddr . udp sport map @out_addr : ip saddr . udp sport map @out_port
    meta l4proto udp snat ip to 192.0.2.1:1024-65535 random,fully-random
  }
  chain learn {
    type filter hook postrouting priority srcnat + 10
    meta l4proto udp ct status snat update @out_addr { ct original ip saddr . ct original proto-src : ct reply ip daddr }
  }
  chain forward {
    type filter hook forward priority filter
    ct state new ct status ! dnat counter drop
  }
  chain input {
    type filter hook input priority filter
    ip daddr 192.0.2.1 reject with icmpx type port-unreachable
    ip daddr 192.0.2.1 counter name "told"
  }
}
"""
"""Every kind of set, expression and statement of ``harness.fabric.nft``, once."""


def _pidfd() -> str:
    """How a started agent is found and signalled: by a descriptor that tells its PID (Linux 5.5)."""
    fd = os.pidfd_open(os.getpid())
    with open(f"/proc/self/fdinfo/{fd}") as file:
        if not any(line.startswith("Pid:") for line in file):
            return "no: a pidfd tells no PID (Linux 5.5 and later do)"
    signal.pidfd_send_signal(fd, 0)
    return "yes"


def _second_namespace() -> str:
    """A network namespace for a node."""
    netns.unshare(netns.CLONE_NEWNET)
    return "yes"


def _veth() -> str:
    netlink.add_veth("doctor0", "doctor1")
    return "yes"


def _nftables() -> str:
    libnftables.Nftables().run(RULESET)
    return "yes"


def _conntrack() -> str:
    netlink.list_flows()
    return "yes"


def _netem() -> str:
    return "yes" if netlink.takes_netem() else "no: the kernel has no sch_netem"


def _tap() -> str:
    os.close(taps.open_tap("doctor2"))
    return "yes"


def _capture() -> str:
    packet_sockets.open_packet_socket("lo", 1 << 20, "captures need", ((socket.SOL_SOCKET, 35),)).close()
    return "yes"


def _ipv6() -> str:
    """Forwarding on, as the keeper does it: through /proc/sys, or a fresh /proc."""
    try:
        netns.write_ipv6_forwarding()
    except OSError:
        netns.mount_fresh_proc()
        netns.write_ipv6_forwarding()
        return "yes, through a fresh /proc"
    return "yes, through /proc/sys"


def _confinement() -> str:
    """A program started as an agent is."""
    with tempfile.TemporaryDirectory() as own:
        here, view = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC), view_for(["true"], {}, "/", own)
        started = agent_start.start(agent_start.Command(["true"], dict(os.environ), "/", (0, 1, 2), here, view))
        os.close(here)
        os.close(started.pidfd)
        os.waitpid(started.minder, 0)
        started.exit_code()
    how = started.how
    landlock = f"Landlock {how['landlock']}" if how["landlock"] else "no Landlock"
    files = f"mount namespace, {landlock}" if how["mounts"] else f"{landlock} alone ({how['why']})"
    proc = f", /proc is this machine's ({how['proc']})" if how["proc"] else ""
    return f"yes, {files}{proc}" + (f", {how['processes']} processes" if how["processes"] else "")


def _scheduling() -> str:
    """As the relay asks for it.  The last attempt of all: it may leave this process at a real-time priority."""
    got = scheduling.prefer_this_process()
    words = {"realtime": "real-time priority", "nice": "a better nice value"}
    return f"yes, {words[got]}" if got in words else "no: neither real-time priority nor a better nice value is allowed"


ATTEMPTS: dict[str, Callable[[], str]] = {
    "pidfds": _pidfd,
    "virtual links": _veth,
    "nftables": _nftables,
    "conntrack": _conntrack,
    "netem": _netem,
    "TAP": _tap,
    "captures": _capture,
    "agent confinement": _confinement,
    "node namespaces": _second_namespace,
    "IPv6 forwarding": _ipv6,
    "scheduling": _scheduling,
}
"""In the order in which they are made: all in one network namespace, but for the last three, which leave it for another."""


def attempt(action: Callable[[], str]) -> str:
    """What came of ``action``, in words, a refusal by its reason."""
    try:
        return action()
    except OSError as error:
        return f"no: {error.strerror}" + (f": {error.filename}" if error.filename else "")
    except BlamedError as error:
        return "no: " + re.sub(r"\s+", " ", str(error))


def tell(feature: str, came: str) -> None:
    """Print a line now: a later attempt may take the process with it."""
    print(f"{feature}\t{came}", flush=True)


def main() -> int:
    """Enter namespaces as a run does, make every attempt there, and print what comes of each."""
    try:
        netns.enter_run_namespaces()
    except BlamedError as error:
        tell("namespaces", f"no: {error}")
        return 0
    if child := os.fork():  # the child is PID 1 of the new PID namespace, which takes no further process without one
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    tell("namespaces", "yes")
    for feature, action in ATTEMPTS.items():
        tell(feature, attempt(action))
    return 0


if __name__ == "__main__":
    sys.exit(main())
