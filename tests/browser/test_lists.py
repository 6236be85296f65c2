"""The list of all runs and the comparison of two in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Page

from harness.report import compare, index, model
from harness.units import ms
from harness.verdict import at_most
from tests.browser import long_run
from tests.browser.chromium import chromium
from tests.unit.report.folders import place, put

HOSTILE = "<img src=x onerror=\"document.title='broken in'\">"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


def opened(browser: Browser, file: Path) -> Iterator[Page]:
    """The page, ready; afterwards nothing was said on its console and nothing asked of any network."""
    sheet = browser.new_page(viewport={"width": 1280, "height": 900})
    said: list[str] = []
    asked: list[str] = []
    sheet.on("console", lambda message: said.append(message.text))
    sheet.on("pageerror", lambda error: said.append(str(error)))
    sheet.on("request", lambda request: asked.append(request.url))
    sheet.goto(file.as_uri())
    sheet.wait_for_selector("html[data-ready], html[data-broken]")
    title = sheet.title()
    yield sheet
    settle(sheet)
    assert sheet.title() == title
    sheet.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def settle(sheet: Page) -> None:
    sheet.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


# -- the list ------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def listed(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    for number in range(10):
        put(tmp_path, number, [at_most("silence", (100 + 8 * number) * ms, 200 * ms, direction=HOSTILE)], seed=number)
    put(tmp_path, 20, [at_most("lost", 5 * ms, 200 * ms)], test="steady")
    put(tmp_path, 21, [at_most("lost", 500 * ms, 200 * ms)], test="broken")
    place(tmp_path, 22, test="killed")
    put(tmp_path / "soak" / "roams-1", 23)
    yield from opened(browser, index.write(tmp_path))


def names(sheet: Page) -> list[str]:
    return sheet.locator("main > section .test .name").all_inner_texts()


def test_the_list_can_be_sorted_and_filtered(listed: Page) -> None:
    assert names(listed) == ["killed", "broken", "steady", "roams"]
    order = listed.get_by_label("order")
    order.select_option("margin")
    assert [name.partition(": ")[2] for name in names(listed)] == ["broken", "roams", "steady", "killed"]
    order.select_option("drift")
    assert names(listed)[0] == "migration: roams"
    order.select_option("name")
    assert names(listed) == ["broken", "killed", "roams", "steady"]
    listed.get_by_label("filter").fill("lost stea")
    assert names(listed) == ["steady"]
    listed.get_by_label("filter").fill("")
    listed.get_by_label("only what did not pass last").check()
    assert names(listed) == ["broken", "killed", "roams"]


def test_a_drift_is_coloured_and_a_point_tells_its_run(listed: Page) -> None:
    card = listed.locator(".test", has=listed.get_by_text("roams", exact=True))
    assert "the margin shrinks: 36 % of the bound lost over the latest 10 runs" in card.locator(".drift").inner_text()
    spark = card.locator(".spark.shrinking svg")
    box = spark.bounding_box()
    assert box is not None
    listed.mouse.move(box["x"] + box["width"] - 5, box["y"] + 10)
    tip = listed.locator("#tip").inner_text()
    assert "172 ms, bound ≤ 200 ms: PASS" in tip
    assert "margin 14 % of the bound" in tip
    assert "seed 9, 2026-01-02 03:13:05" in tip


def test_what_a_sparkline_draws_is_what_was_measured(listed: Page) -> None:
    """The bound's line and the values stand in proportion, from 0 at the lower edge."""
    heights = listed.evaluate(
        """() => {
          const svg = [...document.querySelectorAll(".spark.shrinking svg")][0];
          const ys = (line) => line.getAttribute("points").split(" ").map((point) => 30 - Number(point.split(",")[1]));
          return [ys(svg.querySelector(".bound")), ys(svg.querySelector(".values"))];
        }"""
    )
    bound, values = heights
    assert len(bound) == len(values) == 10
    for number, value in enumerate(values):
        assert value / bound[number] == pytest.approx((100 + 8 * number) / 200, abs=1e-6)


def test_repetitions_stand_apart_and_open(listed: Page) -> None:
    soak = listed.locator("details.section")
    assert soak.locator("summary").first.inner_text() == "soak/roams-1 (1 runs)"
    assert soak.locator(".test").count() == 0
    soak.locator("summary").first.click()
    soak.locator(".test").wait_for()
    assert soak.locator(".test .name").inner_text() == "roams"


