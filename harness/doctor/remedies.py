"""The one command that would fix each lack on this machine; where no command would, what to do instead, in words."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from harness.doctor.machine import Machine, pythons

_INSTALL = {
    "debian": "sudo apt-get install",
    "ubuntu": "sudo apt-get install",
    "fedora": "sudo dnf install",
    "alpine": "sudo apk add",
    "arch": "sudo pacman -S",
    "suse": "sudo zypper install",
}
_NAMED_ELSEWHERE = {
    ("alpine", "qemu-system-x86"): "qemu-system-x86_64",
    ("fedora", "qemu-system-x86"): "qemu-system-x86-core",
    ("fedora", "tshark"): "wireshark-cli",
    ("arch", "qemu-system-x86"): "qemu-system-x86",
    ("arch", "tshark"): "wireshark-cli",
    ("suse", "tshark"): "wireshark",
    ("fedora", "python3-venv"): "python3",
}
_AS_ROOT = "--cap-add NET_ADMIN --cap-add SYS_ADMIN --device /dev/net/tun"
_AS_USER = "--security-opt seccomp=unconfined --security-opt systempaths=unconfined --device /dev/net/tun"
_APPARMOR = " --security-opt apparmor=unconfined"


def package(machine: Machine, name: str) -> str:
    """Install the package that Debian calls ``name``."""
    command = _INSTALL.get(machine.system)
    if command is None:
        return f"install {name} with your system's package manager"
    if machine.root:
        command = command.replace("sudo ", "")
    return f"{command} {_NAMED_ELSEWHERE.get((machine.system, name), name)}"


def python(machine: Machine) -> str:
    """A Python that is new enough: one that is there already, or a package."""
    there = pythons()
    if there:
        return f"make PYTHON={there[0]} doctor"
    return package(machine, "python3.11")


def module(machine: Machine, *names: str) -> str:
    """Load kernel modules; in a container that is the host's affair."""
    if not Path("/proc/modules").exists():
        return "none: this kernel loads no modules; boot one that has " + ", ".join(names)
    load = "modprobe -a " + " ".join(names)
    return f"on the host: sudo {load}" if machine.container else _as_root(machine, load)


def netem(machine: Machine) -> str:
    """sch_netem for this kernel: the module, or the package that brings it."""
    if machine.container or not Path("/proc/modules").exists():
        return f"{module(machine, 'sch_netem')} (`make test-vm` brings a kernel of its own)"
    if any(Path("/lib/modules", machine.kernel).rglob("sch_netem.ko*")):
        return module(machine, "sch_netem")
    names = {"ubuntu": f"linux-modules-extra-{machine.kernel}", "debian": "linux-image-amd64", "fedora": "kernel-modules-extra"}
    return package(machine, names.get(machine.system, "the kernel's extra modules"))


def namespaces(machine: Machine, came: str) -> str:
    """Leave to make namespaces: a limit, a sysctl, a container's flags."""
    if machine.closed and ("No space left" in came or not machine.root):
        command = "sysctl -w " + " ".join(machine.closed)
        return f"on the host: sudo {command}" if machine.container else _as_root(machine, command)
    if "No space left" in came:
        command = "sysctl -w user.max_user_namespaces=15000 user.max_pid_namespaces=15000 user.max_net_namespaces=15000"
        return f"on the host: sudo {command}" if machine.container else _as_root(machine, command)
    if machine.container or machine.filtered:
        return _container(machine, _AS_ROOT if machine.root else _AS_USER) + (_APPARMOR if machine.apparmor else "")
    return "run as root, with CAP_SYS_ADMIN and CAP_NET_ADMIN" if machine.root else "sudo make …"


def tap(machine: Machine) -> str:
    """/dev/net/tun, and leave to open it."""
    device = Path("/dev/net/tun")
    if machine.container:
        return _container(machine, "--device /dev/net/tun")
    if not device.exists():
        return module(machine, "tun")
    return _as_root(machine, f"chmod 0666 {device}") if not os.access(device, os.R_OK | os.W_OK) else module(machine, "tun")


def ipv6(machine: Machine) -> str:
    """A /proc/sys that can be written, or mounted anew."""
    if not machine.container:
        return "sudo make …" if not machine.root else "allow mounts, or a writable /proc/sys"
    apparmor = _APPARMOR if machine.apparmor else ""
    if machine.root:
        return _container(machine, _AS_ROOT) + (apparmor or " --security-opt systempaths=unconfined")
    return _container(machine, _AS_USER) + apparmor


def confinement(machine: Machine) -> str:
    """Mounts of an agent's own, or Landlock."""
    if machine.container and machine.apparmor:
        return _container(machine, _APPARMOR.strip())
    return "boot Linux 5.13 or later with landlock in its lsm= list; until then --confine=no runs what you trust"


def scheduling(machine: Machine) -> str:
    """Real-time priority for the relay."""
    if machine.container and machine.root and machine.mapped:
        return "on the host: sudo prlimit --pid $$ --rtprio=1 --nice=35"
    if machine.container:
        return _container(machine, "--cap-add SYS_NICE" if machine.root else "--ulimit rtprio=1 --ulimit nice=35")
    return "run with CAP_SYS_NICE" if machine.root else "sudo prlimit --pid $$ --rtprio=1 --nice=35"


def captures(machine: Machine) -> str:
    """Packet sockets."""
    if machine.container:
        return _container(machine, "--cap-add NET_RAW")
    return module(machine, "af_packet")


def media(missing: list[str]) -> str:
    """PyAV and numpy: in the image by a build argument, elsewhere as everything in the lock, or into an environment that stands."""
    if os.environ.get("HARNESS_IMAGE"):
        return "docker build --build-arg PARTS='run media' ."
    return "make" if find_spec("aioquic") is None else f"{sys.executable} -m pip install {' '.join(missing)}"


def cores(machine: Machine) -> str:
    """Room to measure in."""
    if machine.cores < 2:
        return _container(machine, "--cpus 2") if machine.container else "give the machine a second core"
    return "wait until what else runs here has ended"


def artifacts(machine: Machine, folder: Path) -> str:
    """A folder that a run may write."""
    if machine.container:
        return _container(machine, '-v "$PWD/artifacts:/artifacts" --user "$(id -u):$(id -g)"')
    return f"sudo chown -R {machine.uid} {folder}"


def _as_root(machine: Machine, command: str) -> str:
    return command if machine.root else f"sudo {command}"


def _container(machine: Machine, flags: str) -> str:
    if machine.container == "podman":
        flags = flags.replace("--cap-add SYS_ADMIN", "--cap-add SYS_ADMIN --cap-add NET_RAW")  # which docker gives unasked
        return f"podman run {flags}"
    return f"docker run {flags}"
