"""A report on a terminal: the verdict table, the receipts, why it came out so, and the command that repeats it.

A wide terminal gets tables, a narrow one a few lines per verdict.  Colour and box lines only on a terminal (NO_COLOR honoured); elsewhere
plain text that is the same on every machine.  A figure is never wrapped.  Names come from scenarios and agents: they are shown as they are,
never read as markup.  What the stream's encoding cannot say is spelt out (→ as ->).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TextIO

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from harness.report import hostile
from harness.report.model import Report
from harness.report.printable import printable
from harness.units import Duration, Quantity, Rate, Ratio
from harness.verdict import Receipt, Relation, Result, Verdict

NARROW = 100
"""Columns below which tables become lines."""
PLAIN = 140
"""Columns assumed where there is no terminal to ask."""

_STYLES = {
    Result.PASS: "green",
    Result.FAIL: "bold red",
    Result.ERROR: "bold magenta",
    Result.NOT_RUN: "bold cyan",
    Result.INCONCLUSIVE: "bold yellow",
}


def show(report: Report, file: TextIO | None = None, *, width: int | None = None) -> None:
    """Print ``report`` to ``file`` (stdout).  ``width`` in columns: the terminal's own, or ``PLAIN`` where there is none."""
    console = Console(file=file, width=width, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and width is None:
        console = Console(file=file, width=PLAIN, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(*_body(report, wide=console.width >= NARROW, fancy=console.is_terminal), sep="\n")
        console.print(_footer(report), soft_wrap=True)  # whole whatever the width, so that the command can be copied
    text = capture.get()
    if not console.is_terminal:
        text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    console.file.write(sayable(text, console.encoding))
    console.file.flush()


def sayable(text: str, encoding: str | None) -> str:
    """``text`` with what ``encoding`` cannot say spelt out; all of it stays for a stream that has none."""
    if encoding is None or encoding.lower().startswith("utf"):
        return text
    return text.translate(_SPELT_OUT).encode(encoding, "replace").decode(encoding)


def _body(report: Report, *, wide: bool, fancy: bool) -> list[RenderableType]:
    parts: list[RenderableType] = [_headline(report)]
    if report.verdicts:
        parts += [Text(), _verdict_table(report.verdicts, fancy) if wide else _verdict_lines(report.verdicts)]
    if report.receipts:
        parts += [Text(), _receipt_table(report.receipts, fancy) if wide else _receipt_lines(report.receipts)]
    if hostile_rows := hostile.rows(report):
        parts += [Text(), _hostile_table(hostile_rows, fancy) if wide else _hostile_lines(hostile_rows)]
    if report.reasons:
        parts += [Text(), *(_plain(f"- {reason}") for reason in report.reasons)]
    return [*parts, Text()]


def amount(value: Quantity | None) -> str:
    """A quantity for people: at most three decimals, in a unit that keeps it readable; "–" for None."""
    if value is None:
        return "–"
    if isinstance(value, Duration):
        return _scaled(value.count, [(1_000_000_000, " s"), (1_000_000, " ms"), (1_000, " µs"), (1, " ns")])
    if isinstance(value, Ratio):
        return _scaled(value.count, [(10_000_000_000, " %")]) if abs(value.count) >= 10_000_000 or not value.count else str(value)
    if isinstance(value, Rate):
        return _scaled(value.count, [(1_000_000_000, " Gbit/s"), (1_000_000, " Mbit/s"), (1_000, " kbit/s"), (1, " bit/s")])
    return str(value)


class Bounded(Protocol):
    """What has a relation to a bound: a verdict, or the spread of one."""

    @property
    def relation(self) -> Relation:
        """How its value must lie to the bound."""

    @property
    def bound(self) -> Quantity:
        """The bound."""


def bound(of: Bounded) -> str:
    """``≤ 400 ms``."""
    return f"{of.relation.sign} {amount(of.bound)}"


def margin(verdict: Verdict) -> str:
    """Its margin with its sign; "–" for None."""
    left = verdict.margin
    return amount(left) if left is None or left.count <= 0 else f"+{amount(left)}"


def _scaled(count: int, units: list[tuple[int, str]]) -> str:
    size, unit = next(((size, unit) for size, unit in units if abs(count) >= size), units[-1])
    return f"{count / size:.3f}".rstrip("0").rstrip(".") + unit


def _headline(report: Report) -> Text:
    text = Text()
    text.append(str(report.result), style=_STYLES[report.result])
    if report.blame is not None:
        text.append(f" (blame: {report.blame})")
    text.append(f"  {printable(report.test)}", style="bold")
    if report.stacks:
        text.append(f"  {printable(stacks(report))}")
    if report.sabotage is not None:
        text.append(f"  negative control: {printable(report.sabotage)}")
    return text


def stacks(report: Report) -> str:
    """The stacks that ran, each with the agents that it was: ``alice, bob: reference 0.1.0``; "" when no agent said hello."""
    agents: dict[str, list[str]] = {}
    for stack in report.stacks:
        sealed = " (sealed: judged by sizes and times)" if stack.sealed else ""
        agents.setdefault(f"{stack.name} {stack.version}".strip() + sealed, []).append(stack.agent)
    return "; ".join(f"{', '.join(names)}: {stack}" for stack, names in agents.items())


def _verdict_table(verdicts: Iterable[Verdict], fancy: bool) -> Table:
    table = _table(fancy)
    for heading in ("figure", "direction"):
        table.add_column(heading, overflow="fold")
    for heading in ("value", "bound", "margin"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("blame", no_wrap=True)
    table.add_column("note", overflow="fold")
    for verdict in verdicts:
        table.add_row(
            _plain(verdict.name),
            _plain(verdict.direction),
            amount(verdict.value),
            bound(verdict),
            margin(verdict),
            Text(str(verdict.result), style=_STYLES[verdict.result]),
            str(verdict.blame or ""),
            _plain(verdict.note),
        )
    return table


def _verdict_lines(verdicts: Iterable[Verdict]) -> Text:
    text = Text()
    for number, verdict in enumerate(verdicts):
        text.append("\n" if number else "")
        text.append(f"{verdict.result}", style=_STYLES[verdict.result])
        text.append(printable(f" {verdict.name}" + (f" ({verdict.direction})" if verdict.direction else "")))
        text.append(f"\n  {amount(verdict.value)}, bound {bound(verdict)}, margin {margin(verdict)}")
        text.append(f", blame {verdict.blame}" if verdict.blame else "")
        text.append(printable(f"\n  {verdict.note}") if verdict.note else "")
    return text


def _receipt_table(receipts: Iterable[Receipt], fancy: bool) -> Table:
    table = _table(fancy)
    for heading in ("receipt", "what", "seen by", "taken", "observed"):
        table.add_column(heading, overflow="fold")
    for receipt in receipts:
        table.add_row(_plain(receipt.fault), _plain(receipt.kind), _plain(receipt.source), _taken(receipt), _plain(_observed(receipt)))
    return table


def _receipt_lines(receipts: Iterable[Receipt]) -> Text:
    text = Text()
    for number, receipt in enumerate(receipts):
        text.append("\n" if number else "")
        text.append(printable(f"receipt {receipt.fault}: {receipt.kind}, seen by {receipt.source}, taken: "))
        text.append_text(_taken(receipt))
        text.append(printable(f"\n  {_observed(receipt)}"))
    return text


def _hostile_table(rows: Iterable[hostile.Row], fancy: bool) -> Table:
    table = _table(fancy)
    for heading in hostile.HEADINGS:
        number = heading in ("arrived", "datagrams")
        table.add_column(heading, overflow="fold", justify="right" if number else "left", no_wrap=number)
    for row in rows:
        table.add_row(*map(_plain, row))
    return table


def _hostile_lines(rows: Iterable[hostile.Row]) -> Text:
    return Text("\n").join(_plain(" ".join(filter(None, (row.by, row.at, row.arrived, row.noticed, row.number)))) for row in rows)


def _footer(report: Report) -> Text:
    stalls = f", stalls recorded: {len(report.stalls)}" if report.stalls else ""
    text = f"seed {report.seed}, {report.executor}, kernel {report.kernel}, took {amount(report.took)}{stalls}\nrepeat: {report.command}"
    return _plain(text)


def _plain(text: str) -> Text:
    return Text(printable(text))


def _table(fancy: bool) -> Table:
    return Table(box=box.SIMPLE_HEAD if fancy else None, pad_edge=False, header_style="bold", show_edge=False)


def _taken(receipt: Receipt) -> Text:
    return Text("yes", style="green") if receipt.taken else Text("NO", style="bold red")


def _observed(receipt: Receipt) -> str:
    return ", ".join(f"{key} {value}" for key, value in receipt.observed.items())


_SPELT_OUT = str.maketrans({"→": "->", "≤": "<=", "≥": ">=", "–": "-", "µ": "u", "×": "x", "…": "...", "·": "-"})
