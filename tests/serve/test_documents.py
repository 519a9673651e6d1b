"""Uploads: kept, ingested, deleted; and what is refused."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag import Flow
from rag.errors import LoadError
from rag.index import Index
from rag.models import Embedder
from rag.operators import BM25
from rag.serve import Settings
from rag.serve.errors import Problem
from rag.serve.service import Service
from rag.serve.uploads.inspection import inspect, limit_this_process
from rag.serve.uploads.uploads import safe_name
from tests.serve.conftest import local, running
from tests.serve.waiting import until

NOTE = b"# Ferry\n\nThe ferry Borealis leaves the quay at seven.\n"


@pytest.fixture
def http(tmp_path: Path, real: Flow) -> Iterator[httpx.Client]:
    limits = Settings(data=tmp_path / "data", max_upload=400_000, max_pages=3, max_text=20_000)
    with (
        running(local(real, settings=limits)) as address,
        httpx.Client(base_url=address, timeout=60) as found,
    ):
        yield found


def send(http: httpx.Client, name: str, data: bytes) -> httpx.Response:
    return http.post("/documents", files={"files": (name, data)})


def ready(http: httpx.Client, key: str) -> dict[str, Any]:
    def done() -> bool:
        return http.get(f"/documents/{key}").json()["status"] in ("ready", "failed")

    until(done, 60)
    found: dict[str, Any] = http.get(f"/documents/{key}").json()
    return found


def places(http: httpx.Client) -> list[str]:
    answer = http.post("/ask", json={"query": "When does the ferry Borealis leave?"}).json()
    return [source["place"].split(",")[0].rpartition("/")[2] for source in answer["sources"]]


def test_a_document_comes_and_goes(http: httpx.Client) -> None:
    response = send(http, "ferry.md", NOTE)
    assert response.status_code == 202
    (document,) = response.json()
    assert document["status"] in ("queued", "ingesting")
    done = ready(http, document["id"])
    assert (done["status"], done["chunks"], done["progress"]) == ("ready", 1, 1.0)
    assert "ferry.md" in places(http)
    again = send(http, "ferry.md", NOTE.replace(b"seven", b"nine")).json()
    assert again[0]["id"] == document["id"]
    assert ready(http, document["id"])["status"] == "ready"
    assert len(http.get("/documents").json()) == 1
    assert http.delete(f"/documents/{document['id']}").status_code == 204
    assert http.delete(f"/documents/{document['id']}").status_code == 404
    assert "ferry.md" not in places(http)


def test_uploads_are_split_as_the_pipeline_says(
    tmp_path: Path, embedder: Embedder, client: Any
) -> None:
    """As `rag ingest` splits: by what is said at the index, and with the metadata given there."""
    text = b"# One\n\nThe first.\n\n# Two\n\nThe second.\n\n# Three\n\nThe third.\n"
    counts = {}
    for name, said in {
        "whole": {"splitter": "sentence"},
        "headings": {"splitter": "markdown", "metadata": {"*": {"shelf": "notes"}}},
    }.items():
        spec = {"path": str(tmp_path / name), **said}
        flow = Flow(BM25(k=9), name=name, resources={"index": spec, "embedder": embedder})
        with running(local(flow, settings=Settings(data=tmp_path / f"{name}-data"))) as address:
            http = client(address)
            (sent,) = send(http, "notes.md", text).json()
            counts[name] = ready(http, sent["id"])["chunks"]
        with closing(Index.open(tmp_path / name)) as index:
            (source,) = index.sources()
            chunks = index.of_source(source.uri)
            assert len(chunks) == counts[name]
            assert {chunk.metadata.get("shelf") for chunk in chunks} == {
                "notes" if "metadata" in said else None
            }
    assert counts == {"whole": 1, "headings": 3}


def test_pages_and_words_of_the_list(http: httpx.Client) -> None:
    for name in ("ferry.md", "quay.md", "ferry two.md"):
        assert send(http, name, NOTE).status_code == 202
    first, second = http.get("/documents?limit=2").json()
    (third,) = http.get(f"/documents?limit=2&after={second['id']}").json()
    assert [first["name"], second["name"], third["name"]] == ["ferry two.md", "quay.md", "ferry.md"]
    found = http.get("/documents", params={"search": "FERRY"}).json()
    assert [one["name"] for one in found] == ["ferry two.md", "ferry.md"]
    assert http.get(f"/documents?after={'0' * 32}").status_code == 404
    assert http.get("/documents?limit=1001").status_code == 422


def docx(parts: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in parts.items():
            file.writestr(name, data)
    return packed.getvalue()


def pdf(pages: int) -> bytes:
    from reportlab.pdfgen.canvas import Canvas

    made = io.BytesIO()
    canvas = Canvas(made)
    for number in range(pages):
        canvas.drawString(100, 700, f"page {number}")
        canvas.showPage()
    canvas.save()
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("picture.png", b"\x89PNG\r\n", "unknown file type"),
        ("picture.md", b"\x89PNG\r\n", "no .md"),
        ("program.txt", b"\x7fELF\x02\x01", "no .txt"),
        ("empty.md", b"", "empty"),
        ("note.pdf", NOTE, "no PDF"),
        ("note.txt", b"%PDF-1.7", "a PDF"),
        ("note.docx", NOTE, "no DOCX"),
        ("..", NOTE, "no usable name"),
        ("big.txt", b"x" * 400_001, "the limit is"),
    ],
)
def test_refused_at_once(http: httpx.Client, name: str, data: bytes, why: str) -> None:
    response = send(http, name, data)
    assert response.status_code in (413, 415)
    assert why in response.json()["what"]
    assert http.get("/documents").json() == []


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("bomb.docx", docx({"word/document.xml": b"<x>" + b" " * 220_000_000}), "unpacks to more"),
        ("other.docx", docx({"hello.txt": b"hello"}), "no DOCX"),
        ("long.pdf", pdf(4), "4 pages, the limit is 3"),
        ("broken.pdf", pdf(1)[:300], ""),
        ("wordy.txt", b"word " * 8000, "characters of text"),
        ("nested.html", b"<div>" * 30_000, ""),
    ],
)
def test_refused_when_it_is_read(http: httpx.Client, name: str, data: bytes, why: str) -> None:
    (document,) = send(http, name, data).json()
    found = ready(http, document["id"])
    if why:
        assert found["status"] == "failed"
        assert why in found["detail"]
    assert http.get("/health").status_code == 200
    (after,) = send(http, "ferry.md", NOTE).json()
    assert ready(http, after["id"])["status"] == "ready"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd.txt", "passwd.txt"),
        ("..\\..\\windows\\system.md", "system.md"),
        ("/absolute/path.md", "path.md"),
        (".hidden.md", "hidden.md"),
        ("a\x00b\n.md", "a_b_.md"),
        ("x" * 300 + ".md", "x" * 117 + ".md"),
        ("Straße 1 (Kopie).md", "Straße 1 (Kopie).md"),
    ],
)
def test_names(given: str, kept: str) -> None:
    assert safe_name(given) == kept


@pytest.mark.parametrize("name", ["", "..", "/", ".md", "\\"])
def test_no_names(name: str) -> None:
    with pytest.raises(Problem, match="name"):
        safe_name(name)


def test_nothing_accepted_is_lost(tmp_path: Path, real: Flow) -> None:
    """A server that stops before the work is done takes it up at its next start."""
    settings = Settings(data=tmp_path / "data")
    service = Service(real, settings)
    with running(local(real, service=service)) as address, httpx.Client(base_url=address) as http:
        service.upload_worker.drain()
        (document,) = send(http, "ferry.md", NOTE).json()
    with running(local(real, settings=settings)) as address, httpx.Client(base_url=address) as http:
        assert ready(http, document["id"])["status"] == "ready"


def test_inspection_without_limits_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows has no module `resource`: files are still inspected, in a process of their own."""
    monkeypatch.setitem(sys.modules, "resource", None)
    assert limit_this_process(2**30, 10) is False
    note = tmp_path / "ferry.md"
    note.write_bytes(NOTE)
    assert inspect(note, pages=1, text=1000) > 40
    with pytest.raises(LoadError, match="characters of text"):
        inspect(note, pages=1, text=10)


def test_a_url_is_not_fetched(http: httpx.Client) -> None:
    for body in ({"url": "http://127.0.0.1:1/x.md"}, {"files": "http://127.0.0.1:1/x.md"}):
        assert http.post("/documents", json=body).status_code == 422
