"""What a session came to, as GitHub shows it beside a workflow run: Markdown with all that is not ours inside HTML blocks.

Names, notes and reasons come from scenarios, agents and the network.  They stand in ``<code>`` inside HTML blocks, which hold no blank line
and which Markdown therefore does not look into; so no text becomes a link, an image, a tag, a mention or a cell of its own.

GitHub takes at most ``LIMIT`` bytes a step.  What failed comes first, and what is left out is counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from harness.report import page
from harness.report.printable import printable
from harness.report.repetition import Tally, sentence
from harness.report.session import ORDER, Case, Run, tightest, worst_first
from harness.report.text import amount, bound, margin, stacks
from harness.verdict import Receipt, Result, Verdict

LIMIT = 1024 * 1024
"""Bytes that GitHub accepts for the summary of one step (docs.github.com, "Adding a job summary": 1MiB)."""
_FOR_ROWS = 0.4
"""How much of the room the table of all tests may take: the rest is for what went wrong."""
_TAIL = 400
_APART = b"\n\n"
"""Ends whatever block another program has left open."""
_LONGEST = 600
"""Characters of one text that are shown; how many more there are is told."""
_MOST = 100
"""Verdicts, receipts or reasons of one run that are shown; how many more there are is told."""
_MARKS = {
    Result.PASS: "✅ PASS",
    Result.FAIL: "❌ FAIL",
    Result.ERROR: "❌ ERROR",
    Result.NOT_RUN: "🚫 NOT RUN",
    Result.INCONCLUSIVE: "⚠️ INCONCLUSIVE",
}
_WORDS = {str(result): mark for result, mark in _MARKS.items()} | {"SKIPPED": "⏭️ SKIPPED"}
_SPECIAL = re.compile(r"[&<>\"'`*\[\]!$|~@#:\\\n\t]")


def code(text: str, longest: int = _LONGEST) -> str:
    """``text`` as it is, in ``<code>``: printable, on one line, every character that means something in Markdown or HTML as a reference."""
    if not text:
        return ""
    more = len(text) - longest
    shown = printable(text[:longest]) + (f" … ({more} more characters)" if more > 0 else "")
    return f"<code>{_SPECIAL.sub(lambda found: f'&#{ord(found.group())};', shown)}</code>"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table; headings are our own words, cells are HTML."""
    head = "<tr>" + "".join(f"<th>{heading}</th>" for heading in headings) + "</tr>"
    return "\n".join(["<table>", head, *(_row(cells) for cells in rows), "</table>"])


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


# -- a session -----------------------------------------------------------------------------------------------------------------------------


def summary(cases: Sequence[Case], room: int = LIMIT) -> str:
    """The Markdown of a session in at most ``room`` bytes of UTF-8; "" when nothing was run, or when there is no room for its beginning."""
    if not cases:
        return ""
    ordered = worst_first(cases)
    counts = Counter(case.word for case in ordered)
    title = "## Scenarios: " + ", ".join(f"{counts[word]} {word}" for word in ORDER if counts[word]) + "\n\n"
    head = "<table>\n<tr><th>result</th><th>blame</th><th>scenario</th><th>worst margin</th><th>runs</th></tr>\n"
    end = "</table>\n"
    left = room - len((title + head + end).encode()) - _TAIL
    if left < 0:
        return ""
    rows, rows_out, used = _fitting((_line_of(case) + "\n" for case in ordered), round(left * _FOR_ROWS))
    sections, sections_out, _ = _fitting((text for case in ordered for text in _sections(case)), left - used)
    tail = ""
    if rows_out or sections_out:
        tail = f"\nLeft out for GitHub's limit of {LIMIT} bytes a step: {rows_out} rows and {sections_out} sections.\n"
    return title + head + "".join(rows) + end + "".join(sections) + tail


def _fitting(pieces: Iterable[str], room: int) -> tuple[list[str], int, int]:
    """Those of ``pieces`` that fit into ``room`` bytes in their order, how many did not, and the bytes used."""
    kept, out, used = [], 0, 0
    for piece in pieces:
        size = len(piece.encode())
        if used + size <= room:
            kept.append(piece)
            used += size
        else:
            out += 1
    return kept, out, used


def _line_of(case: Case) -> str:
    run = case.runs[-1] if case.runs else None
    worst = tightest(run.report.verdicts) if run is not None else None
    told = _margin_of(worst) if worst is not None else code(case.reason)
    blame = "" if run is None else str(run.report.blame or "")
    followed = f"{len(case.runs)}, {len(case.runs) - 1} followed" if len(case.runs) > 1 else str(len(case.runs))
    return _row([_WORDS[case.word], blame, code(case.nodeid), told, followed])


def _margin_of(verdict: Verdict) -> str:
    where = f" ({verdict.direction})" if verdict.direction else ""
    return f"{code(verdict.name + where)} {amount(verdict.value)}, {bound(verdict)}, margin {margin(verdict)}"


def _sections(case: Case) -> Iterator[str]:
    """A section for each run that is no PASS, and one for what pytest says itself."""
    for number, run in enumerate(case.runs, 1):
        if run.report.result is not Result.PASS:
            yield _section(case, run, followed=number < len(case.runs))
    if case.trouble:
        yield f"\n<h3>{_WORDS['ERROR']} {code(case.nodeid)}</h3>\n<pre>{code(case.trouble, 4000)}</pre>\n"


