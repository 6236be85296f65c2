"""The doctor needs nothing but Python, and an old one gets as far as being told so."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
BEFORE_ANY_ATTEMPT = ("__init__", "__main__", "findings", "machine", "remedies", "table")
OLD = [path for minor in (8, 9, 10) if (path := shutil.which(f"python3.{minor}"))]


def doctor(*command: str) -> tuple[int, dict[str, Any]]:
    """Its exit code, and its findings by feature."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*command, "-m", "harness.doctor", "--json"], env=env, capture_output=True, text=True, timeout=60, check=False)
    told = json.loads(done.stdout)
    assert (told["schema"], told["fit"]) == (1, done.returncode == 0)
    return done.returncode, {one["feature"]: one for one in told["findings"]}


def test_it_examines_the_machine_without_any_package() -> None:
    code, bare = doctor(sys.executable, "-S")  # no site-packages
    assert bare["packages"]["found"].startswith("not installed")
    makes_one = bare["packages"]["found"] == "not installed yet"  # a virtual environment, for `make` to install them into
    assert bare["packages"]["here"] == ("yes" if makes_one else "no")
    whole_code, whole = doctor(sys.executable)
    assert whole["packages"]["found"] == f"installed in {sys.prefix}"
    for feature, told in whole.items():
        if feature not in ("packages", "cores", "real media", "artifacts"):
            assert bare[feature] == told
    assert code == (whole_code or not makes_one)


def test_a_python_that_is_too_old_can_read_it() -> None:
    for name in BEFORE_ANY_ATTEMPT:
        file = ROOT / f"harness/doctor/{name}.py"
        ast.parse(file.read_text(), str(file), feature_version=(3, 8))


def test_a_python_that_is_too_old_is_told_so() -> None:
    for old in OLD:  # as many as are here: the test above holds everywhere
        if subprocess.run([old, "-c", ""], capture_output=True, check=False).returncode:
            continue  # a version manager's name for what is not installed
        code, told = doctor(old)
        assert code == 1
        assert told["Python"]["here"] == "no"
        assert told["Python"]["remedy"].startswith(("make PYTHON=python3.", "apt-get install", "sudo ", "install "))
        assert told["namespaces"]["here"] == "untried"
        assert told["namespaces"]["remedy"] == ""
