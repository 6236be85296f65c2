"""A run's folder read line by line, believing nothing: a line that cannot be read is told and passed over, a torn last line is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness import rotation
from harness.errors import HarnessError
from harness.nesting import too_deep

T = TypeVar("T")
_TOLD = 3
"""Unreadable lines of one file that are told one by one; the rest are counted."""


class Artifacts:
    """The files of one run.  ``unread``: what could not be read so far, in words."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unread: list[str] = []

    def lines(
        self, name: str, kind: type[T], *, wanted: Callable[[bytes], bool] = lambda line: True, fit: Callable[[T], str] = lambda line: ""
    ) -> Iterator[T]:
        """Every line of ``name`` for which ``wanted``, as ``kind``; none when there is no such file.

        ``fit``: what is wrong with a line that is of that kind and yet cannot be shown; "" when nothing is.
        """
        decoder = msgspec.json.Decoder(kind)
        bad = 0
        for number, line in enumerate(self.raw(name), 1):
            if not wanted(line):
                continue
            try:
                wrong = too_deep(line)
                if not wrong:
                    found = decoder.decode(line)
                    wrong = fit(found)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                wrong = str(error)
            if not wrong:
                yield found
                continue
            bad += 1
            if bad <= _TOLD:
                self.unread.append(f"{name}, line {number}: {wrong}")
        if bad > _TOLD:
            self.unread.append(f"{name}: {bad - _TOLD} more lines that cannot be read")

    def raw(self, name: str) -> Iterator[bytes]:
        """The lines of ``name`` that are whole, without record separators (RFC 7464) and newlines; of all its parts that are there."""
        path = self.folder / name
        try:
            missing = rotation.gone(path)
            if missing and missing not in self.unread:
                self.unread.append(missing)
            for part in rotation.parts(path):
                with part.open("rb") as file:
                    for line in file:
                        if line.endswith(b"\n"):
                            yield line.strip(b"\x1e\r\n")
        except FileNotFoundError:
            return
        except OSError as error:
            self.unread.append(f"{name}: {error.strerror}")

    def names(self, pattern: str) -> list[str]:
        """The files that match, by name; of one in parts the first."""
        found = (path for path in self.folder.glob(pattern) if path.is_file() and rotation.first(path) == path)
        return sorted(str(path.relative_to(self.folder)) for path in found)

    def json(self, name: str) -> Any:
        """``name`` as plain JSON; None when it is not there or cannot be read."""
        try:
            data = (self.folder / name).read_bytes()
            if deep := too_deep(data):
                self.unread.append(f"{name}: {deep}")
                return None
            return msgspec.json.decode(data)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self.unread.append(f"{name}: {error}")
            return None


def need(folder: Path) -> Path:
    """``folder``, or HarnessError when it is no run's."""
    if not (folder / "report.json").is_file():
        raise HarnessError(f"{folder}: there is no report.json in it; give the folder of one run, artifacts/<scenario>/<test>/<run>")
    return folder
