"""Passes of few tokens, written out: the model's own logits, or not used."""

from __future__ import annotations

import pytest
import torch
from transformers import GraniteConfig

from rag.errors import ModelError
from rag.kvcache.buffer import KVBuffer
from rag.kvcache.model import ModelView
from rag.kvcache.opening import open_view
from rag.kvcache.passes import Pass
from rag.kvcache.step import FusedStep
from rag.testing.tiny_models import SIZE, tiny_model

FAMILY = [
    "llama", "llama-mha", "llama-mqa", "llama3-rope", "llama-yarn", "qwen2", "qwen3",
    "mistral-sliding", "smollm3-nope",
]  # fmt: skip
OTHERS = ["gemma3", "phi3", "phi-partial-rotary", "stablelm", "olmo2"]
IDS = torch.arange(3, 43)


def logits(view: ModelView, count: int, *, fused: bool) -> torch.Tensor:
    """Of a pass over `count` tokens behind forty others."""
    short, view.short_passes = view.short_passes, view.short_passes if fused else None
    try:
        with torch.inference_mode():
            buffer = KVBuffer(view.geometry, 64)
            view.forward(Pass(IDS, torch.arange(40), buffer))
            return view.steps([Pass.consecutive(range(50, 50 + count), 40, buffer)])[0]
    finally:
        view.short_passes = short


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("count", [1, 5])
def test_the_written_out_pass_is_the_models_own(name: str, count: int) -> None:
    view = open_view(tiny_model(name), name)
    assert view.short_passes is not None
    far = logits(view, count, fused=True) - logits(view, count, fused=False)
    assert float(far.abs().max()) < 1e-4


@pytest.mark.parametrize("name", OTHERS)
def test_other_families_run_as_they_are(name: str) -> None:
    view = open_view(tiny_model(name), name)
    assert view.short_passes is None
    with pytest.raises(ModelError, match=f"'{name}' .* cannot decode with weights in eight bits"):
        open_view(tiny_model(name), name, int8=True)


def test_a_model_that_looks_alike_and_computes_otherwise_is_found_out() -> None:
    config = GraniteConfig(**SIZE, residual_multiplier=0.5, embedding_multiplier=3.0)
    assert open_view(tiny_model(config), "granite").short_passes is None


def test_nothing_is_in_memory_twice() -> None:
    view = open_view(tiny_model("qwen2"), "qwen2")
    assert isinstance(view.short_passes, FusedStep)
    attention, first = view.attentions[0], view.short_passes.layers[0]
    own = attention.k_proj.weight.untyped_storage().data_ptr()
    assert own == first.qkv.weight.untyped_storage().data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_eight_bits_are_close(dtype: torch.dtype) -> None:
    view = open_view(tiny_model("llama", dtype), "llama", int8=True)
    exact, rounded = (logits(view, 1, fused=fused)[0].float() for fused in (False, True))
    assert 0 < float((exact - rounded).abs().max()) < 0.1 * float(exact.abs().max())
    assert int(exact.argmax()) == int(rounded.argmax())
