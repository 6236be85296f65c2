"""A hostile agent: tries, one by one, what no agent may do, and tells as JSON what the kernel answered.

Every attempt answers "done" or the name of the errno that stopped it.  None does harm where it succeeds: files are opened and not written,
signals are signal 0, values are set to what they are.  Needs nothing but Python's own library.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_SYS_REBOOT = {"x86_64": 169, "aarch64": 142}[os.uname().machine]
ATTEMPTS: dict[str, Callable[[dict[str, Any]], object]] = {}


def attempt(act: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    ATTEMPTS[act.__name__.replace("_", " ")] = act
    return act


def libc(name: str, *arguments: object) -> int:
    result = int(getattr(_libc, name)(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def netlink(kind: int, body: bytes) -> None:
    """One rtnetlink request; OSError as the kernel answers it."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.send(struct.pack("=IHHII", 16 + len(body), kind, 0x5, 1, 0) + body)
        code = -struct.unpack_from("=i", route.recv(4096), 16)[0]
    if code:
        raise OSError(code, "netlink")


# -- its own network -----------------------------------------------------------------------------------------------------------------------


@attempt
def raw_socket(_: dict[str, Any]) -> None:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP).close()


@attempt
def packet_socket(_: dict[str, Any]) -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()


@attempt
def add_an_address(_: dict[str, Any]) -> None:
    address = socket.inet_aton("192.0.2.77")
    netlink(20, struct.pack("=BBBBI", socket.AF_INET, 32, 0, 0, 1) + struct.pack("=HH", 8, 2) + address)


@attempt
def take_a_link_down(_: dict[str, Any]) -> None:
    netlink(16, struct.pack("=BxHiII", 0, 0, 1, 0, 1))


@attempt
def mark_packets(_: dict[str, Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_SOCKET, 36, 7)


@attempt
def speak_as_another_address(_: dict[str, Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT


@attempt
def listen_on_port_443(_: dict[str, Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 443))


# -- privileges ----------------------------------------------------------------------------------------------------------------------------


@attempt
def another_network(_: dict[str, Any]) -> None:
    libc("unshare", 0x40000000)


@attempt
def mount_a_filesystem(_: dict[str, Any]) -> None:
    """Of a kind that there is not: who may mount is told ENODEV, and nothing is mounted."""
    if _libc.mount(b"none", b"/", b"nosuchkind", 0, None) < 0 and ctypes.get_errno() != errno.ENODEV:
        raise OSError(ctypes.get_errno(), "mount")


@attempt
def change_root(_: dict[str, Any]) -> None:
    os.chroot("/")


@attempt
def change_owner(context: dict[str, Any]) -> None:
    path = f"{context['folder']}/owned"
    with open(path, "w"):
        os.chown(path, 12345, 12345)


@attempt
def become_another_user(_: dict[str, Any]) -> None:
    os.setresuid(12345, 12345, 12345)


@attempt
def make_a_device(context: dict[str, Any]) -> None:
    os.mknod(f"{context['folder']}/mem", 0o600 | 0o020000, os.makedev(1, 1))


@attempt
def a_better_nice_value(_: dict[str, Any]) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) - 1)


@attempt
def real_time_priority(_: dict[str, Any]) -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


@attempt
def more_descriptors(_: dict[str, Any]) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (4097, 4097))
    except ValueError:  # what Python makes of EPERM here
        raise OSError(errno.EPERM, "setrlimit") from None


@attempt
def reboot(_: dict[str, Any]) -> None:
    """With a wrong magic number: who may reboot is told EINVAL."""
    if _libc.syscall(_SYS_REBOOT, 0, 0, 0, 0) < 0 and ctypes.get_errno() != errno.EINVAL:
        raise OSError(ctypes.get_errno(), "reboot")


@attempt
def read_the_kernels_log(_: dict[str, Any]) -> None:
    libc("klogctl", 3, ctypes.create_string_buffer(64), 64)


@attempt
def gain_by_setuid(context: dict[str, Any]) -> None:
    """Execute a program (``cat``) that is setuid root, where that can be had; EPERM stands for having gained nothing."""
    told = subprocess.run([context["setuid"], "/proc/self/status"], capture_output=True, text=True, check=True)
    fields = dict(line.split(":\t", 1) for line in told.stdout.splitlines() if ":\t" in line)
    if not int(fields["CapEff"], 16):
        raise OSError(errno.EPERM, "setuid")


@attempt
def inherited_descriptors(_: dict[str, Any]) -> None:
    """Those beyond the three streams; ENOENT when there are none."""
    mine = [fd for fd in os.listdir("/proc/self/fd") if int(fd) > 2 and os.path.exists(f"/proc/self/fd/{fd}")]
    if not [fd for fd in mine if not os.readlink(f"/proc/self/fd/{fd}").endswith("/fd")]:
        raise OSError(errno.ENOENT, "descriptors")


def main() -> None:
    context = json.loads(sys.argv[1])
    print(json.dumps({name: come_to(act, context) for name, act in ATTEMPTS.items()}))


def come_to(act: Callable[[dict[str, Any]], object], context: dict[str, Any]) -> str:
    """What ``act`` came to, in a process of its own: some change the process that they succeed in."""
    child = os.fork()
    if child == 0:
        code = 255
        try:
            act(context)
            code = 0
        except OSError as error:
            code = error.errno or 255
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return errno.errorcode.get(code, "a bug: see standard error") if code else "done"


if __name__ == "__main__":
    main()
