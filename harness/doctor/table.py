"""The findings as a table: drawn by rich on a terminal where it is installed, plain columns elsewhere; and as JSON."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from typing import IO

from harness.doctor.findings import Finding, fit

SCHEMA = 1
HEADINGS = ("feature", "here", "what was found", "what will be used", "the one command that would fix it")
_WIDEST = (18, 8, 38, 40)  # of all columns but the last


def to_json(findings: list[Finding]) -> str:
    """An object by the schema in docs/platforms.md, indented."""
    return json.dumps({"schema": SCHEMA, "fit": fit(findings), "findings": [asdict(finding) for finding in findings]}, indent=2)


def drawn(findings: list[Finding], out: IO[str]) -> str:
    """The table as ``out`` can show it, and in one line what it comes to."""
    rows = [_row(finding) for finding in findings]
    table = _rich(rows, out) if out.isatty() else None
    return f"{table or _plain(rows)}\n\n{_conclusion(findings)}"


def _row(finding: Finding) -> tuple[str, ...]:
    lacking = finding.needed and finding.here == "no"
    return finding.feature, "LACKING" if lacking else finding.here, finding.found, finding.used, finding.remedy


def _conclusion(findings: list[Finding]) -> str:
    needed = [finding for finding in findings if finding.needed]
    lacking, untried = ([finding.feature for finding in needed if finding.here == here] for here in ("no", "untried"))
    if not lacking:
        return f"could not be tried: {', '.join(untried)}" if untried else "everything that is needed is here"
    after = "; then this is to be run again, for the rest could not be tried" if untried else ""
    return f"LACKING here, and needed: {', '.join(lacking)}{after}"


def _plain(rows: list[tuple[str, ...]]) -> str:
    """Columns of text, cells wrapped; the last column is never wrapped, for a command is to be copied whole."""
    table = [HEADINGS, *rows]
    widths = [min(widest, max(len(row[column]) for row in table)) for column, widest in enumerate(_WIDEST)]
    lines = ["  ".join("-" * width for width in (*widths, len(HEADINGS[-1])))]
    for row in table:
        cells = [textwrap.wrap(row[column], width, break_on_hyphens=False) for column, width in enumerate(widths)]
        for index in range(max(1, *map(len, cells))):
            parts = [(cell[index] if index < len(cell) else "").ljust(widths[column]) for column, cell in enumerate(cells)]
            lines.append("  ".join([*parts, row[-1] if index == 0 else ""]).rstrip())
    lines[0], lines[1] = lines[1], lines[0]
    return "\n".join(lines)


def _rich(rows: list[tuple[str, ...]], out: IO[str]) -> str | None:
    """The same by rich, None where that is not installed."""
    try:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return None
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold")
    colours = {"yes": "green", "no": "yellow", "untried": "yellow", "LACKING": "bold red"}
    for feature, mark, *rest in rows:
        table.add_row(Text(feature), Text(mark, colours[mark]), *map(Text, rest))
    console = Console(file=out)
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip("\n")
