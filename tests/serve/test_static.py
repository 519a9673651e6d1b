"""The page's files over HTTP: compressed, sent again only if they have changed, none found late."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rag.serve import Settings
from rag.serve.http.page import FOLDER
from tests.serve.conftest import local, running, toy

IMPORTED = re.compile(r'^import .*? from "(\./[^"]+)";', re.MULTILINE)
PRELOADED = re.compile(r'<link rel="modulepreload" href="([^"]+)">')


@pytest.fixture
def http(tmp_path: Path) -> Iterator[httpx.Client]:
    server = running(local(toy(), settings=Settings(data=tmp_path / "data")))
    with server as address, httpx.Client(base_url=address) as found:
        yield found


def test_a_file_is_compressed_and_sent_once(http: httpx.Client) -> None:
    first = http.get("/chat/app.js")
    assert first.headers["content-encoding"] == "gzip"
    assert first.text == (FOLDER / "app.js").read_text()
    assert first.num_bytes_downloaded < len(first.content) / 2
    again = http.get("/chat/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
    plain = http.get("/chat/app.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == first.content
    assert plain.headers["vary"] == first.headers["vary"] == "Accept-Encoding"
    # Another encoding is another answer, and another file, too
    tags = {one.headers["etag"] for one in (first, plain, http.get("/chat/chat.js"))}
    assert len(tags) == 3
    changed = http.get("/chat/app.js", headers={"If-None-Match": '"other"'})
    assert changed.status_code == 200


def test_a_large_file_is_not_compressed_while_others_wait(http: httpx.Client) -> None:
    found = http.get("/chat/vendor/pdf/pdf.mjs")
    assert "content-encoding" not in found.headers
    assert len(found.content) == (FOLDER / "vendor" / "pdf" / "pdf.mjs").stat().st_size
    kept = http.get("/chat/vendor/pdf/pdf.mjs", headers={"If-None-Match": found.headers["etag"]})
    assert kept.status_code == 304


def test_the_page_names_all_modules_at_once() -> None:
    """Else a browser asks for each only when it has read the one that imports it."""
    needed, reading = set[Path](), [FOLDER / "app.js"]
    while reading:
        module = reading.pop()
        found = {(module.parent / one).resolve() for one in IMPORTED.findall(module.read_text())}
        reading += found - needed
        needed |= found
    named = PRELOADED.findall((FOLDER / "index.html").read_text())
    assert len(named) == len(set(named))
    assert {(FOLDER / one).resolve() for one in named} == needed
