"""The documents behind answers: what opens, for whom, and how a browser is told to show it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import httpx
import pytest
from fastapi import Header, HTTPException

from rag import Flow
from rag.errors import RagError
from rag.index import IndexBinding
from rag.index.ingest.ingest import ingest
from rag.index.ingest.plan import plan
from rag.models import Embedder
from rag.operators import BM25, Cite
from rag.serve import Identity, Settings, app
from rag.serve.documents.links import Links, link_of
from rag.serve.identity.identity import EVERY_GROUP
from rag.text.chunk import Chunk
from tests.serve.conftest import running, say
from tests.serve.test_documents import ready

EVIL = "<html><script>alert(1)</script><body><p>The mole is open to anglers.</p></body></html>"
FILES = {
    "locks.md": "# Locks\n\nThe north lock may be opened by the lock-keeper, and nobody else.\n",
    "mole.html": EVIL,
    "ferries.csv": "name,seats\nAurora,40\n",
    "old.txt": "Das Stra\xdfenschild am Kai ist rot.\n",
    "pay.md": "# Pay\n\nThe harbour master earns nine coins.\n",
}


def pdf(*pages: str) -> bytes:
    from reportlab.pdfgen.canvas import Canvas

    made = io.BytesIO()
    canvas = Canvas(made)
    for text in pages:
        canvas.drawString(100, 700, text)
        canvas.showPage()
    canvas.save()
    return made.getvalue()


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Flow:
    """A flow over files below its root, and one outside of it."""
    base = tmp_path_factory.mktemp("harbour")
    folder = base / "docs"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="latin-1" if name == "old.txt" else "utf-8")
    (folder / "tides.pdf").write_bytes(pdf("The tides page.", "Spring tides reach six metres."))
    (base / "outside.txt").write_text("The smugglers meet at midnight.\n")
    spec = {
        "path": str(base / "index"),
        "root": str(folder),
        "metadata": {"pay.md": {"access": "hr"}},
    }
    made = Flow(
        BM25(k=1) >> say() >> Cite(), name="locks", resources={"index": spec, "embedder": embedder}
    )
    binding = IndexBinding(made.resources)
    index = binding.writer()
    try:
        todo = plan([folder, base / "outside.txt"], index, "x", root=binding.root)
        ingest(todo, index, embedder, split=binding.splitter(), fingerprint="x")
    finally:
        index.close()
    return made


def user(x_user: Annotated[str | None, Header()] = None) -> Identity:
    if x_user is None:
        raise HTTPException(401)
    return Identity(x_user, groups=frozenset({x_user}))


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory, flow: Flow) -> Iterator[httpx.Client]:
    settings = Settings(data=tmp_path_factory.mktemp("served") / "data")
    with (
        running(app(flow, identity=user, settings=settings)) as address,
        httpx.Client(base_url=address, headers={"X-User": "ann"}, timeout=30) as found,
    ):
        yield found


def source(http: httpx.Client, query: str) -> dict[str, Any]:
    """The passage that is found first."""
    answer = http.post("/ask", json={"query": query}).json()
    found: dict[str, Any] = answer["sources"][0]
    return found


def test_a_citation_opens_the_file(http: httpx.Client) -> None:
    found = source(http, "north lock keeper")
    opened = http.get(found["link"])
    assert opened.status_code == 200
    assert opened.text == FILES["locks.md"]
    assert opened.headers["content-type"] == "text/plain; charset=utf-8"
    assert opened.headers["content-disposition"] == 'inline; filename="locks.md"'
    assert "sandbox" in opened.headers["content-security-policy"]
    assert opened.headers["x-content-type-options"] == "nosniff"
    assert opened.headers["cross-origin-resource-policy"] == "same-origin"
    words = unquote(found["link"].partition("#:~:text=")[2])
    assert words
    assert words in FILES["locks.md"]
    as_text = http.get(f"/documents/{found['id']}/content", params={"form": "text"})
    assert "nobody else" in as_text.text
    assert "content-disposition" not in as_text.headers


def test_a_pdf_opens_at_its_page_and_in_parts(http: httpx.Client) -> None:
    found = source(http, "spring tides metres")
    assert found["link"].endswith("#page=2")
    opened = http.get(found["link"])
    assert opened.content.startswith(b"%PDF")
    assert opened.headers["content-type"] == "application/pdf"
    assert opened.headers["content-disposition"].startswith("inline")
    part = http.get(found["link"], headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"%PDF")
    text = http.get(f"/documents/{found['id']}/content", params={"form": "text"}).text
    assert "The tides page." in text
    assert "Spring tides" in text


def test_html_is_never_shown_as_such(http: httpx.Client) -> None:
    found = source(http, "mole anglers")
    shown = http.get(found["link"])
    assert shown.headers["content-type"] == "text/plain; charset=utf-8"
    assert "open to anglers" in shown.text
    assert "<script" not in shown.text
    whole = http.get(f"/documents/{found['id']}/content", params={"form": "original"})
    assert whole.text == EVIL
    assert whole.headers["content-disposition"].startswith("attachment")


def test_other_encodings(http: httpx.Client) -> None:
    found = source(http, "Straßenschild Kai")
    opened = http.get(found["link"])
    assert opened.content == FILES["old.txt"].encode("latin-1")
    assert opened.headers["content-type"] == "text/plain"


def test_tables_are_text(http: httpx.Client) -> None:
    opened = http.get(source(http, "Aurora seats")["link"])
    assert opened.text == FILES["ferries.csv"]
    assert opened.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_file_outside_of_the_root_stays_closed(http: httpx.Client) -> None:
    found = source(http, "smugglers midnight")
    assert http.get(found["link"]).text.strip() == "The smugglers meet at midnight."
    whole = http.get(f"/documents/{found['id']}/content", params={"form": "original"})
    assert (whole.status_code, whole.json()["code"]) == (404, "no_original")


@pytest.mark.parametrize("change", ["written", "linked", "gone"])
def test_a_file_that_is_another_now_stays_closed(
    http: httpx.Client, flow: Flow, change: str
) -> None:
    found = source(http, "Aurora seats")
    path = Path(flow.resources.specs["index"]["root"]) / "ferries.csv"
    before, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.unlink()
    try:
        if change == "written":
            path.write_bytes(before.replace(b"40", b"41"))
        if change == "linked":
            other = path.parents[1] / "other.csv"
            other.write_bytes(before)
            os.utime(other, ns=times)
            path.symlink_to(other)
        opened = http.get(found["link"])
        assert opened.status_code == 200
        assert "content-disposition" not in opened.headers
        assert "Aurora" in opened.text
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(before)
        os.utime(path, ns=times)


def test_only_who_may_see_a_document_opens_it(http: httpx.Client) -> None:
    hr = {"X-User": "hr"}
    found = http.post("/ask", json={"query": "harbour master earns coins"}, headers=hr).json()
    link = next(one["link"] for one in found["sources"] if "nine coins" in one["text"])
    assert http.get(link, headers=hr).text == FILES["pay.md"]
    refused = http.get(link)
    assert (refused.status_code, refused.json()["code"]) == (404, "no_document")
    unknown = httpx.get(f"{http.base_url}/{link}")
    assert unknown.status_code == 401
    assert http.get(f"/documents/{'0' * 32}/content").status_code == 404


def test_uploads_open_by_their_own_id_for_their_owner(http: httpx.Client) -> None:
    files = {"files": ("gulls.html", b"<p>Gulls nest on the crane.</p>")}
    (upload,) = http.post("/documents", files=files).json()
    assert ready(http, upload["id"])["status"] == "ready"
    path = f"/documents/{upload['id']}/content"
    assert http.get(path).text.strip() == "Gulls nest on the crane."
    assert http.get(path, params={"form": "original"}).content == files["files"][1]
    assert http.get(path, headers={"X-User": "ben"}).status_code == 404
    found = source(http, "gulls nest crane")
    whole = http.get(found["link"].replace("content?", "content?form=original&"))
    assert whole.content == files["files"][1]


def test_strangers_see_text_only(tmp_path: Path, flow: Flow) -> None:
    with (
        running(app(flow, settings=Settings(data=tmp_path / "data"))) as address,
        httpx.Client(base_url=address) as http,
    ):
        found = source(http, "spring tides metres")
        opened = http.get(found["link"])
        assert opened.headers["content-type"] == "text/plain; charset=utf-8"
        assert "Spring tides" in opened.text


def test_what_a_link_names() -> None:
    key = "0123456789abcdef" * 2

    def chunk(text: str = "x", **about: Any) -> Chunk:
        return Chunk(text, {"source": "a.md", **about}, key)

    path = f"documents/{key}/content?pipeline=p%26q"
    assert link_of(chunk(page=3), "p&q") == f"{path}#page=3"
    line = "\n## Why\n\nOne, two-three & four five six seven eight nine"
    shown = "One%2C%20two%2Dthree%20%26%20four%20five%20six%20seven%20eight"
    assert link_of(chunk(line), "p&q") == f"{path}#:~:text={shown}"
    assert (
        link_of(chunk(line), "p&q", "Some other words.") == f"{path}#:~:text=Some%20other%20words."
    )
    assert link_of(chunk("two words"), "p&q") == path
    assert link_of(chunk(source="https://example.org/a"), None) == "https://example.org/a"
    assert link_of(chunk(source="javascript:alert(1)"), None) is None
    assert link_of(chunk(), None) is None
    assert link_of(Chunk("x", {"source": "a.md"}, "other"), "p") is None
    assert link_of(Chunk("x", {}, key), "p") is None


def test_signed_links(http: httpx.Client) -> None:
    links = Links(lambda: b"s" * 32, 60)
    who = Identity("ann", ("shared", "own"), groups=frozenset({"hr", EVERY_GROUP}))
    token = links.sign(who, "p", "0" * 32)
    read, pipeline, document = links.read(token)
    assert (pipeline, document) == ("p", "0" * 32)
    assert (read.user, read.collections, read.groups) == ("ann", ("shared", "own"), who.groups)
    assert read.may == {"ask"}
    for wrong in (token[:-2], token[:30] + "AA" + token[32:], "", "é", "A"):
        with pytest.raises(RagError, match="not made by this server"):
            links.read(wrong)
    with pytest.raises(RagError, match="not made by this server"):
        Links(lambda: b"t" * 32, 60).read(token)
    with pytest.raises(RagError, match="time of this link"):
        links.read(Links(lambda: b"s" * 32, -60).sign(who, "p", "0" * 32))
    refused = httpx.get(f"{http.base_url}/links/{token}")
    assert (refused.status_code, refused.json()["code"]) == (404, "no_link")
