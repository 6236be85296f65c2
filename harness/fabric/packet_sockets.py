"""Packet sockets on one interface, for those who look on (captures) and those who carry (the relay)."""

from __future__ import annotations

import contextlib
import socket

from harness.errors import EnvironmentUnfit

SOL_PACKET = 263
_ETH_P_ALL = 3
_SO_RCVBUFFORCE = 33


def open_packet_socket(interface: str, buffer: int, purpose: str, options: tuple[tuple[int, int], ...] = ()) -> socket.socket:
    """A socket for every frame of ``interface`` in the CURRENT namespace, with room for ``buffer`` bytes where the kernel allows as much.

    ``options``: (level, name) of the socket options that are set to 1 before it hears anything.  The interface may be down.  Non-blocking,
    not inheritable.  Raises EnvironmentUnfit that says what is missing for ``purpose``.
    """
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    except OSError as error:
        raise EnvironmentUnfit(f"no packet socket ({error.strerror}): {purpose} CAP_NET_RAW; in Docker --cap-add NET_RAW") from None
    try:
        for level, name in options:
            sock.setsockopt(level, name, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        with contextlib.suppress(PermissionError):  # beyond net.core.rmem_max: for real root only
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
        sock.bind((interface, _ETH_P_ALL))
    except OSError:
        sock.close()
        raise
    return sock
