"""What a session leaves for CI: JUnit XML, a summary and annotations, read back from real sessions of pytest.  No network is built here."""

from __future__ import annotations

import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.report.markdown import LIMIT
from tests.unit.test_plugin import BUSY, Ran, run

HOSTILE = "]]>\\x00\\x1b[2J\\ud800\\r\\n::error::pwned\\n##[add-mask]x <img src=x> |@octocat"

TALE = f"""
from harness.verdict import Receipt
HOSTILE = "{HOSTILE}"

async def test_passes(lab):
    lab.at_most("silence", 5 * ms, 10 * ms, direction="alice → bob")

@pytest.mark.parametrize("version", [4])
async def test_misses(lab, version):
    lab.at_most("silence", 11 * ms, 10 * ms, direction=HOSTILE, note=HOSTILE)
    lab.at_most("Silence!", 12 * ms, 10 * ms, direction=HOSTILE, note="the twin")
    (lab.folder / os.fsdecode(b"agents/b\\xff")).touch()
    async with lab.fault("the router reboots"):
        seen = {{"x": HOSTILE}}
        lab.receipts.append(Receipt(fault="the router reboots", kind="new 4-tuple", at=1, observed=seen, taken=False, source="c"))
    print(HOSTILE)

async def test_unmeasured(lab):
    lab.at_most("silence", None, 10 * ms)

async def test_lacks(lab):
    raise CapabilityLacking("bob", "no migrate")

@pytest.fixture
def broken():
    yield
    raise OSError("no such thing")

async def test_left_behind(lab, broken):
    lab.equal("ones", 1, 1)

def test_of_another_kind():
    pass
"""

IMPORTS = "import os\nfrom harness.errors import CapabilityLacking\n"
UNREADABLE = "async def test_x(lab:\n"


def told(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, *arguments: str) -> tuple[Ran, str, ElementTree.Element]:
    """A session on GitHub: what it printed and left, its summary, and its JUnit XML."""
    summary = folder / "summary.md"
    summary.write_text("# theirs")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(folder))
    ran = run(folder, IMPORTS + source, "-q", "--junitxml=junit.xml", *arguments)
    return ran, summary.read_text(), ElementTree.parse(folder / "junit.xml").getroot()


def properties(xml: ElementTree.Element, name: str) -> dict[str, str]:
    """The properties of one test; no name twice, and no value left out."""
    (case,) = [one for one in xml.iter("testcase") if one.get("name") == name]
    pairs = [(str(one.get("name")), str(one.get("value"))) for one in case.iter("property")]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def remarks(out: str) -> list[str]:
    """The lines that GitHub takes for commands: those before commands are stopped, and after they are resumed."""
    found, token = [], ""
    for line in out.splitlines():
        if token:
            token = "" if line == f"::{token}::" else token
        elif line.startswith("::stop-commands::"):
            token = line.removeprefix("::stop-commands::")
        elif line.lstrip().startswith("::") or "##[" in line:
            found.append(line)
    assert not token, "commands count again"
    return found


def line_of(text: str, folder: Path) -> int:
    return (folder / "tale.py").read_text().splitlines().index(text) + 1


@pytest.mark.long
@pytest.mark.parametrize("workers", [pytest.param([], id="alone"), pytest.param(["-n", "2"], id="workers", marks=pytest.mark.long)])
def test_a_session_tells_the_same_alone_and_with_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: list[str]) -> None:
    ran, summary, xml = told(tmp_path, monkeypatch, TALE, *workers)
    assert ran.code == 1, ran.out

    known = properties(xml, "test_misses[4]")
    assert (known["harness.result"], known["harness.blame"]) == ("FAIL", "product")
    assert known["harness.page"] == f"{known['harness.artifacts']}/report.html"
    assert (tmp_path / known["harness.artifacts"] / "report.json").is_file()
    stems = sorted(name.removesuffix(".note") for name in known if name.endswith(".note"))
    assert len(stems) == 2
    assert [known[f"{stem}.value_ms"] for stem in stems] == ["11", "12"]
    assert [known[f"{stem}.margin_ms"] for stem in stems] == ["-1", "-2"]
    assert [known[f"{stem}.note"][:3] for stem in stems] == ["]]>", "the"]
    assert known["receipt.the_router_reboots.new_4_tuple"] == "not taken"
    assert properties(xml, "test_passes")["verdict.silence_alice_to_bob.result"] == "PASS"
    assert properties(xml, "test_unmeasured")["harness.result"] == "INCONCLUSIVE"
    assert properties(xml, "test_lacks")["harness.reason"] == "agent bob: no migrate"
    suite = xml.find("testsuite")
    assert suite is not None
    assert [suite.get(name) for name in ("errors", "failures", "skipped")] == ["2", "2", "0"]

    assert summary.startswith("# theirs\n\n## Scenarios: 1 FAIL, 1 ERROR, 1 NOT RUN, 1 INCONCLUSIVE, 1 PASS\n")
    assert summary.count("## Scenarios") == 1
    rows = re.findall(r"<tr><td>\S+ ([A-Z ]+)</td><td>(\w*)</td><td><code>tale\.py&#58;&#58;(\S+?)</code>", summary)
    assert rows == [
        ("FAIL", "product", "test_misses&#91;4&#93;"),
        ("ERROR", "", "test_left_behind"),
        ("NOT RUN", "agent", "test_lacks"),
        ("INCONCLUSIVE", "harness", "test_unmeasured"),
        ("PASS", "", "test_passes"),
    ]
    assert "OSError&#58; no such thing" in summary
    assert "Receipts that were not taken" in summary
    assert f"{known['harness.page']}</code>" in summary
    assert "<img" not in summary

    lines = remarks(ran.out)
    tests = ("misses(lab, version)", "left_behind(lab, broken)", "lacks(lab)", "unmeasured(lab)")
    at = {test: line_of(f"async def test_{test}:", tmp_path) for test in tests}
    assert [line.partition("::blame")[0].partition("::teardown")[0] for line in lines] == [
        f"::error file=tale.py,line={at['misses(lab, version)']},title=FAIL test_misses[4]",
        f"::error file=tale.py,line={at['left_behind(lab, broken)']},title=ERROR tale.py%3A%3Atest_left_behind",
        f"::error file=tale.py,line={at['lacks(lab)']},title=NOT RUN test_lacks",
        f"::warning file=tale.py,line={at['unmeasured(lab)']},title=INCONCLUSIVE test_unmeasured",
    ]
    assert "\n::error::pwned\n" in ran.out, "what a test printed is shown, and stands between stop and resume"
    assert "%0A::error::pwned%0A" in lines[0], "told, and no command"


