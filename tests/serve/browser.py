"""Chromium for the tests of the page: one browser a module, a context of its own for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: apt-get install chromium"
)
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
PATIENCE = 60_000
"""Milliseconds that a busy machine may take for a step."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        expect.set_options(timeout=PATIENCE)
        yield found
        found.close()


@contextmanager
def visited(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    """A page of any site; fails if the browser's console shows an error that was not expected."""
    allowed: list[str] = options.pop("allowed", [])
    options.setdefault("viewport", {"width": 1360, "height": 820})
    options.setdefault("locale", "en-GB")
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    yield page
    context.close()
    assert [one for one in errors if not any(part in one for part in allowed)] == []


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    """The chat page, ready."""
    with visited(browser, f"{address}/chat/", **options) as page:
        ready(page)
        yield page


def ready(page: Page) -> None:
    """Wait until the page takes questions."""
    expect(page.locator("html")).to_have_attribute("data-ready", "true")


def ask(page: Page, text: str) -> None:
    """Ask by keyboard."""
    page.locator("#question").fill(text)
    page.keyboard.press("Enter")


def answered(page: Page, number: int = 1) -> None:
    """Wait until so many answers are there and nothing runs."""
    expect(page.locator(".answer[aria-busy=false]")).to_have_count(number)
    expect(page.locator("#send")).to_be_visible()
