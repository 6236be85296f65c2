"""A hostile agent: tries, one by one, what no agent may do, and tells as JSON what the kernel answered.

Its first argument is what it is to know, as JSON; further ones are files that it can see for being named.  Every attempt answers "done" or
the name of the errno that stopped it.  None does harm where it succeeds: files are opened and not written, signals are signal 0, values are
set to what they are, and calls are made with arguments that come to nothing.  Needs nothing but Python's own library.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any

Context = dict[str, Any]
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_CALLS = {
    "x86_64": {
        "tkill": 200,
        "rt_sigqueueinfo": 129,
        "rt_tgsigqueueinfo": 297,
        "tgkill": 234,
        "clone": 56,
        "mq_notify": 244,
        "ptrace": 101,
        "reboot": 169,
        "bpf": 321,
        "keyctl": 250,
        "process_vm_readv": 310,
        "unshare": 272,
    },
    "aarch64": {
        "tkill": 130,
        "rt_sigqueueinfo": 138,
        "rt_tgsigqueueinfo": 240,
        "tgkill": 131,
        "clone": 220,
        "mq_notify": 184,
        "ptrace": 117,
        "reboot": 142,
        "bpf": 280,
        "keyctl": 219,
        "process_vm_readv": 270,
        "unshare": 97,
    },
}[os.uname().machine] | {"io_uring_setup": 425}
ATTEMPTS: dict[str, Callable[[Context], object]] = {}


def attempt(act: Callable[[Context], object]) -> Callable[[Context], object]:
    ATTEMPTS[act.__name__.replace("_", " ")] = act
    return act


def call(name: str, *arguments: object, harmless: int = 0) -> int:
    """A system call; ``harmless`` is the errno of who was let in and then found to ask for nothing."""
    result = int(_libc.syscall(ctypes.c_long(_CALLS[name]), *arguments))
    if result < 0 and ctypes.get_errno() != harmless:
        raise OSError(ctypes.get_errno(), name)
    return result


def look(path: str, flags: int = os.O_RDONLY) -> bytes:
    """Open ``path``, read a little if it is for reading."""
    fd = os.open(path, flags)
    try:
        return os.read(fd, 64) if flags == os.O_RDONLY else b""
    finally:
        os.close(fd)


def secret(path: str) -> None:
    """Read ``path``; one that is there and empty is as good as hidden."""
    if not look(path):
        raise OSError(errno.ENOENT, path)


def netlink(kind: int, body: bytes) -> None:
    """One rtnetlink request; OSError as the kernel answers it."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.send(struct.pack("=IHHII", 16 + len(body), kind, 0x5, 1, 0) + body)
        code = -struct.unpack_from("=i", route.recv(4096), 16)[0]
    if code:
        raise OSError(code, "netlink")


# -- its own network -----------------------------------------------------------------------------------------------------------------------


@attempt
def reach_the_hosts_loopback(context: Context) -> None:
    socket.create_connection(("127.0.0.1", context["port"]), 2).close()


@attempt
def raw_socket(_: Context) -> None:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP).close()


@attempt
def packet_socket(_: Context) -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()


@attempt
def add_an_address(_: Context) -> None:
    address = socket.inet_aton("192.0.2.77")
    netlink(20, struct.pack("=BBBBI", socket.AF_INET, 32, 0, 0, 1) + struct.pack("=HH", 8, 2) + address)


@attempt
def take_a_link_down(_: Context) -> None:
    netlink(16, struct.pack("=BxHiII", 0, 0, 1, 0, 1))


@attempt
def mark_packets(_: Context) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_SOCKET, 36, 7)


@attempt
def speak_as_another_address(_: Context) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT


@attempt
def listen_on_port_443(_: Context) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 443))


@attempt
def reach_the_hypervisor(_: Context) -> None:
    socket.socket(40, socket.SOCK_STREAM).close()  # AF_VSOCK


# -- other processes -----------------------------------------------------------------------------------------------------------------------


@attempt
def a_service_by_its_socket(context: Context) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as service:
        service.connect(context["hidden socket"])


@attempt
def a_service_by_a_socket_among_files(context: Context) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as service:
        service.connect(context["seen socket"])


@attempt
def a_service_by_its_abstract_socket(context: Context) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as service:
        service.connect("\0" + context["abstract socket"])


@attempt
def shared_memory_of_others(context: Context) -> None:
    if _libc.shmget(context["shared memory"], 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "shmget")


@attempt
def the_users_keyring(_: Context) -> None:
    call("keyctl", ctypes.c_long(0), ctypes.c_long(-4), ctypes.c_long(0))


@attempt
def signal_the_runner(context: Context) -> None:
    os.kill(context["runner"], 0)


def stopping(send: Callable[[int], object]) -> Callable[[Context], None]:
    """An attempt to stop a process of its own by ``send``."""

    def act(_: Context) -> None:
        child = os.fork()
        if child == 0:
            signal.pause()
        try:
            send(child)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    return act


