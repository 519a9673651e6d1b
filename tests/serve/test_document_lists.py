"""Long lists of documents: read page by page, searched, in the API and on the page."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from rag.index.local.address import FolderAddress
from rag.serve import Settings
from rag.serve.errors import Problem
from rag.serve.state.database import Database
from rag.serve.state.server_state import ServerState
from rag.serve.uploads.uploads import UPLOADS_SCHEMA, Uploads
from tests.serve.browser import needs_chromium, opened
from tests.serve.conftest import local, running, toy

MANY = 1205


def with_digits(digits: str) -> list[str]:
    """Names of uploads whose number has these digits, the latest first."""
    return [f"Note {one} 100%.md" for one in reversed(range(MANY)) if digits in str(one)]


def fill(db: Database, user: str) -> None:
    """Uploads, two at each point in time."""
    for number in range(MANY):
        row = (f"{number:032x}", user, user, f"Note {number} 100%.md", float(number // 2))
        db.execute(
            "INSERT INTO documents (id, owner, collection, name, created, pipeline, path, bytes, "
            "status) VALUES (?, ?, ?, ?, ?, 'toy', '', 1, 'ready')",
            row,
        )


def test_the_list_is_read_page_by_page(state_at: Path | str, tmp_path: Path) -> None:
    async def run() -> None:
        state = ServerState(state_at, UPLOADS_SCHEMA)
        await state.open()
        kept = Uploads(
            state, tmp_path, address=lambda *_: FolderAddress(tmp_path / "index"),
            max_bytes=10, max_documents=10_000, max_user_bytes=10**6, kept=lambda: None,
        )  # fmt: skip
        await state.do(lambda db: fill(db, "ann"))
        read, after = [], None
        while page := await kept.of("ann", after, 500):
            read += [one.id for one in page]
            after = page[-1].id
        assert read == [f"{number:032x}" for number in reversed(range(MANY))]
        found = await kept.of("ann", None, 500, "note 120")
        assert [one.name for one in found] == with_digits("120")
        assert len(await kept.of("ann", None, 5, "% NOTE")) == 5
        assert await kept.of("ann", None, 5, "_") == []
        assert await kept.of("ben") == []
        with pytest.raises(Problem):
            await kept.of("ben", read[0])
        await state.close()

    asyncio.run(run())


@needs_chromium
def test_the_page_shows_more_and_searches(browser: Browser, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(local(toy(), settings=Settings(data=data))) as address:
        with opened(browser, address) as page:
            expect(page.locator("#find")).to_be_hidden()

        async def run() -> None:
            state = ServerState(data / "serve.sqlite", UPLOADS_SCHEMA)
            await state.open()
            await state.do(lambda db: fill(db, "user"))
            await state.close()

        with ThreadPoolExecutor(1) as thread:  # this one runs the browser's event loop
            thread.submit(asyncio.run, run()).result()
        with opened(browser, address) as page:
            names = page.locator("#documents .name")
            expect(names).to_have_count(50)
            page.locator("#documents .more button").click()
            expect(names).to_have_count(100)
            expect(names.first).to_have_text("Note 1204 100%.md")
            page.locator("#find").fill("note 77")
            expect(names).to_have_text(with_digits("77"))
            page.locator("#find").fill("")
            expect(names).to_have_count(50)
