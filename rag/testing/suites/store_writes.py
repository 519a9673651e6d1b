"""What holds for the writes of every store: alone, at once, and cut off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from langchain_core.documents import Document

from rag.errors import IndexStateError
from rag.index import Index, IndexWriter, SourceUpdate, WriteReport
from rag.index.store import Address
from rag.index.types import NewChunk
from rag.testing.encoders import ScriptedEmbedder
from rag.testing.suites.store_fixtures import (
    EMBEDDER,
    Reader,
    StoreFixtures,
    put,
    texts_of,
    update,
    vector,
)
from rag.text.chunk import Chunk

SIZE = 12
"""Chunks of a source that is replaced again and again."""


class _Killed(BaseException):
    """The writing process dies."""


class _DyingList(list[NewChunk]):
    """New chunks of which the last one is never read."""

    def __iter__(self) -> Iterator[NewChunk]:
        yield from self[:-1]
        raise _Killed


class StoreWrites(StoreFixtures):
    """Tests of the writes of a store."""

    def test_vectors_of_equal_texts_are_found(self, index: Index) -> None:
        """Of any source, by all of what is embedded, while the chunk is there."""
        old = Chunk("ferry", {"title": "Port", "pooled_within": "x"})
        put(index, "late", old)
        put(index, "a", Chunk("ferry", {"title": "Port", "n": 1}), "lock \U0001f6a2", "")
        asked = [
            Chunk("lock \U0001f6a2"),
            Chunk("ferry"),
            Chunk("ferry", {"title": "Port", "n": 2}),
            Chunk("keel"),
        ]
        assert sorted(index.vectors_of_equal(asked)) == [0, 2]
        found = index.vectors_of_equal(asked)
        assert found[0] == pytest.approx(vector("lock \U0001f6a2"), abs=1e-6)
        assert found[2] == pytest.approx(vector("ferry"), abs=1e-6)
        index.delete(["a"])
        assert index.vectors_of_equal(asked) == {}

    def test_equal_texts_are_embedded_once_in_all_runs(
        self, address: Address, opened: list[Index]
    ) -> None:
        """A later run and another source ask the embedder for what is new only."""

        def run(source: str, *texts: str) -> list[str]:
            embedder = ScriptedEmbedder(16)
            documents = [Document(text, metadata={"source": source}) for text in texts]
            IndexWriter(address).write(documents, embedder)
            return embedder.texts

        assert run("a", "ferry one", "lock one") == ["ferry one", "lock one"]
        assert run("b", "lock one", "ferry one") == []
        assert run("c", "ferry one", "keel") == ["keel"]
        opened.append(Index.open(address))
        hits = opened[0].dense(vector("ferry one"), 3)
        assert sorted(hit.chunk.source for hit in hits) == ["a", "b", "c"]
        assert [hit.score for hit in hits] == pytest.approx([1, 1, 1], abs=1e-5)
        assert opened[0].verify() == []

    def test_an_interrupted_write_leaves_the_old_source_whole(
        self, index: Index, reader: Reader, address: Address, opened: list[Index]
    ) -> None:
        """Whatever stops a write, nothing of it is seen, and the next one goes through."""
        put(index, "a", "ferry one", "ferry two")
        other = reader()
        before = other.dense(vector("ferry"), 9)
        todo = update(index, "a", ["lock one", "lock two", "lock three"])
        killed = replace(todo, plan=replace(todo.plan, new=_DyingList(todo.plan.new)))
        with pytest.raises(_Killed):
            index.write([killed])
        wrong = SourceUpdate(todo.plan, np.full((3, 16), np.nan, dtype=np.float32))
        for bad in (wrong, replace(todo, vectors=todo.vectors[:2])):
            with pytest.raises(ValueError, match="vectors"):
                index.write([bad])
        index.close()
        opened.remove(index)
        again = Index.writer(address, embedder="scripted", dim=16)
        opened.append(again)
        for one in (again, other):
            assert one.dense(vector("ferry"), 9) == before
            assert one.sparse("lock", 9) == []
            assert texts_of(one.of_source("a")) == ["ferry one", "ferry two"]
        assert again.write([todo]) == WriteReport(3, 0, 2)
        assert sorted(texts_of(other.sparse("lock", 9))) == ["lock one", "lock three", "lock two"]
        assert again.verify() == []

    def test_a_source_that_was_changed_since_its_plan_stays_as_it_is(self, index: Index) -> None:
        """It is reported, and what else is written is written."""
        stale = update(index, "a", ["ferry"])
        put(index, "a", "lock")
        other = update(index, "b", ["keel"])
        assert index.write([stale, other]) == WriteReport(1, 0, 0, ("a",))
        assert texts_of(index.of_source("a")) == ["lock"]
        assert texts_of(index.of_source("b")) == ["keel"]

    def test_readers_see_whole_sources_only(self, index: Index, reader: Reader) -> None:
        """A search while a source is replaced finds all of what it was, or all of what it is."""
        put(index, "other", "anchor")
        put(index, "a", *_version(0))
        other, done = reader(), threading.Event()
        failures: list[BaseException] = []

        def write() -> None:
            try:
                for number in range(1, 15):
                    put(index, "a", *_version(number))
            except BaseException as error:
                failures.append(error)
                raise
            finally:
                done.set()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            while not done.is_set():
                self._check_whole(other)
        finally:
            writer.join()
        assert not failures
        assert texts_of(other.of_source("a")) == _version(14)

    def _check_whole(self, index: Index) -> None:
        where = {"source": "a"}
        both = index.hybrid(
            "ferry", vector("ferry"), 99, depth=50, score=lambda some: some.sparse, where=where
        )
        for found in (
            texts_of(index.dense(vector("ferry"), 99, where=where)),
            texts_of(index.sparse("ferry", 99)),
            texts_of(index.of_source("a")),
            texts_of(both),
        ):
            (number,) = {text.split()[2] for text in found}
            assert sorted(found) == sorted(_version(int(number)))

    def test_two_writers(self, index: Index, address: Address) -> None:
        """Of one source the last one to be written whole stays; different ones all get in."""
        if not self.shared:
            with pytest.raises(IndexStateError, match="another process"):
                Index.writer(address, embedder="scripted", dim=16)
            put(index, "a", "ferry")
            return
        writers = [IndexWriter(address) for _ in range(3)]
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for turn in range(6):
                    own = [_document(f"{number}.{turn}", text) for text in _version(turn)]
                    same = [_document("same", f"ferry of {number}.{turn} {n}") for n in range(SIZE)]
                    writers[number].write([*own, *same], EMBEDDER)
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        same = texts_of(index.of_source("same"))
        (last,) = {text.split()[2] for text in same}
        assert last.endswith(".5")
        assert sorted(same) == sorted(f"ferry of {last} {n}" for n in range(SIZE))
        for number in range(3):
            for turn in range(6):
                assert texts_of(index.of_source(f"{number}.{turn}")) == _version(turn)
        assert index.stats().chunks == 19 * SIZE == len(index.dense(vector("ferry"), 999))
        assert index.verify() == []

    def test_another_embedder_is_refused(
        self, index: Index, address: Address, opened: list[Index]
    ) -> None:
        """Vectors of one are nothing to the other: both are named."""
        put(index, "a", "ferry")
        with pytest.raises(IndexStateError, match=r"of other.*with scripted"):
            index.dense(vector("ferry"), 1, embedder="other")
        with pytest.raises(IndexStateError, match="16"):
            index.dense(np.ones(8, dtype=np.float32), 1)
        index.close()
        opened.remove(index)
        for embedder, dim in (("other", 16), ("scripted", 8)):
            with pytest.raises(IndexStateError, match=rf"scripted .16.*{embedder} .{dim}"):
                Index.writer(address, embedder=embedder, dim=dim)

    def test_another_format_is_refused(
        self, index: Index, address: Address, opened: list[Index]
    ) -> None:
        """By readers and writers, with a word on what to do."""
        put(index, "a", "ferry")
        index.close()
        opened.remove(index)
        self.age(address)
        with pytest.raises(IndexStateError, match="format") as refused:
            Index.open(address)
        assert refused.value.fix
        with pytest.raises(IndexStateError, match="format"):
            Index.writer(address, embedder="scripted", dim=16)

    def test_collections_are_apart(
        self, index: Index, address: Address, opened: list[Index]
    ) -> None:
        """Each collection's index is one of its own, beside the shared one."""
        put(index, "a", "ferry of all")
        places = {name: address.of_collection(name) for name in ("one", "two", "o-ne_" + "x" * 59)}
        assert len({place.key for place in places.values()} | {address.key}) == 4
        for name, place in places.items():
            assert not place.exists()
            opened.append(Index.writer(place, embedder="scripted", dim=16))
            put(opened[-1], "a", f"ferry of {name}")
        for name, one in zip(places, opened[-3:], strict=True):
            assert texts_of(one.sparse("ferry", 9)) == [f"ferry of {name}"]
            assert texts_of(one.dense(vector("ferry"), 9)) == [f"ferry of {name}"]
            assert texts_of(one.of_source("a")) == [f"ferry of {name}"]
        opened[-1].delete(["a"])
        assert texts_of(index.sparse("ferry", 9)) == ["ferry of all"]
        assert opened[-2].stats().chunks == 1

    def test_what_is_derived_is_made_again(self, index: Index, reader: Reader) -> None:
        """A rebuilt index answers as before."""
        for uri in ("a", "b"):
            put(index, uri, f"ferry of {uri}", f"lock of {uri}")
        index.delete(["b"])
        before = index.dense(vector("ferry"), 9), texts_of(index.sparse("ferry", 9))
        assert index.rebuild() == []
        for one in (index, reader()):
            assert (one.dense(vector("ferry"), 9), texts_of(one.sparse("ferry", 9))) == before
            assert one.verify() == []


def _version(number: int) -> list[str]:
    return [f"ferry version {number} {n}" for n in range(SIZE)]


def _document(uri: str, text: str) -> Document:
    return Document(page_content=text, metadata={"source": uri})
