"""Whether the written-out decoder computes what a model of transformers does.

The model itself says what it is, once it is open: its modules, the frequencies that it rotates
with, which layers do. So no rule of a configuration is written down twice, and a model that looks
like the family and computes otherwise is found out on a probe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag.kvcache.buffer import KVBuffer
from rag.kvcache.native.config import DecoderConfig, ends_of
from rag.kvcache.native.decoder import FEW, Decoder
from rag.kvcache.native.linear import Unsupported
from rag.kvcache.passes import Pass
from rag.kvcache.probe import probe_ids

if TYPE_CHECKING:
    import torch

    from rag.kvcache.library import LibraryView

_ACTIVATIONS = {
    "SiLUActivation": "silu",
    "SiLU": "silu",
    "GELUActivation": "gelu",
    "GELUTanh": "gelu_tanh",
}
_LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_MLP = {"gate_proj", "up_proj", "down_proj", "act_fn"}
_ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"}
PROBE = 48
"""Tokens: prefill of most of them, and a pass over few behind it."""


def describe(view: LibraryView) -> DecoderConfig:
    """What a decoder must be told, read from an open model.

    Args:
        view: A model that can be composed.

    Raises:
        Unsupported: It has parts that the decoder does not know.
    """
    if view.refusal is not None or view.geometry.rotation.limit is not None:
        raise Unsupported(view.refusal or "its RoPE changes with the length")
    inner = getattr(view.model, "model", None)
    if inner is None or view.decoder is not inner:
        raise Unsupported("its decoder is part of a larger model")
    layers = list(view.decoder.layers)
    for layer in layers:
        _known(layer, _LAYER)
        _known(layer.mlp, _MLP)
        _known(layer.self_attn, _ATTENTION)
    geometry, first = view.geometry, layers[0]
    frequencies, scaling = geometry.rotation.only_frequencies()
    if 2 * len(frequencies) != geometry.head_dim:
        raise Unsupported("a part of each head is rotated")
    activation = _ACTIVATIONS.get(type(first.mlp.act_fn).__name__)
    if activation is None:
        raise Unsupported(f"its activation {type(first.mlp.act_fn).__name__}")
    return DecoderConfig(
        architecture=view.architecture,
        hidden_size=int(view.config.hidden_size),
        intermediate_size=int(first.mlp.up_proj.weight.shape[0]),
        num_hidden_layers=len(layers),
        vocab_size=int(view.config.vocab_size),
        heads=geometry.heads,
        kv_heads=geometry.kv_heads,
        head_dim=geometry.head_dim,
        windows=geometry.windows,
        rotated=tuple(geometry.rotation.rotated),
        frequencies=tuple(frequencies.tolist()),
        scaling=scaling,
        eps=float(first.input_layernorm.variance_epsilon),
        scale=float(getattr(first.self_attn, "scaling", geometry.head_dim**-0.5)),
        activation=activation,
        max_position_embeddings=int(getattr(view.config, "max_position_embeddings", 4096)),
        ends=ends_of(view.model),
        fingerprint=view.fingerprint(),
    )


def agrees(view: LibraryView, decoder: Decoder) -> bool:
    """Whether the decoder's logits on a probe are those of transformers, to rounding.

    Compared are all logits of a prefill, and of a pass over few tokens behind it.
    """
    ids = probe_ids(view, PROBE)
    try:
        ours = _logits(lambda one: decoder([one])[0], decoder, ids)
    except RuntimeError:  # weights of other shapes
        return False
    theirs = _logits(view.by_library, view, ids)
    far = (ours - theirs).norm(dim=-1) / theirs.norm(dim=-1).clamp(min=1e-6)
    # In half precision a token here and there is far off, in transformers' logits as in ours.
    return bool(far.median() <= 3e-2 if view.dtype.itemsize < 4 else far.max() <= 1e-3)


def native(view: LibraryView) -> Decoder | None:
    """A decoder over an open model's own weights, if it computes the same; else None.

    Args:
        view: The model. Its modules keep views of the decoder's weights, so that nothing is in
            memory twice.
    """
    import torch

    weights = dict(view.model.state_dict())
    with torch.inference_mode(False), torch.no_grad():
        try:
            decoder = Decoder(describe(view), weights.get)
        except (Unsupported, AttributeError, ValueError):
            return None
        if not agrees(view, decoder):
            return None
        for linear in decoder.linears():
            if len(linear.names) > 1:
                for name, part in zip(
                    linear.names, torch.split(linear.parts[0], linear.rows), strict=True
                ):
                    view.model.get_parameter(name).data = part
        return decoder


def _known(module: Any, names: set[str]) -> None:
    strange = {name for name, _ in module.named_children()} - names
    if strange:
        raise Unsupported(f"its {', '.join(sorted(strange))}")


def _logits(run: Any, model: LibraryView | Decoder, ids: torch.Tensor) -> torch.Tensor:
    """Of all tokens of a probe: [tokens, vocabulary]."""
    import torch

    buffer = KVBuffer(model.geometry, len(ids))
    positions, first = torch.arange(len(ids)), len(ids) - FEW // 2
    with torch.inference_mode():
        parts = [
            run(Pass(ids[rows], positions[rows], buffer, logits="all"))
            for rows in (slice(0, first), slice(first, None))
        ]
        return torch.cat(parts).float()
