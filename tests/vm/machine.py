"""One run of the machine: qemu started, the guest's output passed on, its exit code brought back, and nothing left behind.

KVM is used where a guest has been seen to boot by it within 3 s: on some computers /dev/kvm can be opened and runs nothing.  Else qemu
emulates, and the guest's clock counts instructions: one a nanosecond, while it has anything to do.  Inside, time passes slower than here
(some seven times when it is busy), and programs run as fast as on a small real machine; what else this computer does stalls nobody inside.
Without that, Python runs 16 times slower, in real time, and calls drown in stalls.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from select import select

from tests.vm import initramfs, kernel, packages
from tests.vm.packages import Unfit

KVM = Path("/dev/kvm")
BOOT_BY_KVM, BOOT = 3.0, 60.0  # s
EMULATION = "tcg,thread=single"
TOO_LONG = 124  # the exit code of a command that was stopped, as timeout(1) has it

# nokaslr and later: what costs time and proves nothing here.  tsc=reliable and no_timer_check: under emulation the kernel's trust in its
# clocks would have to be earned for seconds.
_KERNEL = (
    "console=ttyS0 quiet loglevel=1 panic=-1 tsc=reliable no_timer_check mitigations=off nokaslr cryptomgr.notests audit=0 selinux=0 "
    "apparmor=0 rcupdate.rcu_expedited=1 rodata=off"
)
# The emulated clock is known.  The local APIC's timer would be calibrated by spinning, which takes seconds here: the HPET does its work.
_EMULATED = " nr_cpus=1 tsc_early_khz=1000000 nolapic_timer"
_REAL_TIME = " nr_cpus=1 nolapic_timer"


@dataclass(frozen=True)
class Order:
    """What to run: ``argv`` in ``folder`` with ``environment``; ``writable`` folders are the host's, everything else is read only.

    ``real_time``: the guest is emulated, and its clock is this machine's.
    """

    argv: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    writable: Sequence[Path]
    seconds: float = 3600
    memory: str = "1G"
    real_time: bool = False


@dataclass(frozen=True)
class Images:
    """``name``: the kernel's version."""

    name: str
    kernel: Path
    initramfs: Path


def images() -> Images:
    """What qemu is to start, made from the packages at the first time; Unfit when they cannot be had."""
    folder = packages.cache()
    package, busybox = packages.need_packages(folder)
    recipe = hashlib.sha256()
    for module in (initramfs, kernel):
        recipe.update(Path(module.__file__).read_bytes())
    version = package.name.removeprefix("linux-image-").partition("_")[0]
    made = Images(version, folder / f"vmlinux-{version}", folder / f"initramfs-{version}-{recipe.hexdigest()[:12]}")
    if not (made.kernel.exists() and made.initramfs.exists()):
        found = dict(packages.files_of(package, "boot/vmlinuz", "lib/modules/", "usr/lib/modules/"))
        modules = kernel.Modules({path: content for path, content in found.items() if ".ko" in path})
        (tool,) = dict(packages.files_of(busybox, "bin/", "usr/bin/")).values()
        _write(made.initramfs, initramfs.build(tool, modules.in_order(initramfs.MODULES)))
        _write(made.kernel, kernel.uncompressed(next(found[path] for path in found if path.startswith("boot/vmlinuz"))))
        for old in folder.glob("initramfs-*"):
            if old != made.initramfs:
                old.unlink()
    return made


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_bytes(content)
    part.rename(path)


def run(order: Order, started: Callable[[int], None] = lambda pid: None) -> int:
    """Boot, run, and stop: the command's exit code, or 124 when it took too long.  Unfit when there can be no machine here.

    ``started`` is called with qemu's process when the guest is up.
    """
    if platform.machine() != "x86_64":
        raise Unfit(f"the virtual machine is x86-64 and runs this computer's own programs, which are {platform.machine()}")
    qemu = packages.need_qemu()
    made = images()
    with tempfile.TemporaryDirectory(prefix="vm-") as name:
        job = Path(name)
        _write_job(job, order)
        for accelerator in (*(["kvm"] if not order.real_time and _kvm_may_work() else []), EMULATION):
            code = _attempt(qemu, made, order, job, accelerator, started)
            if code is not None:
                return code
            _remember_no_kvm()
        raise Unfit(f"the machine does not come up ({BOOT:.0f} s at most); its console:\n{_console(job)}")


def _write_job(job: Path, order: Order) -> None:
    writable = [path.resolve() for path in order.writable]
    (job / "mounts").write_text("".join(f"{path}\n" for path in writable))
    (job / "start").write_text(initramfs.START)
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in order.environment.items())
    (job / "command").write_text(f"{exports}cd {shlex.quote(str(order.folder))} || exit 125\nexec {shlex.join(order.argv)}\n")


