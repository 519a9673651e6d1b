"""What is measured of a model when it is opened, and what is refused."""

from __future__ import annotations

import pytest
import torch

from rag.errors import ModelError
from rag.kvcache.engine import KVEngine
from rag.kvcache.keys import Keys
from rag.kvcache.opening import open_view
from rag.kvcache.store import KVStore, MemoryTier
from rag.testing.tiny_models import REFUSED, tiny_model
from tests.kvcache.helpers import ALL, PREFIX, by_transformers, distance, logits


@pytest.mark.parametrize("name", ["llama", "mistral-sliding", "gemma3"])
def test_a_prepared_model_attends_as_before_where_nothing_is_composed(name: str) -> None:
    ids = torch.tensor([[0, 0, 0, *ALL], [*ALL, *PREFIX[:3]]])
    padding = torch.tensor([[0] * 3 + [1] * len(ALL), [1] * ids.shape[1]])
    model = tiny_model(name)
    with torch.inference_mode():
        before = model(ids, attention_mask=padding).logits
        again = open_view(model, name)
        second = open_view(model, name)
        assert again.refusal is second.refusal is None
        after = model(ids, attention_mask=padding).logits
    assert distance(before[:, -1], after[:, -1]) < 1e-5


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_composed_is_refused_by_name(name: str) -> None:
    view = open_view(tiny_model(name), name)
    store = KVStore([MemoryTier(1 << 24)])
    engine = KVEngine(view, store, Keys(name))
    with pytest.raises(ModelError, match=f"'{name}' .* cannot reuse chunks: .*"):
        logits(engine, "focus")
    if view.attends:
        full = by_transformers(engine, ALL)
        for mode in ("full", "prefix", "prefix"):
            assert distance(logits(engine, mode), full) < 1e-3
    store.close()


def test_a_model_that_attends_otherwise_keeps_its_own_attention() -> None:
    model = tiny_model("gemma2")
    ids = torch.tensor([ALL])
    with torch.inference_mode():
        before = model(ids).logits
        view = open_view(model, "gemma2")
        assert not view.attends
        assert distance(view.original_logits(ids[0]), before[0, -1]) < 1e-5
        assert distance(model(ids).logits, before) < 1e-5


def test_rope_that_changes_with_the_length_is_refused_beyond_it() -> None:
    view = open_view(tiny_model("llama-dynamic-rope"), "dynamic")
    view.require_composable(512)
    with pytest.raises(ModelError, match="changes beyond 512 tokens"):
        view.require_composable(513)


def test_layers_that_do_not_rotate_are_found() -> None:
    rotated = open_view(tiny_model("smollm3-nope"), "smollm3").geometry.rotation.rotated
    assert rotated == [True, True, True, False]
    assert all(open_view(tiny_model("llama"), "llama").geometry.rotation.rotated)
