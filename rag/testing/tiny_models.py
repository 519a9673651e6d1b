"""Tiny models with random weights, one for each architecture that the cache must understand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

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
    """The parameters of rotary position embeddings of a kind."""
    return {"rope_type": kind, "rope_theta": 10000.0, **more}


_HEADS = {"head_dim": 16}
_LLAMA3 = rope(
    "llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)
_YARN = rope("yarn", factor=8.0, original_max_position_embeddings=64)
_SLIDING = {"sliding_window": 16}
_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-mha": ("Llama", {"num_key_value_heads": 4}),
    "llama-mqa": ("Llama", {"num_key_value_heads": 1}),
    "llama3-rope": ("Llama", {"rope_parameters": _LLAMA3}),
    "llama-linear-rope": ("Llama", {"rope_parameters": rope("linear", factor=4.0)}),
    "llama-dynamic-rope": ("Llama", {"rope_parameters": rope("dynamic", factor=4.0)}),
    "llama-yarn": ("Llama", {"rope_parameters": _YARN}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", _HEADS),
    "mistral-sliding": ("Mistral", _SLIDING),
    "gemma3": (
        "Gemma3Text",
        {**_HEADS, **_SLIDING, "layer_types": ["sliding_attention", "full_attention"] * 2},
    ),
    "phi3": ("Phi3", {}),
    "phi-partial-rotary": ("Phi", {"partial_rotary_factor": 0.5}),
    "stablelm": ("StableLm", {}),
    "smollm3-nope": ("SmolLM3", {}),
    "olmo2": ("Olmo2", {}),
    "granite": ("Granite", {}),
    "gemma2": ("Gemma2", _HEADS),
    "cohere": ("Cohere", {}),
}
REFUSED = ("gemma2", "cohere")
"""Architectures whose states cannot be composed: only `full` and `prefix` work."""
ARCHITECTURES = tuple(name for name in _KINDS if name not in REFUSED)
"""Architectures whose states can be composed."""


def config_of(name: str) -> PretrainedConfig:
    """The configuration of an architecture, four layers of 64 numbers."""
    import transformers

    kind, fields = _KINDS[name]
    config: PretrainedConfig = getattr(transformers, f"{kind}Config")(**{**SIZE, **fields})
    return config


def tiny_model(config: str | PretrainedConfig, dtype: torch.dtype | None = None) -> Any:
    """A causal language model of transformers, the same at every call.

    Args:
        config: An architecture's name, or a configuration.
        dtype: Of the weights; None: float32.
    """
    from copy import deepcopy

    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    # A copy: what is installed in one model would show in the next one's configuration.
    given = config_of(config) if isinstance(config, str) else deepcopy(config)
    model = AutoModelForCausalLM.from_config(given, dtype=dtype or torch.float32).eval()
    # Weights as they come are so small that no token differs from another by much.
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(4)
    return model
