"""The licence of everything that the lock may install, read from its own metadata, held against what each part allows.

``python .ci/licences.py`` writes docs/licences.md anew, and fails for a licence that it cannot read or that is not allowed.  It reads what
is installed beside the interpreter that runs it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import lock

PAGE = lock.ROOT / "docs/licences.md"
PARTS = ("run", "media", "build", "dev")
"""A distribution belongs to the first of these that needs it."""

PERMISSIVE = {"MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "Apache-2.0", "ISC", "PSF-2.0", "Zlib", "CC0-1.0"}
PERMISSIVE |= {"MPL-2.0"}  # a copyleft of single files, which we change none of
ALLOWED: dict[str, set[str]] = {part: PERMISSIVE | {"LicenseRef-Public-Domain"} for part in PARTS}

EXCEPTIONS = {
    "scapy": ("dev", "GPL-2.0-only", "an independent reader of our captures, for tests alone: nothing under harness/ imports it"),
}
"""By distribution: the one part that it may belong to, the licence that is let pass there, and why."""

READ = {
    ("jinja2", "3.1.6"): "BSD-3-Clause",
    ("colorama", "0.4.6"): "BSD-3-Clause",
    ("win-inet-pton", "1.1.0"): "LicenseRef-Public-Domain",
}
"""By distribution and version what its files say, where its metadata is vague, or nothing is installed to be asked: it is for Windows."""

CARRIES = {
    "av": "FFmpeg (LGPL-3.0-or-later, by its own word), x264 and x265 (GPL-2.0-or-later), more: in the image only when asked for",
    "numpy": "OpenBLAS (BSD-3-Clause), libgfortran (GPL-3.0-or-later with GCC's exception), libquadmath (LGPL-2.1-or-later)",
    "cryptography": "OpenSSL (Apache-2.0)",
    "playwright": "Node.js (MIT), its own driver (Apache-2.0)",
}
"""By distribution: what its wheel holds of others."""

WORDS = {
    "MIT": "MIT",
    "MPL-2.0": "MPL-2.0",
    "MIT OR Apache-2.0": "MIT OR Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "ISC License": "ISC",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""How metadata older than licence expressions puts it."""

SYSTEM = """\
## Not from PyPI

| what | licence | how it is used |
|---|---|---|
| uPlot 1.6.32 | MIT | part of the pages of runs (`harness/report/web/vendor`, with its licence) |
| libnftables | GPL-2.0-only, mostly | Debian's package, opened by ctypes in the keeper's process at run time |
| Python, bash, make, libc | PSF-2.0, GPL, GPL, LGPL | Debian's packages, as programs; in the image |
| tshark, Chromium, qemu, Linux | GPL-2.0, BSD-3-Clause, GPL-2.0, GPL-2.0 | programs of some tests, where they are installed |

What libnftables means. Nothing of it is copied into this project, and nothing is linked with it when the project is built: the machine's
own copy is opened when a run needs it. The GPL lets anybody run such a combination. Whoever hands on both together, as an image does, keeps
the terms of both: MIT goes with the GPL, libnftables' source is Debian's source package `nftables`, and pyroute2, in the same process, may
be had under the GPL as well. That process also imports sortedcontainers (for trio), under Apache-2.0 alone, which the Free Software
Foundation holds to be incompatible with version 2 of the GPL where two things are one work. Two libraries that one program opens are hardly
that, but who hands on an image should have thought of it.
"""


class UnknownLicenceError(Exception):
    """A licence that cannot be read, or that its part does not allow."""


@dataclass(frozen=True)
class Row:
    """A line of the page."""

    name: str
    version: str
    part: str
    licence: str
    note: str


def stated(name: str, version: str, metadata: Message | None) -> str:
    """A distribution's licence as an SPDX expression, by its metadata or by ``READ``; UnknownLicenceError where neither says it."""
    if metadata is not None:
        said = [metadata.get("License-Expression"), metadata.get("License")]
        classified = [one for one in metadata.get_all("Classifier") or [] if one.startswith("License ::")]
        if said[0]:
            return str(said[0])
        for words in (said[1], *(classified if len(classified) == 1 else [])):
            if words in WORDS:
                return WORDS[words]
    if (name, version) in READ:
        return READ[name, version]
    raise UnknownLicenceError(
        f"{name} {version} does not say its licence in words that we know: read its licence file, then put it into READ"
    )


