"""How long the chat page of a server takes until it can be used.

python benchmarks/chat_page.py [ADDRESS]
"""

import shutil
import statistics
import sys
from time import perf_counter

from playwright.sync_api import Browser, expect, sync_playwright


def interactive(browser: Browser, address: str) -> float:
    """Seconds from the address to a page that takes questions, with an empty cache."""
    context = browser.new_context()
    page = context.new_page()
    started = perf_counter()
    page.goto(f"{address}/chat/", wait_until="commit")
    expect(page.locator("html")).to_have_attribute("data-ready", "true", timeout=60_000)
    spent = perf_counter() - started
    context.close()
    return spent


def seconds_to_interactive(address: str) -> float:
    """The median of five times, in a browser that is open."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("no Chromium: apt-get install chromium, or leave out the page")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        interactive(browser, address)  # the browser's own first page
        spent = statistics.median(interactive(browser, address) for _ in range(5))
        browser.close()
    return spent


if __name__ == "__main__":
    where = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    print(f"page interactive: {seconds_to_interactive(where):.2f} s")