@pytest.mark.parametrize("workers", [pytest.param([], id="alone"), pytest.param(["-n", "2"], id="workers", marks=pytest.mark.long)])
def test_what_cannot_be_collected_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: list[str]) -> None:
    ran, summary, xml = told(tmp_path, monkeypatch, UNREADABLE, *workers)
    assert ran.code != 0
    assert [one.get("message") for one in xml.iter("error")] == ["collection failure"]
    assert "## Scenarios: 1 ERROR\n" in summary
    assert "SyntaxError" in summary
    (line,) = remarks(ran.out)
    assert line.startswith("::error file=tale.py,title=ERROR tale.py::collection: ")
    assert "SyntaxError" in line


ENDS = {
    "interrupted": ("raise KeyboardInterrupt", [], "of 2 tests did not run to their end: it was interrupted"),
    "stopped at the first": ("lab.equal('ones', 2, 1)", ["-x"], "of 2 tests did not run to their end: stopping after 1 failures"),
}


@pytest.mark.long
@pytest.mark.parametrize("workers", [pytest.param([], id="alone"), pytest.param(["-n", "1"], id="workers", marks=pytest.mark.long)])
@pytest.mark.parametrize(("does", "arguments", "says"), ENDS.values(), ids=ENDS)
def test_what_did_not_run_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: list[str], does: str, arguments: list[str], says: str
) -> None:
    source = f"async def test_first(lab):\n    {does}\n\nasync def test_second(lab):\n    lab.equal('ones', 1, 1)\n"
    ran, summary, _xml = told(tmp_path, monkeypatch, source, *arguments, *workers)
    assert ran.code != 0
    missing = 2 if "Keyboard" in does and not workers else 1  # xdist tells an interrupted worker's test as crashed
    assert f"<code>{missing} {says.replace(':', '&#58;')}" in summary, summary
    assert [line for line in remarks(ran.out) if f"{missing} {says}" in line]


@pytest.mark.long
def test_a_worker_that_dies_is_told_at_the_test_that_it_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "async def test_first(lab):\n    os._exit(3)\n\nasync def test_second(lab):\n    lab.equal('ones', 1, 1)\n"
    ran, summary, _xml = told(tmp_path, monkeypatch, source, "-n", "1")
    assert ran.code != 0
    assert "## Scenarios: 1 ERROR, 1 PASS\n" in summary
    (line,) = remarks(ran.out)
    at = line_of("async def test_first(lab):", tmp_path)
    assert line.startswith(f"::error file=tale.py,line={at},title=ERROR tale.py%3A%3Atest_first::")
    assert "crashed while running" in line


@pytest.mark.long
def test_runs_that_were_followed_are_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran, summary, xml = told(tmp_path, monkeypatch, BUSY.format(seeds="{1, 1001}", ones=1), "--conclusive")
    known = properties(xml, "test_busy")
    assert (known["harness.result"], known["harness.seed"]) == ("PASS", "2001")
    assert (known["followed_1.harness.result"], known["followed_1.harness.seed"]) == ("INCONCLUSIVE", "1")
    assert (known["followed_2.harness.blame"], known["followed_2.harness.seed"]) == ("environment", "1001")
    assert known["followed_2.harness.reason"] == "somebody compiles something"
    assert known["followed_1.harness.page"] != known["followed_2.harness.page"] != known["harness.page"]
    assert "<td>3, 2 followed</td>" in summary
    assert summary.count("followed by another seed") == 2
    assert [line.rpartition("; ")[2] for line in remarks(ran.out)] == ["followed by another seed"] * 2


def test_elsewhere_than_on_github_nothing_is_said_to_it(tmp_path: Path) -> None:
    ran = run(tmp_path, "async def test_no(lab):\n    lab.equal('ones', 2, 1)\n", "-q")
    assert "::error" not in ran.out
    assert "::stop-commands" not in ran.out


def test_a_summary_that_cannot_be_written_is_said_and_fails_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "nowhere" / "summary.md"))
    ran = run(tmp_path, "async def test_yes(lab):\n    lab.equal('ones', 1, 1)\n", "-q")
    assert ran.code == 0
    assert "the summary could not be written to $GITHUB_STEP_SUMMARY" in ran.out


@pytest.mark.long
def test_a_full_summary_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * LIMIT)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    run(tmp_path, "async def test_yes(lab):\n    lab.equal('ones', 1, 1)\n", "-q")
    assert path.stat().st_size == LIMIT


def test_agents_and_sessions_inside_this_one_are_not_told_of_github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "async def test_env(lab):\n    lab.equal('names', len({'GITHUB_ACTIONS', 'GITHUB_STEP_SUMMARY'} & set(os.environ)), 0)\n"
    ran, summary, _xml = told(tmp_path, monkeypatch, source)
    assert ran.code == 0, ran.out
    assert "1 PASS" in summary
    assert "GITHUB_ACTIONS" in os.environ
