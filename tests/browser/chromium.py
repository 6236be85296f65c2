"""A headless Chromium, Debian's, that is offered nothing but local files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

FLAGS = (
    "--no-sandbox",  # as root, and in containers without user namespaces; it opens pages that this project wrote
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, closed at the end; FileNotFoundError that says what to install where there is none."""
    path = shutil.which("chromium")
    if path is None:
        raise FileNotFoundError("chromium: install Debian's package chromium (as root `make test-browser` does)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()