def _attempt(qemu: str, made: Images, order: Order, job: Path, accelerator: str, started: Callable[[int], None]) -> int | None:
    """The exit code; None when the guest did not come up."""
    limit = BOOT_BY_KVM if accelerator == "kvm" else BOOT
    began = time.monotonic()
    with _started(_argv(qemu, made, order, job, accelerator), job) as process:
        assert process.stdout is not None
        out = process.stdout.fileno()
        first = _until(out, began + limit, len(initramfs.STARTED))
        if first != initramfs.STARTED:
            return None
        booted = time.monotonic()
        how = "KVM" if accelerator == "kvm" else "software emulation"
        print(f"Linux {made.name} up in {booted - began:.1f} s by {how}", flush=True)
        started(process.pid)
        if not _pass_on(out, booted + order.seconds):
            print(f"stopped after {order.seconds:.0f} s", file=sys.stderr, flush=True)
            return TOO_LONG
    print(f"ended after {time.monotonic() - booted:.1f} s", flush=True)
    code = job / "code"
    if not code.exists():
        raise Unfit(f"the machine stopped before the command ended; its console:\n{_console(job)}")
    return int(code.read_text())


@contextlib.contextmanager
def _started(argv: list[str], job: Path) -> Iterator[subprocess.Popen[bytes]]:
    """qemu in a session of its own, so that Ctrl-C reaches us alone; killed at the end of the block, and with us.

    It goes before other programs where that is allowed: what is measured inside feels every millisecond in which it does not run.
    """
    for tool, *options in (("setpriv", "--pdeathsig", "KILL"), ("nice", "-n", "-10")):
        if shutil.which(tool) is not None:
            argv = [tool, *options, *argv]
    with (job / "qemu").open("wb") as log:
        # Standard input stays open: at its end qemu takes the port for closed, and the guest's writing would block.
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if sys.exc_info()[0] is None:
                process.wait(5)
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def _until(fd: int, deadline: float, count: int) -> bytes:
    """The first ``count`` bytes, or as many as come before the deadline and the end."""
    found = b""
    while len(found) < count and select([fd], [], [], max(deadline - time.monotonic(), 0))[0]:
        chunk = os.read(fd, count - len(found))
        if not chunk:
            break
        found += chunk
    return found


def _pass_on(fd: int, deadline: float) -> bool:
    """The guest's output to ours until it ends; False when the deadline comes first."""
    while select([fd], [], [], max(deadline - time.monotonic(), 0))[0]:
        chunk = os.read(fd, 65536)
        if not chunk:
            return True
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    return False


def _argv(qemu: str, made: Images, order: Order, job: Path, accelerator: str) -> list[str]:
    def share(tag: str, path: Path, *more: str) -> list[str]:
        # A comma in a value of qemu's is written twice.  multidevs=remap: there may be several file systems below.
        words = ",".join(("local", f"id={tag}", f"path={str(path).replace(',', ',,')}", "security_model=none", "multidevs=remap", *more))
        return ["-fsdev", words, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]

    kvm = accelerator == "kvm"
    clock = [] if kvm or order.real_time else ["-icount", "shift=0,sleep=on"]
    words = "" if kvm else _REAL_TIME if order.real_time else _EMULATED
    writable = [word for n, path in enumerate(order.writable) for word in share(f"w{n}", path.resolve())]
    return [
        qemu,
        *("-machine", "q35", "-m", order.memory, "-accel", accelerator),
        # Instructions are counted across all processors, so that a second one would bring nothing.  Idle, its clock runs with ours.
        *(["-cpu", "host", "-smp", "2"] if kvm else ["-cpu", "max", "-smp", "1", *clock]),
        *("-name", "harness,debug-threads=on"),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-serial", f"file:{job / 'console'}"),
        *("-chardev", "stdio,id=out,signal=off", "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=out,nr=1,name=out"),
        *share("root", Path("/"), "readonly=on"),
        *share("job", job),
        *writable,
        *("-kernel", str(made.kernel), "-initrd", str(made.initramfs), "-append", _KERNEL + words),
    ]


def _console(job: Path) -> str:
    said = "".join(path.read_text(errors="replace") for path in (job / "qemu", job / "console") if path.exists())
    return "\n".join(said.splitlines()[-60:]) or "(nothing)"


# -- KVM -----------------------------------------------------------------------------------------------------------------------------------


def _kvm_may_work() -> bool:
    """Whether it can be opened, and no guest has failed to boot by it since this computer was started."""
    if not os.access(KVM, os.R_OK | os.W_OK):
        return False
    note = packages.cache() / "no-kvm"
    return not (note.exists() and note.read_text() == _this_boot())


def _remember_no_kvm() -> None:
    (packages.cache() / "no-kvm").write_text(_this_boot())


def _this_boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text()
