"""The charts and lanes of a page in a real browser: what is drawn is what was measured, at every zoom."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, FloatRect, Page

from harness.report import page as pages
from harness.report import tell
from harness.report.story import HEARD, LATE, LOST, NOT_TAKEN, UNSENT, Story, unrun
from tests.browser import long_run
from tests.browser.chromium import chromium

LENGTH = 60


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    long_run.write(folder, length=LENGTH)
    return folder


@pytest.fixture(scope="module")
def story(made_up: Path) -> Story:
    return tell.tell(made_up)


@pytest.fixture
def sheet(browser: Browser, made_up: Path) -> Iterator[Page]:
    yield from opened(browser, made_up / pages.FILE)


def opened(browser: Browser, file: Path, **how: Any) -> Iterator[Page]:
    """The page, ready; afterwards nothing was said on its console and nothing asked of any network."""
    sheet = browser.new_page(viewport={"width": 1280, "height": 900}, **how)
    said: list[str] = []
    asked: list[str] = []
    sheet.on("console", lambda message: said.append(message.text))
    sheet.on("pageerror", lambda error: said.append(str(error)))
    sheet.on("request", lambda request: asked.append(request.url))
    sheet.goto(file.as_uri())
    sheet.wait_for_selector("html[data-ready], html[data-broken]")
    settle(sheet)
    yield sheet
    settle(sheet)
    sheet.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == 1


def settle(sheet: Page) -> None:
    """Until everything is drawn for the range that was asked for."""
    sheet.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => { page.settle(); done(); })))")


def zoom(sheet: Page, since: float, until: float) -> None:
    """Show the stretch from ``since`` to ``until``, µs."""
    sheet.evaluate("([from, to]) => page.axis.setRange(from, to)", [since, until])
    settle(sheet)


def place(sheet: Page, row: str) -> FloatRect | None:
    """Where a row is, once it has been scrolled to where a mouse can reach it."""
    box = sheet.locator(f'[data-row="{row}"]')
    box.evaluate("box => box.scrollIntoView({ block: 'center' })")
    return box.bounding_box()


def drawn(sheet: Page, row: str) -> dict[str, Any]:
    found: dict[str, Any] = sheet.evaluate("row => page.drawn[row]", row)
    return found


def shown(sheet: Page) -> list[float]:
    found: list[float] = sheet.evaluate("() => page.axis.range")
    return found


def fates(story: Story, number: int) -> dict[str, list[int]]:
    """Of a flow: the moments (µs since zero) at which packets that were never heard were due, by fate, and its late ones were taken."""
    flow = story.flows[number]
    names = {LOST: "lost", UNSENT: "unsent", LATE: "late", NOT_TAKEN: "untaken"}
    found: dict[str, list[int]] = {name: [] for name in names.values()}
    for at, fate, came, waited in zip(accumulate(flow.offered), unrun(flow.fate), flow.came, flow.waited, strict=True):
        if fate != HEARD:
            found[names[fate]].append(at + came + waited if fate == LATE else at)
    return found


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_no_packet_that_was_not_heard_is_hidden_when_the_whole_run_is_shown(sheet: Page, story: Story, number: int) -> None:
    log = drawn(sheet, f"delay-{number}")
    since, until = shown(sheet)
    for fate, moments in fates(story, number).items():
        assert log[fate] == len(moments), fate
        columns = set(log[f"{fate}At"])
        for at in moments:
            assert int(log["left"] + (at - since) / (until - since) * log["width"]) in columns, f"{fate} at {at}"
    assert log["lost"] > 20
    assert log["untaken"] >= 1


def test_a_lost_packet_is_red_on_the_page_itself(sheet: Page) -> None:
    """Read back from the canvas: where a lost packet is said to stand there is the red of a cross."""
    reds = sheet.evaluate(
        """() => {
          const log = page.drawn["delay-0"], canvas = document.querySelector('[data-row="delay-0"] canvas'), pen = canvas.getContext("2d");
          const wanted = charts.colour("bad").match(/[0-9a-f]{2}/g).map((two) => parseInt(two, 16));
          const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
          const red = (x, y) => wanted.every((part, of) => Math.abs(data[(y * canvas.width + x) * 4 + of] - part) < 40);
          const rows = [...Array(canvas.height).keys()];
          return log.lostAt.map((at) => [-2, -1, 0, 1, 2].some((by) => rows.some((y) => red(at + by, y))));
        }"""
    )
    assert len(reds) > 10
    assert all(reds)


@pytest.mark.parametrize("number", [0, 1])
def test_the_drawn_gap_is_the_verdicts_figure(sheet: Page, number: int) -> None:
    verdict = sheet.evaluate("number => page.story.report.verdicts[number]", number)
    figure = verdict["value"]["count"] / 1000
    row = sheet.locator(f"#verdicts tbody tr >> nth={number}")
    row.click()
    settle(sheet)
    log = drawn(sheet, f"delay-{number}")
    assert log["flow"] == verdict["direction"]
    since, until = shown(sheet)
    per_px = (until - since) / log["width"]
    silence = max(log["silences"], key=lambda one: one["excess"])
    assert silence["excess"] == pytest.approx(figure, abs=1)
    assert (silence["x1"] - silence["excess0"]) * per_px == pytest.approx(figure, abs=per_px)
    # and it is empty: the dots nearest to it are those of the last packet heard before it and the first after it
    dots = sorted(log["dots"])
    before = max(x for x in dots if x < (silence["x0"] + silence["x1"]) / 2)
    after = min(x for x in dots if x > (silence["x0"] + silence["x1"]) / 2)
    assert before == pytest.approx(silence["x0"], abs=1)
    assert after == pytest.approx(silence["x1"], abs=1)
    # the verdict's own bracket lies over the same stretch
    bracket = log["verdicts"][0]
    assert (bracket["x0"], bracket["x1"]) == pytest.approx((silence["x0"], silence["x1"]), abs=1)
    assert row.get_attribute("class") == "chosen"


def test_zoomed_out_a_gap_wider_than_a_pixel_stays_empty(sheet: Page, story: Story) -> None:
    since, until = shown(sheet)
    log = drawn(sheet, "delay-0")
    filled = set(log["columns"])
    silence = max(story.flows[0].silences, key=lambda one: one.excess)
    first, last = (log["left"] + (at - since) / (until - since) * log["width"] for at in (silence.since, silence.until))
    between = [x for x in range(int(first) + 1, int(last)) if x in filled]
    assert last - first > 4
    assert between == []


def test_every_row_has_time_at_the_same_place(sheet: Page) -> None:
    zoom(sheet, 20e6, 30e6)
    boxes = sheet.evaluate("() => Object.values(page.drawn).map((one) => [one.left, one.width])")
    assert len(boxes) > 15
    assert all(box == pytest.approx(boxes[0], abs=0.6) for box in boxes)
    axis = sheet.evaluate("() => page.axis.x(25e6, document.querySelector('[data-row]').clientWidth)")
    assert axis == pytest.approx(boxes[0][0] + boxes[0][1] / 2, abs=0.6)


def test_the_cursor_stands_at_one_moment_in_every_row(sheet: Page) -> None:
    box = sheet.locator('[data-row="delay-1"]')
    box.scroll_into_view_if_needed()
    where = box.bounding_box()
    assert where is not None
    sheet.mouse.move(where["x"] + 500, where["y"] + 40)
    settle(sheet)
    at = sheet.evaluate("() => page.axis.cursor")
    lines = sheet.evaluate(
        "() => [...document.querySelectorAll('.row > .cursor')].map((one) => [one.style.display, one.getBoundingClientRect().left])"
    )
    assert {display for display, _ in lines} == {"block"}
    assert all(left == pytest.approx(where["x"] + 500, abs=1) for _, left in lines)
    assert sheet.locator(".bar .now").inner_text().startswith(f"t = {at / 1e6:.3f} s")
    values = box.locator(".row-values").inner_text()
    assert re.search(r"ms (wifi|lte|eth) → (wifi|lte|eth)", values)


def test_dragging_zooms_shift_pans_and_a_double_click_shows_all(sheet: Page) -> None:
    whole = shown(sheet)
    where = place(sheet, "delay-0")
    assert where is not None
    y = where["y"] + 30
    sheet.mouse.move(where["x"] + 400, y)
    sheet.mouse.down()
    sheet.mouse.move(where["x"] + 600, y, steps=3)
    sheet.mouse.up()
    settle(sheet)
    zoomed = shown(sheet)
    width = drawn(sheet, "delay-0")["width"]
    assert zoomed[1] - zoomed[0] == pytest.approx(200 / width * (whole[1] - whole[0]), rel=0.02)
    sheet.keyboard.down("Shift")
    sheet.mouse.move(where["x"] + 500, y)
    sheet.mouse.down()
    sheet.mouse.move(where["x"] + 600, y, steps=3)
    sheet.mouse.up()
    sheet.keyboard.up("Shift")
    settle(sheet)
    panned = shown(sheet)
    assert panned[1] - panned[0] == pytest.approx(zoomed[1] - zoomed[0])
    assert zoomed[0] - panned[0] == pytest.approx(100 / width * (zoomed[1] - zoomed[0]), rel=0.05)
    sheet.keyboard.press("+")
    settle(sheet)
    assert shown(sheet)[1] - shown(sheet)[0] == pytest.approx((panned[1] - panned[0]) / 2)
    sheet.mouse.dblclick(where["x"] + 500, y)
    settle(sheet)
    assert shown(sheet) == whole


def test_buttons_and_keys_go_to_faults_and_silences(sheet: Page, story: Story) -> None:
    fault = story.report["faults"][0]
    sheet.get_by_role("button", name=fault["name"]).click()
    settle(sheet)
    since, until = shown(sheet)
    assert since < (fault["began"] - story.zero) / 1000 < until
    assert until - since < 5e6
    assert fault["name"] in [one["name"] for one in drawn(sheet, "time")["faults"]]
    sheet.keyboard.press("w")
    settle(sheet)
    worst = max((one for flow in story.flows if flow.flow == "audio" for one in flow.silences), key=lambda one: one.excess)
    since, until = shown(sheet)
    assert since < worst.since
    assert worst.until < until
    sheet.get_by_role("button", name="all", exact=True).click()
    settle(sheet)
    assert shown(sheet) == [0, story.until]


def test_a_tooltip_tells_a_packets_fate(sheet: Page, story: Story) -> None:
    at = fates(story, 0)["lost"][0]
    zoom(sheet, at - 100_000, at + 100_000)
    log = drawn(sheet, "delay-0")
    where = place(sheet, "delay-0")
    assert where is not None
    assert log["lost"] >= 1
    base = sheet.evaluate("() => charts.rows.find((row) => row.id === 'delay-0').view.y(0)")
    sheet.mouse.move(where["x"] + log["left"] + log["width"] / 2, where["y"] + base + 6)
    tooltip = sheet.locator(".tip").inner_text()
    assert "alice → bob audio" in tooltip
    assert ": lost" in tooltip
    assert "after it was due" in tooltip


def test_one_way_has_one_colour_in_both_directions(sheet: Page) -> None:
    names = sheet.evaluate("() => nameWays(page.story).map((way) => [way.name, way.colour])")
    assert [name for name, colour in names if colour != "faint"] == ["alice wifi ↔ bob eth", "alice lte ↔ bob eth"]
    kinds = sheet.evaluate("() => page.story.flows.map((flow) => flow.ways.map((way, n) => [...way, flow.kind[n]]))")
    for flow in kinds:
        for mine, theirs, kind in flow:
            if "wifi" in (mine, theirs) and "eth" in (mine, theirs):
                assert kind == 0
            elif "lte" in (mine, theirs) and "eth" in (mine, theirs):
                assert kind == 1


@pytest.mark.parametrize("width", [800, 1280, 2560])
def test_it_fits(browser: Browser, made_up: Path, width: int) -> None:
    for sheet in opened(browser, made_up / pages.FILE):
        sheet.set_viewport_size({"width": width, "height": 900})
        settle(sheet)
        assert sheet.evaluate("() => document.documentElement.scrollWidth") <= width
        used = sheet.evaluate("() => document.querySelector('[data-row=\"delay-0\"]').clientWidth")
        assert used > min(width, 2400) * 0.9
        assert drawn(sheet, "delay-0")["width"] == pytest.approx(used - 132 - 14, abs=1)


def test_it_prints_light_and_whole(browser: Browser, made_up: Path) -> None:
    for sheet in opened(browser, made_up / pages.FILE, color_scheme="dark"):
        dark = sheet.evaluate("() => charts.colour('ground')")
        sheet.evaluate("() => dispatchEvent(new Event('beforeprint'))")
        assert sheet.evaluate("() => [charts.colour('ground'), charts.rows.every((row) => !row.dirty)]") == ["#fff", True]
        assert sheet.evaluate("() => charts.rows.map((row) => row.wide).filter((width) => width > 1000)") == []  # what paper has room for
        sheet.evaluate("() => dispatchEvent(new Event('afterprint'))")
        assert sheet.evaluate("() => charts.colour('ground')") == dark != "#fff"


def test_a_page_is_small(made_up: Path) -> None:
    assert (made_up / pages.FILE).stat().st_size <= 1_000_000


COUNT = """() => {
  const drawn = { fillRect: 0, lineTo: 0, moveTo: 0, arc: 0 }, pen = CanvasRenderingContext2D.prototype;
  for (const [whose, name] of [pen, Path2D.prototype].flatMap((one) => Object.keys(drawn).map((name) => [one, name]))) {
    const real = whose[name];
    if (real) whose[name] = function (...rest) { drawn[name] += 1; return real.apply(this, rest); };
  }
  page.axis.setRange(0, page.axis.full[1] * 0.999);
  page.axis.flush();
  page.settle();
  return Object.values(drawn).reduce((sum, one) => sum + one) / Object.keys(page.drawn).length;
}"""


def test_a_long_call_is_drawn_by_columns_and_not_by_packets(browser: Browser, tmp_path: Path) -> None:
    """Ten minutes are 276,000 packets: what is drawn of them depends on the picture's width.  How long it takes: `benchmarks pages`."""
    marks = {}
    for length in (200, 600):
        sheet = browser.new_page(viewport={"width": 1280, "height": 900})
        sheet.goto(long_run.write(tmp_path / str(length), length=length).as_uri())
        sheet.wait_for_selector("html[data-ready]", timeout=60_000)
        marks[length] = sheet.evaluate(COUNT)
        sheet.close()
    assert 0 < marks[600] < 1.5 * marks[200], marks
    assert marks[600] < 4 * 1280, marks


