"""Scenarios run as a person runs them (``harness run NAME``), and their report.json and timeline.jsonl read afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Run:
    """One run of one scenario: its report, and its timeline's lines in order of time (``at``: ns of CLOCK_MONOTONIC)."""

    report: dict[str, Any]
    timeline: list[dict[str, Any]]

    def at(self, source: str, kind: str, containing: str = "") -> int:
        """When the first such line was noted."""
        for line in self.timeline:
            if line["source"] == source and line["kind"] == kind and containing in line.get("text", ""):
                return int(line["at"])
        raise LookupError(f"the timeline of {self.report['test']} has no {source} {kind} {containing}")


@dataclass(frozen=True)
class Command:
    """One command: when it began and ended (ns of CLOCK_MONOTONIC), its exit code, and the runs that it left."""

    began: int
    ended: int
    code: int
    runs: list[Run]


def harness_run(*arguments: str) -> Command:
    """``harness run`` with these arguments, its artifacts thrown away after reading."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        argv = [sys.executable, "-m", "harness.cli", "run", *arguments, f"--artifacts={folder}"]
        began = time.monotonic_ns()
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        ended = time.monotonic_ns()
        runs = list(_read(Path(folder)))
    if not runs:
        raise RuntimeError(f"harness run {' '.join(arguments)} left no report: {done.stdout[-600:]}")
    return Command(began, ended, done.returncode, runs)


def _read(folder: Path) -> Iterator[Run]:
    for report in sorted(folder.glob("*/*/*/report.json")):
        if report.parents[1].name == "latest" or report.parent.is_symlink():
            continue
        lines = [json.loads(line) for line in (report.parent / "timeline.jsonl").read_bytes().splitlines()]
        yield Run(json.loads(report.read_text()), lines)
