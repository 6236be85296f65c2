"""How fast a page opens and moves: ``python -m tests.browser.speed PAGE.html``; times in ms, by the page's own clock."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import typer
from playwright.sync_api import Browser

from tests.browser.chromium import chromium

# Every frame asks for the next range and is timed from the frame before: what a hand that never rests gets to see.
MOVES = """(kind) => new Promise((done) => {
  const [from, to] = page.axis.full, whole = to - from, times = [];
  let last = 0, n = 0;
  const move = (share) => {
    if (kind === "pan") page.axis.setRange(from + share * whole * 0.8, from + (share * 0.8 + 0.2) * whole);
    else if (kind === "creep") page.axis.setRange(from + share * whole * 0.01, from + share * whole * 0.01 + whole * 0.98);
    else if (kind === "zoom") {
      const span = whole * 0.001 ** share, around = from + 0.4 * whole;
      page.axis.setRange(around - span * 0.4, around + span * 0.6);
    }
    else page.axis.setCursor(from + share * whole);
  };
  const frame = (now) => {
    if (n > 2) times.push(now - last);
    last = now;
    if (n++ === 122) { done(times); return; }
    move(n / 122);
    requestAnimationFrame(frame);
  };
  page.axis.reset();
  setTimeout(() => requestAnimationFrame(frame), 500);
})"""


def opening(browser: Browser, file: Path) -> float:
    """From the navigation to the first frame that shows the charts."""
    sheet = browser.new_page(viewport={"width": 1280, "height": 900})
    sheet.goto(file.resolve().as_uri())
    sheet.wait_for_selector("html[data-ready], html[data-broken]", timeout=60_000)
    took: float = sheet.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))")
    sheet.close()
    return took


def moving(browser: Browser, file: Path) -> dict[str, list[float]]:
    """Frame times of scripted pans, zooms and cursor moves, the page scrolled to its charts."""
    sheet = browser.new_page(viewport={"width": 1280, "height": 900})
    sheet.goto(file.resolve().as_uri())
    sheet.wait_for_selector("html[data-ready], html[data-broken]", timeout=60_000)
    found: dict[str, list[float]] = {}
    for place in ("delay", "flight"):
        sheet.evaluate("place => document.getElementById(place).scrollIntoView()", place)
        for kind in ("pan", "creep", "zoom", "cursor"):
            found[f"{place}, {kind}"] = sheet.evaluate(MOVES, kind)
    sheet.close()
    return found


def told(times: list[float]) -> dict[str, Any]:
    return {"median": round(median(times), 1), "worst": round(max(times), 1)}


def main(page: Path) -> None:
    """Print the figures as JSON."""
    with chromium() as browser:
        opened = [round(opening(browser, page)) for _ in range(3)]
        print(json.dumps({"opens": opened, **{name: told(times) for name, times in moving(browser, page).items()}}, indent=1))


if __name__ == "__main__":
    typer.run(main)
