"""requirements.lock as data: what each part of the project installs.

``python3 .ci/lock.py PART…`` prints, for pip, the entries that the parts need.  A part is ``run`` (the dependencies), an extra of
pyproject.toml (``dev``, ``media``, ``build``), or the name of one distribution.  Needs nothing but Python 3.11.
"""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = "quic-call-harness"


class NoSuchPartError(Exception):
    """Somebody asked for a part that the project does not have."""


@dataclass
class Entry:
    """One distribution of the lock: its lines as they stand there, its hashes, and whom it is installed for (``via``)."""

    name: str
    version: str
    marker: str
    lines: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    via: set[str] = field(default_factory=set)


def normal(name: str) -> str:
    """A distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(text: str) -> list[Entry]:
    """Everything in the lock, in order; a distribution with markers may be there twice.  ValueError for a line that it should not hold."""
    found: list[Entry] = []
    for number, line in enumerate(text.splitlines(), 1):
        if pinned := re.fullmatch(r"([A-Za-z0-9._-]+)==([^ ;\\]+)(?: ; (.*?))?( \\)?", line):
            found.append(Entry(normal(pinned[1]), pinned[2], pinned[3] or ""))
        elif digest := re.fullmatch(r" {4}--hash=sha256:([0-9a-f]{64})( \\)?", line):
            found[-1].hashes.append(digest[1])
        elif whom := re.fullmatch(r" {4}#(?: via|  ) +(?:-r )?([A-Za-z0-9./_-]+)(?:\[.*])?(?: \(pyproject\.toml\))?", line):
            found[-1].via.add(normal(whom[1]))
        elif not re.fullmatch(r" {4}# via|#.*|", line):
            raise ValueError(f"requirements.lock:{number}: {line!r} is not a version, a hash, or whom it is for")
        if found:
            found[-1].lines.append(line)
    return found


def direct(pyproject: str) -> dict[str, set[str]]:
    """By part the distributions that pyproject.toml itself names."""
    project = tomllib.loads(pyproject)["project"]
    parts = {"run": project["dependencies"], **project["optional-dependencies"]}
    return {part: {normal(re.split(r"[^A-Za-z0-9._-]", one, maxsplit=1)[0]) for one in named} for part, named in parts.items()}


def needed(wanted: set[str], locked: list[Entry]) -> list[Entry]:
    """What ``wanted`` (names of distributions) and everything that they need come to."""
    names = set(wanted)
    while more := {entry.name for entry in locked if entry.via & names} - names:
        names |= more
    return [entry for entry in locked if entry.name in names]


def parts(chosen: list[str], pyproject: str, locked: list[Entry]) -> list[Entry]:
    """The entries that these parts need."""
    known = direct(pyproject)
    wanted: set[str] = set()
    for part in chosen:
        if part not in known and normal(part) not in {entry.name for entry in locked}:
            raise NoSuchPartError(f"there is no part {part!r}; there are {', '.join(known)}, and the names in requirements.lock")
        wanted |= known.get(part, {normal(part)})
    return needed(wanted, locked)


def main(arguments: list[str]) -> int:
    """Print what the parts need."""
    try:
        found = parts(arguments, (ROOT / "pyproject.toml").read_text(), entries((ROOT / "requirements.lock").read_text()))
    except NoSuchPartError as error:
        print(error, file=sys.stderr)
        return 2
    for entry in found:
        print("\n".join(entry.lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