def test_a_run_s_row_leads_to_its_page(listed: Page) -> None:
    card = listed.locator(".test", has=listed.get_by_text("roams", exact=True))
    card.locator("details.runs > summary").click()
    first = card.locator("details.runs tbody tr").first
    assert first.locator("a").get_attribute("href") == "./migration/roams/20260102-031305-seed9/report.json"
    assert "PASS" in first.inner_text()


# -- the comparison ------------------------------------------------------------------------------------------------------------------------

LENGTH = 20


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The comparison of one made-up run with itself, in which the second's fault is told 1.5 s later."""
    root = tmp_path_factory.mktemp("pair")
    folders = [root / "a", root / "b"]
    for folder in folders:
        folder.mkdir()
        long_run.write(folder, length=LENGTH)
    report = model.read(folders[1] / "report.json")
    moved = tuple(msgspec.structs.replace(one, began=one.began + 1_500_000_000) for one in report.faults)
    assert moved
    model.write(msgspec.structs.replace(report, faults=moved, seed=report.seed + 1), folders[1] / "report.json")
    return compare.write(*folders, root / "compare.html")


@pytest.fixture
def beside(browser: Browser, pair: Path) -> Iterator[Page]:
    yield from opened(browser, pair)


def axes(sheet: Page) -> list[list[float]]:
    settle(sheet)
    found: list[list[float]] = sheet.evaluate("() => page.axes.map((axis) => [...axis.range, axis.cursor ?? -1])")
    return found


def test_both_runs_are_aligned_at_their_first_faults(beside: Page) -> None:
    (from_a, to_a, _), (from_b, to_b, _) = axes(beside)
    assert (from_b - from_a, to_b - to_a) == (1_500_000, 1_500_000)
    beside.locator("#align").select_option("the run began")
    (from_a, to_a, _), (from_b, to_b, _) = axes(beside)
    assert (from_a, to_a) == (from_b, to_b)


def test_the_faults_are_drawn_over_each_other_at_every_zoom(beside: Page) -> None:
    for since, until in ((None, None), (5_000_000, 9_000_000)):
        if since is not None:
            beside.evaluate("([from, to]) => page.axes[1].setRange(from, to)", [since, until])
        settle(beside)
        beside.evaluate("() => page.settle()")
        a, b = (beside.evaluate("name => page.drawn[name].faults.map((one) => one.x)", f"{side}time") for side in "AB")
        assert a == pytest.approx(b, abs=0.01)


def test_zoom_and_cursor_go_together(beside: Page) -> None:
    row = beside.locator('.row[data-side="B"][data-row="delay-0"]')
    row.scroll_into_view_if_needed()
    box = row.bounding_box()
    assert box is not None
    beside.mouse.move(box["x"] + 400, box["y"] + 40)
    (_, _, at_a), (_, _, at_b) = axes(beside)
    assert at_b - at_a == pytest.approx(1_500_000)
    before = axes(beside)
    beside.keyboard.press("+")
    after = axes(beside)
    assert [round((old[1] - old[0]) / (new[1] - new[0]), 6) for old, new in zip(before, after, strict=True)] == [2, 2]
    assert after[1][0] - after[0][0] == pytest.approx(1_500_000)
    assert "B" in beside.locator("#ruler .now").inner_text()


def test_the_rows_of_both_stand_in_pairs(beside: Page) -> None:
    sides = beside.evaluate('() => [...document.querySelectorAll("#delay .row")].map((row) => row.dataset.side + row.dataset.row)')
    assert sides[:4] == ["Adelay-0", "Bdelay-0", "Adelay-1", "Bdelay-1"]
    widths = beside.evaluate('() => [...new Set([...document.querySelectorAll(".row[data-side]")].map((row) => row.clientWidth))]')
    assert len(widths) == 1


def test_what_is_large_is_built_when_it_is_opened(beside: Page) -> None:
    for name in ("network", "sequence", "logs", "measured"):
        box = beside.locator(f"details#{name}")
        assert box.locator(".side *").count() == 0
        box.locator("summary").first.click()
        box.locator(".side.B *").first.wait_for(state="attached")
