"""Debian's kernel package taken apart: an image that qemu starts at once, and the modules in the order in which they can be loaded."""

from __future__ import annotations

import ctypes
import lzma
import re
from collections.abc import Callable, Iterable

XZ, ZSTD, ELF = b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x7fELF"
LARGEST = 256 << 20


def uncompressed(image: bytes) -> bytes:
    """The ELF kernel inside a bzImage, which qemu enters directly (PVH): seconds less than letting the guest unpack it.

    The image itself, when it is not compressed as Debian's are (xz in 12, zstd in 13) or there is no libzstd; that boots too.
    """
    unpackers: dict[bytes, Callable[[bytes], bytes]] = {XZ: _unxz, ZSTD: _unzstd}
    for magic, unpack in unpackers.items():
        at = image.find(magic)
        while at >= 0:
            body = unpack(image[at:])  # the magic occurs in the unpacking code as well
            if body.startswith(ELF):
                return body
            at = image.find(magic, at + 1)
    return image


def _unxz(data: bytes) -> bytes:
    """The stream at the head of ``data``; nothing when it is none."""
    try:
        return lzma.LZMADecompressor().decompress(data)
    except lzma.LZMAError:
        return b""


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("at", ctypes.c_size_t))


def _unzstd(data: bytes) -> bytes:
    """The frame at the head of ``data``, by the library that apt needs too; nothing when it is none.  (Python has it from 3.14 on.)"""
    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError:
        return b""
    library.ZSTD_createDStream.restype = ctypes.c_void_p
    library.ZSTD_decompressStream.restype = ctypes.c_size_t
    stream = ctypes.c_void_p(library.ZSTD_createDStream())
    try:
        room = ctypes.create_string_buffer(LARGEST)
        source = _Buffer(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p), len(data), 0)
        target = _Buffer(ctypes.cast(room, ctypes.c_void_p), LARGEST, 0)
        while True:
            before = target.at
            left = library.ZSTD_decompressStream(stream, ctypes.byref(target), ctypes.byref(source))
            if library.ZSTD_isError(ctypes.c_size_t(left)) or (left and target.at == before and source.at == len(data)):
                return b""
            if left == 0:
                return room.raw[: target.at]
    finally:
        library.ZSTD_freeDStream(stream)


class Modules:
    """The modules of one kernel.  ``packed``: path (of a .ko or .ko.xz) to its content."""

    def __init__(self, packed: dict[str, bytes]) -> None:
        self._packed = {_name(path): (path, content) for path, content in packed.items()}

    def in_order(self, wanted: Iterable[str]) -> dict[str, bytes]:
        """Name to plain content of ``wanted`` and all they need, each behind what it needs.

        A name that the package has not is built in, or of another version, and left out: what comes of that the tests tell.
        """
        order: dict[str, bytes] = {}
        for name in wanted:
            self._add(name.replace("-", "_"), order)
        return order

    def _add(self, name: str, order: dict[str, bytes]) -> None:
        if name in order or name not in self._packed:
            return
        content = self._content(name)
        for need in needs(content):
            self._add(need, order)
        order[name] = content

    def _content(self, name: str) -> bytes:
        path, content = self._packed[name]
        return lzma.decompress(content) if path.endswith(".xz") else content


def needs(module: bytes) -> list[str]:
    """The names of the modules that this one says it depends on (its .modinfo; depmod's table comes only with an installation)."""
    found = re.search(rb"\0depends=([\w,-]*)\0", module)
    return [name.replace("-", "_") for name in found[1].decode().split(",") if name] if found else []


def _name(path: str) -> str:
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")
