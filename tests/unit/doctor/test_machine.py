"""What kind of machine it is, by its files."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.doctor import machine
from harness.doctor.machine import family, look

NOBLE = 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\nID=ubuntu\nID_LIKE=debian\n'


def reading(files: dict[str, str]) -> Callable[[str], str | None]:
    """What ``look`` reads by, on a machine that has these files."""
    return files.get


def test_a_machine_that_tells_nothing_is_no_error() -> None:
    told = look(lambda _path: None)
    assert (told.system, told.container, told.apparmor, told.filtered, told.sys_admin, told.closed) == ("", None, None, False, False, [])


@pytest.mark.parametrize(
    ("identity", "like", "expected"),
    [
        ("debian", "", "debian"),
        ("ubuntu", "debian", "ubuntu"),
        ("zorin", "ubuntu debian", "ubuntu"),
        ("rocky", "rhel centos fedora", "fedora"),
        ("opensuse-leap", "suse opensuse", "suse"),
        ("nixos", "", ""),
    ],
)
def test_a_distribution_by_its_family(identity: str, like: str, expected: str) -> None:
    assert family(identity, like) == expected


def test_what_forbids_user_namespaces_is_named_with_what_would_allow_them() -> None:
    told = look(
        reading(
            {
                "/etc/os-release": NOBLE,
                "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
                "/proc/sys/kernel/unprivileged_userns_clone": "0\n",
                "/proc/sys/user/max_user_namespaces": "0\n",
                "/proc/sys/user/max_net_namespaces": "96365\n",
            }
        )
    )
    assert (told.system, told.release) == ("ubuntu", "Ubuntu 24.04.1 LTS")
    assert told.closed == [
        "user.max_user_namespaces=15000",
        "kernel.unprivileged_userns_clone=1",
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ]


def test_what_confines_it() -> None:
    status = "Name:\tpython3\nCapEff:\t00000000a80425fb\nSeccomp:\t2\n"
    told = look(reading({"/proc/self/status": status, "/proc/self/attr/apparmor/current": "docker-default (enforce)\n"}))
    assert (told.filtered, told.sys_admin, told.apparmor) == (True, False, "docker-default")
    free = look(
        reading({"/proc/self/status": "CapEff:\t000001ffffffffff\nSeccomp:\t0\n", "/proc/self/attr/apparmor/current": "unconfined\n"})
    )
    assert (free.filtered, free.sys_admin, free.apparmor) == (False, True, None)
    assert not look(reading({"/proc/self/uid_map": "         0          0 4294967295\n"})).mapped
    assert look(reading({"/proc/self/uid_map": "         0       1000          1\n         1     100000      65536\n"})).mapped


@pytest.mark.parametrize(
    ("files", "container"),
    [
        ({"/run/.containerenv": "", "/.dockerenv": ""}, "podman"),
        ({"/.dockerenv": ""}, "docker"),
        ({"/proc/1/environ": "PATH=/bin\0container=lxc\0"}, "lxc"),
        ({}, None),
    ],
)
def test_a_container_by_its_marks(monkeypatch: pytest.MonkeyPatch, files: dict[str, str], container: str | None) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(machine, "_first_pid_namespace", lambda: False)
    assert look(reading(files)).container == container
    monkeypatch.setattr(machine, "_first_pid_namespace", lambda: True)
    assert look(reading(files)).container is None, "a virtual machine made of an image's files"


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"/sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        ({"/sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "25000\n", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 0.25),
        ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n"}, None),
    ],
)
def test_a_share_of_a_core_is_a_share_of_a_core(files: dict[str, str], most: float | None) -> None:
    told = look(reading(files)).cores
    assert told == most if most is not None else told == int(told) >= 1
