"""System calls that agents do not get (seccomp): those that reach beyond their own process without a capability, and stop signals.

An agent that is seen to be stopped (state T) has been stopped from outside, since it may send no stop signal, not even to itself.  What a
filter cannot see is a timer that sends one (timer_create has it in memory): whoever sees a stop looks at /proc/PID/timers for that.

A filter is a program of classic BPF over the call's number and arguments (linux/seccomp.h, linux/filter.h); it stays for good, costs some
20 ns a call, and needs no privilege once no_new_privs is set.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import struct
from dataclasses import dataclass
from functools import cache

from harness.errors import EnvironmentUnfit
from harness.syscalls import prctl

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _ARGUMENT = 0, 4, 16, 8
_X32 = 0x4000_0000
CLONE_NEWUSER = 0x1000_0000
FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
"""Others (AF_VSOCK, which leads to the hypervisor from any network namespace, AF_ALG, AF_BLUETOOTH …) do not exist for agents."""


@dataclass(frozen=True)
class _Architecture:
    """Its number in an audit record, and the numbers of those calls whose numbers are its own."""

    audit: int
    calls: dict[str, int]
    other_abi: bool = False


_ARCHITECTURES = {
    "x86_64": _Architecture(
        0xC000_003E,
        {
            "kill": 62, "tkill": 200, "tgkill": 234, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297,
            "fcntl": 72, "prctl": 157, "ptrace": 101, "mq_notify": 244,
            "socket": 41, "clone": 56, "unshare": 272, "add_key": 248, "request_key": 249, "keyctl": 250,
            "perf_event_open": 298, "bpf": 321, "userfaultfd": 323,
            "chmod": 90, "fchmod": 91, "fchmodat": 268, "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260,
            "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199,
            "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280, "truncate": 76,
        },
        other_abi=True,
    ),
    "aarch64": _Architecture(
        0xC000_00B7,
        {
            "kill": 129, "tkill": 130, "tgkill": 131, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240,
            "fcntl": 25, "prctl": 167, "ptrace": 117, "mq_notify": 184,
            "socket": 198, "clone": 220, "unshare": 97, "add_key": 217, "request_key": 218, "keyctl": 219,
            "perf_event_open": 241, "bpf": 280, "userfaultfd": 282,
            "fchmod": 52, "fchmodat": 53, "fchown": 55, "fchownat": 54,
            "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16, "utimensat": 88,
            "truncate": 45,
        },
    ),
}  # fmt: skip
_EVERYWHERE = {
    "pidfd_send_signal": 424, "clone3": 435, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "fchmodat2": 452, "setxattrat": 463, "removexattrat": 466, "file_setattr": 469,
}  # fmt: skip
REFUSED = {
    **dict.fromkeys(("add_key", "request_key", "keyctl"), errno.EPERM),  # the keyrings of the user who runs the harness
    **dict.fromkeys(("bpf", "perf_event_open", "userfaultfd"), errno.EPERM),
    "mq_notify": errno.EPERM,  # has the signal to be sent in memory
    **dict.fromkeys(("io_uring_setup", "io_uring_enter", "io_uring_register", "clone3"), errno.ENOSYS),  # programs do without
}
"""Calls that fail always.  io_uring makes sockets that no filter sees; clone3 has its flags in memory, where none can look."""

CHANGING_FILES = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "setxattr", "lsetxattr", "fsetxattr", "setxattrat",
    "removexattr", "lremovexattr", "fremovexattr", "removexattrat", "utime", "utimes", "futimesat", "utimensat", "file_setattr", "truncate",
)  # fmt: skip
"""What no rule of Landlock forbids, and a mount namespace does: it fails where there is none."""


STOPS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
"""Signals by which a process stops; their numbers, on every architecture here, are without a gap."""
SENDING = {
    "kill": 1, "tkill": 1, "tgkill": 2, "rt_sigqueueinfo": 1, "rt_tgsigqueueinfo": 2, "pidfd_send_signal": 1,
    "ptrace": 3,
}  # fmt: skip
"""Which argument names the signal that is sent, from 0."""
NAMING = {"fcntl": (1, 10, 2), "prctl": (0, 1, 1)}
"""Of calls that name a signal for later: which argument says that they do, its value (F_SETSIG, PR_SET_PDEATHSIG), and which names it."""
_PTRACE_ATTACH, _EXIT_SIGNAL = 16, 0xFF


_Instruction = tuple[int, int, int, int]

_IS_STOP: list[_Instruction] = [(_AT_LEAST, 0, 2, STOPS[0]), (_AT_LEAST, 1, 0, STOPS[-1] + 1)]
"""Passes over the next instruction unless what is loaded is a stop signal."""
_REFUSED_STOP: list[_Instruction] = [
    (_LOAD, 0, 0, _FIRST_ARGUMENT),
    (_AND, 0, 0, _EXIT_SIGNAL),  # what the parent gets when a child ends
    *_IS_STOP,
    (_RETURN, 0, 0, _ERRNO | errno.EPERM),
]


def _block(number: int, test: list[_Instruction]) -> list[_Instruction]:
    """For the call with that number: ``test`` passes over the refusal that follows it, or does not."""
    whole = [*test, (_RETURN, 0, 0, _ERRNO | errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
    return [(_EQUAL, 0, len(whole), number), *whole]


def _no_stops(calls: dict[str, int]) -> list[_Instruction]:
    """Refuse calls whose argument is a stop signal; the kernel looks at its low 32 bits, too."""
    code: list[_Instruction] = []
    for name, argument in SENDING.items():
        test: list[_Instruction] = [(_LOAD, 0, 0, _FIRST_ARGUMENT + argument * _ARGUMENT), *_IS_STOP]
        if name == "ptrace":  # attaching sends SIGSTOP
            test = [(_LOAD, 0, 0, _FIRST_ARGUMENT), (_EQUAL, len(test), 0, _PTRACE_ATTACH), *test]
        code += _block(calls[name], test)
    for name, (chooser, value, argument) in NAMING.items():
        chosen = [(_LOAD, 0, 0, _FIRST_ARGUMENT + argument * _ARGUMENT), *_IS_STOP]
        code += _block(calls[name], [(_LOAD, 0, 0, _FIRST_ARGUMENT + chooser * _ARGUMENT), (_EQUAL, 0, len(chosen) + 1, value), *chosen])
    return code


@cache
def program(machine: str, own_mounts: bool) -> bytes:
    """The filter for ``machine`` (uname -m); EnvironmentUnfit for one whose numbers are not known here.

    Without ``own_mounts``, a mount namespace that hides and closes the files of this machine, it also refuses to make sockets of AF_UNIX
    (pairs of connected ones can always be had), since Landlock lets them connect, and to change files' modes, owners and times.
    """
    here = _ARCHITECTURES.get(machine)
    if here is None:
        raise EnvironmentUnfit(f"agents' system calls are filtered on {', '.join(_ARCHITECTURES)}, this is {machine}")
    calls = {**_EVERYWHERE, **here.calls}
    families = [family for family in FAMILIES if own_mounts or family != socket.AF_UNIX]
    code: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, here.audit),
        (_RETURN, 0, 0, _KILL),  # a 32-bit program on a 64-bit kernel, whose numbers are others
        (_LOAD, 0, 0, _NUMBER),
    ]
    if here.other_abi:
        code += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    refused = {**REFUSED, **({} if own_mounts else dict.fromkeys(CHANGING_FILES, errno.EPERM))}
    for name, answer in refused.items():
        if name in calls:  # of those that change files each architecture has some
            code += [(_EQUAL, 0, 1, calls[name]), (_RETURN, 0, 0, _ERRNO | answer)]
    code += _no_stops(calls)
    for name in ("clone", "unshare"):
        flags = [
            *(_REFUSED_STOP if name == "clone" else []),
            (_LOAD, 0, 0, _FIRST_ARGUMENT),
            (_AND, 0, 0, CLONE_NEWUSER),
            (_EQUAL, 1, 0, 0),
        ]
        code += _block(calls[name], flags)
    code += [(_EQUAL, 0, len(families) + 2, calls["socket"]), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
    code += [(_EQUAL, len(families) - number, 0, family) for number, family in enumerate(families)]
    code += [(_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def restrict(own_mounts: bool) -> None:
    """Filter this process's system calls from here on; no_new_privs must be set."""
    code = program(os.uname().machine, own_mounts)
    memory = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(code) // 8, ctypes.addressof(memory))
    pointer = ctypes.create_string_buffer(header, len(header))
    prctl("seccomp", _PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(pointer))
