"""Annotations, read back as GitHub's runner reads them (actions/runner, ActionCommand.cs)."""

from __future__ import annotations

import re

import msgspec
import pytest

from harness.report.github import command, line_of, remarks, resume, stop
from harness.report.session import Case, Run
from harness.units import ms
from harness.verdict import at_most
from tests.unit.report.runs import VERDICTS, made

COMMANDS = {"error", "warning", "notice", "add-mask", "set-env", "stop-commands", "debug", "group"}


def read(line: str) -> tuple[str, dict[str, str], str] | None:
    """What the runner makes of a line of output: a command, its properties and its message; None if it is no command."""
    text = line.lstrip()
    if text.startswith("::") and (end := text.find("::", 2)) >= 0:
        name, _, told = text[2:end].partition(" ")
        if name in COMMANDS:
            pairs = (one.split("=", 1) for one in told.strip().split(",") if one)
            properties = {pair[0]: plain(pair[1], "%0D\r %0A\n %3A: %2C,") for pair in pairs if len(pair) == 2}
            return name, properties, plain(text[end + 2 :], "%0D\r %0A\n")
    found = re.search(r"##\[([^\] ]*)[^\]]*\]", line)  # the old form, anywhere in a line
    return (found[1], {}, "") if found and found[1] in COMMANDS else None


def plain(text: str, marks: str) -> str:
    for mark in marks.split(" "):
        text = text.replace(mark[:3], mark[3:])
    return text.replace("%25", "%")


HOSTILE = "50%25 done\n::error title=pwned::no\r\n  ::add-mask::x\r::stop-commands::t\n##[add-mask]x, a=b:c"


@pytest.mark.parametrize(
    "text", [HOSTILE, "%0A::error::x", "::", "", ",title=x", "a%", "\x1b[2J\ud800\x00", "\u2028::error::x\x85::error::x"]
)
def test_no_text_begins_a_command_or_a_property_of_its_own(text: str) -> None:
    line = command("error", text, file=text, line=7, title=text)
    assert re.fullmatch(r"[^\r\n\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*", line), "one line, whatever ends lines where"
    assert len(line.splitlines()) == 1
    told = read(line)
    assert told is not None
    shown = re.sub(r"[\x00-\x09\x0b-\x1f\x85\u2028\ud800]", "\ufffd", text.replace("\r\n", "\n"))
    assert told == ("error", {"line": "7"} | ({"file": shown, "title": shown} if text else {}), shown)


def test_a_very_long_message_says_how_much_is_missing() -> None:
    line = command("warning", "x" * 5000)
    assert line.endswith("x … (1000 more characters)")


def run(verdicts: list[object], **changes: object) -> Run:
    return Run(made(verdicts, **changes), "artifacts/migration/x/1")  # type: ignore[arg-type]


def test_a_failure_is_an_error_at_its_line_and_what_came_to_nothing_a_warning() -> None:
    place = {"file": "scenarios/migration.py", "line": 41}
    failed = Case(nodeid="scenarios/migration.py::test_a[ipv4]", runs=(run(VERDICTS[5:]), run(VERDICTS)), **place)
    unclear = Case(nodeid="scenarios/migration.py::test_b", runs=(run(VERDICTS[5:]),), **place)
    broken = Case(nodeid="scenarios/other.py", trouble="collection: SyntaxError: no", file="scenarios/other.py")
    passed = Case(nodeid="scenarios/migration.py::test_c", runs=(run(VERDICTS[:1]),), **place)
    skipped = Case(nodeid="scenarios/migration.py::test_d", runs=(run(VERDICTS[5:]),), skipped="agent bob: no migrate", **place)
    told = [read(line) for line in remarks([passed, unclear, broken, skipped, failed])]
    assert [one and (one[0], one[1]) for one in told] == [
        ("warning", {"file": "scenarios/migration.py", "line": "41", "title": "INCONCLUSIVE test_a[ipv4]"}),
        ("error", {"file": "scenarios/migration.py", "line": "41", "title": "FAIL test_a[ipv4]"}),
        ("error", {"file": "scenarios/other.py", "title": "ERROR scenarios/other.py"}),
        ("warning", {"file": "scenarios/migration.py", "line": "41", "title": "INCONCLUSIVE test_b"}),
    ]
    assert told[0] is not None
    assert told[0][2].endswith("; followed by another seed")
    assert told[1] is not None
    assert told[1][2].splitlines() == [
        "blame: product",
        *failed.runs[1].report.reasons,
        f"repeat: {failed.runs[1].report.command}",
        "kept in: artifacts/migration/x/1",
    ]


def test_a_note_that_looks_like_a_command_is_only_text() -> None:
    (line,) = remarks([Case(nodeid="x.py::test_a", runs=(run([at_most("silence", 2 * ms, 1 * ms, note=HOSTILE)]),))])
    told = read(line)
    assert told is not None
    assert told[0] == "error"
    assert "::add-mask::x" in told[2]


def test_other_output_is_no_command_between_stop_and_resume() -> None:
    assert read(stop("0123abcd")) == ("stop-commands", {}, "0123abcd")
    assert resume("0123abcd") == "::0123abcd::"


SOURCE = """
import pytest


@pytest.mark.parametrize("version", [4, 6])
@control("bob")
async def test_a(lab, version):
    async def test_inner(): ...


class TestB:
    def test_b(self): ...
"""


@pytest.mark.parametrize(
    ("source", "nodeid", "line"),
    [
        (SOURCE, "x.py::test_a[ipv4::a]", 7),
        (SOURCE, "x.py::TestB::test_b", 12),
        (SOURCE, "x.py::test_c", None),
        (SOURCE, "x.py", None),
        ("def (", "x.py::test_a", None),
        ("\x00", "x.py::test_a", None),
    ],
)
def test_a_remark_stands_at_the_test_itself_not_at_its_decorators(source: str, nodeid: str, line: int | None) -> None:
    assert line_of(source, nodeid) == line


def test_reports_can_be_told_of_without_a_place() -> None:
    case = msgspec.structs.replace(Case(nodeid="x.py::test_a", runs=(run(VERDICTS),)), file="", line=None)
    assert remarks([case])[0].startswith("::error title=FAIL test_a::blame: product%0A")
