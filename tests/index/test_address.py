"""Stores of other packages, and batches that others write into."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from rag.errors import ConfigError, IndexStateError
from rag.index import Index, SourceUpdate, WriteReport
from rag.index.address import address_of
from rag.index.ingest.batch import Batch
from rag.index.local.address import FolderAddress
from rag.index.store import Address
from rag.testing import ScriptedEmbedder
from rag.text.chunk import Chunk
from tests.index.index_scenario import DIM, put

EMBEDDER = ScriptedEmbedder(DIM)


def toy(text: str, base: Path) -> Address:
    """The addresses of another package's store."""
    return FolderAddress(base / text.removeprefix("toy://"))


def test_another_package_brings_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("toy", "tests.index.test_address:toy", "rag.stores")
    monkeypatch.setattr("rag.index.address._others", lambda: (entry,))
    address = address_of("toy://box", tmp_path)
    put(Index.writer(address, embedder="scripted", dim=DIM), "a", "ferry")
    assert Index.open("toy://box", base=tmp_path).stats().chunks == 1
    with pytest.raises(ConfigError, match="did you mean 'toy'"):
        address_of("tou://box", tmp_path)


def test_a_source_that_another_writer_changes_is_planned_again(tmp_path: Path) -> None:
    index = Index.writer(tmp_path, embedder="scripted", dim=DIM)
    put(index, "a", "ferry", "lock")
    batch = Batch(index, EMBEDDER)
    batch.add("a", [Chunk("ferry"), Chunk("keel")])
    batch.add("b", [Chunk("jetty")])
    put(index, "a", "lock")  # which takes away what the plan was to keep
    EMBEDDER.batches.clear()
    assert batch.commit() == WriteReport(3, 0, 1)
    assert sorted(chunk.text for chunk in index.of_source("a")) == ["ferry", "keel"]
    assert sorted(EMBEDDER.texts) == ["ferry", "jetty", "keel"]
    index.close()


def test_a_source_that_others_change_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index.writer(tmp_path, embedder="scripted", dim=DIM)

    def busy(updates: Sequence[SourceUpdate]) -> WriteReport:
        return WriteReport(0, 0, 0, tuple(update.plan.uri for update in updates))

    monkeypatch.setattr(index, "write", busy)
    batch = Batch(index, EMBEDDER)
    batch.add("a", [Chunk("ferry")])
    with pytest.raises(IndexStateError, match="write to a all the time"):
        batch.commit()
    index.close()
