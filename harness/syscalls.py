"""System calls, and one of libc, that Python 3.11 has no function for: by libc's name where it has one, else by number.

The numbers are the same on every architecture since Linux 5.0.  Needed before all else, so it imports nothing but ctypes.
"""

from __future__ import annotations

import ctypes
import os

_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def checked(what: str, result: int) -> int:
    """``result``, unless it is negative: then OSError with libc's errno, its words beginning with ``what``."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return int(result)


def syscall(what: str, number: int, *arguments: int | bytes) -> int:
    """Make system call ``number``; OSError in words that begin with ``what``.  ``bytes`` are passed as a pointer to them."""
    values = [ctypes.c_char_p(one) if isinstance(one, bytes) else ctypes.c_long(one) for one in arguments]
    return checked(what, _libc.syscall(ctypes.c_long(number), *values))


def prctl(what: str, option: int, *arguments: int) -> int:
    """Operate on this process by ``option`` (prctl); OSError in words that begin with ``what``."""
    values = [ctypes.c_ulong(one) for one in (*arguments, 0, 0, 0, 0)[:4]]
    return checked(what, _libc.prctl(ctypes.c_int(option), *values))


def unshare(flags: int) -> None:
    """Leave the namespaces named by ``flags`` for new ones (unshare(2))."""
    checked("unshare", _libc.unshare(ctypes.c_int(flags)))


def setns(fd: int, kind: int) -> None:
    """Enter the namespace of that ``kind`` that ``fd`` holds (setns(2))."""
    checked("setns", _libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)))


def capset(header: bytes, data: bytes) -> None:
    """Set the capabilities of this process (capset(2))."""
    checked("capset", _libc.capset(header, data))


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """Mount ``source`` at ``target`` (mount(2))."""
    checked(f"mount {target}", _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()))


def unmount(target: str) -> None:
    """Detach what is mounted at ``target`` (umount2(2), MNT_DETACH)."""
    checked(f"umount {target}", _libc.umount2(target.encode(), _DETACH))


def give_back() -> None:
    """Return to the kernel what libc holds of freed memory (malloc_trim(3)); nothing where libc is not glibc."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
