"""Pages of runs that never were, for looking at one panel, and a browser's sheet that notes all that should not happen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from playwright.sync_api import Browser, Page

from harness.report import drawing, model, page
from harness.report.story import Story
from harness.spec.topology import Topology
from tests.unit.report.runs import made

SECOND = 1_000_000


def story(topology: Topology | None = None, told: model.Report | None = None, **fields: Any) -> Story:
    """Ten seconds over ``topology`` that came to what ``told`` says, with nothing in them but ``fields``."""
    shown = {"nodes": drawing.nodes(topology), "wires": drawing.wires(topology, [], lambda ns: ns // 1000, 10 * SECOND)} if topology else {}
    report = msgspec.json.decode(model.encode(told or made()))
    return Story(**{"zero": 0, "until": 10 * SECOND, "title": "t", "report": report, "peers": ["alice", "bob"], **shown, **fields})


def write(told: Story, folder: Path) -> Path:
    """``told`` as a page."""
    path = folder / "report.html"
    path.write_text(page.render(told, model.decode(msgspec.json.encode(told.report))), encoding="utf-8")
    return path


class Sheet(NamedTuple):
    """An open page; ``trouble``: what its console said, what it threw, what it asked of the network, and what popped up."""

    page: Page
    trouble: list[str]


@contextmanager
def opened(browser: Browser, path: Path, *, width: int = 1400) -> Iterator[Sheet]:
    """``path`` in a browser, once it has drawn itself."""
    trouble: list[str] = []
    sheet = browser.new_page(viewport={"width": width, "height": 900})
    here = path.resolve().as_uri()

    def asked(url: str) -> None:
        if url != here and not url.startswith(("data:", "blob:")):
            trouble.append(f"request: {url}")

    sheet.on("console", lambda message: trouble.append(f"console: {message.text}"))
    sheet.on("pageerror", lambda error: trouble.append(f"error: {error}"))
    sheet.on("request", lambda request: asked(request.url))
    sheet.on("popup", lambda other: trouble.append(f"popup: {other.url}"))
    sheet.on("dialog", lambda dialog: (trouble.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    try:
        sheet.goto(here)
        sheet.wait_for_selector("html[data-ready], html[data-broken]", timeout=30_000)
        settle(sheet)
        yield Sheet(sheet, trouble)
    finally:
        sheet.close()


def settle(sheet: Page) -> None:
    """Until what was asked of the axis is drawn, out of sight too."""
    sheet.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => { page.settle?.(); done(); })))")
