"""Namespaces held by file descriptor, entered by file descriptor, and the few system calls for it.

Nothing is put into /run/netns, so no name can collide and nothing is left when the holder dies: the kernel frees a network namespace with
its last descriptor, socket or process.  Only ever call these from a single-threaded process: ``setns`` moves one thread, and a child
started from another thread would run in the wrong namespace (seen with trio, which starts processes from a worker thread).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import EnvironmentUnfit
from harness.syscalls import mount
from harness.syscalls import setns as setns
from harness.syscalls import unshare as unshare

if TYPE_CHECKING:  # the doctor imports this module where there is nothing but Python
    from harness.fabric.rtnl import Rtnl

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_SLAVE = 2, 4, 8, 0x4000, 0x80000
EPHEMERAL = range(32_768, 61_000)
"""Of which ports the kernel of a new network namespace gives to sockets that are bound to none (ip_local_port_range)."""


def mount_fresh_proc() -> None:
    """Mount a writable /proc of the current PID namespace in a mount namespace of our own; OSError where that is not allowed."""
    unshare(CLONE_NEWNS)
    mount("none", "/", "", _MS_REC | _MS_SLAVE)
    mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)


def write_ipv6_forwarding() -> None:
    """Forward IPv6 in the current network namespace; OSError where /proc/sys is read-only."""
    fd = os.open("/proc/sys/net/ipv6/conf/all/forwarding", os.O_WRONLY)
    try:
        os.write(fd, b"1")
    finally:
        os.close(fd)


def shrink_udp_tables() -> None:
    """Give the network namespaces that are made from this one a UDP table of their own, of 128 entries (Linux 6.2 and up).

    Listing a node's sockets then costs 3 us; of the machine's common table, of 16,384 entries or more, it costs 45 us and the cache.
    """
    with contextlib.suppress(OSError):  # an older kernel, or a read-only /proc/sys: it only costs more
        fd = os.open("/proc/sys/net/ipv4/udp_child_hash_entries", os.O_WRONLY)
        try:
            os.write(fd, b"128")
        finally:
            os.close(fd)


def enter_run_namespaces() -> None:
    """Move this process to new network (and, when not root, user) namespaces, and its future children to a new PID namespace.

    Raises EnvironmentUnfit that says what would allow it.
    """
    flags = CLONE_NEWPID | CLONE_NEWNET
    uid, gid = os.geteuid(), os.getegid()
    try:
        if uid != 0:
            unshare(CLONE_NEWUSER)
            for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(text)
        unshare(flags)
    except OSError as error:
        raise EnvironmentUnfit(f"network namespaces cannot be made here ({error.strerror}): {_remedy(uid, error.errno)}") from None


def _remedy(uid: int, code: int | None) -> str:
    if code == errno.ENOSPC:
        return "a limit is reached: raise the sysctls user.max_user_namespaces, user.max_pid_namespaces and user.max_net_namespaces"
    if uid == 0:
        return "in Docker run with --privileged, or with --cap-add NET_ADMIN --cap-add SYS_ADMIN --device /dev/net/tun"
    return "allow unprivileged user namespaces (kernel.unprivileged_userns_clone, AppArmor, seccomp), or run as root"


@dataclass(slots=True)
class Namespace:
    """One node's network namespace: the descriptor that keeps it alive, its inode (its identity), and rtnetlink inside it."""

    name: str
    fd: int
    inode: int
    rtnl: Rtnl

    def close(self) -> None:
        """Let go; the kernel frees links, addresses and rules once nothing else holds the namespace."""
        self.rtnl.close()
        os.close(self.fd)


def current_namespace_fd() -> int:
    """A descriptor of the network namespace that the calling thread is in."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def inside(fd: int) -> Iterator[None]:
    """Be in the network namespace ``fd`` for the length of the block; sockets opened there stay there."""
    home = current_namespace_fd()
    try:
        setns(fd, CLONE_NEWNET)
        try:
            yield
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def new_namespace(name: str) -> Namespace:
    """Make a network namespace and stay where we are."""
    from harness.fabric.rtnl import Rtnl

    home = current_namespace_fd()
    try:
        unshare(CLONE_NEWNET)
        try:
            fd = current_namespace_fd()
            return Namespace(name, fd, os.fstat(fd).st_ino, Rtnl())
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)
