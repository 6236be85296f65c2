"""RTP packets in a file, in the format of rtptools' rtpdump, which Wireshark opens: what an agent leaves of the real media that it heard.

A line ``#!rtpplay1.0 <address>/<port>``, a header of 16 bytes (u32 seconds, u32 microseconds, u32 address, u16 port, u16 padding), then for
each packet u16 length with this header, u16 bytes of RTP, u32 ms since the beginning, and the packet; all big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Protocol

from harness.errors import AgentError

LARGEST_FILE = 64 << 20
"""Bytes at which a writer stops: three quarters of an hour of audio and video."""

_MAGIC = b"#!rtpplay1.0 "
_FIRST_LINE = _MAGIC + b"0.0.0.0/0\n"
_HEADER = struct.Struct("!IIIHH")
_ENTRY = struct.Struct("!HHI")


class _File(Protocol):
    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""


class RtpDump:
    """Writes packets to a binary file that somebody else opened, and will close; ``left_out`` counts those beyond ``LARGEST_FILE``."""

    def __init__(self, file: _File, *, largest: int = LARGEST_FILE) -> None:
        self._file = file
        self._room = largest - len(_FIRST_LINE) - _HEADER.size
        self._began: int | None = None
        self.left_out = 0
        file.write(_FIRST_LINE + _HEADER.pack(0, 0, 0, 0, 0))

    def write(self, packet: bytes, at: int) -> None:
        """Append a packet that came at ``at`` (ns)."""
        size = _ENTRY.size + len(packet)
        if size > self._room or size > 0xFFFF:
            self.left_out += 1
            self._room = 0  # nothing after a hole: the file is whole up to its end
            return
        self._room -= size
        if self._began is None:
            self._began = at
        self._file.write(_ENTRY.pack(size, len(packet), max(0, at - self._began) // 1_000_000 & 0xFFFF_FFFF) + packet)


def read(data: bytes, agent: str) -> Iterator[bytes]:
    """The RTP packets in a file that ``agent`` wrote, as they came; AgentError names the byte where it is not what it should be.

    A last entry that is cut short is left out: the process was killed while it wrote.
    """
    end = data.find(b"\n", 0, 200)
    if not data.startswith(_MAGIC) or end < 0:
        raise AgentError(agent, f"its file of heard packets begins with {data[:16]!r}; an rtpdump begins with {_MAGIC!r}")
    at = end + 1 + _HEADER.size
    while at + _ENTRY.size <= len(data):
        size, rtp, _ = _ENTRY.unpack_from(data, at)
        if size < _ENTRY.size or rtp > size - _ENTRY.size:
            raise AgentError(
                agent, f"its file of heard packets, byte {at}: an entry of {size} bytes with {rtp} of RTP; 8 belong to the entry"
            )
        if at + size > len(data):
            return
        yield data[at + _ENTRY.size : at + _ENTRY.size + rtp]
        at += size
