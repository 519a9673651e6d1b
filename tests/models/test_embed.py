"""The embedder, with the real small model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding

from rag.errors import ModelError
from rag.models import Embedder


def test_vectors_have_unit_length_and_mean_something(embedder: Embedder) -> None:
    vectors = embedder.embed(["The lock keeper opens the gate.", "A recipe for bread."])
    assert vectors.shape == (2, embedder.dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    query = embedder.embed_query("Who opens the gate?")
    assert vectors[0] @ query > vectors[1] @ query


def test_order_does_not_matter(embedder: Embedder) -> None:
    texts = ["short", "a much longer text " * 20, "of middle length, this one"]
    np.testing.assert_allclose(embedder.embed(texts)[::-1], embedder.embed(texts[::-1]), atol=1e-5)
    assert embedder.embed([]).shape == (0, embedder.dim)


def test_token_vectors_leave_special_tokens_out(embedder: Embedder) -> None:
    found = embedder.token_vectors(["north lock", "north lock", "a"])
    assert [len(vectors) for vectors in found] == embedder.lengths(
        ["north lock", "north lock", "a"]
    )
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(np.linalg.norm(found[0], axis=1), 1, atol=1e-3)


def test_token_vectors_that_are_remembered_are_those_computed(embedder: Embedder) -> None:
    text = "the keeper on duty has the key to the winch"
    once = embedder.token_vectors([text])[0]
    np.testing.assert_allclose(embedder.token_vectors([text])[0], once, atol=1e-3)


def test_the_id_is_the_same_wherever_the_model_is(embedder: Embedder, tmp_path: Path) -> None:
    from rag.models.opening.find import find_model

    copy = tmp_path / "all-minilm-l6-v2"
    copy.symlink_to(find_model(Embedder.default, tmp_path).location)
    assert Embedder.load(str(copy), base=tmp_path).id == embedder.id


def test_langchain_embeddings_stand_in() -> None:
    found = Embedder.load(DeterministicFakeEmbedding(size=8), base=Path())
    assert found.dim == 8
    np.testing.assert_allclose(np.linalg.norm(found.embed(["a", "b"]), axis=1), 1, atol=1e-5)
    with pytest.raises(ModelError, match="no token vectors"):
        found.token_vectors(["a"])


def test_langchain_embeddings_stand_in_from_a_pipeline_file() -> None:
    spec = {"use": "langchain_core.embeddings.DeterministicFakeEmbedding", "size": 8}
    assert Embedder.load(spec, base=Path()).dim == 8
