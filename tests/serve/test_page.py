"""The chat page in a real browser: ask, stream, sources, upload, stop, errors, reload, harm."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from rag import Document, Flow, RunContext, operator
from rag.operators import Cite
from rag.serve import Settings, app
from rag.serve.http.page import FOLDER, KINDS
from rag.serve.identity.keys import KeyFile
from tests.serve.browser import answered, ask, needs_chromium, opened
from tests.serve.conftest import DOORS, Doors, local, running, toy

pytestmark = needs_chromium
ASSETS, PDF = 300 * 1024, 1800 * 1024
"""Bytes of the page, and of what it loads when a PDF is opened."""

ONE_ROW = ("menu", "title", "export", "details")

PAYLOADS = [
    "<script>window.hurt=1</script>",
    "<img src=x onerror='window.hurt=1'>",
    "<svg onload='window.hurt=1'></svg>",
    "<svg><script>window.hurt=1</script></svg>",
    "<svg><animate onbegin='window.hurt=1' attributeName=x dur=1s></svg>",
    "<iframe srcdoc='<script>parent.hurt=1</script>'></iframe>",
    "<iframe src='javascript:parent.hurt=1'></iframe>",
    "<a href='javascript:window.hurt=1'>click</a>",
    "[click](javascript:window.hurt=1)",
    "[click](JaVaScRiPt:window.hurt=1)",
    "[click](data:text/html,<script>opener.hurt=1</script>)",
    "[click](vbscript:hurt)",
    "![x](x' onerror='window.hurt=1)",
    '![x" onerror="window.hurt=1](x)',
    "<details open ontoggle='window.hurt=1'>x</details>",
    "<body onload='window.hurt=1'>",
    "<input autofocus onfocus='window.hurt=1'>",
    "<video><source onerror='window.hurt=1'></video>",
    "<audio src=x onerror='window.hurt=1'></audio>",
    "<object data='javascript:window.hurt=1'></object>",
    "<embed src='javascript:window.hurt=1'>",
    "<form action='javascript:window.hurt=1'><button id=go>go</button></form>",
    "<math><mtext><img src=x onerror='window.hurt=1'></mtext></math>",
    "<style>*{background:url('javascript:window.hurt=1')}</style>",
    "<link rel=stylesheet href='data:text/css,*{display:none}'>",
    "<meta http-equiv=refresh content='0;url=javascript:window.hurt=1'>",
    "<base href='//elsewhere.example/'>",
    "<noscript><p title='</noscript><img src=x onerror=window.hurt=1>'></noscript>",
    "`<img src=x onerror='window.hurt=1'>`\n\n```\n</pre><script>window.hurt=1</script>\n```",
    "</div></article><script>window.hurt=1</script><div id='question'>",
    "<template><script>window.hurt=1</script></template><x-y onclick='window.hurt=1'>z</x-y>",
]  # fmt: skip


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with running(local(toy(), settings=Settings(data=tmp_path / "data"))) as found:
        yield found


def test_a_conversation(browser: Browser, address: str, doors: Doors) -> None:
    doors.shut()
    with opened(browser, address) as page:
        ask(page, "Books")
        expect(page.locator(".message.user p")).to_have_text("Books")
        expect(page.locator("#stop")).to_be_visible()
        expect(page.locator('[data-node$="say"]')).to_have_attribute("data-state", "running")
        doors.open()
        answered(page)
        expect(page.locator(".answer .body")).to_have_text("Books stand on the shelf 1.")
        expect(page.locator('[data-node$="cite"]')).to_have_attribute("data-state", "done")
        page.locator(".answer .cite").click()
        expect(page.locator("#source-1 mark")).to_have_text("Books stand on the shelf.")
        page.locator("#tab-run").click()
        expect(page.locator("#run")).to_contain_text("First token")
        page.reload()
        expect(page.locator(".answer .body")).to_have_text("Books stand on the shelf 1.")
        expect(page.locator("#conversations .link span")).to_have_text("Books")
        ask(page, "Maps of the northern canals")
        answered(page, 2)
        with page.expect_download() as download:
            page.locator("#export").click()
        assert "## Question" in Path(download.value.path()).read_text()
        page.locator("#new").click()
        expect(page.locator(".welcome")).to_be_visible()
        page.locator("#conversations .link").click()
        expect(page.locator(".message.user")).to_have_count(2)
        page.locator("#conversations .remove").click()
        expect(page.locator("#conversations .link")).to_have_count(0)
        expect(page.locator(".welcome")).to_be_visible()


def test_stop(browser: Browser, address: str, doors: Doors) -> None:
    doors.shut()
    with opened(browser, address) as page:
        for number, how in enumerate(("button", "key"), start=1):
            ask(page, f"Long {how}")
            expect(page.locator("#stop")).to_be_visible()
            if how == "button":
                page.locator("#stop").click()
            else:
                page.keyboard.press("Escape")
            answered(page, number)
            said = "Stopped before an answer came."
            expect(page.locator(".answer .state").last).to_have_text(said)


def test_errors_are_shown_with_their_remedy(browser: Browser, address: str) -> None:
    with opened(browser, address, allowed=["401"]) as page:
        ask(page, "unreachable")
        expect(page.locator(".failure")).to_contain_text("the model cannot be reached")
        expect(page.locator(".failure")).to_contain_text("start it")
        page.reload()
        expect(page.locator(".failure")).to_contain_text("the model cannot be reached")


def test_a_key_is_asked_for(browser: Browser, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    key = KeyFile(keys).add("reader")
    settings = Settings(data=tmp_path / "data")
    with (
        running(app(toy(), keys=keys, settings=settings)) as address,
        opened(browser, address, allowed=["401"]) as page,
    ):
        expect(page.locator("#key-dialog")).to_be_visible()
        page.locator("#key-value").fill(key)
        page.keyboard.press("Enter")
        expect(page.locator("#key-dialog")).to_be_hidden()
        ask(page, "Books")
        answered(page)


def test_upload(browser: Browser, tmp_path: Path, real: Flow) -> None:
    note = tmp_path / "ferry.md"
    note.write_text("# Ferry\n\nThe ferry Borealis leaves at seven.\n")
    wrong = tmp_path / "picture.png"
    wrong.write_bytes(b"\x89PNG")
    with (
        running(local(real, settings=Settings(data=tmp_path / "data"))) as address,
        opened(browser, address, allowed=["415"]) as page,
    ):
        page.locator("#files").set_input_files(note)
        row = page.locator("#documents li.ready")
        expect(row).to_contain_text("ferry.md", timeout=30_000)
        ask(page, "When does the ferry Borealis leave?")
        expect(page.locator(".answer[aria-busy=false]")).to_have_count(1, timeout=60_000)
        expect(page.locator("#sources .source").first).to_contain_text("Ferry")
        page.locator("#files").set_input_files(wrong)
        expect(page.locator(".failure")).to_contain_text("unknown file type")
        page.get_by_role("button", name="Remove ferry.md").click()
        expect(page.locator("#documents li")).to_have_count(0)


@operator(writes="documents")
def found(query: str) -> list[Document]:
    """Find the payload itself."""
    about = {"path": f"{query}.md", "title": query}
    return [Document(id="x", page_content=f"{query} stands here.", metadata=about)]


@operator(writes="answer")
async def repeated(query: str, documents: list[Document], *, ctx: RunContext) -> str:
    """Answer with the payload."""
    ctx.token(query)
    await DOORS.pass_through(query)
    return query


def test_nothing_in_answers_or_documents_runs(browser: Browser, tmp_path: Path) -> None:
    flow = Flow(found() >> repeated() >> Cite(), name="<img src=x onerror=window.hurt=1>")
    assert len(PAYLOADS) >= 30
    forbidden = "#log :is(script, iframe, object, embed, form, img, style)"
    with (
        running(local(flow, settings=Settings(data=tmp_path / "data"))) as address,
        # What a browser refuses or cannot load it says; that is how it should be.
        opened(browser, address, allowed=["Content Security Policy", "404"]) as page,
    ):
        for number, payload in enumerate(PAYLOADS, start=1):
            ask(page, payload)
            answered(page, number)
            page.locator(".answer").last.click()
            for link in page.locator(".answer a").all():
                assert re.match(r"https?:|mailto:", link.get_attribute("href") or "https:")
            assert page.evaluate("window.hurt") is None, payload
            assert page.locator("#question").count() == 1
        assert page.locator(forbidden).count() == 0
        page.reload()
        expect(page.locator(".answer")).to_have_count(len(PAYLOADS))
        assert page.evaluate("window.hurt") is None
        assert page.url.startswith(address)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 360])
def test_accessibility(browser: Browser, address: str, scheme: Any, width: int) -> None:
    size = {"width": width, "height": 740}
    with opened(browser, address, color_scheme=scheme, viewport=size) as page:
        expect(page.locator("html")).to_have_attribute("data-theme", scheme)
        ask(page, "Books")
        answered(page)
        page.locator(".answer .cite").click()
        for tab in ("sources", "run"):
            page.locator(f"#tab-{tab}").click()
            results = Axe().run(page).response["violations"]
            serious = [one for one in results if one["impact"] in ("serious", "critical")]
            assert not serious, json.dumps(serious, indent=1)[:3000]
        page.locator("#close").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_head_on_a_phone(browser: Browser, tmp_path: Path, language: str) -> None:
    """Several pipelines, a long title, all buttons: nothing overflows or breaks its line."""
    flows = {"toy": toy(), "a pipeline with a rather long name, for once": toy()}
    options = {"viewport": {"width": 375, "height": 667}, "locale": language}
    settings = Settings(data=tmp_path / "data")
    with (
        running(local(flows, settings=settings)) as address,
        opened(browser, address, **options) as page,
    ):
        ask(page, "Where do all the books about the north lock stand, and since when")
        answered(page)
        boxes = {
            name: page.locator(f"#{name}").bounding_box()
            for name in ("menu", "title", "export", "details", "pipeline")
        }
        for name, box in boxes.items():
            assert box is not None, name
            assert box["x"] >= 0, name
            assert box["x"] + box["width"] <= 375, name
            assert box["height"] < 44, name  # one line of text
            assert box["width"] >= 48, name
        middles = {round(boxes[one]["y"] + boxes[one]["height"] / 2) for one in ONE_ROW}
        assert max(middles) - min(middles) <= 2
        assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_by_keyboard_alone(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        expect(page.locator("#question")).to_be_focused()
        page.keyboard.type("Books")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("and maps")
        page.keyboard.press("Enter")
        answered(page)
        assert "Books\nand maps" in page.locator(".message.user").inner_text()
        expect(page.locator("#say")).to_contain_text("Answered.")


def test_small_and_from_nowhere_else(browser: Browser, address: str) -> None:
    files = [path for path in FOLDER.rglob("*") if path.suffix in KINDS]
    page_files = [path for path in files if "pdf" not in path.parent.name]
    assert sum(path.stat().st_size for path in page_files) <= ASSETS
    assert sum(path.stat().st_size for path in files) <= ASSETS + PDF
    with opened(browser, address) as page:
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.reload()
        expect(page.locator("html")).to_have_attribute("data-ready", "true")
        assert all(url.startswith(address) for url in requests)
        assert not any("/pdf" in url for url in requests)
