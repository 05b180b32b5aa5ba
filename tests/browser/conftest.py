"""A real browser, Debian's chromium, that opens pages from the disk and notes whatever it should not see."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
OFFLINE = ("file:", "data:", "blob:")
Open = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium on the path: Debian's package chromium has it")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens a page and waits for its map; afterwards nothing may have been said, asked for, or loaded."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, reduced_motion="reduce")
    noted: list[str] = []

    def opened(path: Path, view: str = "", ready: str = "body[data-drawn]") -> Page:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: noted.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: noted.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (noted.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda r: noted.append(f"request: {r.url}") if not r.url.startswith(OFFLINE) else None)
        page.goto(path.as_uri() + (f"#{view}" if view else ""))
        page.wait_for_selector(ready, state="attached")
        return page

    yield opened
    context.close()
    assert noted == []
