"""``--figures FILE``: what the conformance of links measured, as JSON for ``python -m tests.accuracy``."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.conformance.figures import FIGURES


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--figures", type=Path, metavar="FILE", help="write what the conformance of links measured")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    file: Path | None = session.config.getoption("--figures")
    if file is not None:
        where = {"kernel": platform.release(), "processors": os.cpu_count(), "emulated": emulated(), "python": platform.python_version()}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"where": where, "figures": [asdict(figure) for figure in session.config.stash[FIGURES]]}))


def emulated() -> bool:
    """Whether this is a machine that qemu emulates without KVM."""
    return "QEMU TCG" in Path("/proc/cpuinfo").read_text()
