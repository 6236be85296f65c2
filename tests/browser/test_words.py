"""The head of a page: verdicts, what broke in words, and that a click on either leads to the charts that show it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from harness.media.figure import Figure, Gap, Moment, counted
from harness.report.story import Flow, Line, Silence
from harness.units import Duration, ms
from harness.verdict import Verdict, at_most, equal
from tests.browser.chromium import chromium
from tests.browser.pages import SECOND, Sheet, opened, settle, story, write
from tests.unit.report.runs import made
from tests.unit.report.test_account import flow
from topologies.two_homes import two_homes

DOOR = "Alice leaves.\n\nField story: the picture freezes <b>at the gate</b>.\nBounds: none that matter."


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


def head(folder: Path, flows: list[Flow], verdicts: list[Verdict], **fields: Any) -> Path:
    """A page of ten seconds with these flows and verdicts."""
    report = made(verdicts, faults=(), receipts=(), story=DOOR)
    return write(story(two_homes(), report, flows=flows, **fields), folder)


def silent(call: str, since: int, until: int) -> tuple[Flow, Verdict]:
    """A call's flow with one silence (ms), and the verdict that missed its bound by it."""
    hole = Silence(since=since * 1000, until=until * 1000, excess=(until - since - 20) * 1000, recovered=True)
    fates = ["x" if since <= 20 * n + 10 < until and 20 * n + 10 > since else "." for n in range(400)]
    gap = Gap(Duration((until - since - 20) * 1_000_000), since * 1_000_000, until * 1_000_000)
    return flow(fates, call=call, silences=[hole]), at_most(
        "longest silence", Figure(gap.excess, "alice → bob audio", (gap,), call=call), 80 * ms
    )


def chosen(sheet: Page) -> list[float]:
    return [edge / SECOND for edge in sheet.evaluate("() => page.axis.range")]


def brackets(sheet: Page, row: str) -> list[list[float]]:
    found: list[list[float]] = sheet.evaluate("row => page.drawn[row].verdicts.map(one => [one.from, one.to])", row)
    return found


@pytest.fixture
def two_calls(browser: Browser, tmp_path: Path) -> Iterator[Sheet]:
    (first, missed), (second, other) = silent("c1", 1010, 1310), silent("c2", 5010, 5510)
    two = equal("QUIC handshakes", counted([Moment(2_000_000_000, "Initial <i>"), Moment(7_000_000_000, "another")]), 1)
    with opened(browser, head(tmp_path, [first, second], [missed, other, two])) as sheet:
        yield sheet
        assert sheet.trouble == []


def test_of_two_calls_between_the_same_two_each_verdict_stands_on_its_own(two_calls: Sheet) -> None:
    sheet = two_calls.page
    sheet.evaluate("() => page.settle()")
    assert brackets(sheet, "delay-0") == [[1_010_000, 1_310_000]]
    assert brackets(sheet, "delay-1") == [[5_010_000, 5_510_000]]
    assert sheet.locator("#verdicts td:nth-child(2)").all_inner_texts() == [
        "alice → bob audio (call 1)",
        "alice → bob audio (call 2)",
        "",
    ]


def test_a_click_on_a_verdict_or_a_sentence_leads_to_the_stretch_that_it_is_about(two_calls: Sheet) -> None:
    sheet = two_calls.page
    sheet.locator("#verdicts tbody tr").nth(1).click()
    settle(sheet)
    since, until = chosen(sheet)
    assert since < 5.01 and 5.51 < until < 7
    sentence = sheet.locator("#account tr.silence", has_text="(call 1)")
    assert sentence.inner_text().split("\t")[0].strip() == "1.030 s"
    sentence.click()
    settle(sheet)
    since, until = chosen(sheet)
    assert since < 1.01 and 1.31 < until < 3
    assert sheet.locator("tr.chosen").count() == 1


def test_what_a_verdict_counts_has_a_lane_of_its_own(two_calls: Sheet) -> None:
    sheet = two_calls.page
    assert "QUIC handshakes: 2, wanted = 1; 2.000 s Initial <i>, 7.000 s another" in sheet.locator("#account").inner_text()
    assert sheet.locator("#lanes .row.lane .row-name", has_text="QUIC handshakes").count() == 1


def test_what_the_scenario_is_about_is_told_as_text(two_calls: Sheet) -> None:
    sheet = two_calls.page
    assert sheet.locator("p.story").all_inner_texts() == ["Alice leaves.", "The picture freezes <b>at the gate</b>."]
    assert sheet.locator("details.about").count() == 1
    assert not sheet.locator("details.about p").first.is_visible()
    sheet.locator("details.about summary").click()
    assert sheet.locator("details.about p").all_inner_texts() == [
        "Field story The picture freezes <b>at the gate</b>.",
        "Bounds None that matter.",
    ]


def test_of_many_verdicts_those_that_failed_come_first_and_the_rest_is_shown_when_asked_for(browser: Browser, tmp_path: Path) -> None:
    verdicts = [equal(f"answer {n}", 0 if n == 30 else 1, 1) for n in range(40)]
    with opened(browser, head(tmp_path, [], verdicts)) as (sheet, trouble):
        rows = sheet.locator("#verdicts tbody tr")
        assert rows.count() == 40
        assert sheet.locator("#verdicts tbody tr:visible").all_inner_texts()[0].startswith("answer 30")
        assert sheet.locator("#verdicts tbody tr:visible").count() == 1
        sheet.get_by_role("button", name="39 of 40 verdicts passed: show them").click()
        assert sheet.locator("#verdicts tbody tr:visible").count() == 40
        assert sheet.locator("h2", has_text="Voice and picture").count() == 0  # there was none
        assert trouble == []


def test_what_is_out_of_sight_follows_as_soon_as_it_comes_into_sight(browser: Browser, tmp_path: Path) -> None:
    lines = [Line(at=n * 10_000, source="alice", kind="note", text=f"line {n}") for n in range(900)]
    flows = [flow(["."] * 400, kind=kind) for kind in ("audio", "video", "screen")]
    with opened(browser, head(tmp_path, flows, [equal("calls", 1, 1)], lines=lines)) as (sheet, trouble):
        count = sheet.locator("#logs .scene-tools .faint")
        assert count.inner_text() == "900 of 900 lines"
        sheet.wait_for_function("() => !InSight.all.at(-1).seen")  # the observer of the last panel, the logs, has looked
        sheet.evaluate("() => page.axis.setRange(0, 1e6)")
        sheet.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert count.inner_text() == "900 of 900 lines"  # nobody looks at it
        count.scroll_into_view_if_needed()
        sheet.wait_for_function("() => document.querySelector('#logs .scene-tools .faint').textContent === '101 of 900 lines'")
        assert trouble == []
