"""Open a page and take its picture: ``python -m tests.browser.look PAGE PICTURE.png [--range FROM TO] [--cursor AT] [--only ID] …``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tests.browser.chromium import chromium


def look(
    page: Path,
    picture: Path,
    range_: Annotated[tuple[float, float] | None, typer.Option("--range", help="seconds")] = None,
    cursor: Annotated[float | None, typer.Option(help="seconds")] = None,
    only: Annotated[str, typer.Option(help="the id of the one section to show")] = "",
    width: int = 1400,
    dark: bool = False,
) -> None:
    """What the page shows, whole, as a PNG; its console on stdout."""
    with chromium() as browser:
        sheet = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
        sheet.on("console", lambda message: print(f"console: {message.text}"))
        sheet.on("pageerror", lambda error: print(f"error: {error}"))
        sheet.goto(page.resolve().as_uri())
        sheet.wait_for_selector("html[data-ready], html[data-broken]", timeout=20_000)
        if range_ is not None:
            sheet.evaluate("([from, to]) => page.axis.setRange(from * 1e6, to * 1e6)", list(range_))
        if cursor is not None:
            sheet.evaluate("at => page.axis.setCursor(at * 1e6)", cursor)
        sheet.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        sheet.evaluate("() => { document.getElementById('ruler').style.position = 'static'; page.settle(); }")  # it would lie over the rest
        if only:
            sheet.locator(f"#{only}").screenshot(path=picture)
        else:
            sheet.screenshot(path=picture, full_page=True)


if __name__ == "__main__":
    typer.run(look)
