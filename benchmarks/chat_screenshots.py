"""The pictures of the chat page in `docs/images`: a real conversation over the example handbook.

Prints how long the page takes until it can be used, from an empty browser cache.

python benchmarks/chat_screenshots.py
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))
from serve_load import ADDRESS, CORPUS, PORT, ready  # noqa: E402

QUESTION = "How long does a full passage of the north lock take?"
IMAGES = ROOT / "docs" / "images"


def ask(page: Page) -> None:
    page.goto(f"{ADDRESS}/chat/")
    expect(page.locator("html")).to_have_attribute("data-ready", "true")
    page.locator("#question").fill(QUESTION)
    page.keyboard.press("Enter")
    expect(page.locator(".answer[aria-busy=false]")).to_be_visible(timeout=60_000)
    expect(page.locator("#send")).to_be_visible()


def interactive(browser: Browser) -> float:
    """Seconds from the address to a page that takes questions."""
    context = browser.new_context()
    page = context.new_page()
    started = perf_counter()
    page.goto(f"{ADDRESS}/chat/", wait_until="commit")
    expect(page.locator("html")).to_have_attribute("data-ready", "true")
    spent = perf_counter() - started
    context.close()
    return spent


def photograph() -> None:
    """With the server running."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        spent = statistics.median(interactive(browser) for _ in range(5))
        print(f"interactive after {spent:.2f} s")
        page = browser.new_page(viewport={"width": 1360, "height": 760})
        ask(page)
        page.locator(".answer .cite").first.click()
        page.screenshot(path=IMAGES / "chat.png")
        dark = browser.new_page(viewport={"width": 1360, "height": 900}, color_scheme="dark")
        ask(dark)
        dark.locator("#tab-run").click()
        dark.screenshot(path=IMAGES / "run.png")
        phone = browser.new_page(viewport={"width": 390, "height": 740})
        ask(phone)
        phone.screenshot(path=IMAGES / "phone.png")
        browser.close()


def main() -> None:
    """Serve, ask, photograph."""
    rag = [sys.executable, "-c", "from rag.cli.main import main; main()"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*rag, "ingest", str(CORPUS), "-c", "hybrid"], cwd=folder, check=True)
        serve = [*rag, "serve", "hybrid", "cached", "--port", str(PORT)]
        process = subprocess.Popen(serve, cwd=folder)
        try:
            asyncio.run(ready(process))
            photograph()
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
