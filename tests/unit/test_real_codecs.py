"""Without PyAV and numpy a test that needs them is skipped with that reason; any other missing module is as red as ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

CONFTEST = """
import sys
for name in ("av", "numpy"):
    sys.modules[name] = None  # the import system's own way to say that there is none
from tests import real_codecs
def pytest_configure(config):
    config.pluginmanager.register(real_codecs.Skipping())
"""
TESTS = """
import pytest
def test_late():
    import av
def test_wrapped():
    try:
        import numpy
    except ModuleNotFoundError as error:
        raise RuntimeError("no voice") from error
def test_other():
    import no_such_module
def test_red():
    assert False
def test_green():
    pass
"""


def test_only_what_lacks_them_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_whole.py").write_text("import numpy as np\ndef test_any(): ...\n")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-rsf", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path)]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "2 failed, 1 passed, 3 skipped" in done.stdout, done.stdout
    assert {line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED")} == {
        "test_some.py::test_other",
        "test_some.py::test_red",
    }
    assert "platform: PyAV and numpy (the extra `media`) are not installed" in done.stdout
