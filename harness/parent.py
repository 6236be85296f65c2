"""A process that goes when its parent goes, however that ends: the kernel's doing, so that nobody has to be alive to do it."""

from __future__ import annotations

from harness.syscalls import prctl

_PR_SET_PDEATHSIG = 1


def die_with_parent(signal: int) -> None:
    """Ask the kernel to send this process ``signal`` when the thread that started it ends (PR_SET_PDEATHSIG).

    OSError as the kernel gives it.  A change of credentials (a new user namespace is one) takes it back.  A parent that has ended before
    this is not noticed.
    """
    prctl("prctl", _PR_SET_PDEATHSIG, signal)
