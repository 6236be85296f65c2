"""What a process gives away for good before it becomes somebody else's program: capabilities, the ways to get them back, resources.

Numbers are those of linux/capability.h, linux/prctl.h and linux/securebits.h.  All of it works on the calling process alone, for the rest
of its life and for all of its children.
"""

from __future__ import annotations

import errno
import resource
import struct

from harness.errors import EnvironmentUnfit
from harness.syscalls import capset, prctl

_PR_CAPBSET_DROP, _PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 24, 28, 38, 47
_PR_SET_DUMPABLE = 4
_AMBIENT_CLEAR_ALL = 4
_SECUREBITS = 0b1111_1111 ^ 0b11_0000
"""No root (uid 0 is a user like any other to execve), no setuid fix-up, each with its lock; keeping capabilities is left alone."""
_CAPABILITY_VERSION_3 = 0x20080522
_MOST_CAPABILITIES = 64

PROCESSES = 1024
LIMITS: dict[int, int] = {
    resource.RLIMIT_NOFILE: 4096,
    resource.RLIMIT_NPROC: PROCESSES,  # the kernel exempts uid 0 of the host
    resource.RLIMIT_CORE: 1,  # 0 still starts a core_pattern's program; 1 is what the kernel takes for "nothing at all"
    resource.RLIMIT_FSIZE: 1 << 30,
    resource.RLIMIT_MEMLOCK: 8 << 20,
    resource.RLIMIT_MSGQUEUE: 1 << 20,
    resource.RLIMIT_NICE: 0,  # no better nice value than it has
    resource.RLIMIT_RTPRIO: 0,
}
"""The most of each that an agent gets; what was less stays less."""


def shrink_bounds() -> None:
    """Empty the bounding and ambient sets and lock the secure bits; EnvironmentUnfit where CAP_SETPCAP is lacking."""
    try:
        for capability in range(_MOST_CAPABILITIES):
            try:
                prctl("PR_CAPBSET_DROP", _PR_CAPBSET_DROP, capability)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    break  # past the kernel's last one
                raise
        prctl("PR_SET_SECUREBITS", _PR_SET_SECUREBITS, _SECUREBITS)
    except PermissionError:
        raise EnvironmentUnfit(
            "agents' capability bounding set cannot be emptied: CAP_SETPCAP is lacking; in Docker add --cap-add SETPCAP"
        ) from None
    prctl("PR_CAP_AMBIENT", _PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)


def forbid_new_privileges() -> None:
    """Whatever is executed from here on, setuid or with file capabilities, gives nothing (no_new_privs)."""
    prctl("PR_SET_NO_NEW_PRIVS", _PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Empty the permitted, effective and inheritable sets."""
    capset(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(24))


def hide_memory() -> None:
    """Let no process without CAP_SYS_PTRACE look into this one, until it executes another program."""
    prctl("PR_SET_DUMPABLE", _PR_SET_DUMPABLE, 0)


def limit_resources() -> None:
    """Lower the limits to ``LIMITS``, hard and soft."""
    for number, most in LIMITS.items():
        soft, hard = (most if value == resource.RLIM_INFINITY else min(value, most) for value in resource.getrlimit(number))
        resource.setrlimit(number, (soft, hard))
