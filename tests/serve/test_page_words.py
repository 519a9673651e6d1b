"""What the chat page says of numbers and dates, and what it leaves out."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Browser, expect

from rag.serve import Settings
from tests.serve.browser import answered, ask, needs_chromium, opened
from tests.serve.conftest import local, running, toy

pytestmark = needs_chromium


def test_conversations_are_dated_and_one_is_no_plural(browser: Browser, tmp_path: Path) -> None:
    with (
        running(local(toy(), settings=Settings(data=tmp_path / "data"))) as address,
        opened(browser, address) as page,
    ):
        for number in (1, 2):
            ask(page, "Books")
            answered(page)
            expect(page.locator("#conversations .link small")).to_have_count(number)
            page.get_by_role("button", name="New conversation", exact=True).click()
        expect(page.locator("#conversations .link small")).to_have_text(
            [re.compile(r"\d{1,2}:\d\d")] * 2
        )
        said = page.evaluate(
            """async () => {
              const { speaking } = await import(`${location.origin}/chat/i18n.js`);
              return ["en", "de"].flatMap((language) => [1, 2].map(
                (count) => speaking(language)("chunks", { count })));
            }"""
        )
        assert said == ["1 chunk", "2 chunks", "1 Abschnitt", "2 Abschnitte"]
        # Nobody is asked for a key where there are none.
        expect(page.locator("#key")).to_be_hidden()


def test_the_share_of_words_does_not_pass_for_an_answer(browser: Browser, tmp_path: Path) -> None:
    with (
        running(local(toy(), settings=Settings(data=tmp_path / "data"))) as address,
        opened(browser, address) as page,
    ):
        said = page.evaluate(
            "async () => (await import(`${location.origin}/chat/words/en.js`)).default"
        )
        assert said["support"] == "{share} % of the words"
        assert "nothing about whether the question is answered" in said["support_more"]
