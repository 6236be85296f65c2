"""Debian's kernel package taken apart: an image that qemu starts at once, and the modules in the order in which they can be loaded."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable

XZ, ELF = b"\xfd7zXZ\0", b"\x7fELF"


def uncompressed(image: bytes) -> bytes:
    """The ELF kernel inside a bzImage, which qemu enters directly (PVH): a second less than letting the guest unpack it.

    The image itself, when it is not compressed by xz as Debian's are; that boots too.
    """
    at = image.find(XZ)
    while at >= 0:
        try:
            body = lzma.LZMADecompressor().decompress(image[at:])
        except lzma.LZMAError:
            body = b""  # the magic occurs in the unpacking code as well
        if body.startswith(ELF):
            return body
        at = image.find(XZ, at + 1)
    return image


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
