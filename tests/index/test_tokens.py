"""Token vectors that are kept with an index: what they save, and when they go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document

from rag.flow import Flow
from rag.index import Index
from rag.index.embedding import embed_chunks
from rag.index.ingest.batch import Batch
from rag.index.tokens import FILE, TokenVectors
from rag.models import Embedder
from rag.operators.post_retrieval.rerank import Rerank, late_interaction
from rag.text.chunk import Chunk

WORDS = ["keeper", "opens", "the", "north", "lock", "at", "ten", "before", "boats", "pass"]


class Counting(Embedder):
    """Each word is a token with a vector of its own; it counts what it computes."""

    id, dim, window = "counting", 16, 512

    def __init__(self) -> None:
        self.computed: list[str] = []

    def token_vectors(self, texts: Sequence[str], *, query: bool = False) -> list[np.ndarray]:
        if not query:
            self.computed += texts
        return [np.stack([_vector(word) for word in text.split()]) for text in texts]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return self.embed_both(texts)[0]

    def embed_both(self, texts: Sequence[str]) -> tuple[np.ndarray, list[np.ndarray] | None]:
        tokens = [np.stack([_vector(word) for word in text.split()]) for text in texts]
        means = np.stack([one.mean(0) for one in tokens])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32), tokens

    def embed_query(self, text: str) -> np.ndarray:
        return self.embed([text])[0]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def _vector(word: str) -> np.ndarray:
    found = np.random.default_rng(sum(map(ord, word))).standard_normal(16)
    # What is kept in half precision comes back as it was.
    return (found / np.linalg.norm(found)).astype(np.float16).astype(np.float32)


def filled(folder: Path, embedder: Embedder, sources: dict[str, list[str]]) -> Index:
    index = Index.writer(folder, embedder=embedder.id, dim=embedder.dim)
    batch = Batch(index, embedder)
    for uri, texts in sources.items():
        batch.add(uri, [Chunk(text, {"source": uri}) for text in texts])
    batch.commit()
    return index


@pytest.fixture
def embedder() -> Counting:
    return Counting()


TEXTS = [" ".join(WORDS[at : at + 4]) for at in range(6)]


def kept(index: Index, embedder: Embedder, chunks: Sequence[Chunk]) -> set[str]:
    return set(index.tokens.get(embedder.id, embedder.dim, chunks))


def test_reranking_computes_no_chunk_that_the_index_has(tmp_path: Path, embedder: Counting) -> None:
    index = filled(tmp_path / "index", embedder, {"a": TEXTS})
    found = [chunk.document() for chunk in index.of_source("a")]
    query = "when does the keeper open"
    with_index = late_interaction(query, found, embedder, index)
    assert embedder.computed == []
    assert with_index == late_interaction(query, found, embedder)
    assert embedder.computed == TEXTS
    embedder.computed.clear()
    flow = Flow(
        Rerank(k=2),
        inputs={"query": str, "documents": list[Document]},
        resources={"embedder": embedder, "index": index},
    )
    assert len(flow.invoke(query=query, documents=found)["documents"]) == 2
    assert embedder.computed == []
    index.close()


def test_a_chunk_that_goes_takes_its_vectors_along(tmp_path: Path, embedder: Counting) -> None:
    index = filled(tmp_path / "index", embedder, {"a": TEXTS[:3], "b": TEXTS[3:]})
    of_a, of_b = index.of_source("a"), index.of_source("b")
    assert kept(index, embedder, of_a + of_b) == set(TEXTS)
    batch = Batch(index, embedder)
    batch.add("a", [Chunk(text, {"source": "a"}) for text in TEXTS[:2]])
    batch.commit()
    assert kept(index, embedder, of_a) == set(TEXTS[:2])
    index.delete(["b"])
    assert kept(index, embedder, of_b) == set()
    index.close()


def test_another_embedder_or_text_gets_nothing(tmp_path: Path, embedder: Counting) -> None:
    index = filled(tmp_path / "index", embedder, {"a": TEXTS})
    chunks = index.of_source("a")
    assert index.tokens.get("another", embedder.dim, chunks) == {}
    renamed = [Chunk(one.text, {**one.metadata, "title": "Locks"}, one.id) for one in chunks]
    assert kept(index, embedder, renamed) == set()
    index.embed_again("another", 16, lambda some: embed_chunks(embedder, some))
    assert not index.tokens.there
    index.close()


def test_a_damaged_file_is_none_and_is_made_again(tmp_path: Path, embedder: Counting) -> None:
    index = filled(tmp_path / "index", embedder, {"a": TEXTS})
    chunks = index.of_source("a")
    file = index.folder / FILE
    data = bytearray(file.read_bytes())
    for at in range(100, len(data)):
        data[at] ^= 0x5A
    file.write_bytes(data)
    assert kept(index, embedder, chunks) == set()
    index.tokens.put(embedder.id, chunks, embedder.token_vectors(TEXTS))
    assert kept(index, embedder, chunks) == set(TEXTS)
    index.close()


def test_the_file_has_a_limit(tmp_path: Path, embedder: Counting) -> None:
    chunks = [Chunk(f"{text} " * 50, {}, str(at)) for at, text in enumerate(TEXTS)]
    tokens = TokenVectors(tmp_path, budget=40_000)
    tokens.put(embedder.id, chunks, embedder.token_vectors([one.text for one in chunks]))
    assert tokens.full
    assert 0 < len(tokens.get(embedder.id, embedder.dim, chunks)) < len(chunks)
    assert (tmp_path / FILE).stat().st_size < 60_000


def test_without_a_folder_nothing_is_kept(embedder: Counting) -> None:
    tokens = TokenVectors(None)
    assert tokens.full
    assert not tokens.there
    tokens.drop(["a"])
    tokens.clear()
    assert tokens.get(embedder.id, embedder.dim, [Chunk("a", {}, "a")]) == {}
