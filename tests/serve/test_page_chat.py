"""What the chat page does beyond a question: several conversations, editing, rating, languages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from rag import Flow
from rag.operators import Generate
from rag.serve import Settings
from rag.testing.llm import ScriptedLLM
from tests.serve.browser import answered, ask, needs_chromium, opened, ready
from tests.serve.conftest import Doors, local, running, shelf, toy
from tests.serve.waiting import until

pytestmark = needs_chromium


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with running(local(toy(), settings=Settings(data=tmp_path / "data"))) as found:
        yield found


def bodies(page: Page) -> list[str]:
    return page.locator(".answer .body").all_inner_texts()


def button(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def test_a_conversation_goes_on_while_another_is_shown(
    browser: Browser, address: str, doors: Doors
) -> None:
    doors.shut()
    with opened(browser, address) as page:
        ask(page, "Books")
        until(lambda: "Books" in doors.entered)
        ask(page, "and more")
        expect(page.locator("#busy")).to_be_visible()
        assert page.locator("#question").input_value() == "and more"
        button(page, "New conversation").click()
        expect(page.locator("#busy")).to_be_hidden()
        expect(page.locator("#send")).to_be_visible()
        expect(page.locator("#conversations .link")).to_contain_text("is being answered")
        ask(page, "Maps")
        until(lambda: "Maps" in doors.entered)
        doors.open()
        answered(page)
        assert bodies(page) == ["Maps stand on the shelf 1."]
        expect(page.locator("#sources .passage")).to_have_text("Maps stand on the shelf.")
        page.get_by_role("button", name=re.compile("^Books")).first.click()
        expect(page.locator(".answer .body")).to_have_text("Books stand on the shelf 1.")
        expect(page.locator("#sources .passage")).to_have_text("Books stand on the shelf.")


def test_an_answer_goes_on_after_a_reload(browser: Browser, address: str, doors: Doors) -> None:
    doors.shut()
    with opened(browser, address) as page:
        ask(page, "Books")
        until(lambda: "Books" in doors.entered)
        expect(page).to_have_url(re.compile("#c="))
        page.reload()
        ready(page)
        expect(page.locator("#stop")).to_be_visible()
        expect(page.locator('[data-node$="say"]')).to_have_attribute("data-state", "running")
        doors.open()
        answered(page)
        assert bodies(page) == ["Books stand on the shelf 1."]
        assert doors.cancelled == []


def test_a_stopped_answer_is_so_after_a_reload(
    browser: Browser, address: str, doors: Doors
) -> None:
    doors.shut()
    with opened(browser, address) as page:
        ask(page, "Books")
        until(lambda: "Books" in doors.entered)
        page.keyboard.press("Escape")
        answered(page)
        until(lambda: "Books" in doors.cancelled)
        page.reload()
        ready(page)
        expect(page.locator(".answer .state")).to_have_text("Stopped before an answer came.")


def test_the_run_of_an_earlier_answer_is_shown(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        ask(page, "Books")
        answered(page)
        page.reload()
        ready(page)
        page.locator("#tab-run").click()
        expect(page.locator('#run [data-node$="cite"]')).to_have_attribute("data-state", "done")
        expect(page.locator("#run")).to_contain_text("In all")


def test_ask_again_and_edit(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        for number, text in enumerate(("Books", "Maps"), start=1):
            ask(page, text)
            answered(page, number)
        expect(button(page, "Ask again")).to_have_count(2)
        button(page, "Ask again").last.click()
        expect(page.locator(".message.user")).to_have_count(2)
        answered(page, 2)
        expect(button(page, "Edit the question")).to_have_count(2)
        button(page, "Edit the question").first.click()
        box = page.get_by_role("textbox", name="Edit the question")
        expect(box).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator(".message.user p").first).to_have_text("Books")
        expect(button(page, "Edit the question").first).to_be_focused()
        page.keyboard.press("Enter")
        box.fill("Boats")
        page.keyboard.press("Enter")
        expect(page.locator(".message.user p")).to_have_text(["Boats"])
        answered(page)
        expect(page.locator("#conversations .link span")).to_have_text("Boats")
        page.reload()
        ready(page)
        assert bodies(page) == ["Boats stand on the shelf 1."]


def test_copy(browser: Browser, address: str) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    with opened(browser, address, permissions=permissions) as page:
        ask(page, "Books")
        answered(page)
        button(page, "Copy").click()
        expect(page.locator("#toasts")).to_have_text("Copied.")
        assert page.evaluate("navigator.clipboard.readText()") == "Books stand on the shelf [1]."


def test_thumbs_and_a_comment(browser: Browser, address: str, client: Any) -> None:
    http = client(address)

    def exported() -> list[Any]:
        return [json.loads(line) for line in http.get("/feedback").text.splitlines()]

    with opened(browser, address) as page:
        ask(page, "Books")
        answered(page)
        for name in ("Good answer", "Bad answer"):
            expect(button(page, name).locator("svg path")).to_be_visible()
        button(page, "Bad answer").click()
        until(lambda: len(exported()) == 1)  # the thumb counts by itself
        page.get_by_label("Comment").fill("Not there.")
        page.get_by_label("The right answer, if you know it").fill("On shelf 2.")
        button(page, "Send").click()
        expect(page.locator("#say")).to_have_text("Thank you.")
        (row,) = exported()
        assert (row["rating"], row["comment"], row["correction"]) == (
            "bad",
            "Not there.",
            "On shelf 2.",
        )
        page.reload()
        ready(page)
        expect(button(page, "Bad answer")).to_have_attribute("aria-pressed", "true")
        button(page, "Good answer").click()
        expect(page.get_by_label("The right answer, if you know it")).to_be_hidden()
        button(page, "Cancel").click()
        expect(button(page, "Bad answer")).to_have_attribute("aria-pressed", "false")
        assert exported()[0]["rating"] == "good"
        button(page, "Good answer").click()
        expect(button(page, "Good answer")).to_have_attribute("aria-pressed", "false")
        until(lambda: exported() == [])


def test_conversations_are_found_renamed_and_had_back(
    browser: Browser, address: str, client: Any
) -> None:
    http = client(address)
    with opened(browser, address) as page:
        links = page.locator("#conversations .link span")
        for number, text in enumerate(("Books", "Maps"), start=1):
            ask(page, text)
            answered(page)
            expect(links).to_have_count(number)
            button(page, "New conversation").click()
        page.get_by_role("searchbox", name="Search conversations").fill("map")
        expect(links).to_have_text(["Maps"])
        page.get_by_role("searchbox").fill("nothing of the kind")
        expect(page.locator("#nothing")).to_have_text("Nothing found")
        page.get_by_role("searchbox").fill("")
        expect(links).to_have_text(["Maps", "Books"])

        button(page, "Rename Books").click()
        page.get_by_role("textbox", name="New title").fill("Shelves")
        page.keyboard.press("Enter")
        expect(links).to_have_text(["Maps", "Shelves"])
        expect(page.locator("#conversations .link").last).to_be_focused()

        button(page, "Delete Maps").click()
        expect(links).to_have_text(["Shelves"])
        assert len(http.get("/conversations").json()) == 2
        button(page, "Undo").click()
        expect(links).to_have_text(["Maps", "Shelves"])
        button(page, "Delete Maps").click()
        expect(links).to_have_text(["Shelves"])
        page.reload()  # whoever leaves meant it
        until(lambda: len(http.get("/conversations").json()) == 1)


@pytest.mark.parametrize(("locale", "word"), [("de-AT", "Fragen"), ("fr-FR", "Ask")])
def test_the_browsers_language(browser: Browser, address: str, locale: str, word: str) -> None:
    with opened(browser, address, locale=locale) as page:
        expect(page.locator("#send")).to_have_text(word)


def test_the_language_can_be_chosen(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        page.get_by_label("Language").select_option("Deutsch")
        expect(page.locator("#send")).to_have_text("Fragen")
        expect(page.locator("html")).to_have_attribute("lang", "de")
        ready(page)
        page.reload()
        expect(button(page, "Neues Gespräch")).to_be_visible()
        ready(page)


def test_both_languages_have_the_same_words(browser: Browser, address: str) -> None:
    code = """async () => {
        const at = `${location.origin}/chat/words`;
        const of = async (name) => (await import(`${at}/${name}.js`)).default;
        const shape = (words) => Object.entries(words).map(([name, text]) =>
          [name, [text].flat().map((one) => (one.match(/{\\w+}/g) || []).sort().join())]);
        return [shape(await of("en")), shape(await of("de"))].map((one) => one.sort());
    }"""
    with opened(browser, address) as page:
        english, german = page.evaluate(code)
        assert english == german
        names = {name for name, _ in english}
    used = set()
    for file in (Path(__file__).parents[2] / "rag/serve/page").rglob("*"):
        if file.suffix in (".js", ".html") and "vendor" not in file.parts:
            text = file.read_text()
            used |= set(re.findall(r"""\bt\("(\w+)"|data-t(?:-[a-z-]+)?="(\w+)\"""", text))
    assert {one for pair in used for one in pair if one} <= names


