"""What this machine can do, what of it the harness will use, and the one command that would fix each lack.

Everything is tried, in a child process of its own (``python -m harness.fabric.doctor``), and nothing is concluded from version numbers; the
host's network is not touched.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec

import msgspec

from harness.errors import BlamedError
from harness.fabric import capture, libnftables, netem, relay_ends
from harness.fabric.build import write_ipv6_forwarding
from harness.fabric.netns import enter_run_namespaces, inside, mount_fresh_proc, new_namespace


class Finding(msgspec.Struct, frozen=True):
    """One feature: whether it is there and needed, what was found, what it is for, and what would give it."""

    feature: str
    ok: bool
    needed: bool
    found: str
    purpose: str
    remedy: str


def examine() -> list[Finding]:
    """Try everything that the harness can use; takes about half a second."""
    tried = _try_in_child()

    def finding(feature: str, needed: bool, purpose: str, remedy: str) -> Finding:
        found = tried.get(feature, "not tried: it needs namespaces first")
        return Finding(feature, found.startswith("yes"), needed, found, purpose, remedy)

    in_kernel = finding("netem", False, "impairs links in the kernel; the relay does it otherwise", "install this kernel's extra modules")
    tshark = shutil.which("tshark")
    return [
        Finding("Python", sys.version_info >= (3, 11), True, platform.python_version(), "runs the harness", "install Python 3.11 or later"),
        finding("namespaces", True, "a network of its own for every run", "run as root, in Docker --privileged, or allow user namespaces"),
        finding("nftables", True, "NAT and rebinding", "apt-get install nftables"),
        in_kernel,
        finding("tap", False, "the userspace relay; without it over packet sockets", "in Docker --device /dev/net/tun; else modprobe tun"),
        finding("ipv6 forwarding", False, "topologies with IPv6", "allow mounts, or a writable /proc/sys"),
        finding("captures", True, "receipts from outside the agents", "allow CAP_NET_RAW"),
        Finding(
            "real media",
            all(find_spec(name) is not None for name in ("av", "numpy")),
            False,
            ", ".join(f"{name} {'found' if find_spec(name) else 'missing'}" for name in ("av", "numpy")),
            "--media=speech and --media=video",
            "pip install 'quic-call-harness[media]'",
        ),
        Finding("tshark", tshark is not None, False, tshark or "no", "reading captures by hand", "apt-get install tshark"),
    ]


def to_json(findings: list[Finding]) -> str:
    """The findings as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(findings), indent=2).decode()


def _try_in_child() -> dict[str, str]:
    """What ``main`` found in a process of its own; that it failed, if it did."""
    done = subprocess.run([sys.executable, "-m", "harness.fabric.doctor"], capture_output=True, timeout=30, check=False)
    try:
        return msgspec.json.decode(done.stdout, type=dict[str, str])
    except msgspec.DecodeError:
        return {"namespaces": f"no: {done.stderr.decode(errors='replace').strip()[-300:]}"}


def main() -> int:
    """Try everything in namespaces of our own and print, as JSON, feature → "yes, …" or "no: why"."""
    try:
        enter_run_namespaces()
    except BlamedError as error:
        return _tell({"namespaces": f"no: {error}"})
    if child := os.fork():  # the child is PID 1 of the new PID namespace, which takes no further process without one
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    result = {"namespaces": "yes"}
    space = new_namespace("doctor")

    def attempt(feature: str, action: Callable[[], str | None]) -> None:
        try:
            with inside(space.fd):
                lack = action()
            result[feature] = "yes" if lack is None else f"no: {lack}"
        except (BlamedError, OSError) as error:
            result[feature] = f"no: {error}"

    attempt("nftables", _list_rules)
    attempt("netem", netem.lacking)
    attempt("tap", lambda: os.close(relay_ends.open_tap("doctor0")))
    attempt("captures", lambda: capture.open_capture("lo").close())
    attempt("ipv6 forwarding", _forward_ipv6)
    return _tell(result)


def _list_rules() -> None:
    libnftables.Nftables().run("list ruleset")


def _forward_ipv6() -> None:
    try:
        write_ipv6_forwarding()
    except OSError:
        mount_fresh_proc()
        write_ipv6_forwarding()


def _tell(result: dict[str, str]) -> int:
    sys.stdout.buffer.write(msgspec.json.encode(result))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
