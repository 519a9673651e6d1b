"""An index in Qdrant embedded again: killed at each call, and raced by writers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from rag.errors import IndexStateError
from rag.index import Index
from rag.index.ingest.reembed import reembed
from rag.index.qdrant import mark
from rag.index.qdrant.address import QdrantAddress
from rag.index.qdrant.client import Client
from rag.index.qdrant.mark import Mark
from rag.testing.encoders import ScriptedEmbedder
from tests.index.test_reembed import Other, docs, fill, found

__all__ = ["docs"]
OLD = ScriptedEmbedder(dim=16)


class Killed(BaseException):
    """The process dies."""


@pytest.fixture
def address(tmp_path: Path) -> QdrantAddress:
    return QdrantAddress("", tmp_path / "qdrant", "book")


def collections(address: QdrantAddress) -> set[str]:
    with closing(Client(address)) as client:
        return set(client.collections())


def at_call(number: int, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> list[int]:
    """Do something at a call of Qdrant that changes something; counts these calls."""
    calls, real = [0], Client._call

    def call(self: Client, method: str, arguments: Any) -> Any:
        if method in {"upsert", "delete", "create_collection", "delete_collection"}:
            calls[0] += 1
            if calls[0] >= number:
                act()
        return real(self, method, arguments)

    monkeypatch.setattr(Client, "_call", call)
    return calls


def test_killed_at_each_call(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die() -> None:
        raise Killed

    calm = QdrantAddress("", tmp_path / "calm", "book")
    fill(calm, docs, OLD)
    before = found(calm, OLD)
    with monkeypatch.context() as patched:
        calls = at_call(10**9, patched, die)
        reembed(calm, Other(dim=24))
    wanted, switched = found(calm, Other(dim=24)), 0
    for number in range(1, calls[0] + 1, 3):
        address = QdrantAddress("", tmp_path / f"killed{number}", "book")
        fill(address, docs, OLD)
        with monkeypatch.context() as patched:
            at_call(number, patched, die)
            with pytest.raises(Killed):
                reembed(address, Other(dim=24))
        # A mark that the dead process has left stops writers for some minutes only.
        monkeypatch.setattr(mark, "CLOSING", -1)
        with closing(Index.open(address)) as index:
            embedder = index.embedder
        if embedder == "scripted":
            assert found(address, OLD) == before
            fill(address, docs, OLD)
            reembed(address, Other(dim=24))
        else:
            switched += 1
        assert found(address, Other(dim=24)) == wanted
        with closing(Index.writer(address, embedder="other", dim=24)) as index:
            index.compact()
            assert index.verify() == []
        names = {"book.sources", "book.again.1", "book.again.1.sources"}
        assert collections(address) == names
    assert switched


def test_again_and_again(docs: Path, address: QdrantAddress) -> None:
    class Third(Other):
        id = "third"

    fill(address, docs, OLD)
    readers = [Index.open(address)]
    for number, embedder in enumerate([Other(dim=24), Third(dim=8), ScriptedEmbedder(dim=16)], 1):
        reembed(address, embedder)
        assert len(found(address, embedder)) == 24
        with pytest.raises(IndexStateError, match=f"embedded again, with {embedder.id}"):
            readers[-1].of_source(str(docs / "0.md"))
        readers.append(Index.open(address))
        assert f"book.again.{number - 1}" not in collections(address)
    kept = {"book.sources", "book.again.2.sources", "book.again.3", "book.again.3.sources"}
    assert collections(address) == kept
    for reader in readers:
        reader.close()


def test_what_is_written_in_the_last_moment_is_copied_or_refused(
    docs: Path, address: QdrantAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(address, docs, OLD)
    move = Mark.move
    refused: list[str] = []

    def late(self: Mark, *arguments: Any) -> None:
        (docs / "0.md").write_text("Too late.")
        with pytest.raises(IndexStateError, match="just being embedded again") as caught:
            fill(address, docs, OLD)
        refused.append(str(caught.value.fix))
        move(self, *arguments)

    monkeypatch.setattr(Mark, "move", late)
    before = found(address, OLD)
    reembed(address, Other(dim=16))
    assert refused == ["wait until that is done, and write again with that embedder"]
    assert len(found(address, Other(dim=16))) == len(before)
    fill(address, docs, Other(dim=16))
    assert "Too late." in {text for text, _ in found(address, Other(dim=16))}


def test_a_process_that_was_taken_for_dead_does_not_switch(
    docs: Path, address: QdrantAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(address, docs, OLD)
    move = Mark.move

    def slow(self: Mark, *arguments: Any) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(mark, "CLOSING", -1)
            (docs / "0.md").write_text("It was waited for too long.")
            fill(address, docs, OLD)
        move(self, *arguments)

    monkeypatch.setattr(Mark, "move", slow)
    with pytest.raises(IndexStateError, match="another process embeds"):
        reembed(address, Other(dim=16))
    assert "It was waited for too long." in {text for text, _ in found(address, OLD)}
    monkeypatch.undo()
    with suppress(KeyError):
        reembed(address, Other(dim=16))
    assert "It was waited for too long." in {text for text, _ in found(address, Other(dim=16))}