def test_name_and_logo(browser: Browser, tmp_path: Path) -> None:
    logo = tmp_path / "logo.svg"
    logo.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"/>')
    settings = Settings(data=tmp_path / "data", title="Harbour <b>", logo=logo)
    with running(local(toy(), settings=settings)) as address, opened(browser, address) as page:
        expect(page).to_have_title("Harbour <b>")
        expect(page.locator("#name")).to_have_text("Harbour <b>")
        expect(page.locator("#logo")).to_have_js_property("naturalWidth", 40)
        expect(button(page, "API key")).to_be_hidden()


def test_questions_are_suggested(browser: Browser, tmp_path: Path) -> None:
    answers = {"suggest_questions": "Which shelf is it?\nWho put them there?"}
    llm = ScriptedLLM(answers, default="On the shelf.")
    flow = Flow(shelf() >> Generate(), resources={"llm": llm})
    settings = Settings(data=tmp_path / "data", suggestions=3)
    with running(local(flow, settings=settings)) as address, opened(browser, address) as page:
        ask(page, "Where do books stand?")
        button(page, "Which shelf is it?").click()
        expect(page.locator(".message.user p")).to_have_text(
            ["Where do books stand?", "Which shelf is it?"]
        )
        answered(page, 2)


def test_what_the_buttons_are_called(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        ask(page, "Books")
        answered(page)
        expect(button(page, "Good answer")).to_be_visible()
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, input, textarea, select, dialog")]
              .filter((one) => !(one.ariaLabel || one.getAttribute("aria-labelledby")
                || one.textContent.trim() || one.labels?.length)).map((one) => one.outerHTML)"""
        )
        assert nameless == []
