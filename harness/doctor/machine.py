"""What kind of machine this is, as far as a remedy depends on it: read from files, nothing tried."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_LIMITS = ("max_user_namespaces", "max_pid_namespaces", "max_net_namespaces")
_SYS_ADMIN = 21
_ALL_USERS = "0 0 4294967295"
_FIRST_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO, the same in every kernel


@dataclass(frozen=True)
class Machine:
    """``system``: the distribution's family ("debian", "ubuntu", "fedora", "alpine", "arch", "suse" or ""); ``release``: its own name.

    ``container``: what contains this process ("docker", "podman", …), or None.  ``apparmor``: the profile that confines it, or None.
    ``mapped``: in a user namespace, as a rootless container is, whose root is root of that alone.  ``filtered``: system calls are filtered
    by seccomp.  ``sys_admin``: it has CAP_SYS_ADMIN.  ``closed``: each sysctl that forbids user namespaces, as ``name=value`` that would
    allow them.  ``cores`` are those that it may use, ``load`` is of the last minute.
    """

    uid: int
    system: str
    release: str
    kernel: str
    container: str | None
    apparmor: str | None
    mapped: bool
    filtered: bool
    sys_admin: bool
    closed: list[str]
    cores: float
    load: float

    @property
    def root(self) -> bool:
        """Whether this is root, of the machine or of its container."""
        return self.uid == 0


def look(read: Callable[[str], str | None]) -> Machine:
    """The machine that this runs on, by the files that ``read`` gives (``text``, but for tests)."""
    release = dict(line.split("=", 1) for line in (read("/etc/os-release") or "").splitlines() if "=" in line)
    status = dict(line.split(":", 1) for line in (read("/proc/self/status") or "").splitlines() if ":" in line)
    return Machine(
        uid=os.geteuid(),
        system=family(_bare(release, "ID"), _bare(release, "ID_LIKE")),
        release=_bare(release, "PRETTY_NAME") or platform.system(),
        kernel=platform.release(),
        container=_container(read),
        apparmor=_apparmor(read),
        mapped=(read("/proc/self/uid_map") or _ALL_USERS).split() != _ALL_USERS.split(),
        filtered=status.get("Seccomp", "0").strip() == "2",
        sys_admin=bool(int(status.get("CapEff", "0").strip(), 16) >> _SYS_ADMIN & 1),
        closed=_closed(read),
        cores=_cores(read),
        load=os.getloadavg()[0],
    )


def text(path: str) -> str | None:
    """What a file holds, None when it cannot be read."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return None


def family(identity: str, like: str) -> str:
    """The family of a distribution by ``ID`` and ``ID_LIKE`` of its os-release; "" when it is none that we know."""
    for word in (identity, *like.split()):
        for name, members in _FAMILIES.items():
            if word in members:
                return name
    return ""


_FAMILIES = {
    "debian": ("debian", "raspbian"),
    "ubuntu": ("ubuntu", "linuxmint", "pop"),
    "fedora": ("fedora", "rhel", "centos", "rocky", "almalinux", "amzn"),
    "alpine": ("alpine",),
    "arch": ("arch", "manjaro"),
    "suse": ("suse", "opensuse", "opensuse-leap", "opensuse-tumbleweed", "sles"),
}


def pythons() -> list[str]:
    """The commands on the search path that are a Python this project takes, newest first."""
    return [name for name in (f"python3.{minor}" for minor in range(20, 10, -1)) if shutil.which(name)]


def _bare(release: dict[str, str], key: str) -> str:
    return release.get(key, "").strip().strip('"')


def _first_pid_namespace() -> bool:
    try:
        return os.readlink("/proc/self/ns/pid") == _FIRST_PID_NAMESPACE
    except OSError:
        return False


def _container(read: Callable[[str], str | None]) -> str | None:
    if _first_pid_namespace():
        return None  # whatever files it was made from, as a virtual machine of an image's files has /.dockerenv
    if read("/run/.containerenv") is not None:
        return "podman"
    if read("/.dockerenv") is not None:
        return "docker"
    started = read("/proc/1/environ") or ""
    named = [one.partition("=")[2] for one in started.split("\0") if one.startswith("container=")]
    if named:
        return named[0]
    return "kubernetes" if os.environ.get("KUBERNETES_SERVICE_HOST") else None


def _apparmor(read: Callable[[str], str | None]) -> str | None:
    profile = (read("/proc/self/attr/apparmor/current") or "").strip("\0\n ")
    return profile.partition(" ")[0] if profile.endswith("(enforce)") else None


def _closed(read: Callable[[str], str | None]) -> list[str]:
    closed = [f"user.{name}=15000" for name in _LIMITS if (read(f"/proc/sys/user/{name}") or "").strip() == "0"]
    if (read("/proc/sys/kernel/unprivileged_userns_clone") or "").strip() == "0":
        closed.append("kernel.unprivileged_userns_clone=1")
    if (read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") or "").strip() == "1":
        closed.append("kernel.apparmor_restrict_unprivileged_userns=0")
    return closed


def _cores(read: Callable[[str], str | None]) -> float:
    """As many as this process may run on, and no more than its control group gives it."""
    cores = float(len(os.sched_getaffinity(0)))
    quota = (read("/sys/fs/cgroup/cpu.max") or "max").split()
    if quota[0] == "max" and (old := read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")):
        quota = [old.strip() if int(old) > 0 else "max", (read("/sys/fs/cgroup/cpu/cpu.cfs_period_us") or "100000").strip()]
    return cores if quota[0] == "max" else min(cores, int(quota[0]) / int(quota[1]))