@pytest.mark.parametrize("zoom_to", [None, 211.3, 97.7])
def test_a_steady_source_has_a_steady_bitrate_at_every_zoom(browser: Browser, tmp_path: Path, zoom_to: float | None) -> None:
    """A px of many minutes is no whole number of packets: what it is taken over is."""
    sheet = browser.new_page(viewport={"width": 1280, "height": 900})
    sheet.goto(long_run.write(tmp_path, length=600, video=False).as_uri())
    sheet.wait_for_selector("html[data-ready]", timeout=60_000)
    settle(sheet)
    opened = 2e6  # µs: a second after the call's first packet
    zoom(sheet, opened, opened + (zoom_to or 590) * 1e6)
    width = drawn(sheet, "delay-0")["width"]
    offered = sheet.evaluate("() => Array.from(page.drawn['bitrate-0'].offered)")
    assert len(offered) == pytest.approx(width, abs=1)
    assert set(offered) == {92 * 8 / 20}  # kbit/s of 92 bytes each 20 ms
    sheet.close()


def test_a_verdict_of_no_flow_has_a_lane_and_hostile_words_stay_words(sheet: Page) -> None:
    told = sheet.evaluate(
        """() => {
          const where = { start: page.story.zero, end: page.story.zero + 5e8, excess: { count: 5e8 } };
          const bound = { kind: "count", text: "1" }, name = "<img src=x onerror=alert(1)>";
          const verdict = { name, relation: "at_most", value: null, bound, result: "FAIL", direction: "", where };
          return verdictLanes({ ...page.story, report: { verdicts: [verdict] } });
        }"""
    )
    assert told == [
        {
            "group": "verdict",
            "name": "<img src=x onerror=alert(1)>",
            "spans": [{"from": 0, "to": 500000, "kind": "FAIL", "text": "<img src=x onerror=alert(1)>: not measured (≤ 1) FAIL"}],
        }
    ]


