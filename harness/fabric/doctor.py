"""What this machine can do, what of it the harness will use, and the one command that would fix each lack.

Everything is tried, in a child process of its own, and nothing is looked up by version; the host's network is not touched.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys

import msgspec

from harness.errors import BlamedError


class Finding(msgspec.Struct, frozen=True):
    """One feature: whether it is there, what was found, what it is for, and what would give it."""

    feature: str
    ok: bool
    needed: bool
    found: str
    purpose: str
    remedy: str


def examine() -> list[Finding]:
    """Try everything that the harness can use; takes about half a second."""
    tried = _try_in_child()
    return [
        Finding("Python", sys.version_info >= (3, 11), True, platform.python_version(), "runs the harness", "install Python 3.11 or later"),
        _from(tried, "namespaces", True, "a network of its own for every run", "run as root, with --privileged, or allow user namespaces"),
        _from(tried, "nftables", True, "NAT and rebinding", "apt-get install nftables"),
        _from(
            tried, "netem", False, "impairs links in the kernel; the relay does it otherwise", "install linux-modules-extra for this kernel"
        ),
        _from(
            tried, "tap", False, "the userspace relay; needed where there is no netem", "in Docker --device /dev/net/tun; else modprobe tun"
        ),
        _from(tried, "ipv6 forwarding", False, "topologies with IPv6", "allow mounts, or a writable /proc/sys"),
        _from(tried, "captures", True, "receipts from outside the agents", "CAP_NET_RAW in the namespace"),
        Finding(
            "tshark",
            bool(shutil.which("tshark")),
            False,
            shutil.which("tshark") or "not installed",
            "to read captures",
            "apt-get install tshark",
        ),
    ]


def to_json(findings: list[Finding]) -> str:
    """The findings as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(findings), indent=2).decode()


def _from(tried: dict[str, str], feature: str, needed: bool, purpose: str, remedy: str) -> Finding:
    found = tried.get(feature, tried.get("namespaces", "not tried"))
    return Finding(feature, found.startswith("yes"), needed, found, purpose, remedy)


def _try_in_child() -> dict[str, str]:
    """Run this module as a program and read what it tried; an empty dict when it could not even start."""
    done = subprocess.run([sys.executable, "-m", "harness.fabric.doctor"], capture_output=True, timeout=30, check=False)
    try:
        return msgspec.json.decode(done.stdout, type=dict[str, str])
    except msgspec.DecodeError:
        return {"namespaces": f"no: {done.stderr.decode(errors='replace').strip()[-300:]}"}


def try_everything() -> dict[str, str]:
    """Feature → "yes …" or "no: why"; to be called in a process that may be thrown away."""
    from harness.fabric import capture, netem, nft, relay
    from harness.fabric.build import write_ipv6_forwarding
    from harness.fabric.netns import enter_run_namespaces, inside, mount_fresh_proc, new_namespace

    try:
        enter_run_namespaces()
    except BlamedError as error:
        return {"namespaces": f"no: {error}"}
    result = {"namespaces": "yes, as root" if os.geteuid() == 0 and _owns_host() else "yes, in a user namespace"}
    if child := os.fork():
        os.waitpid(child, 0)
        return result
    space = new_namespace("doctor")

    def attempt(name: str, what: str, action: object) -> None:
        try:
            assert callable(action)
            with inside(space.fd):
                answer = action()
            result[name] = f"no: {answer}" if isinstance(answer, str) else f"yes, {what}"
        except (BlamedError, OSError) as error:
            result[name] = f"no: {error}"

    def forward_ipv6() -> None:
        try:
            write_ipv6_forwarding()
        except OSError:
            mount_fresh_proc()
            write_ipv6_forwarding()

    attempt("nftables", "libnftables answers", lambda: nft.Nftables().run("list ruleset") and None)
    attempt("netem", "sch_netem", netem.lacking)
    attempt("tap", "/dev/net/tun", lambda: os.close(relay.open_tap("doctor0")))
    attempt("captures", "AF_PACKET", lambda: capture.open_capture("lo").close())
    attempt("ipv6 forwarding", "on request", forward_ipv6)
    sys.stdout.buffer.write(msgspec.json.encode(result))
    sys.stdout.buffer.flush()
    os._exit(0)


def _owns_host() -> bool:
    with open("/proc/self/uid_map") as file:
        return file.read().split()[2] != "1"


if __name__ == "__main__":
    found = try_everything()
    if "nftables" not in found and not found["namespaces"].startswith("yes"):
        sys.stdout.buffer.write(msgspec.json.encode(found))
