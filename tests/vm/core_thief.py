"""Takes the processor of an emulated machine away, as a hypervisor does: its thread of qemu stops, and its clock runs on.

By ptrace(2), which stops one thread.  Not by QEMU's own ``stop``, which stops the guest's clock too, nor by SIGSTOP, which stops
the clock's thread as well.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence
from pathlib import Path

_SEIZE, _INTERRUPT, _CONT, _DETACH = 0x4206, 0x4207, 7, 17
_WALL = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def processor_thread(pid: int) -> int:
    """The thread of qemu process ``pid`` that is the guest's only processor; LookupError without one (``-name debug-threads=on``)."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        if "CPU" in (task / "comm").read_text():
            return int(task.name)
    raise LookupError(f"process {pid} has no thread that is named for a processor")


def steal(thread: int, lengths: Sequence[float], pause: float) -> list[tuple[int, int]]:
    """Stop ``thread`` for each of ``lengths`` (s), with ``pause`` (s) before each: from when to when, ns of this machine's clock."""
    _ptrace(_SEIZE, thread)
    found = []
    try:
        for length in lengths:
            time.sleep(pause)  # nothing is waited for: so much time is to pass between two thefts
            _ptrace(_INTERRUPT, thread)
            os.waitpid(thread, _WALL)
            began = time.monotonic_ns()
            time.sleep(length)
            ended = time.monotonic_ns()
            _ptrace(_CONT, thread)
            found.append((began, ended))
        _ptrace(_INTERRUPT, thread)
        os.waitpid(thread, _WALL)
    finally:
        _ptrace(_DETACH, thread)
    return found


def _ptrace(request: int, thread: int) -> None:
    _libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    if _libc.ptrace(request, thread, None, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace request {request:#x}: {os.strerror(number)}")
