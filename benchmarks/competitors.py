"""Mininet and munet, each in its own interpreter and in throwaway namespaces: how long they take for the networks of ``star``."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
DEBIAN_PYTHON = "/usr/bin/python3"
VENV = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "quic-call-harness" / "munet"
WITHIN_S = 300
_NAMESPACES = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def measure(name: str, hosts: int) -> tuple[float, float] | str:
    """(build, wall) in ms, or why there is no such figure here: what is not installed, and the command that installs it."""
    python = DEBIAN_PYTHON if name == "mininet" else str(VENV / "bin" / "python")
    lacking = _lacking(name, python)
    if lacking:
        return lacking
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        argv = [*_NAMESPACES, python, str(HERE / f"{name}_star.py"), str(hosts), folder]
        began = time.monotonic_ns()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            wall = (time.monotonic_ns() - began) / 1e6
            out, errors = process.communicate(timeout=WITHIN_S)
        finally:
            process.kill()  # and with it, by --kill-child, everything in its PID namespace
            process.wait()
    if not ready.startswith("{"):
        raise RuntimeError(f"{name} built nothing: {(ready + out + errors).strip()[-600:]}")
    proven(name, out)
    return json.loads(ready)["build_ms"], wall


def proven(name: str, said: str) -> None:
    """Raise unless ``said`` ends with ECONNREFUSED: a packet went to the last host and its refusal came back."""
    words = said.split()
    if not words or words[-1] != str(errno.ECONNREFUSED):
        raise RuntimeError(f"{name} built a network that carries nothing: {said.strip()[-300:]!r}")


def _lacking(name: str, python: str) -> str:
    if os.geteuid() != 0:
        return f"{name} needs root"
    if not shutil.which("unshare") or not shutil.which("ip"):
        return "not installed: apt-get install util-linux iproute2"
    if name == "mininet":
        there = Path(python).exists() and subprocess.run([python, "-c", "import mininet"], capture_output=True, check=False).returncode == 0
        return "" if there else "not installed: apt-get install --no-install-recommends mininet"
    if not Path(python).exists():
        return f"not installed: {sys.executable} -m venv {VENV} && {VENV}/bin/pip install munet"
    return ""
