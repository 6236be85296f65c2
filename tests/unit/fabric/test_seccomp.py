"""The filter of system calls, run here as the kernel runs it: by a machine of a few lines."""

from __future__ import annotations

import errno
import signal
import socket
import struct

import pytest

from harness.errors import EnvironmentUnfit
from harness.fabric import seccomp

AUDIT = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
SENDING = {
    "x86_64": {
        "kill": (62, 1), "tkill": (200, 1), "tgkill": (234, 2), "rt_sigqueueinfo": (129, 1), "rt_tgsigqueueinfo": (297, 2),
        "pidfd_send_signal": (424, 1),
    },
    "aarch64": {
        "kill": (129, 1), "tkill": (130, 1), "tgkill": (131, 2), "rt_sigqueueinfo": (138, 1), "rt_tgsigqueueinfo": (240, 2),
        "pidfd_send_signal": (424, 1),
    },
}  # fmt: skip
"""Numbers of the calls that send a signal, and which argument that is."""
OTHERS = {
    "x86_64": {"fcntl": 72, "prctl": 157, "ptrace": 101, "mq_notify": 244},
    "aarch64": {"fcntl": 25, "prctl": 167, "ptrace": 117, "mq_notify": 184},
}
NUMBERS = {
    "x86_64": {"read": 0, "socket": 41, "clone": 56, "chmod": 90, "truncate": 76, "unshare": 272, "keyctl": 250, "bpf": 321},
    "aarch64": {"read": 63, "socket": 198, "clone": 220, "fchmodat": 53, "truncate": 45, "unshare": 97, "keyctl": 219, "bpf": 280},
}
ALLOWED, KILLED = 0x7FFF_0000, 0x8000_0000


def answer(machine: str, number: int, *arguments: int, own_mounts: bool = True, audit: int | None = None) -> int:
    """What the filter returns for a call; the errno where it refuses with one."""
    six = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=IIQ6Q", number, AUDIT[machine] if audit is None else audit, 0, *six)
    code = list(struct.iter_unpack("=HBBI", seccomp.program(machine, own_mounts)))
    at = register = 0
    while True:
        operation, true, false, operand = code[at]
        at += 1
        if operation == 0x20:
            (register,) = struct.unpack_from("=I", data, operand)
        elif operation == 0x54:
            register &= operand
        elif operation == 0x06:
            return operand & 0xFFFF if operand >> 16 == 5 else operand
        else:
            holds = register == operand if operation == 0x15 else register >= operand
            at += true if holds else false


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_ordinary_calls_pass(machine: str) -> None:
    numbers = NUMBERS[machine]
    assert answer(machine, numbers["read"]) == ALLOWED
    assert answer(machine, numbers["clone"], 0x003D_0F00) == ALLOWED, "a thread"
    assert answer(machine, 435) == errno.ENOSYS, "clone3, whose flags cannot be seen: libraries fall back to clone"


@pytest.mark.parametrize("family", seccomp.FAMILIES)
def test_sockets_of_these_families_can_be_made(machine: str, family: int) -> None:
    assert answer(machine, NUMBERS[machine]["socket"], family) == ALLOWED
    without = errno.EAFNOSUPPORT if family == socket.AF_UNIX else ALLOWED
    assert answer(machine, NUMBERS[machine]["socket"], family, own_mounts=False) == without


@pytest.mark.parametrize("family", [0, 17, 38, 40])
def test_sockets_of_others_cannot(machine: str, family: int) -> None:
    assert answer(machine, NUMBERS[machine]["socket"], family) == errno.EAFNOSUPPORT


@pytest.mark.parametrize("call", ["clone", "unshare"])
def test_no_user_namespace_whatever_else_is_asked_for_with_it(machine: str, call: str) -> None:
    number = NUMBERS[machine][call]
    assert answer(machine, number, 0x1000_0000) == errno.EPERM
    assert answer(machine, number, 0x7E02_0011) == errno.EPERM
    assert answer(machine, number, 0x4000_0000) == ALLOWED, "which the kernel refuses for want of the capability"


