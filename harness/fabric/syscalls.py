"""System calls that Python has no name for, by their numbers, which are the same on every architecture since Linux 5.0."""

from __future__ import annotations

import ctypes
import os

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


def capset(header: bytes, data: bytes) -> None:
    """Set the capabilities of this process (capset(2))."""
    checked("capset", _libc.capset(header, data))


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount ``source`` at ``target`` (mount(2))."""
    checked(f"mount {target}", _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()))
