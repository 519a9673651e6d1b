"""Tiny models with random weights, one for each architecture that the cache must understand."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    PhiConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
    StableLmConfig,
)

SIZE: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def rope(kind: str, **more: Any) -> dict[str, Any]:
    return {"rope_type": kind, "rope_theta": 10000.0, **more}


LLAMA3 = rope(
    "llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)
CONFIGS: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**SIZE),
    "llama-mha": LlamaConfig(**{**SIZE, "num_key_value_heads": 4}),
    "llama-mqa": LlamaConfig(**{**SIZE, "num_key_value_heads": 1}),
    "llama3-rope": LlamaConfig(**SIZE, rope_parameters=LLAMA3),
    "llama-linear-rope": LlamaConfig(**SIZE, rope_parameters=rope("linear", factor=4.0)),
    "llama-dynamic-rope": LlamaConfig(**SIZE, rope_parameters=rope("dynamic", factor=4.0)),
    "llama-yarn": LlamaConfig(
        **SIZE, rope_parameters=rope("yarn", factor=8.0, original_max_position_embeddings=64)
    ),
    "qwen2": Qwen2Config(**SIZE),
    "qwen3": Qwen3Config(**SIZE, head_dim=16),
    "mistral-sliding": MistralConfig(**SIZE, sliding_window=16),
    "gemma3": Gemma3TextConfig(
        **SIZE,
        head_dim=16,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"] * 2,
    ),
    "phi3": Phi3Config(**SIZE),
    "phi-partial-rotary": PhiConfig(**SIZE, partial_rotary_factor=0.5),
    "stablelm": StableLmConfig(**SIZE),
    "smollm3-nope": SmolLM3Config(**SIZE),
    "olmo2": Olmo2Config(**SIZE),
    "granite": GraniteConfig(**SIZE),
}
REFUSED: dict[str, PretrainedConfig] = {
    "gemma2": Gemma2Config(**SIZE, head_dim=16),
    "cohere": CohereConfig(**SIZE),
}


def make(config: PretrainedConfig, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    # A copy: what is installed in one model would show in the next one's configuration.
    model = AutoModelForCausalLM.from_config(deepcopy(config), dtype=dtype).eval()
    # Weights as they come are so small that no token differs from another by much.
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(4)
    return model
