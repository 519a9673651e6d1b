"""The pictures of the chat page in `docs/images`: a real conversation over the example handbook.

python benchmarks/chat_screenshots.py
"""

import asyncio
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))
from serve_load import ADDRESS, CORPUS, PORT, ready  # noqa: E402

QUESTION = "How long does a full passage of the north lock take?"
IMAGES = ROOT / "docs" / "images"
SITE_PORT = PORT + 1
SITE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Port Gannet</title>
<style>body {{ font: 18px/1.6 Georgia, serif; max-width: 38rem; margin: 3rem; color: #223 }}</style>
</head><body><h1>Port Gannet</h1><p>The harbour is open to visitors all year. Locks and bridges are
worked by the keepers on duty.</p><p>Ask about passages, loads and opening hours.</p>
<script src="{address}/widget.js" data-title="Ask the harbour" data-open></script></body></html>"""


def ask(page: Page) -> None:
    page.goto(f"{ADDRESS}/chat/")
    expect(page.locator("html")).to_have_attribute("data-ready", "true", timeout=60_000)
    ask_here(page, QUESTION)


def ask_here(page: Page, question: str) -> None:
    page.locator("#question").fill(question)
    page.keyboard.press("Enter")
    expect(page.locator(".answer[aria-busy=false]")).to_be_visible(timeout=120_000)
    expect(page.locator("#send")).to_be_visible()


def photograph(folder: Path) -> None:
    """With the server running.

    Args:
        folder: For the page of a site that has the widget.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1360, "height": 760}, locale="en-GB")
        ask(page)
        page.locator(".answer .cite").first.click()
        page.screenshot(path=IMAGES / "chat.png")
        dark = browser.new_page(
            viewport={"width": 1360, "height": 900}, color_scheme="dark", locale="en-GB"
        )
        ask(dark)
        dark.locator("#tab-run").click()
        expect(dark.locator("details.step").last).to_be_visible(timeout=60_000)
        step = dark.locator("details.step").last
        step.locator("summary").first.click()
        step.scroll_into_view_if_needed()
        dark.screenshot(path=IMAGES / "run.png")
        phone = browser.new_page(viewport={"width": 390, "height": 740}, locale="de-DE")
        ask(phone)
        phone.screenshot(path=IMAGES / "phone.png")
        photograph_pdf(page, folder)
        photograph_widget(browser, folder)
        browser.close()


def photograph_pdf(page: Page, folder: Path) -> None:
    """A PDF that is uploaded, asked about, and opened at the passage."""
    file = folder / "ferry.pdf"
    write_pdf(file)
    page.locator("#files").set_input_files(file)
    expect(page.locator("#documents li.ready")).to_be_visible(timeout=120_000)
    page.locator("#new").click()
    ask_here(page, "How many passengers does the ferry Borealis carry?")
    card = page.locator(".source", has_text="ferry.pdf").first
    if card.get_attribute("open") is None:
        card.locator("summary").click()
    card.locator("button.opener").click()
    expect(page.locator("#viewer mark").first).to_be_visible(timeout=60_000)
    page.screenshot(path=IMAGES / "pdf.png")


def write_pdf(path: Path) -> None:
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate

    styles = getSampleStyleSheet()
    texts = [
        ("Heading1", "The ferries of Port Gannet"),
        ("BodyText", "Two ferries cross the harbour on every day of the year but the first."),
        ("BodyText", "Tickets are sold on the pier from six in the morning."),
    ]
    more = [
        ("Heading1", "Borealis"),
        ("BodyText", "The ferry Borealis carries ninety passengers and twelve bicycles."),
        ("BodyText", "She leaves the north pier at seven and returns at half past eight."),
    ]
    parts = [Paragraph(text, styles[style]) for style, text in texts]
    parts += [PageBreak(), *(Paragraph(text, styles[style]) for style, text in more)]
    SimpleDocTemplate(str(path)).build(parts)


def photograph_widget(browser: Browser, folder: Path) -> None:
    """The chat in a page of another origin, which is served from a folder."""
    (folder / "index.html").write_text(SITE.format(address=ADDRESS))
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", SITE_PORT), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page(viewport={"width": 1000, "height": 700}, locale="en-GB")
    page.goto(f"http://127.0.0.1:{SITE_PORT}/")
    page.get_by_role("textbox", name="Question").fill(QUESTION)
    page.keyboard.press("Enter")
    answer = page.locator("article[aria-busy=false]")
    expect(answer).to_be_visible(timeout=60_000)
    if answer.locator(".cite").count():
        answer.locator(".cite").first.click()
    page.screenshot(path=IMAGES / "widget.png")
    server.shutdown()


def main() -> None:
    """Serve, ask, photograph."""
    rag = [sys.executable, "-c", "from rag.cli.main import main; main()"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*rag, "ingest", str(CORPUS), "-c", "hybrid"], cwd=folder, check=True)
        origin = f"http://127.0.0.1:{SITE_PORT}"
        serve = [*rag, "serve", "hybrid", "cached", "--port", str(PORT), "--cors", origin]
        process = subprocess.Popen(serve, cwd=folder)
        try:
            asyncio.run(ready(process))
            photograph(Path(folder))
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
