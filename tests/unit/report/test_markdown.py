"""The summary, rendered as Markdown and then read as HTML: what a person on GitHub is shown, and what no text can make of it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from markdown_it import MarkdownIt

from harness.report.markdown import LIMIT, append, code, controls, repetition, room, summary
from harness.report.repetition import tally
from harness.report.session import Case, Run
from harness.units import ms
from harness.verdict import at_most
from tests.unit.report.runs import RECEIPT, VERDICTS, made

OURS = {"h2", "h3", "p", "ul", "li", "table", "tr", "th", "td", "code", "pre"}


class Page(HTMLParser):
    """Tags and text of the rendered summary; a table is a list of rows of cells."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.cell = False
        self.feed(MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(markdown))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in OURS, self.get_starttag_text()
        assert not attrs, self.get_starttag_text()
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.cell = True

    def handle_endtag(self, tag: str) -> None:
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.cell:
            self.tables[-1][-1][-1] += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data!r}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl!r}")


def run(verdicts: list[object] = VERDICTS, **changes: object) -> Run:  # type: ignore[assignment]
    return Run(made(verdicts, **changes), "artifacts/migration/x/1")  # type: ignore[arg-type]


CASES = [
    Case(nodeid="scenarios/migration.py::test_c", runs=(run(VERDICTS[:1]),)),
    Case(nodeid="scenarios/migration.py::test_b", runs=(run(VERDICTS[5:]),)),
    Case(nodeid="scenarios/other.py", trouble="collection: File other.py\nSyntaxError: no"),
    Case(
        nodeid="scenarios/migration.py::test_a",
        runs=(run(VERDICTS[5:]), run(receipts=(RECEIPT, msgspec.structs.replace(RECEIPT, kind="old path dead", taken=False)))),
    ),
]


def test_the_table_has_every_test_the_worst_first() -> None:
    page = Page(summary(CASES))
    assert page.text.startswith("Scenarios: 1 FAIL, 1 ERROR, 1 INCONCLUSIVE, 1 PASS\n")
    heading, *rows = page.tables[0]
    assert heading == ["result", "blame", "scenario", "worst margin", "runs"]
    assert [row[:3] for row in rows] == [
        ["❌ FAIL", "product", "scenarios/migration.py::test_a"],
        ["❌ ERROR", "", "scenarios/other.py"],
        ["⚠️ INCONCLUSIVE", "harness", "scenarios/migration.py::test_b"],
        ["✅ PASS", "", "scenarios/migration.py::test_c"],
    ]
    assert rows[0][3:] == ["handshakes 2, = 1, margin -1", "2, 1 followed"]
    assert rows[1][3:] == ["SyntaxError: no", "0"]
    assert rows[2][3:] == ["delay [red]p99[/red] :boom: –, ≤ 150 ms, margin –", "1"]
    assert rows[3][3:] == ["longest silence at bob (alice → bob audio) 212.412 ms, ≤ 400 ms, margin +187.588 ms", "1"]


def test_what_is_no_pass_has_a_section_with_all_that_is_known() -> None:
    page = Page(summary(CASES))
    assert page.tags.count("h3") == 4, "a failure, the run that it followed, an error, and one that came to nothing"
    assert "⚠️ INCONCLUSIVE scenarios/migration.py::test_a (blame: harness, followed by another seed)" in page.text
    assert "❌ FAIL scenarios/migration.py::test_a (blame: product)" in page.text
    failed = next(table for table in page.tables if len(table) == len(VERDICTS) + 1)
    assert failed[0] == ["result", "figure", "direction", "value", "bound", "margin", "blame", "note"]
    assert ["❌ FAIL", "audio lost at bob", "alice → bob audio", "3.333 %", "≤ 3 %", "-0.333 %", "product", "50 of 1500"] in failed
    untaken = [table for table in page.tables if table[0] == ["fault", "what", "seen by", "observed"]]
    assert [table[1:] for table in untaken] == [
        [["Alice leaves the house", "old path dead", "conntrack", "before 10.0.0.2:4433, after 10.7.0.2:9999"]]
    ]
    assert page.text.count(f"Repeat it: {made().command}\n") == 3
    assert page.text.count("Its page: artifacts/migration/x/1/report.html\n") == 3
    assert "collection: File other.py\nSyntaxError: no" in page.text
    assert "negative control" not in page.text
    assert "negative control never-follows" in Page(summary([Case(nodeid="a", runs=(run(sabotage="never-follows"),))])).text


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](http://evil.example/x.png)",
    "[click](javascript:alert(1)) [a]: http://evil.example",
    "http://evil.example www.evil.example a@evil.example @octocat #1 :boom: $x$",
    "a | b |\n|---|---|\n| c | d",
    "\n\n# heading\n\n* list\n\n```\nfence\n```\n\n    code",
    "</td></tr></table></code></pre><b>bold</b> &lt;b&gt; &#60;i>",
    "`tick` ``two`` \\`",
    "**bold** __bold__ ~~gone~~ \\",
    "<!-- comment --> <!DOCTYPE x> <?php ?> <![CDATA[ x ]]>",
    "\t\r\n\r\n<b>\x00\x1b[2J\ud800\u202e",
    "---\n===\n",
    "<details open><summary>x</summary>",
]


