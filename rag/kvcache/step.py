"""Passes over few tokens, written out: decoding spends its time in weights, not in Python.

A layer of transformers makes some sixty calls, which for a single token take as long as its
matrix products. Here a layer makes twenty, the projections that share an input are one product,
and weights may be read in eight bits. It is for decoders of the Llama family and used only if a
probe's logits are the model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag.kvcache.buffer import KVBuffer
from rag.kvcache.passes import Pass
from rag.kvcache.probe import probe_ids

if TYPE_CHECKING:
    import torch

    from rag.kvcache.masks import Masks
    from rag.kvcache.model import ModelView


class Linear:
    """One or more of a model's linear layers as one.

    Args:
        modules: Linear layers with the same input.
        int8: Keep a copy of the weights in eight bits, a scale for each row, and use that.

    Raises:
        Unsupported: Only some of the layers have a bias.
    """

    def __init__(self, modules: list[Any], int8: bool) -> None:
        import torch

        weights = [module.weight for module in modules]
        if len(weights) == 1:
            self.weight = weights[0].detach()
        else:
            # The modules keep views of the whole, so that nothing is in memory twice.
            self.weight = torch.cat([weight.detach() for weight in weights])
            start = 0
            for weight in weights:
                weight.data = self.weight[start : start + weight.shape[0]]
                start += weight.shape[0]
        biases = [module.bias for module in modules if module.bias is not None]
        if len(biases) not in (0, len(modules)):
            raise Unsupported
        self.bias = torch.cat([bias.detach() for bias in biases]) if biases else None
        self.int8: tuple[torch.Tensor, torch.Tensor] | None = None
        if int8:
            scales = self.weight.float().abs().amax(1).clamp(min=1e-8) / 127
            rounded = (self.weight.float() / scales[:, None]).round()
            self.int8 = (rounded.to(torch.int8).contiguous(), scales.to(self.weight.dtype))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[tokens, in] to [tokens, out]."""
        import torch

        if self.int8 is None:
            return torch.nn.functional.linear(x, self.weight, self.bias)
        out: torch.Tensor = torch.ops.aten._weight_int8pack_mm(x.contiguous(), *self.int8)
        return out if self.bias is None else out + self.bias


