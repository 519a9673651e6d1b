"""Writes to Qdrant that are killed between their steps, and addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag.errors import ConfigError, IndexStateError
from rag.index import Index
from rag.index.address import address_of
from rag.index.qdrant.address import QdrantAddress
from rag.index.qdrant.client import Client
from rag.index.qdrant.sources import Sources
from rag.index.qdrant.write import Writer
from tests.index.index_scenario import DIM, embed, put


class Killed(BaseException):
    """The process dies."""


@pytest.fixture
def address(tmp_path: Path) -> QdrantAddress:
    return QdrantAddress("", tmp_path / "qdrant", "book")


@pytest.fixture
def index(address: QdrantAddress) -> Iterator[Index]:
    opened = Index.writer(address, embedder="scripted", dim=DIM)
    put(opened, "a", "ferry one", "ferry two")
    yield opened
    opened.close()


def die(*_: Any, **__: Any) -> None:
    raise Killed


def nothing(*_: Any, **__: Any) -> None:
    pass


def texts(index: Index) -> list[list[str]]:
    """What each way of looking finds of the source."""
    found = index.dense(embed("ferry"), 9), index.sparse("ferry lock", 9)
    ways = [[hit.chunk.text for hit in hits] for hits in found]
    return [sorted(way) for way in (*ways, [chunk.text for chunk in index.of_source("a")])]


@pytest.mark.parametrize(
    ("broken", "wanted"),
    [
        # before the switch: nothing happened
        ({"put": die, "_delete": nothing}, ["ferry one", "ferry two"]),
        # behind it: all of it happened
        ({"_delete": die}, ["ferry one", "lock"]),
    ],
)
def test_a_write_that_is_killed_between_its_steps(
    index: Index,
    monkeypatch: pytest.MonkeyPatch,
    broken: dict[str, Callable[..., None]],
    wanted: list[str],
) -> None:
    with monkeypatch.context() as patched:
        for name, replacement in broken.items():
            patched.setattr(Sources if name == "put" else Writer, name, replacement)
        with pytest.raises(Killed):
            put(index, "a", "ferry one", "lock")
    assert texts(index) == [wanted] * 3
    assert index.stats().chunks == 2
    assert index.stats().tombstones == 2
    put(index, "b", "keel")
    put(index, "a", "ferry one", "lock", "keel")
    assert index.stats().tombstones == 0
    assert index.verify() == []


def test_a_source_is_switched_only_from_what_it_was(index: Index, address: QdrantAddress) -> None:
    client = Client(address)
    sources = Sources(client)
    before = sources.get(["a"])["a"]
    after = replace(before, generation="other", number=2)
    assert sources.put(after, before)
    assert not sources.put(replace(after, generation="late"), before)
    assert not sources.put(replace(after, generation="late"), None)
    assert sources.get(["a"])["a"] == after
    assert sources.put(replace(after, source=replace(after.source, uri="b")), None)
    client.close()


def test_what_was_left_is_swept(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Writer, "_delete", die)
        put(index, "a", "lock")
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Sources, "put", die)
        patched.setattr(Writer, "_delete", nothing)
        put(index, "new", "keel")
    (problem,) = index.verify()
    assert "left 2 points of a" in problem.what
    index.compact()
    assert index.verify() == []
    assert index.stats().tombstones == 1  # a write of `new` may be under way
    monkeypatch.setattr("rag.index.qdrant.write.LONGEST", -1)
    index.compact()
    assert index.stats().tombstones == 0
    assert texts(index) == [["lock"]] * 3


def test_sources_that_lack_chunks_are_forgotten(index: Index, address: QdrantAddress) -> None:
    put(index, "b", "keel", "jetty")
    client = Client(address)
    (point, *_) = (point for point in client.scroll() if point.payload["source"] == "b")
    client("delete", points_selector=[point.id])
    client.close()
    assert [problem.what for problem in index.verify()] == ["b is to have 2 chunks and has 1"]
    assert index.rebuild() == ["b"]
    assert index.verify() == []
    assert texts(index)[1] == ["ferry one", "ferry two"]


def test_a_server_that_is_not_there_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(IndexStateError, match="cannot be reached") as failed:
        Index.open("qdrant://127.0.0.1:1/book")
    assert failed.value.where == "qdrant://127.0.0.1:1/book"

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"title": "qdrant", "version": "1.15.4"})

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _, request: answer(request))
    with pytest.raises(IndexStateError, match=r"Qdrant 1\.15\.4") as failed:
        Index.open("qdrant://old/book")
    assert failed.value.fix == "run Qdrant 1.16 or later"


def test_addresses(tmp_path: Path) -> None:
    for text, url in {
        "qdrant://host/book": "http://host:6333",
        "qdrant://host:7000/book/": "http://host:7000",
        "qdrant+https://host/book": "https://host:6333",
    }.items():
        address = address_of(text)
        assert isinstance(address, QdrantAddress)
        assert (address.url, address.collection) == (url, "book")
    assert str(address_of("qdrant+https://host/book")) == "qdrant+https://host:6333/book"
    folder = address_of("qdrant+file://./q/book", tmp_path)
    assert isinstance(folder, QdrantAddress)
    assert (folder.folder, str(folder)) == (tmp_path / "q", f"qdrant+file://{tmp_path}/q/book")
    assert address_of(str(folder)).key == folder.key
    for wrong, what in {
        "qdrant://host": "names no collection",
        "qdrant://key@host/book": "QDRANT_API_KEY",
        "qdrant://host/bo ok": "names no collection",
        "quadrant://host/book": "did you mean 'qdrant'",
    }.items():
        with pytest.raises(ConfigError, match=what):
            address_of(wrong)