def shown(text: str) -> str:
    return "".join(char if char in "\t\n" or char.isprintable() else "\ufffd" for char in text)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_is_more_than_text(text: str) -> None:
    verdict = at_most(text, 2 * ms, 1 * ms, direction=text, note=text)
    untaken = msgspec.structs.replace(RECEIPT, fault=text, kind=text, source=text, observed={text: text}, taken=False)
    hostile = Run(made([verdict], receipts=(untaken,), command=text, sabotage=text), text)
    markdown = summary([Case(nodeid=text, runs=(hostile,)), Case(nodeid=text, trouble=text, skipped=text)])
    blocks = {token.type for token in MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(markdown)}
    assert blocks == {"heading_open", "inline", "heading_close", "html_block"}, "Markdown looks into nothing but our own heading"
    page = Page(markdown)
    assert [len(row) for row in page.tables[0]] == [5, 5, 5]
    assert [len(row) for row in page.tables[1]] == [8, 8]
    assert page.tables[1][1][1:3] == [shown(text), shown(text)]
    assert page.tables[1][1][-1] == shown(text)
    assert page.tables[2][1] == [shown(text), shown(text), shown(text), f"{shown(text)} {shown(text)}"]
    assert f"Repeat it: {shown(text)}" in page.text
    repeated = tally(text, [hostile.report])
    page = Page(repetition([repeated], 1))
    assert page.tables[0][1][:2] == [shown(text), shown(text)]


@pytest.mark.parametrize("char", [chr(n) for n in range(0x21, 0x7F) if not chr(n).isalnum()])
def test_every_character_that_means_something_is_shown_as_itself(char: str) -> None:
    for text in (char, char * 3, f"a{char}b{char}c", f"{char}a", f"a{char}"):
        assert Page(f"<p>{code(text)}</p>").text.strip() == text


def test_the_limit_is_kept_the_failures_first_and_what_is_left_out_is_told() -> None:
    many = [Case(nodeid=f"scenarios/x.py::test_{n}", runs=(run(VERDICTS[:1] if n % 2 else VERDICTS),)) for n in range(400)]
    whole = summary(many)
    assert len(whole.encode()) <= LIMIT
    assert "Left out" not in whole
    assert whole.count("<h3>") == 200
    for limit in (100_000, 20_000, 1_500):
        text = summary(many, limit)
        assert len(text.encode()) <= limit
        page = Page(text)
        rows = page.tables[0][1:]
        assert "Left out for GitHub's limit of 1048576 bytes a step: " in text
        assert f"{400 - len(rows)} rows and {200 - text.count('<h3>')} sections." in text
        assert [row[0] for row in rows] == sorted((row[0] for row in rows), key="❌ FAIL ✅ PASS".index)
    assert summary(many, 100) == ""


def test_one_text_cannot_fill_the_page() -> None:
    long = at_most("silence", 2 * ms, 1 * ms, note="x" * 10**6)
    text = summary([Case(nodeid="a", runs=(run([long] * 150),)), Case(nodeid="b", runs=(run(),))])
    assert len(text.encode()) <= LIMIT
    assert text.count("<h3>") == 2
    assert "… (999400 more characters)" in text
    assert "… and 50 more" in text


def test_nothing_run_is_nothing_told() -> None:
    assert summary([]) == ""
    assert repetition([], 1) == ""


def test_a_repetition_is_told_test_by_test_those_that_do_not_hold_first() -> None:
    holds = tally("rebind_port", [made(VERDICTS[:1], seed=n) for n in range(4)])
    fails = tally("rebind_address", [made(seed=1), made(VERDICTS[:1], seed=2)])
    page = Page(repetition([holds, fails], 4))
    assert page.text.startswith("Soak: 1 of 2 tests hold\n")
    assert page.text.index("❌ FAIL rebind_address: 1 of 2 conclusive runs passed") < page.text.index("✅ PASS rebind_port: 4 of 4")
    assert f"seed 1: FAIL, {made().reasons[0]}" in page.text
    assert page.tables[1] == [
        ["figure", "direction", "bound", "least", "median", "95 %", "most", "runs"],
        ["longest silence at bob", "alice → bob audio", "≤ 400 ms", *["212.412 ms"] * 4, "4"],
    ]


def test_the_controls_are_told_what_came_out_wrong_first() -> None:
    rows = [("migration.py::test_a", "bob: x", "silence: 2s, wanted ≤ 1s", "red"), ("z.py::<b>", "bob: y|", "MISSED `silence`", "WRONG")]
    page = Page(controls(rows))
    assert page.text.startswith("Negative controls: 1 red, 1 wrong\n")
    assert page.tables[0][1:] == [["❌ WRONG", *rows[1][:3]], ["✅ red", *rows[0][:3]]]


def test_what_others_wrote_to_the_summary_stays_and_takes_its_room(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    assert room(path) <= LIMIT
    path.write_text("# theirs")
    before = room(path)
    append(path, summary(CASES))
    text = path.read_text()
    assert text.startswith("# theirs\n\n## Scenarios:")
    assert before - room(path) == len(text.encode()) - len("# theirs")
    path.write_bytes(b"x" * (LIMIT - 5))
    assert summary(CASES, room(path)) == ""
