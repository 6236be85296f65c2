"""What ``harness soak`` shows and leaves, as a person and as GitHub see it.  Its scenarios build no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.report.live import console_on
from harness.report.progress import Bars
from tests.terminal import Terminal
from tests.unit.test_plugin import ROOT

TALES = '''
async def test_good(lab):
    """One."""
    lab.equal("ones", 1, 1)


async def test_bad(lab):
    """Two."""
    lab.equal("ones", 1 + (lab.orders.seed == 2), 1, note="##[add-mask]x")
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "tales.py").write_text(TALES)
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST") and name not in ("NO_COLOR", "COLUMNS")}
    return kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"} | more


SOAK = [sys.executable, "-m", "harness.cli", "soak", "tales", "--runs=2"]


@pytest.fixture
def terminal(project: Path) -> Iterator[Terminal]:
    shown = Terminal(SOAK, project, environment())
    yield shown
    shown.close()


@pytest.mark.long
def test_bars_stand_under_the_lines_and_go_in_the_end(terminal: Terminal) -> None:
    each = r"[━╸╺]+ +\d/2  passed \d, failed \d, inconclusive 0$"
    bars = rf"^all +[━╸╺]+ +[1-3]/4  0:\d\d left$\n^good +{each}\n^bad +{each}"
    terminal.until(lambda screen: re.search(bars, "\n".join(screen.shown), re.MULTILINE), "some of four runs")
    assert terminal.finish() == 1
    text = terminal.screen.text
    assert "━" not in text
    assert len(re.findall(r"^ +\d  (good|bad) seed [12]: (PASS|FAIL)", text, re.MULTILINE)) == 4
    assert "bad: 1 of 2 conclusive runs passed" in text
    assert "\x1b[?" not in terminal.raw, "the cursor is never hidden"
    assert terminal.modes_after == terminal.modes


@pytest.mark.long
def test_elsewhere_lines_a_summary_and_an_annotation(project: Path) -> None:
    summary = project / "summary.md"
    done = subprocess.run(
        SOAK,
        cwd=project,
        env=environment(GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary), GITHUB_WORKSPACE=str(project), NO_COLOR="1"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    assert "━" not in done.stdout
    assert len(re.findall(r"^ +\d  (?:good|bad) seed [12]: ", done.stdout, re.MULTILINE)) == 4
    text = summary.read_text()
    assert text.strip().startswith("## Soak: 1 of 2 tests hold")
    assert "## Scenarios" not in text, "its runs say nothing themselves"
    token = re.search(r"^::stop-commands::(\w+)$", done.stdout, re.MULTILINE)
    assert token is not None
    before, resumed, after = done.stdout.partition(f"\n::{token[1]}::\n")
    assert resumed
    assert "##[add-mask]x" in before
    line = 1 + TALES.splitlines().index("async def test_bad(lab):")
    assert after.startswith(f"::error file=scenarios/tales.py,line={line},title=SOAK bad::bad: 1 of 2 conclusive runs passed")
    assert after.count("\n") == 1


class Counted:
    def __init__(self, passed: int, failed: int = 0, inconclusive: int = 0) -> None:
        self.passed, self.failed, self.inconclusive = passed, failed, inconclusive


def test_what_is_left_is_reckoned_from_the_pace_so_far(tmp_path: Path) -> None:
    now = [100.0]
    with (tmp_path / "out").open("w") as file:
        bars = Bars(console_on(file), ["a"], 10, clock=lambda: now[0])
        told = bars._progress.tasks[0]
        now[0] = 130.0
        bars.update([Counted(0, inconclusive=2)])
        assert told.fields["told"] == "0/10  passed 0, failed 0, inconclusive 2"
        now[0] = 160.0
        bars.update([Counted(1, 1, 2)])
        assert told.fields["told"] == "2/10  passed 1, failed 1, inconclusive 2  4:00 left"
        bars.update([Counted(12)])
        assert (told.completed, told.fields["told"]) == (10, "10/10  passed 12, failed 0, inconclusive 0  0:00 left")
        bars.close()
