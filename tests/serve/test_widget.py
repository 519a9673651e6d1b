"""The widget in a page of another origin: one tag, nothing global, keyboard and names."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from rag.serve import Settings, app
from rag.serve.identity.keys import KeyFile
from tests.http_server import LocalServer
from tests.serve.browser import needs_chromium, visited
from tests.serve.conftest import Doors, running, toy
from tests.serve.waiting import until

pytestmark = needs_chromium
SITE = """<!doctype html><html lang="en"><head><title>A shop</title>
<style>* {{ color: red !important; }} button {{ display: none; }} p {{ font-size: 60px; }}</style>
<script>window.before = new Set(Object.keys(window).concat("before", "after"));</script></head>
<body><main><h1>A shop</h1><p>Bread and butter.</p></main>
<script src="{address}/widget.js" data-title="Ask the shop" {more}></script></body></html>"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def site(folder: Path) -> Iterator[str]:
    """Another origin, which serves a folder."""
    server = LocalServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def shop(
    browser: Browser, folder: Path, more: str = "", allow: bool = True, **options: Any
) -> Iterator[Page]:
    """A page of another site with the widget."""
    keys = options.pop("keys", None)
    with site(folder) as origin:
        origins = [origin] if allow else []
        settings = Settings(data=folder / "data")
        with running(app(toy(), keys=keys, origins=origins, settings=settings)) as address:
            (folder / "index.html").write_text(SITE.format(address=address, more=more))
            (folder / "favicon.ico").write_bytes(b"")
            with visited(browser, f"{origin}/index.html", **options) as page:
                yield page


def opener(page: Page) -> Any:
    return page.get_by_role("button", name="Ask the shop")


def test_a_question_on_another_site(browser: Browser, tmp_path: Path) -> None:
    with shop(browser, tmp_path) as page:
        expect(page.get_by_role("dialog")).to_have_count(0)
        opener(page).press("Enter")
        dialog = page.get_by_role("dialog", name="Ask the shop")
        expect(page.get_by_role("textbox", name="Question")).to_be_focused()
        page.keyboard.type("Books")
        page.keyboard.press("Enter")
        expect(dialog.get_by_role("article", name="Answer")).to_contain_text(
            re.compile(r"Books stand on the shelf 1\.")
        )
        dialog.get_by_role("button", name="Source 1").press("Enter")
        expect(dialog.locator("mark")).to_have_text("Books stand on the shelf.")
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(opener(page)).to_be_focused()


def test_nothing_leaks_into_the_site(browser: Browser, tmp_path: Path) -> None:
    with shop(browser, tmp_path) as page:
        opener(page).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        leaked = "Object.keys(window).filter((one) => !window.before.has(one) && isNaN(one))"
        assert page.evaluate(leaked) == []
        assert page.evaluate("document.body.lastElementChild.shadowRoot !== null")
        assert page.evaluate("document.styleSheets.length") == 1
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [
            0,
            0,
            "",
        ]
        colour = "(one) => getComputedStyle(one).color"
        assert opener(page).first.evaluate(colour) == "rgb(255, 255, 255)"


def test_what_an_answer_quotes_does_not_run(browser: Browser, tmp_path: Path) -> None:
    with shop(browser, tmp_path, "data-open", allowed=["404"]) as page:
        box = page.get_by_role("textbox", name="Question")
        payloads = ("<img src=x onerror='window.hurt=1'>", "[x](javascript:window.hurt=1)")
        for number, payload in enumerate(payloads, start=1):
            box.fill(payload)
            box.press("Enter")
            expect(page.locator("article[aria-busy=false]")).to_have_count(number)
        assert page.locator("article img").count() == 0
        assert page.evaluate("window.hurt") is None


def test_stop_and_what_follows_is_understood_in_context(
    browser: Browser, tmp_path: Path, doors: Doors
) -> None:
    sent: list[Any] = []
    with shop(browser, tmp_path, "data-open data-language=de") as page:
        page.on("request", lambda one: one.method == "POST" and sent.append(one.post_data_json))
        box = page.get_by_role("textbox", name="Frage")
        doors.shut()
        box.fill("Books")
        box.press("Enter")
        until(lambda: "Books" in doors.entered)
        page.get_by_role("button", name="Anhalten").click()
        expect(page.get_by_text("Angehalten.")).to_be_visible()
        doors.open()
        for number, text in enumerate(("Maps of the world", "Charts of the sea"), start=2):
            box.fill(text)
            box.press("Enter")
            expect(page.locator("article[aria-busy=false]")).to_have_count(number)
        assert [one["content"] for one in sent[-1]["history"]] == [
            "Maps of the world",
            "Maps of the world stand on the shelf [1].",
        ]


def test_with_a_key(browser: Browser, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    key = KeyFile(keys).add("site", collections=["shared"], may=["ask"])
    with shop(browser, tmp_path, f"data-open data-key={key}", keys=keys) as page:
        page.get_by_role("textbox", name="Question").fill("Books")
        page.keyboard.press("Enter")
        expect(page.locator("article[aria-busy=false]")).to_contain_text("Books stand")


def test_an_origin_that_is_not_allowed_is_told(browser: Browser, tmp_path: Path) -> None:
    said: list[str] = []
    allowed = ["CORS", "ERR_FAILED", "The chat cannot be loaded"]
    with shop(browser, tmp_path, allow=False, allowed=allowed) as page:
        page.on("console", lambda message: said.append(message.text))
        page.reload()
        # What the page says arrives only while Playwright is asked something.
        until(lambda: page.evaluate("true") and any("among the origins" in one for one in said))
        assert opener(page).count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(browser: Browser, tmp_path: Path, scheme: Any) -> None:
    with shop(browser, tmp_path, "data-open", color_scheme=scheme) as page:
        page.get_by_role("textbox", name="Question").fill("Books")
        page.keyboard.press("Enter")
        expect(page.locator("article[aria-busy=false]")).to_contain_text("Books stand")
        results = Axe().run(page).response["violations"]
        serious = [one for one in results if one["impact"] in ("serious", "critical")]
        assert not serious, json.dumps(serious, indent=1)[:3000]