def told(code: int) -> ctypes.Array[ctypes.c_char]:
    """A siginfo_t of SIGSTOP with that origin."""
    return ctypes.create_string_buffer(struct.pack("=3i", signal.SIGSTOP, 0, code), 128)


ATTEMPTS |= {
    "stop by kill": stopping(lambda pid: os.kill(pid, signal.SIGTSTP)),
    "stop by tkill": stopping(lambda pid: call("tkill", pid, signal.SIGSTOP)),
    "stop by tgkill": stopping(lambda pid: call("tgkill", pid, pid, signal.SIGSTOP)),
    "stop by a queued signal": stopping(lambda pid: call("rt_sigqueueinfo", pid, signal.SIGSTOP, told(-1))),
    "stop by a signal queued to a thread": stopping(lambda pid: call("rt_tgsigqueueinfo", pid, pid, signal.SIGSTOP, told(-1))),
    "stop by a descriptor": stopping(lambda pid: signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGSTOP)),
    "stop by attaching": stopping(lambda pid: call("ptrace", 16, pid, 0, 0)),
}


@attempt
def a_stop_for_input(_: Context) -> None:
    fcntl.fcntl(0, fcntl.F_SETSIG, signal.SIGSTOP)


@attempt
def a_stop_when_the_parent_ends(_: Context) -> None:
    if _libc.prctl(1, ctypes.c_ulong(signal.SIGSTOP), 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "prctl")
    _libc.prctl(1, 0, 0, 0, 0)


@attempt
def a_stop_when_a_child_ends(_: Context) -> None:
    """With flags that contradict each other (CLONE_SIGHAND without CLONE_VM): who may is told EINVAL."""
    call("clone", 0x800 | signal.SIGSTOP, 0, 0, 0, 0, harmless=errno.EINVAL)


@attempt
def a_stop_when_a_message_comes(_: Context) -> None:
    """To a queue that is none."""
    call("mq_notify", -1, None, harmless=errno.EBADF)


@attempt
def see_other_processes(_: Context) -> None:
    """Those of which this is neither a child nor the keeper of the PID namespace; ESRCH when there are none."""
    mine = {"1", str(os.getpid()), str(os.getppid())}
    if not [name for name in os.listdir("/proc") if name.isdecimal() and name not in mine]:
        raise OSError(errno.ESRCH, "processes")


@attempt
def the_runners_environment(context: Context) -> None:
    look(f"/proc/{context['runner']}/environ")


@attempt
def the_root_of_pid_1(_: Context) -> None:
    os.listdir("/proc/1/root/")


@attempt
def the_memory_of_pid_1(_: Context) -> None:
    here, there = ctypes.create_string_buffer(16), (ctypes.c_void_p(8), ctypes.c_size_t(16))
    local = (ctypes.c_void_p * 2)(ctypes.addressof(here), 16)
    remote = (ctypes.c_void_p * 2)(there[0].value, 16)
    call("process_vm_readv", 1, local, ctypes.c_ulong(1), remote, ctypes.c_ulong(1), ctypes.c_ulong(0), harmless=errno.EFAULT)


# -- files ---------------------------------------------------------------------------------------------------------------------------------


@attempt
def write_a_file_of_the_user(context: Context) -> None:
    look(context["victim"], os.O_WRONLY)


@attempt
def truncate_a_file_of_the_user(context: Context) -> None:
    os.truncate(context["victim"], os.stat(context["victim"]).st_size)


@attempt
def change_the_mode_of_a_file_of_the_user(context: Context) -> None:
    os.chmod(context["victim"], os.stat(context["victim"]).st_mode & 0o7777)


@attempt
def change_the_times_of_a_file_of_the_user(context: Context) -> None:
    os.utime(context["victim"])


@attempt
def link_a_file_of_the_user_into_its_own_folder(context: Context) -> None:
    os.link(context["victim"], f"{context['folder']}/linked")


@attempt
def write_through_a_symlink(context: Context) -> None:
    os.symlink(context["victim"], f"{context['folder']}/symlink")
    look(f"{context['folder']}/symlink", os.O_WRONLY)


@attempt
def make_a_file_beside_its_folder(context: Context) -> None:
    look(f"{context['folder']}/../beside", os.O_WRONLY | os.O_CREAT)


@attempt
def the_records_of_the_other_agent(context: Context) -> None:
    secret(context["record"])


@attempt
def a_private_key(context: Context) -> None:
    secret(f"{context['home']}/.ssh/id_ed25519")


@attempt
def password_hashes(_: Context) -> None:
    secret("/etc/shadow")


@attempt
def a_file_in_somebodys_temporary_folder(context: Context) -> None:
    secret(context["temporary"])


@attempt
def a_file_as_large_as_it_likes(context: Context) -> None:
    with open(f"{context['folder']}/large", "wb") as file:
        file.truncate(2 << 30)


@attempt
def fill_the_temporary_folder(_: Context) -> None:
    where = os.statvfs(os.environ.get("TMPDIR", "/tmp"))
    if where.f_blocks * where.f_frsize <= 256 << 20:
        raise OSError(errno.ENOSPC, "temporary folder")


