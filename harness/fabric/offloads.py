"""Segmentation and checksum offloads, off on every interface of a run.

With them on, the kernel sends trains of segments as one packet: netem then drops or delays whole trains, and a TAP's reader sees packets
with no checksum.
"""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct

_SIOCETHTOOL = 0x8946
# linux/ethtool.h: "set" commands that take one u32
_COMMANDS = {
    "tx checksumming": 0x17,
    "tcp segmentation": 0x1F,
    "generic segmentation": 0x24,
    "generic receive": 0x2C,
    "udp fragmentation": 0x22,
}


def disable(probe: socket.socket, interface: str) -> None:
    """Turn offloads of ``interface`` off; ``probe`` is any socket opened in the interface's namespace.  A kind it lacks is off already."""
    for command in _COMMANDS.values():
        value = array.array("B", struct.pack("=II", command, 0))
        request = struct.pack("16sP16x", interface.encode(), value.buffer_info()[0])
        try:
            fcntl.ioctl(probe, _SIOCETHTOOL, request)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
