"""What composing relies on, measured on a few tokens instead of assumed from a model's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag.kvcache.buffer import KVBuffer
from rag.kvcache.passes import Pass

if TYPE_CHECKING:
    import torch

    from rag.kvcache.library import LibraryView


def probe_ids(view: LibraryView, count: int = 12) -> torch.Tensor:
    """Token ids spread over the vocabulary: [count]."""
    import torch

    return (torch.arange(count) * 7919 + 11) % int(view.config.vocab_size)


def unsupported(view: LibraryView) -> str | None:
    """What the configuration says that cannot be composed; None: nothing."""
    strange = {t for t in view.layer_types if t} - {"full_attention", "sliding_attention"}
    if strange:
        return f"layers of the type {', '.join(sorted(strange))} keep no keys per token"
    if getattr(view.config, "attn_logit_softcapping", None):
        return "its attention scores are capped (attn_logit_softcapping)"
    if not view.capture.complete:
        return "its keys cannot be read before they are rotated"
    if not hasattr(view.decoder, "rotary_emb"):
        return "it has no rotary position embedding (RoPE)"
    return None


def attends(view: LibraryView) -> bool:
    """Whether a probe's logits under attention by plan are the model's own, to rounding."""
    import torch

    if getattr(view.config, "attn_logit_softcapping", None):
        return False
    ids = probe_ids(view)
    try:
        ours = _prefill(view, ids)[0].float()
    except (RuntimeError, TypeError, ValueError, AttributeError):
        return False  # it keeps other states than keys and values per head
    theirs = view.original_logits(ids).float()
    far = (ours - theirs).abs().max() / theirs.abs().max().clamp(1e-6)
    return bool(far <= (5e-2 if view.dtype != torch.float32 else 1e-3))


def find_rotation(view: LibraryView) -> str | None:
    """Find out which layers rotate their keys, by rotating captured ones.

    Returns:
        Why stored keys cannot be rotated as the model does; None: they can.
    """
    import torch

    # Another number of tokens than of heads, so that the axes can be told apart.
    ids = probe_ids(view, 12 if view.geometry.kv_heads != 12 else 13)
    positions = torch.arange(len(ids))
    view.capture.measure(lambda: _prefill(view, ids))
    buffer = KVBuffer(view.geometry, len(ids))
    captured = torch.full_like(buffer.keys, float("nan"))
    with torch.inference_mode():
        view.forward(Pass(ids, positions, buffer, unrotated=captured))
    tolerance = 2e-2 if view.dtype != torch.float32 else 1e-4
    rotation = view.geometry.rotation
    for layer in range(view.layers):
        if not captured[layer].isfinite().all():
            return "its keys cannot be read before they are rotated"
        expected, plain = buffer.keys[layer].float(), captured[layer].float()
        rotated = rotation.of_layer(layer, plain, positions)
        size = expected.abs().max().clamp(min=1e-6)
        if (rotated - expected).abs().max() / size > tolerance:
            if (plain - expected).abs().max() / size > tolerance:
                return f"layer {layer} rotates its keys in an unknown way"
            rotation.rotated[layer] = False
    return None


def _prefill(view: LibraryView, ids: torch.Tensor) -> torch.Tensor:
    import torch

    with torch.inference_mode():
        buffer = KVBuffer(view.geometry, len(ids))
        return view.forward(Pass(ids, torch.arange(len(ids)), buffer))
