"""The kernel's time of what came to a socket (SO_TIMESTAMPNS, ns of CLOCK_REALTIME): what Python got round to reading when says nothing."""

from __future__ import annotations

import socket
import struct

STAMPED = (socket.SOL_SOCKET, getattr(socket, "SO_TIMESTAMPNS", 35))
"""Level and name of the option that asks for it, and of what then comes with each datagram (asm-generic/socket.h)."""
TIMESPEC = struct.Struct("@qq")
"""What comes: seconds and nanoseconds."""
SPACE = socket.CMSG_SPACE(TIMESPEC.size)
"""Room for ancillary data that ``recvmsg`` wants."""


def stamp_of(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """The stamp in what ``recvmsg`` gave; None where there is none."""
    for level, kind, data in ancillary:
        if (level, kind) == STAMPED:
            seconds, nanoseconds = TIMESPEC.unpack(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return None
