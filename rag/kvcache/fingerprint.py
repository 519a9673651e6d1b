"""What a model's states depend on, as a digest that is the same on every machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_IRRELEVANT = {
    "architectures",
    "attention_dropout",
    "chunk_size_feed_forward",
    "dtype",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_encoder_decoder",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "problem_type",
    "return_dict",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}
"""Fields of a configuration that no state depends on. The number format is the weights' own."""


def fingerprint(model: Any, config: Any) -> str:
    """A digest of configuration and weights, which differs for models whose states differ.

    It has every byte of every weight and buffer, quantized ones too, and of the configuration what
    differs from its class's defaults. So it does not depend on the model's folder, the machine, or
    the version of transformers. All of SmolLM2's 270 MB take some 30 ms.

    Args:
        model: A module of torch.
        config: Its configuration.

    Returns:
        128 bits of XXH3, hexadecimal.
    """
    from xxhash import xxh3_128

    digest = xxh3_128(json.dumps(_settings(config), sort_keys=True, default=str).encode())
    seen: set[tuple[int, torch.Size]] = set()
    for name, value in sorted(model.state_dict().items()):
        if hasattr(value, "data_ptr"):
            place = value.data_ptr(), value.shape
            if value.numel() and place in seen:  # tied weights
                continue
            seen.add(place)
        _update(digest, name, value)
    return str(digest.hexdigest())


def _settings(config: Any) -> dict[str, Any]:
    """The fields that states depend on."""
    # A later release's new fields have their default in all models of today.
    fields = dict(config.to_diff_dict())
    fields["model_type"] = config.model_type
    fields["rope_parameters"] = getattr(config, "rope_parameters", None)
    return {
        name: value
        for name, value in fields.items()
        if not name.startswith("_") and not name.endswith("_token_id") and name not in _IRRELEVANT
    }


def _update(digest: Any, name: str, value: Any) -> None:
    """Add a tensor's name, format, shape and bytes; of a quantizer's tensor, its parts."""
    import torch

    if not isinstance(value, torch.Tensor):
        digest.update(json.dumps([name, repr(value)]).encode())
        return
    if hasattr(value, "__tensor_flatten__"):
        inner, context = value.__tensor_flatten__()
        digest.update(json.dumps([name, repr(context)]).encode())
        for one in inner:
            _update(digest, f"{name}.{one}", getattr(value, one))
        return
    digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
    if value.numel():
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(flat.numpy().data)
