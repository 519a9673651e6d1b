"""What holds for every store of an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from langchain_core.documents import Document

from rag.errors import IndexStateError
from rag.index import Index, Source, WriteReport
from rag.index.ingest.ingest import ingest
from rag.index.ingest.plan import plan as plan_files
from rag.index.store import Address
from rag.operators import Neighbours, Parents
from rag.testing.suites.store_fixtures import EMBEDDER, Reader, put, texts_of, update, vector
from rag.testing.suites.store_searches import StoreSearches
from rag.testing.suites.store_writes import StoreWrites
from rag.text.chunk import Chunk
from rag.text.splitting import split

TEXT = "# Locks\n\n" + " ".join(f"Sentence {n} is about lock {n}." for n in range(12))


def _whole(documents: Sequence[Document]) -> list[Chunk]:
    return [Chunk.of(document) for document in documents]


class StoreSuite(StoreSearches, StoreWrites):
    """Tests of a store. Subclass it in a test module, and override `address` and `age`.

    Attributes:
        shared: Whether several processes may write at once; else a second writer is refused.
        nul: Whether a text's character 0 comes back; else it comes back as U+FFFD.
    """

    def test_there_is_none_before_it_is_made(self, address: Address) -> None:
        """Nothing exists, and nothing is made by looking."""
        assert not address.exists()
        with pytest.raises(IndexStateError):
            Index.open(address)
        with pytest.raises(IndexStateError):
            Index.writer(address, embedder="scripted", dim=16, create=False)
        assert not address.exists()

    def test_an_empty_one_answers_with_nothing(
        self, index: Index, reader: Reader, address: Address
    ) -> None:
        """Searches, look-ups and counts."""
        for one in (index, reader()):
            assert (one.embedder, one.dim) == ("scripted", 16)
            for hits in (
                one.dense(vector("ferry"), 5),
                one.dense(vector("ferry"), 5, where={"a": 1}),
                one.sparse("ferry", 5),
                one.sparse("", 5),
                one.dense_sources(vector("ferry"), 5),
                one.hybrid("ferry", vector("x"), 5, depth=5, score=lambda some: some.dense),
            ):
                assert hits == []
            for chunks in (one.get(["x"]), one.of_source("a"), [*one.batches(9)]):
                assert not chunks
            assert one.known(["a"]) == {}
            assert list(one.sources()) == []
            stats = one.stats()
            assert (stats.sources, stats.chunks, stats.address) == (0, 0, str(address))
            assert one.verify() == []
        assert address.exists()

    def test_what_is_written_comes_back(self, index: Index, reader: Reader) -> None:
        """Texts, metadata, ids and sources, in any script."""
        metadata = {"n": 2**63 - 1, "f": 0.1, "none": None, "deep": [{"ä": ["x", 1.5]}], "t": True}
        texts = ["the ferry crosses", "zwei Fähren \U0001f6a2 \u202e", "x" * 100_000, "", "a\0b"]
        uri = "dir/ü \udce9 'q\" %s \\.md"
        put(index, uri, *(Chunk(text, {**metadata, "start": n}) for n, text in enumerate(texts)))
        other = reader()
        for one in (index, other):
            chunks = one.of_source(uri)
            wanted = [text if self.nul else text.replace("\0", "\ufffd") for text in texts]
            assert [chunk.text for chunk in chunks] == wanted
            own = {"source": uri.encode(errors="backslashreplace").decode(), "start": 0}
            assert dict(chunks[0].metadata) == {**metadata, **own}
            ids = [str(chunk.id) for chunk in chunks]
            assert len(set(ids)) == 5
            assert one.get([ids[1], "unknown", ids[0]]) == [chunks[1], chunks[0]]
            (hit,) = one.sparse("FERRIES crossing", 1)
            assert hit.chunk == chunks[0]
            assert hit.score > 0
            (hit,) = one.dense(vector("the ferry crosses"), 1)
            assert hit.chunk == chunks[0]
            assert hit.score == pytest.approx(1, abs=1e-5)
        batches = [texts_of(batch) for batch in other.batches(2)]
        assert batches == [wanted[:2], wanted[2:4], wanted[4:]]

    def test_sources(self, index: Index) -> None:
        """Digests, sizes and times as they were given; sources without chunks too."""
        big = 2**63 - 1
        first = update(index, "b", ["ferry"])
        index.write([replace(first, digest="d1", size=big, mtime_ns=big)])
        put(index, "a")
        a, b = Source("a", "", 0, 0, 0), Source("b", "d1", big, big, 1)
        assert list(index.sources()) == [a, b]
        assert index.known(["b", "unknown", "a"]) == {"a": a, "b": b}
        index.write([replace(update(index, "b", ["ferry"]), digest="d2", size=1, mtime_ns=2)])
        assert index.source("b") == Source("b", "d2", 1, 2, 1)

    def test_only_what_is_new_is_embedded(self, index: Index) -> None:
        """Chunks that are there keep their vectors, take new metadata, and are told apart."""
        assert put(index, "a", "ferry", "lock", "lock") == WriteReport(3, 0, 0)
        chunks = [Chunk("keel"), Chunk("lock", {"page": 2}), Chunk("ferry")]
        assert index.plan("a", chunks).texts == ["keel"]
        assert index.plan("b", chunks).texts == ["keel", "lock", "ferry"]
        assert put(index, "a", *chunks) == WriteReport(1, 2, 1)
        assert index.dense(vector("ferry"), 1)[0].chunk.text == "ferry"
        assert index.sparse("lock", 5)[0].chunk.page == 2
        assert len(index.sparse("lock", 5)) == 1
        assert put(index, "a", *chunks) == WriteReport(0, 3, 0)

    def test_what_a_source_has_no_longer_is_found_nowhere(
        self, index: Index, reader: Reader
    ) -> None:
        """Replaced chunks and deleted sources."""
        other = reader()
        put(index, "a", "ferry old", "lock old")
        put(index, "b", "ferry of b")
        gone = [str(chunk.id) for chunk in index.of_source("a")]
        before = other.version()
        put(index, "a", "ferry new")
        assert other.version() != before
        for one in (index, other):
            assert one.get(gone) == []
            assert {hit.chunk.text for hit in one.dense(vector("old"), 9)} == {
                "ferry new",
                "ferry of b",
            }
            assert one.sparse("old", 9) == []
            assert (one.stats().sources, one.stats().chunks) == (2, 2)
        assert index.delete(["a", "unknown"]) == 1
        for one in (index, other):
            assert one.source("a") is None
            assert [hit.chunk.source for hit in one.dense(vector("x"), 9)] == ["b"]
            assert [hit.chunk.source for hit in one.sparse("ferry", 9)] == ["b"]
        index.compact()
        assert [hit.chunk.source for hit in other.sparse("ferry", 9)] == ["b"]
        assert index.verify() == []

    def test_files_are_ingested_and_pruned(
        self, index: Index, tmp_path: Path, reader: Reader
    ) -> None:
        """Only what changed is read, and files that are gone leave the index."""
        docs = tmp_path / "docs"
        docs.mkdir()
        for name in ("a", "b", "c"):
            (docs / f"{name}.md").write_text(f"The {name} ferry.")

        def run(prune: bool = False) -> tuple[int, int, int]:
            todo = plan_files([docs], reader(), "f", prune=prune)
            done = ingest(todo, index, EMBEDDER, split=_whole, fingerprint="f")
            return done.files, done.unchanged, done.removed

        assert run() == (3, 0, 0)
        (docs / "a.md").write_text("The other ferry.")
        (docs / "b.md").unlink()
        assert run() == (1, 1, 0)
        assert run(prune=True) == (0, 2, 1)
        assert {hit.chunk.title for hit in reader().sparse("ferry", 9)} == {"a", "c"}

    def test_longer_passages_are_put_together(self, index: Index) -> None:
        """Neighbours, parents and headings come of the chunks of a source, in any order written."""
        document = Document(page_content=TEXT, metadata={"source": "a.md", "title": "A"})
        chunks = split([document], size=14, overlap=0, parents=(40, 20))
        put(index, "a.md", *chunks[::-1])
        stored = index.of_source("a.md")
        assert texts_of(stored) == texts_of(chunks)
        assert stored[3].headings == ("Locks",)
        (window,) = Neighbours().run([stored[3].document()], index=index)
        assert window.page_content.startswith(stored[2].text)
        assert window.page_content.endswith(stored[4].text)
        parent = Parents().run([stored[3].document()], index=index)[0]
        assert len(stored[3].text) < len(parent.page_content) < len(TEXT)
        assert parent.page_content in TEXT
