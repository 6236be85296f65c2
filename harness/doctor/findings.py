"""What was found here, what a run will do with it, and what would fix each lack."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from harness.doctor import machine as machines
from harness.doctor import remedies
from harness.doctor.machine import Machine

_ROOT = Path(__file__).parents[2]
_ATTEMPTS_WITHIN_S = 30
_OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Finding:
    """One feature: whether it is ``here``, whether runs need it, what was found, what will be used, and the one command that would give it.

    ``here`` is "yes", "no" or, where something else has to be mended before it can be known, "untried".  ``remedy`` is "" but for "no".
    """

    feature: str
    here: str
    needed: bool
    found: str
    used: str
    remedy: str = ""


def found(feature: str, ok: bool, needed: bool, what: str, used: str, remedy: str) -> Finding:
    """A finding that is "yes" and needs no remedy, or "no"."""
    return Finding(feature, "yes" if ok else "no", needed, what, used, "" if ok else remedy)


def fit(findings: list[Finding]) -> bool:
    """Whether nothing that is needed lacks."""
    return all(finding.here == "yes" for finding in findings if finding.needed)


def examine() -> list[Finding]:
    """Try everything that the harness can use; takes about half a second."""
    machine = machines.look(machines.text)
    new_enough = sys.version_info >= _OLDEST_PYTHON
    tried = _try_in_child() if new_enough else {}
    return [*_computer(machine), *_python(machine, new_enough), *_kernel(machine, Tried(machine, tried)), *_extras(machine)]


def _computer(machine: Machine) -> list[Finding]:
    """What it is, and how busy."""
    who = "root" if machine.root else f"uid {machine.uid}"
    where = f", in a container ({machine.container})" if machine.container else ""
    calm = machine.cores >= 2 and machine.load < machine.cores
    busy = "" if calm else "; what stalls explain is INCONCLUSIVE"
    load = f"{machine.cores:g}, load {machine.load:.1f}"
    return [
        Finding("system", "yes", False, f"{machine.release}, Linux {machine.kernel}{where}", ""),
        Finding("user", "yes", False, who, "as it is" if machine.root else "a user namespace, in which it is root"),
        found("cores", calm, False, load, f"two or three runs at a time{busy}", remedies.cores(machine)),
    ]


def _python(machine: Machine, new_enough: bool) -> list[Finding]:
    """The interpreter and what it can import; ``make`` installs the packages, and needs ``venv`` for it."""
    interpreter = found("Python", new_enough, True, platform.python_version(), "runs the harness", remedies.python(machine))
    used = "`make` installs requirements.lock into .venv"
    if not new_enough:
        return [interpreter, Finding("packages", "untried", True, "", used)]
    if find_spec("aioquic") is not None:
        return [interpreter, Finding("packages", "yes", True, f"installed in {sys.prefix}", "runs the harness")]
    venv = (ensurepip := find_spec("ensurepip")) is not None and ensurepip.origin is not None
    here = "not installed yet" if venv else "not installed, and this Python makes no virtual environment"
    return [interpreter, found("packages", venv, True, here, used, remedies.package(machine, "python3-venv"))]


@dataclass(frozen=True)
class Tried:
    """What ``came`` of the attempts (``harness.doctor.attempts``) on ``machine``."""

    machine: Machine
    came: dict[str, str]

    def ok(self, feature: str) -> bool:
        """Whether it was there."""
        return self.came.get(feature, "").startswith("yes")

    def finding(self, feature: str, used: str, without: str | None, remedy: str) -> Finding:
        """``used``: what a run does with it; ``without``: what it does where this lacks, None where a run needs it."""
        came, needed = self.came.get(feature), without is None
        if came is None:
            return Finding(feature, "untried", needed, "", used)
        what = came.partition(": ")[2] if came.startswith("no: ") else came.partition(", ")[2]
        return found(feature, self.ok(feature), needed, what, used if without is None or self.ok(feature) else without, remedy)


def _kernel(machine: Machine, tried: Tried) -> list[Finding]:
    """What the kernel allows this user."""
    nft_modules = remedies.module(machine, "nf_tables", "nft_nat", "nft_ct", "nft_reject_inet", "nft_hash", "nf_conntrack")
    no_library = "libnftables.so.1" in tried.came.get("nftables", "")
    relay = "links: the relay over TAPs" if tried.ok("TAP") else "links: the relay over packet sockets"
    return [
        tried.finding(
            "namespaces", "a network of its own for every run", None, remedies.namespaces(machine, tried.came.get("namespaces", ""))
        ),
        tried.finding("node namespaces", "one for each host and router", None, remedies.namespaces(machine, "No space left")),
        tried.finding("virtual links", "links: veth", None, remedies.module(machine, "veth")),
        tried.finding("netem", "links: netem, the relay for what netem cannot say", relay, remedies.netem(machine)),
        tried.finding("TAP", "the relay over TAPs", "the relay over packet sockets", remedies.tap(machine)),
        tried.finding(
            "nftables",
            "NAT: nft, the userspace translator for what nft cannot say",
            None,
            remedies.package(machine, "nftables") if no_library else nft_modules,
        ),
        tried.finding("conntrack", "NAT: mappings and rebinds", None, remedies.module(machine, "nf_conntrack_netlink")),
        tried.finding("captures", "receipts: a capture of every interface", None, remedies.captures(machine)),
        tried.finding("agent confinement", "agents reach no file, process or device of this machine", None, remedies.confinement(machine)),
        tried.finding("pidfds", "agents are signalled by descriptor", None, "boot Linux 5.5 or later"),
        tried.finding("IPv6 forwarding", "topologies with IPv6, which are all that come with it", None, remedies.ipv6(machine)),
        tried.finding(
            "scheduling",
            "the relay is served before others",
            "the relay waits like others: more stalls, which the report tells",
            remedies.scheduling(machine),
        ),
    ]


def _extras(machine: Machine) -> list[Finding]:
    """What a run can do without, and where it leaves what it leaves."""
    folder = Path("artifacts") if Path("artifacts").exists() else Path()
    writable = os.access(folder, os.W_OK | os.X_OK)
    where = f"{folder.resolve()} {'can' if writable else 'cannot'} be written, {shutil.disk_usage(folder).free >> 30} GiB free"
    media = [name for name in ("av", "numpy") if find_spec(name) is None]
    programs = (
        (
            "tshark",
            "tshark",
            "make judge, and two tests hold our captures against it",
            "make judge installs it when root; those tests are skipped",
        ),
        ("Chromium", "chromium", "make test-browser", "make test-browser installs it when root"),
        ("qemu", "qemu-system-x86", "make test-vm", "make test-vm installs it when root"),
    )
    return [
        found("artifacts", writable, True, where, "what a run leaves, some 10 MB", remedies.artifacts(machine, folder)),
        found(
            "real media",
            not media,
            False,
            f"{' and '.join(media)} not installed" if media else "PyAV and numpy",
            "media: synthetic frames" if media else "--media=speech and --media=video",
            remedies.media(media),
        ),
        *(_program(machine, *program) for program in programs),
    ]


def _program(machine: Machine, feature: str, name: str, used: str, without: str) -> Finding:
    """A program by Debian's package ``name``, which some target uses."""
    path = shutil.which("qemu-system-x86_64" if name == "qemu-system-x86" else name)
    return found(feature, path is not None, False, path or "", used if path else without, remedies.package(machine, name))


def _try_in_child() -> dict[str, str]:
    """What came of the attempts, feature → words; of one that took the process with it, that it did."""
    flags = [flag for flag, on in (("-S", sys.flags.no_site), ("-B", sys.dont_write_bytecode)) if on]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))}
    command = [sys.executable, *flags, "-m", "harness.doctor.attempts"]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=_ATTEMPTS_WITHIN_S, check=False)
    except subprocess.TimeoutExpired:
        return {"namespaces": f"no: the attempts took more than {_ATTEMPTS_WITHIN_S} s"}
    came = dict(line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        came.setdefault("namespaces", f"no: exit code {done.returncode}, {why}")
    return came