# -- devices and the kernel ----------------------------------------------------------------------------------------------------------------


@attempt
def physical_memory(_: Context) -> None:
    look("/dev/mem", os.O_RDONLY | os.O_CLOEXEC)


@attempt
def a_disk(_: Context) -> None:
    with open("/proc/partitions") as table:
        name = table.read().split()[-1]
    look(f"/dev/{name}")


@attempt
def a_tap(_: Context) -> None:
    look("/dev/net/tun", os.O_RDWR)


@attempt
def a_sysctl(_: Context) -> None:
    look("/proc/sys/kernel/panic", os.O_WRONLY)


@attempt
def a_sysctl_of_its_network(_: Context) -> None:
    look("/proc/sys/net/ipv4/conf/all/forwarding", os.O_WRONLY)


@attempt
def a_setting_in_sys(_: Context) -> None:
    look("/sys/kernel/rcu_expedited", os.O_WRONLY)


@attempt
def the_magic_sysrq_key(_: Context) -> None:
    look("/proc/sysrq-trigger", os.O_WRONLY)


@attempt
def escape_the_oom_killer(_: Context) -> None:
    look("/proc/self/oom_score_adj", os.O_WRONLY)


@attempt
def a_program_in_the_kernel(_: Context) -> None:
    call("bpf", 0, None, 0, harmless=errno.EINVAL)


@attempt
def io_uring(_: Context) -> None:
    call("io_uring_setup", 1, None, harmless=errno.EFAULT)


@attempt
def read_the_kernels_log(_: Context) -> None:
    if _libc.klogctl(3, ctypes.create_string_buffer(64), 64) < 0:
        raise OSError(ctypes.get_errno(), "klogctl")


# -- privileges ----------------------------------------------------------------------------------------------------------------------------


@attempt
def another_network(_: Context) -> None:
    call("unshare", ctypes.c_ulong(0x4000_0000))


@attempt
def a_user_namespace(_: Context) -> None:
    call("unshare", ctypes.c_ulong(0x1000_0000))


@attempt
def mount_a_filesystem(_: Context) -> None:
    """Of a kind that there is not: who may mount is told ENODEV, and nothing is mounted."""
    if _libc.mount(b"none", b"/", b"nosuchkind", 0, None) < 0 and ctypes.get_errno() != errno.ENODEV:
        raise OSError(ctypes.get_errno(), "mount")


@attempt
def uncover_what_is_hidden(_: Context) -> None:
    """By unmounting what is not mounted: who may unmount is told EINVAL."""
    if _libc.umount2(b"/usr/bin", 0) < 0 and ctypes.get_errno() != errno.EINVAL:
        raise OSError(ctypes.get_errno(), "umount")


@attempt
def change_root(_: Context) -> None:
    os.chroot("/")


@attempt
def change_owner(context: Context) -> None:
    path = f"{context['folder']}/owned"
    with open(path, "w"):
        os.chown(path, 12345, 12345)


@attempt
def become_another_user(_: Context) -> None:
    os.setresuid(12345, 12345, 12345)


@attempt
def make_a_device(context: Context) -> None:
    os.mknod(f"{context['folder']}/mem", 0o600 | 0o020000, os.makedev(1, 1))


@attempt
def a_better_nice_value(_: Context) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) - 1)


@attempt
def real_time_priority(_: Context) -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


@attempt
def more_descriptors(_: Context) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (4097, 4097))
    except ValueError:  # what Python makes of EPERM here
        raise OSError(errno.EPERM, "setrlimit") from None


@attempt
def reboot(_: Context) -> None:
    """With a wrong magic number: who may reboot is told EINVAL."""
    call("reboot", 0, 0, 0, 0, harmless=errno.EINVAL)


@attempt
def gain_by_setuid(context: Context) -> None:
    """Execute a program (``cat``) that is setuid root, where that can be had; EPERM stands for having gained nothing."""
    told = subprocess.run([context["setuid"], "/proc/self/status"], capture_output=True, text=True, check=True)
    fields = dict(line.split(":\t", 1) for line in told.stdout.splitlines() if ":\t" in line)
    if not int(fields["CapEff"], 16):
        raise OSError(errno.EPERM, "setuid")


@attempt
def inherited_descriptors(_: Context) -> None:
    """Those beyond the three streams; ENOENT when there are none."""
    mine = [fd for fd in os.listdir("/proc/self/fd") if int(fd) > 2 and os.path.exists(f"/proc/self/fd/{fd}")]
    if not [fd for fd in mine if not os.readlink(f"/proc/self/fd/{fd}").endswith("/fd")]:
        raise OSError(errno.ENOENT, "descriptors")


def main() -> None:
    context = json.loads(sys.argv[1])
    print(json.dumps({name: come_to(act, context) for name, act in ATTEMPTS.items()}))


def come_to(act: Callable[[Context], object], context: Context) -> str:
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
    return errno.errorcode.get(code, f"exit code {code}: see standard error") if code else "done"


if __name__ == "__main__":
    main()
