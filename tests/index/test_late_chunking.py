"""Late chunking in an index: which vectors are stored, and when they are computed again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from rag.errors import ModelError, StepError
from rag.flow import Flow
from rag.flow.resources import Resources
from rag.index import Index, IndexBinding, IndexWriter
from rag.index.embedding import embed_chunks
from rag.index.local import blocks
from rag.operators import Split
from rag.testing.encoders import ScriptedEmbedder
from rag.text.chunk import Chunk

LOCKS = "The north lock opens at six. The keeper turns it. It closes at ten."
ICE = "The ice breaker sails in March. Her captain is Ada."


def document(text: str, source: str, **more: Any) -> Document:
    return Document(page_content=text, metadata={"source": source, **more})


def split(*documents: Document, **how: Any) -> list[Chunk]:
    spec = {"chunk_size": 6, "chunk_overlap": 0, "late_chunking": True, **how}
    resources = Resources({"index": spec, "embedder": ScriptedEmbedder()})
    return IndexBinding(resources).splitter()(documents)


def write(folder: Path, chunks: list[Chunk], embedder: ScriptedEmbedder) -> Any:
    return IndexWriter(folder).write([chunk.document() for chunk in chunks], embedder)


def stored(folder: Path, texts: list[str]) -> np.ndarray:
    """The vectors of the chunks of these texts, found by searching for each axis."""
    with closing(Index.open(folder)) as index:
        found = np.zeros((len(texts), index.dim), dtype=np.float32)
        for axis, one in enumerate(np.eye(index.dim, dtype=np.float32)):
            for hit in index.dense(one, 100):
                found[texts.index(hit.chunk.text), axis] = hit.score
    return found


def test_vectors_are_pooled_from_the_document_behind_its_title(tmp_path: Path) -> None:
    embedder = ScriptedEmbedder(dim=8)
    chunks = split(document(LOCKS, "locks", title="Locks"), document(ICE, "ice"))
    write(tmp_path / "i", chunks, embedder)
    whole, start = f"Locks\n\n{LOCKS}", len("Locks\n\n")
    spans = [(chunk.start or 0, chunk.end or 0) for chunk in chunks]
    titled = [(a + start, b + start) for a, b in spans[:3]]
    expected = [*embedder.embed_spans(whole, titled), *embedder.embed_spans(ICE, spans[3:])]
    assert np.allclose(stored(tmp_path / "i", [one.text for one in chunks]), expected, atol=1e-6)


def test_a_changed_document_is_embedded_anew_and_no_other(tmp_path: Path) -> None:
    embedder = ScriptedEmbedder()
    before = split(document(LOCKS, "locks"), document(ICE, "ice"))
    assert write(tmp_path / "i", before, embedder).added == len(before)
    assert write(tmp_path / "i", before, embedder).added == 0
    after = split(document(LOCKS + " Zola paints it.", "locks"), document(ICE, "ice"))
    wrote = write(tmp_path / "i", after, embedder)
    of_locks = [chunk for chunk in after if chunk.source == "locks"]
    assert (wrote.added, wrote.kept) == (len(of_locks), len(after) - len(of_locks))


def test_what_a_model_wrote_is_embedded_alone() -> None:
    embedder = ScriptedEmbedder()
    cut = split(document(LOCKS, "locks"))
    alone = Chunk("Zola keeps it.", {"source": "locks"})
    vectors = embed_chunks(embedder, [*cut[:2], alone, *cut[2:]])
    assert np.allclose(vectors[2], embedder.embed(["Zola keeps it."])[0])
    assert np.allclose(vectors[[0, 1, 3]], embed_chunks(embedder, cut), atol=1e-6)


def test_lost_vectors_are_pooled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = ScriptedEmbedder(dim=8)
    chunks = split(document(LOCKS, "locks"), document(ICE, "ice"))
    texts = [chunk.text for chunk in chunks]
    write(tmp_path / "i", chunks, embedder)
    before = stored(tmp_path / "i", texts)
    for file in (tmp_path / "i").glob("vectors-*.f32"):
        file.unlink()
    monkeypatch.setattr(blocks, "EMBEDDED", 2)  # documents are cut by blocks
    write(tmp_path / "i", chunks, embedder)
    assert np.allclose(stored(tmp_path / "i", texts), before, atol=1e-6)


def test_the_fingerprint_sees_it() -> None:
    def fingerprint(**spec: Any) -> str:
        return IndexBinding(Resources({"index": spec, "embedder": "e"})).fingerprint

    assert fingerprint(late_chunking=True) != fingerprint() == fingerprint(late_chunking=False)


def test_an_embedder_that_cannot_is_refused_before_anything_is_read() -> None:
    served = DeterministicFakeEmbedding(size=8)
    resources = Resources({"index": {"late_chunking": True}, "embedder": served})
    with pytest.raises(ModelError, match="no token vectors"):
        IndexBinding(resources).splitter()([])
    step = Flow(
        Split(late_chunking=True),
        inputs={"documents": list[Document]},
        resources={"embedder": served},
    )
    with pytest.raises(StepError, match="no token vectors"):
        step.invoke(documents=[document(LOCKS, "locks")])