class Norm:
    """RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467), rounded where transformers' is."""

    def __init__(self, module: Any) -> None:
        self.weight = module.weight.detach()
        self.eps = float(module.variance_epsilon)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Over the last dimension."""
        import torch

        out: torch.Tensor = torch.rms_norm(x, (x.shape[-1],), None, self.eps) * self.weight
        return out


@dataclass(slots=True)
class _Layer:
    before: Norm
    qkv: Linear
    q_norm: Norm | None
    k_norm: Norm | None
    out: Linear
    scale: float
    between: Norm
    gate_up: Linear
    act: Callable[[torch.Tensor], torch.Tensor]
    down: Linear


class Unsupported(Exception):  # noqa: N818 - handled here: the model runs as it is
    """The model is of another family."""


class FusedStep:
    """Makes passes over few tokens through a decoder of the Llama family; see `ShortPasses`.

    Args:
        view: The model.
        int8: Read weights in eight bits, a scale for each row (weight-only quantisation); not
            exact, and half of the memory traffic.

    Raises:
        Unsupported: The model has parts that this module does not know.
        AttributeError: It lacks some.
    """

    MOST = 16
    """Tokens of a pass at most: beyond, transformers' calls are a small share of the time."""

    def __init__(self, view: ModelView, int8: bool) -> None:
        self.view = view
        self.embed, self.rotary = view.decoder.embed_tokens, view.decoder.rotary_emb
        self.layers = [_layer(layer, int8) for layer in view.decoder.layers]
        self.last = Norm(view.decoder.norm)
        self.head = Linear([view.model.lm_head], int8)

    def takes(self, one: Pass) -> bool:
        """Whether a pass is short, and decodes: a prompt is computed in the model's own format."""
        return one.logits == "all" and len(one.ids) <= self.MOST

    def __call__(self, passes: Sequence[Pass]) -> list[torch.Tensor]:
        """Make passes of several requests; the tokens' states go into the buffers.

        The requests' tokens share the products with the weights, which take as long for sixteen
        tokens as for one; each attends to its own states.

        Returns:
            For each pass the logits of all its tokens: [tokens, vocabulary].
        """
        import torch

        geometry = self.view.geometry
        heads, kv_heads, width = geometry.heads, geometry.kv_heads, geometry.head_dim
        counts = [len(one.ids) for one in passes]
        ids = torch.cat([one.ids for one in passes]).to(geometry.device)
        positions = torch.cat([one.positions for one in passes]).to(geometry.device)
        masks = [one.buffer.prepare(one.positions, one.rewrite) for one in passes]
        x = self.embed(ids)
        cosines, sines = (one[0][:, None] for one in self.rotary(x[None], positions[None]))
        half = width // 2
        for number, layer in enumerate(self.layers):
            qkv = layer.qkv(layer.before(x)).view(len(ids), -1, width)
            rotated = qkv[:, : heads + kv_heads]
            if layer.q_norm is not None and layer.k_norm is not None:
                parts = [layer.q_norm(rotated[:, :heads]), layer.k_norm(rotated[:, heads:])]
                rotated = torch.cat(parts, dim=1)
            if geometry.rotation.rotated[number]:
                swapped = torch.cat([-rotated[..., half:], rotated[..., :half]], dim=-1)
                rotated = rotated * cosines + swapped * sines
            states = torch.cat([rotated, qkv[:, heads + kv_heads :]], dim=1).transpose(0, 1)[None]
            attended = [
                self._attend(number, layer.scale, part, each, one)
                for part, each, one in zip(
                    torch.split(states, counts, 2), masks, passes, strict=True
                )
            ]
            x = x + layer.out(torch.cat(attended) if len(attended) > 1 else attended[0])
            gate, up = layer.gate_up(layer.between(x)).chunk(2, dim=-1)
            x = x + layer.down(layer.act(gate) * up)
        return list(torch.split(self.head(self.last(x)), counts))

    def _attend(
        self, number: int, scale: float, states: torch.Tensor, masks: Masks, one: Pass
    ) -> torch.Tensor:
        """One request's attention: [1, heads + 2 kv_heads, tokens, head_dim] to [tokens, ...]."""
        import torch

        geometry = self.view.geometry
        sizes = [geometry.heads, geometry.kv_heads, geometry.kv_heads]
        query, key, value = torch.split(states, sizes, 1)
        keys, values = one.buffer.update(key, value, number)
        attended = one.plan.attend(masks, number, query, keys, values, scale)
        return attended[0].transpose(0, 1).flatten(1)


def fused_step(view: ModelView, int8: bool = False) -> FusedStep | None:
    """A fused step for this model, if its logits on a probe are the model's own; else None.

    Args:
        view: The model.
        int8: See `FusedStep`. The probe is compared in the model's own format.
    """
    import torch

    ids = probe_ids(view, 9)
    passes = [
        Pass(ids, torch.arange(len(ids)), KVBuffer(view.geometry, len(ids))) for _ in range(2)
    ]
    with torch.inference_mode():
        expected = view.forward(passes[0])[0].float()
    try:
        with torch.inference_mode(False), torch.no_grad():
            step = FusedStep(view, int8=False)
        with torch.inference_mode():
            logits = step(passes[1:])[0][-1].float()
    except (Unsupported, AttributeError, RuntimeError, TypeError, ValueError):
        return None
    far = (logits - expected).abs().max() / expected.abs().max().clamp(min=1e-6)
    if far > (5e-2 if view.dtype != torch.float32 else 1e-4):
        return None
    return FusedStep(view, int8=True) if int8 else step


def _layer(layer: Any, int8: bool) -> _Layer:
    """A layer's parts; raises as `FusedStep`."""
    known = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
    attention, mlp = layer.self_attn, layer.mlp
    if {name for name, _ in layer.named_children()} != known:
        raise Unsupported
    if {name for name, _ in mlp.named_children()} - {"gate_proj", "up_proj", "down_proj", "act_fn"}:
        raise Unsupported
    projections = {"q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"}
    if {name for name, _ in attention.named_children()} - projections:
        raise Unsupported
    q_norm, k_norm = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
    return _Layer(
        Norm(layer.input_layernorm),
        Linear([attention.q_proj, attention.k_proj, attention.v_proj], int8),
        Norm(q_norm) if q_norm is not None else None,
        Norm(k_norm) if k_norm is not None else None,
        Linear([attention.o_proj], int8),
        float(getattr(attention, "scaling", attention.head_dim**-0.5)),
        Norm(layer.post_attention_layernorm),
        Linear([mlp.gate_proj, mlp.up_proj], int8),
        mlp.act_fn,
        Linear([mlp.down_proj], int8),
    )
