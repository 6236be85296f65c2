"""Pages of real runs: what passed, what failed, what came to nothing, with voice alone and with pictures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser

from harness.cli import PYTEST
from harness.report import model, page
from harness.report.account import account
from harness.report.tell import tell
from tests.browser.chromium import chromium
from tests.browser.pages import opened

SABOTAGED = f"--agent=bob={sys.executable} -m tests.controls.sabotage never-follows"


class Asked(NamedTuple):
    """A run: of which scenario, with which further arguments, and what it has to come to."""

    scenario: str
    result: str
    arguments: tuple[str, ...] = ()


RUNS = {
    "passed": Asked("scenarios/migration.py::test_break_before_make", "PASS"),
    "failed": Asked("scenarios/rebinding.py::test_rebind_port[ipv4]", "FAIL", (SABOTAGED, "--patience=1.5")),
    "inconclusive": Asked("scenarios/migration.py::test_break_before_make", "INCONCLUSIVE", ("--agent=bob=/bin/true",)),
    "video": Asked("scenarios/migration.py::test_wifi_to_cellular", "PASS"),
    "heard": Asked("scenarios/reconnect.py::test_outage_short", "PASS", ("--media=speech",)),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module", params=RUNS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of such a run; one that this machine spoiled is followed by another seed's."""
    asked = RUNS[request.param]
    further = () if asked.result == "INCONCLUSIVE" else ("--conclusive",)
    run, printed = _run(asked.scenario, tmp_path_factory.mktemp("artifacts"), *asked.arguments, *further)
    assert model.read(run / "report.json").result == asked.result, printed
    return run


def _run(scenario: str, root: Path, *arguments: str) -> tuple[Path, str]:
    """The folder of the run below ``root``, and what pytest printed."""
    argv = [sys.executable, "-m", "pytest", *PYTEST, "-q", scenario, f"--artifacts={root}", *arguments]
    environment = {**os.environ, "HARNESS_SABOTAGE": "never-follows"} if SABOTAGED in arguments else dict(os.environ)
    ran = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    return (root / Path(scenario.partition("::")[0]).stem / "latest").resolve(), ran.stdout + ran.stderr


def test_the_page_shows_what_the_run_came_to(browser: Browser, folder: Path) -> None:
    assert (folder / page.FILE).stat().st_size <= 1_000_000
    _shows(browser, folder)


@pytest.mark.long
def test_the_page_of_ten_minutes_shows_what_they_came_to(browser: Browser, tmp_path: Path) -> None:
    """Also when this machine kept the call from saying anything: it is the page that is looked at."""
    scenario, everything = "tests/browser/ten_minutes.py::test_ten_minutes", "--keep=256"  # it is judged at once
    folder, printed = _run(scenario, tmp_path, "--endurance=10m,1m,1m", everything)
    report = model.read(folder / "report.json")
    assert report.blame in (None, "environment"), printed
    assert report.took.s > 600, printed
    assert {"longest silence", "first fresh audio after the line is back"} <= {verdict.name for verdict in report.verdicts}, printed
    assert (folder / page.FILE).stat().st_size <= 10_000_000
    _shows(browser, folder)
    shutil.rmtree(tmp_path)  # more than a GiB


def _shows(browser: Browser, folder: Path) -> None:
    """The page of that run says and draws what its verdicts say."""
    report = model.read(folder / "report.json")
    with opened(browser, folder / page.FILE) as (sheet, trouble):
        assert sheet.locator("h1 .result").inner_text() == report.result
        assert sheet.locator("#verdicts tbody tr").count() == len(report.verdicts)
        assert sheet.locator(".command").inner_text() == report.command
        words = sheet.locator("#account tbody tr")
        broken = [verdict for verdict in report.verdicts if verdict.result != "PASS"]
        told = [sentence.text for sentence in account(tell(folder), report)]
        assert words.locator("td:nth-child(2)").all_inner_texts() == told
        for number, verdict in enumerate(broken):
            assert words.nth(number).inner_text().split("\t")[-1].startswith(verdict.name)
        assert sheet.locator("#account tr.fault").count() >= len(report.faults)
        sheet.evaluate("() => page.settle()")
        logs: list[dict[str, Any]] = sheet.evaluate("() => Object.values(page.drawn)")
        per_px = sheet.evaluate("() => (page.axis.range[1] - page.axis.range[0]) / Object.values(page.drawn)[0].width") if logs else 0
        flows = {log["flow"]: log for log in logs if "silences" in log}
        held = 0
        for verdict in report.verdicts:
            if verdict.where is None or verdict.direction not in flows:
                continue
            length = (verdict.where.end - verdict.where.start) / 1000
            brackets = flows[verdict.direction]["verdicts"]
            assert any(one["x1"] - one["x0"] == pytest.approx(length / per_px, abs=2) for one in brackets), verdict.name
            held += 1
            if verdict.name == "longest silence" and verdict.where.excess.ms >= 20:
                figures = [one["excess"] for one in flows[verdict.direction]["silences"]]
                assert any(one == pytest.approx(verdict.where.excess.ns / 1000, abs=1) for one in figures), figures
        assert held == sum(verdict.where is not None and bool(verdict.direction) for verdict in report.verdicts)
        sheet.evaluate(
            "() => { const [from, to] = page.axis.range; page.axis.zoom(0.1, (from + to) / 2); page.axis.setCursor((from + to) / 2); }"
        )
        sheet.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => { page.settle(); done(); })))")
        assert sheet.locator("audio").count() == (2 if (folder / "heard.json").exists() else 0)
        assert trouble == []
