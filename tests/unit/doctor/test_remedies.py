"""The one command for each lack, on each kind of machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.doctor import findings, remedies
from harness.doctor.findings import Tried
from harness.doctor.machine import Machine

HOST = Machine(
    uid=1000,
    system="debian",
    release="Debian GNU/Linux 13 (trixie)",
    kernel="6.12.0",
    container=None,
    apparmor=None,
    mapped=False,
    filtered=False,
    sys_admin=False,
    closed=[],
    cores=2,
    load=0,
)
ROOT = replace(HOST, uid=0, sys_admin=True)
IN_DOCKER = replace(ROOT, container="docker", filtered=True, sys_admin=False)
USER_IN_DOCKER = replace(IN_DOCKER, uid=1000)
NOBLE = replace(HOST, system="ubuntu", closed=["kernel.apparmor_restrict_unprivileged_userns=0"])
NOT_PERMITTED = "no: network namespaces cannot be made here (unshare: Operation not permitted)"
FULL = "no: network namespaces cannot be made here (unshare: No space left on device)"


@pytest.mark.parametrize(
    ("machine", "came", "command"),
    [
        (NOBLE, NOT_PERMITTED, "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
        (replace(HOST, closed=["user.max_user_namespaces=15000"]), FULL, "sudo sysctl -w user.max_user_namespaces=15000"),
        (replace(ROOT, closed=["user.max_net_namespaces=15000"]), FULL, "sysctl -w user.max_net_namespaces=15000"),
        (
            replace(USER_IN_DOCKER, closed=["user.max_user_namespaces=15000"]),
            FULL,
            "on the host: sudo sysctl -w user.max_user_namespaces=15000",
        ),
        (IN_DOCKER, NOT_PERMITTED, "docker run --cap-add NET_ADMIN --cap-add SYS_ADMIN --device /dev/net/tun"),
        (
            USER_IN_DOCKER,
            NOT_PERMITTED,
            "docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined --device /dev/net/tun",
        ),
        (
            replace(IN_DOCKER, apparmor="docker-default"),
            NOT_PERMITTED,
            "docker run --cap-add NET_ADMIN --cap-add SYS_ADMIN --device /dev/net/tun --security-opt apparmor=unconfined",
        ),
        (
            replace(IN_DOCKER, container="podman"),
            NOT_PERMITTED,
            "podman run --cap-add NET_ADMIN --cap-add SYS_ADMIN --cap-add NET_RAW --device /dev/net/tun",
        ),
        (ROOT, NOT_PERMITTED, "run as root, with CAP_SYS_ADMIN and CAP_NET_ADMIN"),
        (HOST, NOT_PERMITTED, "sudo make …"),
    ],
)
def test_namespaces(machine: Machine, came: str, command: str) -> None:
    assert remedies.namespaces(machine, came) == command


@pytest.mark.parametrize(
    ("machine", "command"),
    [
        (HOST, "sudo apt-get install nftables"),
        (ROOT, "apt-get install nftables"),
        (replace(HOST, system="fedora"), "sudo dnf install nftables"),
        (replace(ROOT, system="alpine"), "apk add nftables"),
        (replace(HOST, system=""), "install nftables with your system's package manager"),
    ],
)
def test_a_package(machine: Machine, command: str) -> None:
    assert remedies.package(machine, "nftables") == command


@pytest.mark.parametrize("machine", [HOST, ROOT, IN_DOCKER, USER_IN_DOCKER, NOBLE])
def test_every_lack_has_a_command_and_what_is_there_has_none(machine: Machine) -> None:
    tried = ("namespaces", "node namespaces", "virtual links", "netem", "TAP", "nftables", "conntrack", "captures")
    features = (*tried, "agent confinement", "pidfds", "IPv6 forwarding", "scheduling")
    lacking = findings._kernel(machine, Tried(machine, dict.fromkeys(features, "no: refused")))
    assert [finding.feature for finding in lacking] == list(features)
    assert all(finding.here == "no" and finding.found == "refused" and finding.remedy for finding in lacking)
    there = findings._kernel(machine, Tried(machine, dict.fromkeys(features, "yes, so it is")))
    assert all(finding.here == "yes" and finding.found == "so it is" and not finding.remedy for finding in there)
    assert [finding.needed for finding in there] == [finding.needed for finding in lacking]


@pytest.mark.parametrize(
    ("came", "used"),
    [
        ({"netem": "no: x", "TAP": "yes"}, "links: the relay over TAPs"),
        ({"netem": "no: x", "TAP": "no: x"}, "links: the relay over packet sockets"),
    ],
)
def test_what_carries_links_is_told(came: dict[str, str], used: str) -> None:
    told = {finding.feature: finding for finding in findings._kernel(HOST, Tried(HOST, came))}
    assert told["netem"].used == used


@pytest.fixture
def loads_modules(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Say whether the kernel does: by the presence of /proc/modules."""
    exists = Path.exists

    def say(does: bool) -> None:
        monkeypatch.setattr(Path, "exists", lambda path: does if path == Path("/proc/modules") else exists(path))

    return say


def test_a_module_is_loaded_where_one_can_be(loads_modules: Callable[[bool], None]) -> None:
    loads_modules(True)
    assert remedies.module(HOST, "veth") == "sudo modprobe -a veth"
    assert remedies.module(ROOT, "veth") == "modprobe -a veth"
    assert remedies.module(IN_DOCKER, "veth") == "on the host: sudo modprobe -a veth"
    assert remedies.netem(NOBLE) == "sudo apt-get install linux-modules-extra-6.12.0"
    assert remedies.netem(HOST) == "sudo apt-get install linux-image-amd64"
    loads_modules(False)
    assert remedies.module(ROOT, "veth") == "none: this kernel loads no modules; boot one that has veth"


def test_a_rootless_container_cannot_give_what_its_user_has_not() -> None:
    assert remedies.scheduling(IN_DOCKER) == "docker run --cap-add SYS_NICE"
    assert remedies.scheduling(replace(IN_DOCKER, mapped=True)) == "on the host: sudo prlimit --pid $$ --rtprio=1 --nice=35"
    assert remedies.scheduling(HOST) == "sudo prlimit --pid $$ --rtprio=1 --nice=35"


def test_a_second_core_is_asked_for_where_there_is_one_and_else_patience() -> None:
    assert remedies.cores(replace(HOST, cores=1)) == "give the machine a second core"
    assert remedies.cores(replace(IN_DOCKER, cores=0.5)) == "docker run --cpus 2"
    assert remedies.cores(replace(HOST, load=9)) == "wait until what else runs here has ended"
