"""Where a run is kept: ``artifacts/<scenario>/<test>/<run>/``, never overwritten; ``artifacts/<scenario>/latest`` points at the newest."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

_FORGOTTEN_S = 60
_LEAST_ROOM = 64 << 10
"""Bytes free on a disk below which what was to be written may not have been."""


def has_room(folder: Path) -> bool:
    """Whether the disk that ``folder`` is on has room left for the likes of us."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize >= _LEAST_ROOM or found.f_blocks == 0  # no blocks at all: it counts none


def new_folder(root: Path, scenario: str, test: str, seed: int) -> Path:
    """Make and return the folder of a new run, with those inside it that every run has."""
    where = root / plain(scenario) / plain(test)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    for attempt in range(1000):
        folder = where / (f"{stamp}-seed{seed}" + (f"-{attempt}" if attempt else ""))
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        for name in ("agents", "capture", "qlog", "tls"):
            (folder / name).mkdir()
        return folder
    raise FileExistsError(f"a thousand runs of {scenario}/{test} began within one second under {root}")


def point_latest(root: Path, scenario: str, folder: Path) -> None:
    """Let ``latest`` point at ``folder``, in one step even beside other runs."""
    link = root / plain(scenario) / "latest"
    for left in link.parent.glob(".latest-*"):  # by one that was killed between the next two lines
        with contextlib.suppress(OSError):
            if time.time() - left.lstat().st_mtime > _FORGOTTEN_S:
                left.unlink()
    fresh = link.with_name(f".latest-{os.getpid()}-{time.monotonic_ns()}")
    fresh.symlink_to(os.path.relpath(folder, link.parent))
    with contextlib.suppress(IsADirectoryError):
        fresh.replace(link)


def plain(name: str) -> str:
    """``name`` as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9_.=-]+", "-", name).strip("-") or "unnamed"