def test_lanes_tell_faults_receipts_paths_and_states(sheet: Page, story: Story) -> None:
    lanes = {(lane.group, lane.name): number for number, lane in enumerate(story.lanes)}
    assert {group for group, _ in lanes} == {"fault", "path", "state", "stall"}
    logs = [one for one in sheet.evaluate("() => Object.values(page.drawn)") if one["id"].startswith("lane-")]
    told = {one["lane"]: one for one in logs if one["group"] in ("fault", "path", "state")}
    fault = story.report["faults"][0]
    since, until = shown(sheet)
    at = ((fault["began"] - story.zero) / 1000 - since) / (until - since)
    span = next(one for one in told["faults"]["spans"] if one["text"] == fault["name"])
    assert span["x0"] == pytest.approx(told["faults"]["left"] + at * told["faults"]["width"], abs=1)
    assert [mark["text"] for mark in told["faults"]["marks"]] == ["link: seen by rtnetlink"]
    assert [mark["kind"] for mark in next(one for one in logs if one["group"] == "path")["marks"]] == ["probing", "validated", "migrated"]


def test_no_script_of_ours_makes_markup_of_text() -> None:
    for path in sorted(pages.ASSETS.glob("*.js")):
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|\beval\b|document\.write|new Function|createContextualFragment|DOMParser",
            path.read_text(),
        )
        assert found == [], path.name


def test_scripts_share_no_name_by_accident() -> None:
    """All of them run in one scope: a name that two of them declare would stop the second."""
    owner: dict[str, str] = {}
    for path in sorted(pages.ASSETS.glob("*.js")):
        for name in re.findall(r"^(?:async )?(?:const|let|class|function) ([A-Za-z_$][\w$]*)", path.read_text(), re.M):
            assert owner.setdefault(name, path.name) == path.name, f"{name} in {path.name} and {owner[name]}"
