"""The runs under an artifacts folder: found by their folders' names, each read no further than a list of them needs.

A run's folder is ``<scenario>/<test>/<stamp>-seed<seed>``, as ``lab/folder.py`` makes it.  What stands above it under the artifacts folder
("soak/migration-20260102-030405") is its *section*: runs of a repetition are listed apart from those of every day.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import HarnessError
from harness.report import model
from harness.report.model import Glance

RUN = re.compile(r"(\d{8}-\d{6})-seed(-?\d+)(-\d+)?")
"""What a run's folder is called: when it began (UTC), its seed, and a number where several began within a second."""
_DEEPEST = 6
"""Levels of folders above a run that are looked through."""


@dataclass(frozen=True)
class Run:
    """One run.  ``glance``: None when it left no report that can be read, and ``problem`` says so in words.

    ``scenario``, ``test`` and ``section`` are its folder's; ``began``: by its folder's name.
    """

    folder: Path
    section: str
    scenario: str
    test: str
    began: datetime
    seed: int
    glance: Glance | None
    problem: str = ""


def folders(root: Path) -> list[Path]:
    """Every run's folder at or below ``root``, sorted.  Links are not followed, so that ``latest`` does not count twice."""
    return sorted(_folders(root, _DEEPEST))


def _folders(at: Path, deeper: int) -> Iterator[Path]:
    if RUN.fullmatch(at.name):
        yield at
    elif deeper:
        try:
            with os.scandir(at) as entries:
                below = [at / entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:  # gone since, or not ours to read: nothing of it can be listed
            return
        for one in below:
            yield from _folders(one, deeper - 1)


def home(run: Path) -> Path | None:
    """The artifacts folder that the run was made in, the one above ``soak`` for a repetition's; None for a run that was copied away."""
    run = run.resolve()
    if not RUN.fullmatch(run.name) or len(run.parents) < 4 or not (run.parents[1] / "latest").is_symlink():
        return None
    root = run.parents[2]
    return root.parents[1] if root.parent.name == "soak" else root


def read(root: Path) -> list[Run]:
    """Every run below ``root``, the newest first; one that cannot be read is among them and says why."""
    runs = [_run(root, folder) for folder in folders(root) if len(folder.relative_to(root).parts) > 2]
    return sorted(runs, key=lambda run: (run.began, run.folder), reverse=True)


def _run(root: Path, folder: Path) -> Run:
    *above, scenario, test, name = folder.relative_to(root).parts
    match = RUN.fullmatch(name)
    assert match is not None
    glance, problem = _glance(folder)
    return Run(
        folder=folder,
        section="/".join(above),
        scenario=scenario,
        test=test,
        began=began(match[1]) if glance is None else glance.started,
        seed=int(match[2]) if glance is None else glance.seed,
        glance=glance,
        problem=problem,
    )


def began(stamp: str) -> datetime:
    """The time (UTC) in the name of a run's folder."""
    try:
        return datetime.strptime(stamp, "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return datetime(1, 1, 1, tzinfo=UTC)


def _glance(folder: Path) -> tuple[Glance | None, str]:
    try:
        return model.glance((folder / "report.json").read_bytes(), "report.json"), ""
    except FileNotFoundError:
        return None, "still running" if running(folder) else "broken off: it left no report.json"
    except HarnessError as error:
        return None, f"cannot be read: {error}"
    except OSError as error:
        return None, f"cannot be read: report.json: {error.strerror}"


def running(folder: Path) -> bool:
    """Whether a process still writes the run's timeline: it holds a lock on it, which the kernel takes away when it dies."""
    with contextlib.suppress(OSError), (folder / "timeline.jsonl").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def named(path: Path) -> list[Path]:
    """The runs that ``path`` names: a run's folder, a link to one (``latest``), one of its files, or any folder with runs below it.

    HarnessError when there is none.
    """
    if not path.exists():
        raise HarnessError(f"{path}: there is no such file or folder")
    whole = path.resolve()
    if not whole.is_dir():
        whole = whole.parent
    if (whole / "report.json").is_file():  # whatever its folder is called: a run may have been copied
        return [whole]
    found = folders(whole)
    if not found:
        raise HarnessError(f"{path}: there is no run in it; give a run, artifacts/<scenario>/<test>/<run>, or a folder above runs")
    return found


def one(path: Path) -> Path:
    """The one run that ``path`` names; HarnessError when there are several."""
    found = named(path)
    if len(found) > 1:
        newest = max(found, key=lambda folder: folder.name)
        raise HarnessError(f"{path}: there are {len(found)} runs in it, and one is wanted; the newest is {newest}")
    return found[0]