def test_what_reaches_beyond_the_process_is_refused(machine: str) -> None:
    assert [answer(machine, NUMBERS[machine][call]) for call in ("keyctl", "bpf")] == [errno.EPERM] * 2
    assert [answer(machine, number) for number in (425, 426, 427)] == [errno.ENOSYS] * 3


@pytest.mark.parametrize("call", SENDING["x86_64"])
def test_no_stop_signal_can_be_sent_to_anybody_and_every_other_can(machine: str, call: str) -> None:
    number, argument = SENDING[machine][call]
    refused = []
    for sent in range(65):
        arguments = [1234] * argument + [sent]
        if answer(machine, number, *arguments) == errno.EPERM:
            refused.append(sent)
            arguments[argument] |= 0xDEAD << 32
            assert answer(machine, number, *arguments) == errno.EPERM, "the kernel looks at the low 32 bits, too"
        else:
            assert answer(machine, number, *arguments) == ALLOWED
    assert refused == [signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU]


@pytest.mark.parametrize("stop", seccomp.STOPS)
def test_no_stop_signal_can_be_named_for_later(machine: str, stop: int) -> None:
    numbers = OTHERS[machine]
    assert answer(machine, numbers["fcntl"], 3, 10, stop) == errno.EPERM, "F_SETSIG"
    assert answer(machine, numbers["fcntl"], stop, 1, stop) == ALLOWED, "F_GETFD"
    assert answer(machine, numbers["fcntl"], 3, 10, signal.SIGIO) == ALLOWED
    assert answer(machine, numbers["prctl"], 1, stop) == errno.EPERM, "PR_SET_PDEATHSIG"
    assert answer(machine, numbers["prctl"], 1, signal.SIGKILL) == ALLOWED
    assert answer(machine, numbers["prctl"], 15, stop) == ALLOWED, "PR_SET_NAME"
    assert answer(machine, NUMBERS[machine]["clone"], stop) == errno.EPERM, "what the parent gets when the child ends"
    assert answer(machine, NUMBERS[machine]["clone"], 0x1200000 | stop) == errno.EPERM
    assert answer(machine, NUMBERS[machine]["clone"], 0x1200000 | signal.SIGCHLD) == ALLOWED, "fork"
    assert answer(machine, numbers["mq_notify"]) == errno.EPERM
    assert answer(machine, numbers["ptrace"], 7, 99, 0, stop) == errno.EPERM, "PTRACE_CONT"
    assert answer(machine, numbers["ptrace"], 7, 99, 0, 0) == ALLOWED
    assert answer(machine, numbers["ptrace"], 16, 99, 0, 0) == errno.EPERM, "PTRACE_ATTACH, which sends SIGSTOP"


def test_files_cannot_be_changed_where_nothing_else_forbids_it(machine: str) -> None:
    number = NUMBERS[machine]["chmod" if machine == "x86_64" else "fchmodat"]
    for one in (number, NUMBERS[machine]["truncate"], 452):
        assert (answer(machine, one), answer(machine, one, own_mounts=False)) == (ALLOWED, errno.EPERM)


def test_a_call_by_other_numbers_is_not_let_through(machine: str) -> None:
    assert answer(machine, NUMBERS[machine]["read"], audit=0x4000_0003) == KILLED, "i386"
    if machine == "x86_64":
        assert answer(machine, 0x4000_0000 + 41, socket.AF_INET) == errno.ENOSYS, "x32"


def test_a_machine_whose_numbers_are_not_known_is_refused_by_name() -> None:
    with pytest.raises(EnvironmentUnfit, match=r"^agents' system calls are filtered on x86_64, aarch64, this is riscv64$"):
        seccomp.program("riscv64", own_mounts=True)
