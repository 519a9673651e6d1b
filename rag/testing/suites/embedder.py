"""What holds for every embedder."""

from __future__ import annotations

import numpy as np
import pytest

from rag.errors import ModelError
from rag.models.embedder import Embedder

TEXTS = ["The lock opens at six.", "A pump lifts water.", "\u00e4\U0001f512"]


class EmbedderSuite:
    """Tests of an embedder. Subclass it in a test module, and override `embedder`.

    Attributes:
        tolerance: How far a text's numbers may differ that was embedded with others and alone.
    """

    tolerance: float = 1e-5

    @pytest.fixture
    def embedder(self) -> Embedder:
        """The embedder that is tested."""
        raise NotImplementedError("override the fixture embedder")

    def test_vectors_are_of_unit_length(self, embedder: Embedder) -> None:
        """float32 [texts, dim]."""
        vectors = embedder.embed(TEXTS)
        assert vectors.shape == (len(TEXTS), embedder.dim)
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)

    def test_a_query_is_a_vector_of_the_same_size(self, embedder: Embedder) -> None:
        """float32 [dim], unit length."""
        vector = embedder.embed_query(TEXTS[0])
        assert vector.shape == (embedder.dim,)
        assert vector.dtype == np.float32
        assert abs(float(np.linalg.norm(vector)) - 1) < 1e-4

    def test_a_text_has_one_vector(self, embedder: Embedder) -> None:
        """Alone or among others, in any order."""
        together = embedder.embed(TEXTS)
        alone = np.stack([embedder.embed([text])[0] for text in TEXTS])
        turned = embedder.embed(TEXTS[::-1])[::-1]
        assert np.allclose(alone, together, atol=self.tolerance)
        assert np.allclose(turned, together, atol=self.tolerance)

    def test_no_texts_and_an_empty_one(self, embedder: Embedder) -> None:
        """They are no errors."""
        assert embedder.embed([]).shape == (0, embedder.dim)
        assert np.isfinite(embedder.embed([""])).all()

    def test_texts_that_exceed_the_window_are_cut(self, embedder: Embedder) -> None:
        """And no error."""
        text = "word " * (embedder.window * 2)
        assert embedder.embed([text]).shape == (1, embedder.dim)

    def test_lengths_grow_with_the_texts(self, embedder: Embedder) -> None:
        """One for each, none for an empty text."""
        short, long, empty = embedder.lengths(["a lock", "a lock and a pump and a boat", ""])
        assert empty == 0 < short < long

    def test_token_vectors_or_a_clear_error(self, embedder: Embedder) -> None:
        """For each text [tokens, dim] of unit length, where `late` says so."""
        if not embedder.late:
            with pytest.raises(ModelError):
                embedder.token_vectors(TEXTS)
            return
        for query in (False, True):
            found = embedder.token_vectors(TEXTS[:2], query=query)
            assert len(found) == 2
            for vectors in found:
                assert vectors.ndim == 2
                assert vectors.shape[1] == embedder.dim
                assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)

    def test_it_has_a_name(self, embedder: Embedder) -> None:
        """An index remembers it, and refuses another."""
        assert embedder.id
        assert embedder.dim > 0
        assert embedder.window > 0
