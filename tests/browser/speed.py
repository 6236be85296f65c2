"""How fast a page opens and moves: ``python -m tests.browser.speed PAGE.html``.

Two clocks: ``wall``, what a person waits, frames as they came; and ``cpu``, what the page's own thread worked, which does not change with
what else the machine does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import typer
from playwright.sync_api import Browser, CDPSession, Page

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


class Times(NamedTuple):
    """In ms.  ``wall``: of the one opening, or of each frame; ``cpu``: of the opening, or of a frame in the mean."""

    wall: list[float]
    cpu: float


def _worked(session: CDPSession) -> float:
    """ms that the page's thread has run so far."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return 1000 * next(float(one["value"]) for one in metrics if one["name"] == "TaskDuration")


@contextmanager
def _opened(browser: Browser, file: Path) -> Iterator[tuple[Page, CDPSession]]:
    sheet = browser.new_page(viewport={"width": 1280, "height": 900})
    session = sheet.context.new_cdp_session(sheet)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    sheet.goto(file.resolve().as_uri())
    sheet.wait_for_selector("html[data-ready], html[data-broken]", timeout=60_000)
    yield sheet, session
    sheet.close()


def opening(browser: Browser, file: Path) -> Times:
    """From the navigation to the first frame that shows the charts."""
    with _opened(browser, file) as (sheet, session):
        took = sheet.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))")
        return Times([took], _worked(session))


def moving(browser: Browser, file: Path) -> dict[str, Times]:
    """Scripted pans, zooms and cursor moves, the page scrolled to its charts."""
    found: dict[str, Times] = {}
    with _opened(browser, file) as (sheet, session):
        sheet.evaluate("() => page.settle()")
        for place in ("delay", "flight"):
            sheet.evaluate("place => document.getElementById(place).scrollIntoView()", place)
            for kind in ("pan", "creep", "zoom", "cursor"):
                before = _worked(session)
                frames = sheet.evaluate(MOVES, kind)
                found[f"{place}, {kind}"] = Times(frames, (_worked(session) - before) / len(frames))
    return found


def told(times: Times) -> dict[str, Any]:
    """The figures worth printing."""
    return {"median": round(median(times.wall), 1), "worst": round(max(times.wall), 1), "cpu": round(times.cpu, 1)}


def main(page: Path) -> None:
    """Print the figures as JSON."""
    with chromium() as browser:
        print(json.dumps({"opening": told(opening(browser, page))}))
        for name, times in moving(browser, page).items():
            print(json.dumps({name: told(times)}))


if __name__ == "__main__":
    typer.run(main)
