"""The written-out decoder: the model's own logits and states, or not used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from transformers import GraniteConfig

from rag.errors import ModelError
from rag.kvcache.buffer import KVBuffer
from rag.kvcache.library import LibraryView
from rag.kvcache.native.config import DecoderConfig
from rag.kvcache.native.decoder import Decoder
from rag.kvcache.native.linear import Unsupported
from rag.kvcache.native.proof import agrees, describe
from rag.kvcache.opening import open_library, open_view
from rag.kvcache.passes import Pass
from rag.kvcache.plan import Packed
from rag.testing.tiny_models import SIZE, tiny_model

FAMILY = [
    "llama", "llama-mha", "llama-mqa", "llama3-rope", "llama-linear-rope", "llama-yarn", "qwen2",
    "qwen3", "mistral-sliding", "smollm3-nope", "granite",
]  # fmt: skip
OTHERS = ["gemma3", "phi3", "phi-partial-rotary", "stablelm", "olmo2", "llama-dynamic-rope"]
IDS = torch.arange(3, 43)


def opened(name: str, dtype: torch.dtype | None = None) -> LibraryView:
    view = open_view(tiny_model(name, dtype), name)
    assert isinstance(view, LibraryView)
    return view


def states(view: LibraryView, run: Callable[[Pass], torch.Tensor], one: Pass) -> torch.Tensor:
    """Logits, keys and values after a pass behind forty tokens, and keys before rotation."""
    unrotated = torch.zeros(view.geometry.shape(len(one.ids)))
    buffer = KVBuffer(view.geometry, 64)
    buffer.keys.zero_()
    buffer.values.zero_()
    with torch.inference_mode():
        view.by_library(Pass(IDS, torch.arange(40), buffer))
        logits = run(replace(one, buffer=buffer, unrotated=unrotated))
    used = buffer.keys[:, :, : buffer.length], buffer.values[:, :, : buffer.length]
    return torch.cat([part.flatten() for part in (logits, *used, unrotated)])


PASSES: dict[str, Callable[[LibraryView, KVBuffer], Pass]] = {
    "decode": lambda view, buffer: Pass.consecutive([50], 40, buffer),
    "draft": lambda view, buffer: Pass.consecutive(range(50, 55), 40, buffer),
    "prefill": lambda view, buffer: Pass(torch.arange(50, 70), torch.arange(40, 60), buffer),
    "repair": lambda view, buffer: Pass(
        torch.arange(50, 60),
        torch.tensor([2, 7, 19, 40, 41, 42, 43, 44, 45, 46]),
        buffer,
        rewrite=torch.tensor([2, 7, 19]),
    ),
    "chunks": lambda view, buffer: Pass(
        torch.arange(50, 70),
        torch.tensor([*range(5, 15), *range(5, 15)]),
        buffer,
        Packed([(0, 10), (10, 20)], 5),
    ),
    "stop": lambda view, buffer: Pass(torch.arange(50, 70), torch.arange(40, 60), buffer, stop=2),
}


@pytest.mark.parametrize("kind", PASSES)
@pytest.mark.parametrize("name", FAMILY)
def test_a_pass_gives_the_logits_and_states_of_transformers(name: str, kind: str) -> None:
    view = opened(name)
    assert view.native is not None
    one = PASSES[kind](view, KVBuffer(view.geometry, 64))
    ours = states(view, view.forward, one)
    theirs = states(view, view.by_library, one)
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) < 1e-4


def test_requests_decoded_together_are_as_alone() -> None:
    view = opened("llama")
    together, alone = [], []
    with torch.inference_mode():
        for found in (together, alone):
            passes = []
            for length in (40, 11):
                buffer = KVBuffer(view.geometry, 64)
                view.forward(Pass(IDS[:length], torch.arange(length), buffer))
                passes.append(Pass.consecutive([9, length], length, buffer))
            prefill = Pass(IDS, torch.arange(40), KVBuffer(view.geometry, 40))
            passes.insert(1, prefill)
            found.extend(view.steps(passes) if found is together else map(view.forward, passes))
    assert [len(one) for one in together] == [2, 1, 2]
    for one, other in zip(together, alone, strict=True):
        assert float((one - other).abs().max()) < 1e-5


@pytest.mark.parametrize("name", OTHERS)
def test_other_families_run_as_they_are(name: str) -> None:
    assert opened(name).native is None
    with pytest.raises(ModelError, match=f"'{name}' .* cannot decode with weights in int8"):
        open_view(tiny_model(name), name, "int8")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("number", ["residual_multiplier", "embedding_multiplier"])
def test_a_model_that_looks_alike_and_computes_otherwise_is_found_out(
    number: str, dtype: torch.dtype
) -> None:
    config = GraniteConfig(**{**SIZE, number: 0.7})
    view = open_view(tiny_model(config, dtype), "granite")
    assert isinstance(view, LibraryView)
    assert view.native is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("scaling", 1.2), ("eps", 1e-2), ("activation", "gelu"), ("rotated", (True, False) * 2)],
)
def test_a_wrong_number_is_found_out(field: str, value: object) -> None:
    view = open_library(tiny_model("llama"), "llama")
    weights = dict(view.model.state_dict())
    config = describe(view)
    assert agrees(view, Decoder(config, weights.get))
    wrong = replace(config, **{field: value})  # type: ignore[arg-type]  # one of its fields
    assert not agrees(view, Decoder(wrong, weights.get))


@pytest.mark.parametrize(
    "missing",
    [
        "model.norm.weight",
        "model.layers.3.mlp.up_proj.weight",
        "model.layers.0.self_attn.k_proj.bias",
    ],
)
def test_a_missing_weight_is_found_out(missing: str) -> None:
    view = open_library(tiny_model("qwen2"), "qwen2")
    weights = dict(view.model.state_dict())
    del weights[missing]
    with pytest.raises(Unsupported):
        Decoder(describe(view), weights.get)


def test_a_description_is_the_same_behind_json() -> None:
    config = describe(open_library(tiny_model("smollm3-nope"), "smollm3"))
    assert DecoderConfig.from_json(config.to_json()) == config


def test_nothing_is_in_memory_twice() -> None:
    view = opened("qwen2")
    assert view.native is not None
    attention, first = view.attentions[0], view.native.layers[0]
    own = attention.k_proj.weight.untyped_storage().data_ptr()
    assert own == first.qkv.parts[0].untyped_storage().data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_eight_bits_are_close(dtype: torch.dtype) -> None:
    exact, rounded = (
        states(view, view.forward, PASSES["decode"](view, KVBuffer(view.geometry, 64)))[:128]
        for weights in ("full", "int8")
        if isinstance(view := open_view(tiny_model("llama", dtype), "llama", weights), LibraryView)
    )
    assert 0 < float((exact - rounded).abs().max()) < 0.1 * float(exact.abs().max())
    assert int(exact.argmax()) == int(rounded.argmax())


def test_a_prompt_is_never_computed_in_eight_bits() -> None:
    exact, other = (
        states(view, view.forward, PASSES["prefill"](view, KVBuffer(view.geometry, 64)))
        for weights in ("full", "int8")
        if isinstance(view := open_view(tiny_model("llama"), "llama", weights), LibraryView)
    )
    assert torch.equal(exact, other)
