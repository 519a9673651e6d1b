"""Decoding with weights in eight and four bits: near to the model, whose prompts stay exact."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

from rag.errors import ModelError
from rag.kvcache.passes import Pass
from rag.kvcache.settings import ReuseSettings
from rag.models import LLM
from rag.models.local.model import LocalLLM
from rag.models.opening.int4 import _order, _parts
from tests.models import reference
from tests.models.test_native import saved

SENTENCES = (
    "The north lock is opened by the keeper on duty, who must write the hour in the book.",
    "Paris is the capital of France. The Seine divides it into two banks.",
)


@cache
def opened(weights: str) -> LocalLLM:
    llm = LLM.load({"model": LLM.default, "weights": weights})
    assert isinstance(llm, LocalLLM)
    return llm


def decoded(weights: str, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """States of a prompt, and log-probabilities behind each further token, one pass each."""
    llm = opened(weights)
    ids = llm.template.encode(text)
    done = llm.engine.prefill(ids[:6], [], ids[6:8], ReuseSettings("full"), len(ids))
    states, logits = done.buffer.keys[:, :, :8].clone(), []
    with torch.inference_mode():
        for at in range(8, len(ids)):
            one = Pass.consecutive([ids[at]], at, done.buffer)
            logits.append(llm.engine.view.forward(one)[0].float())
    return states, torch.stack(logits).log_softmax(-1)


@pytest.mark.parametrize(("weights", "divergence"), [("int8", 0.01), ("int4", 0.01)])
@pytest.mark.parametrize("text", SENTENCES)
def test_answers_are_near_and_prompts_the_same(text: str, weights: str, divergence: float) -> None:
    states, full = decoded("full", text)
    others, near = decoded(weights, text)
    assert torch.equal(states, others)
    kl = (full.exp() * (full - near)).sum(-1)
    assert 0 < float(kl.mean()) < divergence
    assert float((full.argmax(-1) == near.argmax(-1)).float().mean()) >= 0.85


def test_stored_states_are_the_models_own() -> None:
    prints = {opened(weights).engine.view.fingerprint() for weights in ("full", "int8", "int4")}
    assert len(prints) == 1


def test_four_bits_are_the_files_own_levels(llm: LocalLLM) -> None:
    """Products with one-hot inputs are the weights, to the format of scale and zero."""
    linear = opened("int4").model.layers[3].qkv
    width = linear.parts[0].shape[1]
    ones = torch.eye(width, dtype=linear.parts[0].dtype)[:4]
    assert linear._int4 is not None
    expected = torch.cat(linear.parts)[:, :4].T.float()
    far = (linear.few(ones).float() - expected).abs().max()
    assert float(far) < 0.01 * float(expected.abs().max())


def test_a_model_without_four_bits_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_CACHE_DIR", str(tmp_path / "cache"))
    folder = saved(tmp_path / "model")
    with pytest.raises(ModelError, match="cannot decode with weights in int4"):
        LLM.load({"model": str(folder), "weights": "int4"})


def test_a_model_of_transformers_is_refused() -> None:
    llm = reference.by_library(64)
    four = LocalLLM("library", llm.model, llm.tokenizer, window=64, weights="int4")
    with pytest.raises(ModelError, match="from a GGUF file"):
        _ = four.engine


@pytest.mark.parametrize(("size", "constants"), [(18, [0.5]), (20, [0.5, -3.0])])
def test_blocks_are_read_as_they_are_defined(size: int, constants: list[float]) -> None:
    head = torch.tensor(constants, dtype=torch.float16).view(torch.uint8)
    nibbles = torch.arange(16, dtype=torch.uint8) * 16 + torch.arange(16, dtype=torch.uint8).flip(0)
    block = torch.cat([head, nibbles])[None, None]
    assert block.shape[-1] == size
    levels, scales, zeros = _parts(block)
    values = levels * scales[..., None] + zeros[..., None]
    low = -4.0 if size == 18 else -3.0
    assert values[0, 0, :16].tolist() == [low + 0.5 * n for n in reversed(range(16))]
    assert values[0, 0, 16:].tolist() == [low + 0.5 * n for n in range(16)]


def test_rows_in_another_order_are_found_and_other_weights_are_not() -> None:
    config = opened("int4").model.config
    rows = config.kv_heads * config.head_dim
    levels = torch.randint(0, 16, (rows, 1, 32), generator=torch.Generator().manual_seed(0))
    scales, zeros = torch.full((rows, 1), 0.5), torch.zeros(rows, 1)
    values = (levels * 0.5).flatten(1)
    plain = torch.arange(rows)
    turned = plain.view(config.kv_heads, -1, 2).transpose(1, 2).flatten()
    for order in (plain, turned):
        found = _order(values[order], levels, scales, zeros, config)
        assert found is not None
        assert torch.equal(found, order)
    assert _order(values + 1, levels, scales, zeros, config) is None
