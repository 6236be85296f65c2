"""Annotations on GitHub: a command on a line of its own in a step's output, a remark at a line of a file.

Escaping as in GitHub's own toolkit (``@actions/core``, command.ts): a message can hold neither a line's end nor an escape of its own, a
property besides no ``:`` and no ``,``.  Everything else that a session prints may hold what looks like a command, from an agent's log or a
note: ``::`` at the beginning of a line, ``##[`` anywhere in it.  Commands are therefore stopped (``stop``) while others' text is printed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from harness.report.printable import printable
from harness.report.session import Case, Run, worst_first
from harness.verdict import Result

_LONGEST = 4000
"""Characters of a message; GitHub itself shows no more than the first 4 KB."""


def remarks(cases: Iterable[Case]) -> list[str]:
    """``::error …`` for FAIL, ERROR, NOT RUN and what broke, ``::warning …`` for INCONCLUSIVE, worst first: GitHub shows ten of each."""
    found: list[str] = []
    for case in worst_first(cases):
        for number, run in enumerate(case.runs, 1):
            if run.report.result is not Result.PASS and not case.skipped:
                after = "; followed by another seed" if number < len(case.runs) else ""
                level = "warning" if run.report.result is Result.INCONCLUSIVE else "error"
                found.append(command(level, _message(run) + after, file=case.file, line=case.line, title=_title(case, run)))
        if case.trouble:
            found.append(command("error", case.trouble, file=case.file, line=case.line, title=f"ERROR {case.nodeid}"))
    return found


def _title(case: Case, run: Run) -> str:
    return f"{run.report.result} {case.nodeid.partition('::')[2] or case.nodeid}"


def _message(run: Run) -> str:
    report = run.report
    return "\n".join([f"blame: {report.blame}", *report.reasons, f"repeat: {report.command}", f"kept in: {run.folder}"])


def command(level: str, message: str, **properties: str | int | None) -> str:
    """``::level name=value,…::message`` on one line; properties that are None or "" are left out."""
    given = ((name, value) for name, value in properties.items() if value not in (None, ""))
    told = ",".join(f"{name}={_property(str(value))}" for name, value in given)
    return f"::{level}{f' {told}' if told else ''}::{_data(_clipped(message))}"


def _clipped(text: str) -> str:
    more = len(text) - _LONGEST
    return text if more <= 0 else f"{text[:_LONGEST]} … ({more} more characters)"


def _data(text: str) -> str:
    plain = "\n".join(printable(line) for line in text.replace("\r\n", "\n").split("\n"))
    return plain.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def stop(token: str) -> str:
    """From this line on nothing that is printed is a command, until ``resume`` with the same ``token``, which nobody can guess."""
    return f"::stop-commands::{token}"


def resume(token: str) -> str:
    """Commands count again."""
    return f"::{token}::"


def line_of(source: str, nodeid: str) -> int | None:
    """The line of ``async def`` (not of its decorators) of the test that ``nodeid`` names in ``source``; None when it is not there."""
    names = nodeid.partition("[")[0].split("::")[1:]
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef))
    return next((node.lineno for node in functions if names and node.name == names[-1]), None)
