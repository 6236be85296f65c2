"""A process that goes when its parent goes, however that ends: the kernel's doing, so that nobody has to be alive to do it."""

from __future__ import annotations

import ctypes
import os

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(signal: int) -> None:
    """Ask the kernel to send this process ``signal`` when the thread that started it ends (PR_SET_PDEATHSIG).

    OSError as the kernel gives it.  A change of credentials (a new user namespace is one) takes it back.  A parent that has ended before
    this is not noticed.
    """
    if _libc.prctl(ctypes.c_int(_PR_SET_PDEATHSIG), ctypes.c_ulong(signal), *(ctypes.c_ulong(0),) * 3) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl: {os.strerror(code)}")
