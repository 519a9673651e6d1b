"""Vectors of parts of a text, pooled from the token vectors of all of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding

from rag.errors import ModelError
from rag.models import Embedder
from rag.models.local.embedder import LocalEmbedder
from rag.models.local.encoder.library import LibraryEncoder
from rag.models.opening.find import find_model
from tests.operators.tiny import bert

LOCK = "The north lock is opened by the keeper. It closes at ten in the evening."
WORDS = " ".join(f"Boat {n} sails past the lock." for n in range(80))
WINDOW, OVERLAP = 254, 64
"""Tokens of the default embedder's window without special ones, and of it read before."""


@pytest.fixture(scope="module", params=["native", "library"])
def embedder(request: pytest.FixtureRequest) -> LocalEmbedder:
    """The default embedder in float32, written out and by sentence-transformers."""
    if request.param == "native":
        found = Embedder.load({"model": Embedder.default, "dtype": "float32"}, base=Path())
        assert isinstance(found, LocalEmbedder)
        return found
    return LocalEmbedder(LibraryEncoder(by_library(), 32), "library")


@cache
def by_library() -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(find_model(Embedder.default, Path()).location)


def token_starts(text: str) -> list[int]:
    """First character of each token."""
    rows = by_library().tokenizer(
        text, add_special_tokens=False, truncation=False, return_offsets_mapping=True
    )
    return [start for start, _ in rows["offset_mapping"]]


def test_a_part_is_the_mean_of_its_tokens_within_the_text(embedder: Any) -> None:
    start = LOCK.index("It")
    (row,) = by_library().encode([LOCK], output_value=None)
    own = np.flatnonzero(np.array([0, *token_starts(LOCK), 0]) >= start)
    mean = row["token_embeddings"][own].float().cpu().numpy().mean(axis=0)
    found = embedder.embed_spans(LOCK, [(start, len(LOCK))])
    assert found.dtype == np.float32
    assert np.allclose(found[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_a_part_knows_what_stands_around_it(embedder: Embedder) -> None:
    start = LOCK.index("It")
    alone = embedder.embed([LOCK[start:]])[0]
    (within,) = embedder.embed_spans(LOCK, [(start, len(LOCK))])
    query = embedder.embed_query("When is the north lock closed?")
    assert query @ within > query @ alone + 0.1


def test_a_long_text_is_read_in_windows_that_overlap(embedder: Any) -> None:
    starts = token_starts(WORDS)
    assert len(starts) > WINDOW + OVERLAP
    first = (starts[10], starts[20])
    behind = (starts[WINDOW + 5], starts[WINDOW + 15])
    found = embedder.embed_spans(WORDS, [first, behind])
    second = starts[WINDOW - OVERLAP]
    cut = WORDS[: starts[WINDOW]]
    assert np.allclose(found[0], embedder.embed_spans(cut, [first])[0], atol=1e-5)
    moved = (behind[0] - second, behind[1] - second)
    rest = WORDS[second : starts[2 * WINDOW - OVERLAP]]
    assert np.allclose(found[1], embedder.embed_spans(rest, [moved])[0], atol=1e-5)


def test_a_part_without_tokens_is_embedded_alone(embedder: Embedder) -> None:
    text = "One.   \n  Two."
    found = embedder.embed_spans(text, [(0, 4), (4, 9)])
    assert np.allclose(found[1], embedder.embed([text[4:9]])[0], atol=1e-6)
    assert not np.allclose(found[0], embedder.embed(["One."])[0], atol=1e-3)


def test_no_parts_have_no_vectors(embedder: Embedder) -> None:
    assert embedder.embed_spans("", []).shape == (0, embedder.dim)
    assert embedder.embed_spans("", [(0, 0)]).shape == (1, embedder.dim)


def test_a_served_embedder_says_that_it_cannot() -> None:
    served = Embedder.load(DeterministicFakeEmbedding(size=8), base=Path())
    with pytest.raises(ModelError, match="no token vectors") as caught:
        served.embed_spans("a", [(0, 1)])
    assert "late_chunking" in str(caught.value.fix)


def test_an_embedder_of_first_tokens_says_that_it_cannot(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    modules = [Transformer(str(bert(tmp_path / "bert", "BertModel", [LOCK]))), Pooling(32, "cls")]
    made = LocalEmbedder(LibraryEncoder(SentenceTransformer(modules=modules), 32), "first")
    for spans in ([], [(0, 3)]):
        with pytest.raises(ModelError, match="does not pool tokens by their mean"):
            made.embed_spans(LOCK, spans)
