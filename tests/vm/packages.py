"""What the machine is made of, from the distribution's own packages and by the package sources that this computer is set up with.

qemu has to be installed (by us when root).  The kernel and busybox are only unpacked, which needs no root and puts nothing into /boot.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

QEMU = "qemu-system-x86_64"
KERNEL = "linux-image-amd64"  # a package that depends on the newest kernel


class Unfit(Exception):  # noqa: N818 - what it says
    """This computer cannot run the virtual machine; its text says why and what would help."""


def cache() -> Path:
    """The folder for what is worth keeping, made if need be."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "quic-call-harness" / "vm"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def need_qemu() -> str:
    """The path of qemu, installed first if that can be done; Unfit else."""
    found = shutil.which(QEMU)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing qemu-system-x86 through apt-get", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "-y", "--no-install-recommends", "qemu-system-x86"]):
            done = subprocess.run(
                ["apt-get", "-qq", *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            if done.returncode:
                raise Unfit(f"apt-get {command[0]} failed, so that there is no {QEMU}:\n{done.stdout}")
        found = shutil.which(QEMU)
    if found is None:
        raise Unfit(f"{QEMU} is missing: install the package qemu-system-x86 (Debian, Ubuntu: sudo apt-get install qemu-system-x86)")
    return found


def need_packages(folder: Path) -> tuple[Path, Path]:
    """The kernel's package and busybox-static's in ``folder``, downloaded if they are not there; Unfit when that cannot be done."""
    kernels, busyboxes = sorted(folder.glob("linux-image-*.deb")), sorted(folder.glob("busybox-static_*.deb"))
    if kernels and busyboxes:
        return kernels[-1], busyboxes[-1]
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Unfit(f"{tool} is missing: the virtual machine's kernel comes from Debian's packages, so this needs a Debian")
    print(f"downloading Debian's kernel and busybox into {folder}", flush=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="download-") as name:
        download = Path(name)
        # Lists of our own: a container image has none, and those of the system are not an ordinary user's to renew.
        (download / "lists" / "partial").mkdir(parents=True)
        (download / "archives" / "partial").mkdir(parents=True)
        settings = [f"Dir::State::lists={download}/lists", f"Dir::Cache={download}", "APT::Sandbox::User="]
        own = [word for setting in settings for word in ("-o", setting)]
        _apt(download, "apt-get", *own, "-qq", "update")
        depends = _apt(download, "apt-cache", *own, "depends", KERNEL)
        images = [line.split()[-1] for line in depends.splitlines() if line.strip().startswith("Depends: linux-image-")]
        if not images:
            raise Unfit(f"the package sources of this computer know no {KERNEL}: the virtual machine's kernel is Debian's for x86-64")
        _apt(download, "apt-get", *own, "-qq", "download", images[0], "busybox-static")
        kernel, busybox = next(download.glob("linux-image-*.deb")), next(download.glob("busybox-static_*.deb"))
        return kernel.rename(folder / kernel.name), busybox.rename(folder / busybox.name)


def _apt(folder: Path, *argv: str) -> str:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise Unfit(f"{argv[0]} {argv[-1]} failed:\n{done.stderr}")
    return done.stdout


def files_of(package: Path, *beginnings: str) -> Iterator[tuple[str, bytes]]:
    """(path without the leading slash, content) of every plain file in ``package`` whose path begins with one of ``beginnings``."""
    import tarfile

    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as unpacking:
        assert unpacking.stdout is not None
        with tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive:
            for member in archive:
                path = member.name.removeprefix("./")
                if member.isfile() and path.startswith(beginnings):
                    content = archive.extractfile(member)
                    assert content is not None
                    yield path, content.read()
    if unpacking.returncode:
        raise Unfit(f"{package} cannot be unpacked; delete it, and it is downloaded again")
