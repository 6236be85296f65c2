"""A mount namespace in which an agent sees its ``View`` and can write nothing but its own folder and what goes away with it.

The mounts are those of the machine, all of them read-only, without setuid and without devices; over them lie a /proc of the agent's own PID
namespace, a /dev with nothing but the harmless devices, empty folders and files over what is hidden, and at their old place what of that is
shown.  A covered mount cannot be uncovered: that needs a capability which the agent lacks, and no ``..`` leads below a mount.

Needs CAP_SYS_ADMIN in the user namespace that owns the mount namespace, mount_setattr (Linux 5.12), and security modules that allow mounts.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable

from harness.fabric import netns
from harness.fabric.agent_view import TEMPORARY, View, is_below
from harness.syscalls import mount, syscall

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_HERE, _EMPTY_PATH, _RECURSIVE, _CLONE, _CLOEXEC, _FROM_EMPTY_PATH = -100, 0x1000, 0x8000, 1, 0o2000000, 4
_READ_ONLY, _NO_SETUID, _NO_DEVICES, _NO_EXECUTION = 1, 2, 4, 8  # MS_ and MOUNT_ATTR_ alike
_PRIVATE = 1 << 18
DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
_ROOM = "size=256m,nr_inodes=16k"
_SHARED_ROOM = "size=64m,nr_inodes=1k"
_NOTHING, _NO_FILE = "/dev/.nothing", "/dev/.nofile"

WRITABLE = ("/tmp", "/var/tmp", "/dev/shm")
"""What an agent can write besides its own folder: in memory, and gone with its last process."""


def enter(view: View) -> str:
    """Leave the mount namespace for one with ``view``; returns "" or why /proc is still the one that was there before.

    OSError where that is not allowed; this process is then in a namespace half made, and of no more use.
    """
    netns.unshare(netns.CLONE_NEWNS)
    devices = {f"/dev/{name}": _clone(f"/dev/{name}") for name in DEVICES}
    shown = {path: _clone(path) for path in view.shown if os.path.exists(path)}
    own = _clone(view.own)
    _restrict("/", _READ_ONLY | _NO_SETUID | _NO_DEVICES, propagation=_PRIVATE)
    for fd in shown.values():
        _restrict(fd, _READ_ONLY | _NO_SETUID | _NO_DEVICES)
    _restrict(own, _NO_SETUID | _NO_DEVICES)
    _make_devices(devices)
    kept = _renew_proc()
    closing = ["/dev"]
    for path in sorted((*view.hidden, *shown), key=lambda path: (path.count("/"), path)):
        if path in shown:
            _place(shown[path], path)
        elif os.path.lexists(path) and _hide(path, (*view.shown, view.own)):
            closing.append(path)
    _place(own, view.own)
    for path in closing:
        _restrict(path, _READ_ONLY, alone=True)
    return kept


def _make_devices(devices: dict[str, int]) -> None:
    mount("tmpfs", "/dev", "tmpfs", _NO_SETUID | _NO_EXECUTION, "mode=755,size=64k")
    for path, fd in devices.items():
        _place(fd, path)
    for name, target in _LINKS.items():
        os.symlink(target, f"/dev/{name}")
    os.mkdir(_NOTHING)
    os.close(os.open(_NO_FILE, os.O_WRONLY | os.O_CREAT, 0o444))
    os.mkdir("/dev/shm")
    mount("tmpfs", "/dev/shm", "tmpfs", _NO_SETUID | _NO_DEVICES | _NO_EXECUTION, f"mode=1777,{_SHARED_ROOM}")


def _renew_proc() -> str:
    """A /proc of this PID namespace, read-only; where the kernel refuses one (parts of the old one are covered) the old one stays."""
    try:
        mount("proc", "/proc", "proc", _NO_SETUID | _NO_DEVICES | _NO_EXECUTION)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return ""


def close_proc() -> None:
    """Nothing in /proc can be written from here on."""
    _restrict("/proc", _READ_ONLY, alone=True)


def _hide(path: str, besides: Iterable[str]) -> bool:
    """Lay nothing over ``path``; whether that is a folder in which something is to be placed, so that it can be closed only then."""
    if path in map(os.path.realpath, TEMPORARY):
        mount("tmpfs", path, "tmpfs", _NO_SETUID | _NO_DEVICES, f"mode=1777,{_ROOM}")
    elif not os.path.isdir(path):
        _place(_clone(_NO_FILE), path, _READ_ONLY)
    elif any(is_below(one, path) for one in besides):
        mount("tmpfs", path, "tmpfs", _NO_SETUID | _NO_DEVICES, "mode=755,size=64k")
        return True
    else:
        _place(_clone(_NOTHING), path, _READ_ONLY)
    return False


def _clone(path: str) -> int:
    """A descriptor of a copy of what is mounted at and below ``path``, not attached anywhere."""
    return syscall(f"open_tree {path}", _OPEN_TREE, _HERE, os.fsencode(path), _CLONE | _CLOEXEC | _RECURSIVE)


def _place(tree: int, path: str, attributes: int = 0) -> None:
    """Attach ``tree`` at ``path``, which is made if it is not there, and close it."""
    if attributes:
        _restrict(tree, attributes)
    if not os.path.lexists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if stat.S_ISDIR(os.fstat(tree).st_mode):
            os.mkdir(path)
        else:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
    syscall(f"move_mount {path}", _MOVE_MOUNT, tree, b"", _HERE, os.fsencode(path), _FROM_EMPTY_PATH)
    os.close(tree)


def _restrict(where: str | int, attributes: int, *, propagation: int = 0, alone: bool = False) -> None:
    """Add ``attributes`` to the mount at a path or a tree's descriptor, and (not ``alone``) to all below it."""
    change = struct.pack("=4Q", attributes, 0, propagation, 0)
    fd, path, flags = (_HERE, os.fsencode(where), 0) if isinstance(where, str) else (where, b"", _EMPTY_PATH)
    syscall("mount_setattr", _MOUNT_SETATTR, fd, path, flags | (0 if alone else _RECURSIVE), change, len(change))