def _section(case: Case, run: Run, *, followed: bool) -> str:
    report = run.report
    after = ", followed by another seed" if followed else ""
    control = f", negative control {code(report.sabotage)}" if report.sabotage is not None else ""
    parts = [f"<h3>{_MARKS[report.result]} {code(case.nodeid)} (blame: {report.blame}{after}{control})</h3>"]
    if report.stacks:
        parts.append(f"<p>Stacks: {code(stacks(report))}</p>")
    if report.reasons:
        parts.append("<ul>" + "".join(f"<li>{code(reason)}</li>" for reason in report.reasons[:_MOST]) + _more(report.reasons) + "</ul>")
    if report.verdicts:
        parts.append(table(_HEADINGS, (_verdict_row(verdict) for verdict in report.verdicts[:_MOST])) + _more(report.verdicts))
    untaken = [receipt for receipt in report.receipts if not receipt.taken]
    if untaken:
        rows = ([code(one.fault), code(one.kind), code(one.source), code(_observed(one))] for one in untaken[:_MOST])
        parts.append("<p>Receipts that were not taken:</p>\n" + table(("fault", "what", "seen by", "observed"), rows) + _more(untaken))
    parts.append(f"<p>Repeat it: {code(report.command, 4000)}</p>")
    parts.append(f"<p>Its page: {code(f'{run.folder}/{page.FILE}', 4000)}</p>")
    return "\n" + "\n".join(parts) + "\n"


_HEADINGS = ("result", "figure", "direction", "value", "bound", "margin", "blame", "note")


def _verdict_row(verdict: Verdict) -> list[str]:
    figures = [amount(verdict.value), bound(verdict), margin(verdict)]
    names = [code(verdict.name), code(verdict.direction)]
    return [_MARKS[verdict.result], *names, *figures, str(verdict.blame or ""), code(verdict.note)]


def _observed(receipt: Receipt) -> str:
    return ", ".join(f"{key} {value}" for key, value in receipt.observed.items())


def _more(shown: Sequence[object]) -> str:
    return f"\n<p>… and {len(shown) - _MOST} more</p>" if len(shown) > _MOST else ""


# -- a repetition --------------------------------------------------------------------------------------------------------------------------


def repetition(tallies: Sequence[Tally], wanted: int, room: int = LIMIT) -> str:
    """What many runs of each test came to, in at most ``room`` bytes; those that do not hold come first."""
    ordered = sorted(tallies, key=lambda one: one.holds(wanted))
    title = f"## Soak: {sum(one.holds(wanted) for one in tallies)} of {len(tallies)} tests hold\n"
    kept, out, _ = _fitting((_tally(one, wanted) for one in ordered), room - len(title.encode()) - _TAIL)
    tail = f"\nLeft out for GitHub's limit of {LIMIT} bytes a step: {out} tests.\n" if out else ""
    return title + "".join(kept) + tail if kept or out else ""


def _tally(one: Tally, wanted: int) -> str:
    rows = (
        [
            code(spread.name),
            code(spread.direction),
            bound(spread),
            *(amount(spread.at(share)) for share in (0.0, 0.5, 0.95, 1.0)),
            str(spread.runs),
        ]
        for spread in one.spreads[:_MOST]
    )
    parts = [f"<p>{_MARKS[Result.PASS if one.holds(wanted) else Result.FAIL]} {code(sentence(one, wanted))}</p>"]
    if one.reasons:
        parts.append("<ul>" + "".join(f"<li>{code(reason)}</li>" for reason in one.reasons[:_MOST]) + _more(one.reasons) + "</ul>")
    parts.append(table(("figure", "direction", "bound", "least", "median", "95 %", "most", "runs"), rows) + _more(one.spreads))
    return "\n" + "\n".join(parts) + "\n"


# -- negative controls ---------------------------------------------------------------------------------------------------------------------


def controls(rows: Iterable[tuple[str, str, str, str]], room: int = LIMIT) -> str:
    """Which scenario (the first of each row) caught which broken agent by which verdict, and how that came out: "red" is right."""
    ordered = sorted(rows, key=lambda row: (row[3] == "red", row))
    wrong = sum(row[3] != "red" for row in ordered)
    title = f"## Negative controls: {len(ordered) - wrong} red, {wrong} wrong\n\n"
    head = "<table>\n<tr><th>came out</th><th>scenario</th><th>broken agent</th><th>caught by</th></tr>\n"
    lines = (_row([f"{'✅' if row[3] == 'red' else '❌'} {row[3]}", *map(code, row[:3])]) + "\n" for row in ordered)
    kept, out, _ = _fitting(lines, room - len((title + head).encode()) - _TAIL)
    tail = f"\nLeft out for GitHub's limit of {LIMIT} bytes a step: {out} rows.\n" if out else ""
    return title + head + "".join(kept) + "</table>\n" + tail


# -- the file ------------------------------------------------------------------------------------------------------------------------------


def room(path: Path) -> int:
    """Bytes that the file of ``$GITHUB_STEP_SUMMARY`` can still take; OSError when it cannot be looked at."""
    return max(0, LIMIT - len(_APART) - (path.stat().st_size if path.exists() else 0))


def append(path: Path, text: str) -> None:
    """Add ``text`` as blocks of its own, after whatever another program has left there; OSError when that cannot be."""
    with path.open("ab") as file:
        file.write(_APART + text.encode())
