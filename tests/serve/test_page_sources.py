"""Documents on the chat page: opened at the passage, listed, chosen, had back; traces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from reportlab.pdfgen.canvas import Canvas

from rag import Document, Flow, operator
from rag.models import Embedder
from rag.operators import BM25, Cite, Generate
from rag.serve import Identity, Settings, app
from rag.testing.llm import ScriptedLLM
from tests.serve.browser import answered, ask, needs_chromium, opened
from tests.serve.conftest import running
from tests.serve.waiting import until

pytestmark = needs_chromium
BRIDGE = "The Quarry Bridge carries forty tonnes in dry weather."


def pdf(path: Path) -> None:
    """Two pages, the bridge on the second."""
    canvas = Canvas(str(path))
    canvas.drawString(72, 720, "Locks are not bridges, and this page has none.")
    canvas.showPage()
    canvas.drawString(72, 720, BRIDGE)
    canvas.save()


@operator(writes="documents")
def turned(documents: list[Document]) -> list[Document]:
    """Turn the order round."""
    return documents[::-1]


@pytest.fixture(scope="module")
def place(library: Path, embedder: Embedder, tmp_path_factory: Any) -> Iterator[str]:
    """A server over a shared collection, and ann's own with a PDF."""
    import httpx

    folder = tmp_path_factory.mktemp("sources")
    llm = ScriptedLLM("The Quarry Bridge carries forty tonnes in dry weather.")
    resources = {"index": str(library), "embedder": embedder, "llm": llm}
    flow = Flow(BM25(k=3) >> turned() >> Generate() >> Cite(), resources=resources, name="cites")
    pdf(folder / "bridge.pdf")
    made = app(flow, identity=lambda: Identity("ann"), settings=Settings(data=folder / "data"))
    with running(made) as address, httpx.Client(base_url=address, timeout=60) as http:
        text = f"# Notes\n\nA first line.\n\n{BRIDGE}\n\nAnd a last line.\n"
        for name, data in (("bridge.pdf", (folder / "bridge.pdf").read_bytes()), ("b.md", text)):
            http.post("/documents", files={"files": (name, data)})
        until(lambda: {one["status"] for one in http.get("/documents").json()} == {"ready"}, 120)
        yield address


def test_a_text_opens_at_the_passage(browser: Browser, place: str) -> None:
    with opened(browser, place) as page:
        ask(page, "What does the Quarry Bridge carry in dry weather?")
        answered(page)
        card = page.locator(".source", has_text="b.md").first
        if card.get_attribute("open") is None:
            card.locator("summary").click()
        card.get_by_role("button", name="Open the document").click()
        viewer = page.get_by_role("dialog")
        expect(viewer.locator("mark, .shaded").first).to_contain_text("forty tonnes")
        expect(viewer.locator(".document")).to_contain_text("And a last line.")
        page.keyboard.press("Escape")
        expect(page.locator("#viewer")).to_be_hidden()


def test_a_pdf_opens_on_its_page_with_the_passage_marked(browser: Browser, place: str) -> None:
    with opened(browser, place) as page:
        loaded: list[str] = []
        page.on("request", lambda request: loaded.append(request.url))
        ask(page, "What does the Quarry Bridge carry in dry weather?")
        answered(page)
        assert not any("pdf.mjs" in url for url in loaded)
        card = page.locator(".source", has_text="bridge.pdf").first
        if card.get_attribute("open") is None:
            card.locator("summary").click()
        card.get_by_role("button", name="Open the document").click()
        viewer = page.get_by_role("dialog")
        expect(viewer.get_by_role("status")).to_have_text("Page 2 of 2")
        expect(viewer.locator("mark")).to_have_text(BRIDGE)
        expect(viewer.locator("canvas")).to_be_visible()
        dark = """(one) => one.getContext("2d").getImageData(0, 0, one.width, one.height)
            .data.some((value, at) => at % 4 === 0 && value < 90)"""
        assert viewer.locator("canvas").evaluate(dark)
        viewer.get_by_role("button", name="Previous page").click()
        expect(viewer.get_by_role("status")).to_have_text("Page 1 of 2")
        expect(viewer.locator(".text-layer")).to_contain_text("Locks are not bridges")
        viewer.get_by_role("button", name="Close").click()
        expect(page.locator("#viewer")).to_be_hidden()


def test_collections_are_listed_chosen_and_opened(browser: Browser, place: str) -> None:
    with opened(browser, place) as page:
        shared = page.locator(".collection", has_text="Shared documents: 2 documents")
        expect(page.locator(".collection", has_text="ann: 2 documents")).to_be_visible()
        shared.locator("summary").click()
        page.get_by_role("button", name="Open locks.md").click()
        expect(page.get_by_role("dialog")).to_contain_text("lock keeper on duty")
        page.keyboard.press("Escape")
        page.get_by_role("checkbox", name="Search in ann").uncheck()
        ask(page, "What does the Quarry Bridge or the north lock carry?")
        answered(page)
        expect(page.locator("#sources .where").first).to_be_attached()
        names = page.locator("#sources .where").all_inner_texts()
        assert names
        assert not any("bridge.pdf" in one or "b.md" in one for one in names)
        page.get_by_role("checkbox", name="Search in Shared documents").click()
        expect(page.get_by_role("checkbox", name="Search in Shared documents")).to_be_checked()


def test_the_trace_shows_prompts_and_rankings(browser: Browser, place: str) -> None:
    with opened(browser, place) as page:
        ask(page, "What does the Quarry Bridge carry in dry weather?")
        answered(page)
        page.locator("#tab-run").click()
        step = page.locator(".step", has_text="turned").first
        step.locator("summary").first.click()
        rows = step.locator(".ranking tbody tr")
        # No figure and no word of the head is broken over two lines
        broken = """cells => cells.filter(cell => {
            const range = document.createRange();
            range.selectNodeContents(cell);
            return !cell.textContent.includes(" ") && range.getClientRects().length > 1;
        }).map(cell => cell.textContent)"""
        assert step.locator(".ranking td, .ranking thead th").evaluate_all(broken) == []
        count = rows.count()
        assert count >= 2
        expect(rows.first.locator("td").nth(1)).to_have_text(str(count))
        expect(rows.last.locator("td").nth(1)).to_have_text("1")
        call = page.locator(".step", has_text="generate").first
        call.locator("summary").first.click()
        call.get_by_text("Prompt", exact=True).click()
        expect(call.locator("pre").filter(has_text="What does the Quarry Bridge")).to_be_visible()
        expect(call.locator("pre").last).to_contain_text("forty tonnes")


def test_a_deleted_document_can_be_had_back(browser: Browser, place: str, client: Any) -> None:
    with opened(browser, place) as page:
        rows = page.locator("#documents li")
        expect(rows).to_have_count(2)
        page.get_by_role("button", name="Remove b.md").click()
        expect(rows).to_have_count(1)
        expect(page.locator("#toasts")).to_contain_text("b.md is deleted.")
        page.get_by_role("button", name="Undo").click()
        expect(rows).to_have_count(2)
        assert len(client(place).get("/documents").json()) == 2
