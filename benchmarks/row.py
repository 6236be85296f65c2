"""One measured figure beside its target, and the two forms in which figures leave: a table and JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

SCHEMA = 1


@dataclass(frozen=True)
class Row:
    """``value`` None: not measured, ``note`` says why.  ``target`` None: a figure to read.  ``n``: the measurements that it stands for."""

    bench: str
    figure: str
    value: float | None
    unit: str = ""
    target: float | None = None
    at_least: bool = False
    n: int = 1
    note: str = ""

    @property
    def verdict(self) -> str:
        """``reached`` or ``missed``; ``not measured``; empty when there is no target."""
        if self.value is None:
            return "not measured"
        if self.target is None:
            return ""
        return "reached" if (self.value >= self.target if self.at_least else self.value <= self.target) else "missed"


def median(values: Iterable[float]) -> float:
    """The median; benchmarks take no means, since a neighbour's job on the same cores makes outliers and only on one side."""
    return statistics.median(values)


def spread(values: Sequence[float], digits: int = 0) -> str:
    """``least … most``, for a note."""
    return f"{min(values):,.{digits}f} … {max(values):,.{digits}f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` (0 to 1) of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def show(rows: Sequence[Row]) -> None:
    """The table."""
    table = Table(box=None, pad_edge=False)
    for column in ("benchmark", "figure", "measured", "target", "", "n", "note"):
        table.add_column(column, justify="right" if column in ("measured", "target", "n") else "left", overflow="fold")
    colours = {"reached": "green", "missed": "red", "not measured": "yellow"}
    for row in rows:
        target = "" if row.target is None else f"{'≥' if row.at_least else '≤'} {_number(row.target)} {row.unit}".strip()
        value = "–" if row.value is None else f"{_number(row.value)} {row.unit}".strip()
        word = f"[{colours[row.verdict]}]{row.verdict}[/]" if row.verdict else ""
        table.add_row(row.bench, row.figure, value, target, word, str(row.n) if row.value is not None else "", row.note)
    Console(width=None if os.isatty(1) else 200).print(table)


def _number(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def write(rows: Sequence[Row], folder: Path, quick: bool) -> Path:
    """``<folder>/<time>.json``: the rows, and what they were measured on."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}.json"
    machine = {"kernel": platform.release(), "python": platform.python_version(), "cores": os.cpu_count(), "load": os.getloadavg()}
    plain = [asdict(row) | {"verdict": row.verdict} for row in rows]
    path.write_text(json.dumps({"schema": SCHEMA, "quick": quick, "machine": machine, "rows": plain}, indent=1, ensure_ascii=False))
    return path
