"""Vectors of chunks: of each alone, or of each within its document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rag.text.chunk import Chunk
from rag.text.joining import joined

if TYPE_CHECKING:
    import numpy as np

    from rag.index.tokens import TokenVectors
    from rag.models import Embedder


def embed_chunks(
    embedder: Embedder, chunks: Sequence[Chunk], tokens: TokenVectors | None = None
) -> np.ndarray:
    """The vectors of chunks: float32 [chunks, dim], unit length.

    Chunks that are marked `within` a document follow one another and are pooled from the document
    that they make together (late chunking, arXiv 2409.04701), behind its title; all others are
    embedded by `Chunk.indexed_text`.

    Args:
        embedder: Makes the vectors.
        chunks: Those within one document all of them, in the order of its text.
        tokens: Keeps those vectors of tokens that come with a chunk's own.

    Raises:
        ModelError: The embedder cannot be reached, or cannot pool parts of a document.
    """
    import numpy as np

    vectors = np.zeros((len(chunks), embedder.dim), dtype=np.float32)
    alone = [at for at, chunk in enumerate(chunks) if not chunk.within]
    texts = [chunks[at].indexed_text for at in alone]
    if tokens is None or tokens.full:
        vectors[alone] = embedder.embed(texts)
    else:
        vectors[alone], found = embedder.embed_both(texts)
        same = [n for n, at in enumerate(alone) if texts[n] == chunks[at].embedding_text]
        if found is not None and same:
            kept = [chunks[alone[n]] for n in same]
            tokens.put(embedder.id, kept, [found[n] for n in same])
    late = [at for at, chunk in enumerate(chunks) if chunk.within]
    for _, group in groupby(late, lambda at: document_of(chunks[at])):
        places = list(group)
        text, spans = joined([chunks[at] for at in places])
        title = chunks[places[0]].title
        head = f"{title}\n\n" if title and not text.lstrip("# ").startswith(title) else ""
        moved = [(start + len(head), end + len(head)) for start, end in spans]
        vectors[places] = embedder.embed_spans(head + text, moved)
    return vectors


def whole_documents(batches: Iterable[Sequence[Chunk]]) -> Iterator[list[Chunk]]:
    """Chunks in batches, none of which cuts a document that is embedded as a whole."""
    waiting: list[Chunk] = []
    for batch in batches:
        waiting += batch
        # The last document may go on in the next batch.
        last = document_of(waiting[-1]) if waiting and waiting[-1].within else None
        whole = [chunk for chunk in waiting if last is None or document_of(chunk) != last]
        if whole:
            yield whole
        waiting = waiting[len(whole) :]
    if waiting:
        yield waiting


def document_of(chunk: Chunk) -> tuple[str, object, str]:
    """What the chunks of one document share."""
    return chunk.source, chunk.page, chunk.within