def allowed(expression: str, names: set[str]) -> bool:
    """Whether an SPDX expression of names, AND and OR can be kept by keeping licences of ``names`` alone."""
    if "(" in expression or " WITH " in expression:
        return False  # none has needed them yet; to be read by a person
    return any(all(name in names for name in choice.split(" AND ")) for choice in expression.split(" OR "))


def installed(name: str) -> Message | None:
    """The metadata of what is installed under that name; None when nothing is."""
    try:
        return distribution(name).metadata  # type: ignore[return-value]
    except PackageNotFoundError:
        return None


def part_of(entry: lock.Entry, locked: list[lock.Entry], pyproject: str) -> str:
    """The first part that needs it."""
    for part in PARTS:
        if entry.name in {one.name for one in lock.parts([part], pyproject, locked)}:
            return part
    raise UnknownLicenceError(f"{entry.name} is needed by no part: what is it in the lock for?")


def judge(name: str, part: str, licence: str) -> str:
    """A note for the page; UnknownLicenceError where ``part`` does not allow the licence."""
    if allowed(licence, ALLOWED[part]):
        return CARRIES.get(name, "")
    if name in EXCEPTIONS and EXCEPTIONS[name][:2] == (part, licence):
        return EXCEPTIONS[name][2]
    raise UnknownLicenceError(f"{name} is under {licence}, which {part!r} does not allow; allowed are {', '.join(sorted(ALLOWED[part]))}")


def rows(locked: list[lock.Entry], pyproject: str, metadata: Callable[[str], Message | None]) -> list[Row]:
    """A row for each distribution of the lock; what is for another Python than this one is taken to be under its sibling's licence."""
    found = []
    for entry in locked:
        told = metadata(entry.name)
        if told is not None and told["Version"] != entry.version and entry.name not in _twice(locked):
            raise UnknownLicenceError(f"{entry.name} {told['Version']} is installed, the lock has {entry.version}: make .venv/.installed")
        licence = stated(entry.name, entry.version, told)
        part = part_of(entry, locked, pyproject)
        found.append(Row(entry.name, entry.version, part, licence, judge(entry.name, part, licence)))
    return found


def _twice(locked: list[lock.Entry]) -> set[str]:
    names = [entry.name for entry in locked]
    return {name for name in names if names.count(name) > 1}


def page(found: list[Row]) -> str:
    """docs/licences.md."""
    lines = [
        "# Licences",
        "",
        "This project is under the MIT licence. Below is everything that `requirements.lock` may install, with the licence that its own",
        "metadata states. `make licences` writes this page anew, and fails for what it cannot read or what is not allowed; a test holds",
        "the page to the lock.",
        "",
        "Parts: `run` is what the harness needs, `media` the extra for real codecs, `build` what installs it, `dev` what tests it. Each",
        "may be under MIT, BSD, Apache-2.0, ISC, PSF-2.0, Zlib, 0BSD, CC0-1.0 or MPL-2.0, or in the public domain; of a choice, one of",
        "these is taken (pyroute2: Apache-2.0). For anything else the note says why it may be there, or what a wheel carries of others.",
        "",
        "| distribution | version | part | licence | note |",
        "|---|---|---|---|---|",
        *(f"| {row.name} | {row.version} | {row.part} | {row.licence} | {row.note} |" for row in found),
        "",
        SYSTEM,
    ]
    return "\n".join(lines)


def table(text: str) -> list[Row]:
    """The rows of a page."""
    cells = re.findall(r"^\| ([a-z0-9-]+) \| ([^|]*) \| (run|media|build|dev) \| ([^|]*) \| ?([^|]*?) ?\|$", text, re.MULTILINE)
    return [Row(*row) for row in cells]


def main() -> int:
    """Write the page."""
    locked = lock.entries((lock.ROOT / "requirements.lock").read_text())
    try:
        found = rows(locked, (lock.ROOT / "pyproject.toml").read_text(), installed)
    except UnknownLicenceError as error:
        print(error, file=sys.stderr)
        return 1
    PAGE.write_text(page(found))
    print(f"{len(found)} distributions, all under licences that their parts allow: {PAGE.relative_to(Path.cwd())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
