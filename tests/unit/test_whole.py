"""Files that are there whole or not at all: also when their writer is killed, and on file systems that know no files without names."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import whole

WRITER = """
import os, signal, sys
from pathlib import Path
from harness import whole
with whole.fresh(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(params=["without a name", "under a name"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "under a name":
        really = os.open

        def refused(path: Any, flags: int, mode: int = 0o777, **named: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "no such thing here")
            return really(path, flags, mode, **named)

        monkeypatch.setattr(os, "open", refused)
    return str(request.param)


@pytest.mark.usefixtures("kind")
def test_it_is_there_once_the_block_has_ended_in_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for content in ("first", b"second", "third"):
        whole.write(path, content)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("kind")
def test_a_block_that_raises_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for before in ([], [path]):
        with pytest.raises(ZeroDivisionError), whole.fresh(path) as file:
            file.write(b"half" * (1 // 0))
        assert list(tmp_path.iterdir()) == before
        whole.write(path, "old")
    assert path.read_text() == "old"


def test_a_killed_writer_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WRITER, str(tmp_path / "a.html")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("kind")
def test_its_mode_is_the_one_asked_for_and_errors_are_the_systems(tmp_path: Path) -> None:
    with whole.fresh(tmp_path / "secret", 0o600) as file:
        file.write(b"key")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileNotFoundError):
        whole.write(tmp_path / "nowhere" / "a", "b")
