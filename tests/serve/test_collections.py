"""Collections: listed with their documents, chosen for a question; nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request

from rag import Flow
from rag.models import Embedder
from rag.operators import BM25, WriteIndex
from rag.serve import Identity, Settings, app
from tests.serve.conftest import running, toy
from tests.serve.waiting import until


def by_header(request: Request) -> Identity:
    """The user that a header names."""
    return Identity(request.headers.get("x-user", "ann"))


@pytest.fixture(scope="module")
def place(library: Path, embedder: Embedder, tmp_path_factory: Any) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("collections")
    resources = {"index": str(library), "embedder": embedder}
    flows = {
        "search": Flow(BM25(k=3), resources=resources),
        "toy": toy(),
        "learns": Flow(BM25(k=1) >> WriteIndex(), resources=resources),
    }
    settings = Settings(data=folder / "data")
    with running(app(flows, identity=by_header, settings=settings)) as address:
        yield address


def found(http: Any, collections: Any) -> list[str]:
    body = {"query": "north lock boats Kestrel", "collections": collections}
    return sorted({one["path"] for one in http.post("/ask", json=body).json()["sources"]})


def test_collections_are_listed_and_chosen(place: str, client: Any) -> None:
    http = client(place)
    http.post("/documents", files={"files": ("own.md", "# Own\n\nThe boat Kestrel is mine.\n")})
    until(lambda: http.get("/documents").json()[0]["status"] == "ready", 60)
    assert http.get("/collections").json() == [
        {"name": "shared", "documents": 2, "uploads": False},
        {"name": "ann", "documents": 1, "uploads": True},
    ]
    names = [one["name"] for one in http.get("/collections/shared/documents").json()]
    assert names == ["boats.md", "locks.md"]
    (page,) = http.get("/collections/shared/documents?offset=1&limit=1").json()
    assert (page["name"], page["chunks"] > 0, len(page["id"])) == ("locks.md", True, 32)
    assert found(http, None) == ["boats.md", "locks.md", "own.md"]
    assert found(http, ["ann"]) == ["own.md"]
    assert found(http, ["shared"]) == ["boats.md", "locks.md"]
    assert found(http, ["ann", "shared"]) == ["boats.md", "locks.md", "own.md"]


def test_documents_of_a_collection_are_found_by_name(place: str, client: Any) -> None:
    http = client(place)

    def named(**query: Any) -> list[str]:
        answer = http.get("/collections/shared/documents", params=query)
        return [one["name"] for one in answer.json()]

    assert named(search="LOCKS") == ["locks.md"]
    assert named(search="md boats") == ["boats.md"]
    assert named(search="md", offset=1) == ["locks.md"]
    assert named(search="index") == named(search="%") == []  # folders are no names


def test_collections_of_others_are_refused(place: str, client: Any) -> None:
    http = client(place, headers={"x-user": "bob"})
    assert [one["name"] for one in http.get("/collections").json()] == ["shared", "bob"]
    assert http.get("/collections/bob/documents").json() == []
    assert http.get("/collections/ann/documents").status_code == 403
    for collections, status in ((["ann"], 403), (["shared", "ann"], 403), ([], 422)):
        body = {"query": "Kestrel", "collections": collections}
        answer = http.post("/ask", json=body)
        assert (answer.status_code, answer.json()["where"]) == (status, "collections")


def test_a_pipeline_without_an_index_has_none(place: str, client: Any) -> None:
    http = client(place)
    assert http.get("/collections?pipeline=toy").json() == []
    assert http.get("/collections/shared/documents?pipeline=toy").json() == []
    assert http.get("/collections?pipeline=other").status_code == 404


def test_what_writes_needs_the_users_own_collection(place: str, client: Any) -> None:
    body = {"query": "north", "pipeline": "learns", "collections": ["shared"]}
    refused = client(place).post("/ask", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "needed_collection")
