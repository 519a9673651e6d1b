"""A decoder of the Llama family: what a pass computes, layer by layer.

A layer of transformers makes some sixty calls, which for a single token take as long as its
matrix products. Here a layer makes a third of that, and projections that share an input are one
product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rag.kvcache.native.config import DecoderConfig
from rag.kvcache.native.linear import Linear, Unsupported
from rag.kvcache.passes import Pass

if TYPE_CHECKING:
    import torch

    from rag.kvcache.masks import Masks
    from rag.kvcache.native.linear import Packed, Source

FEW = 16
"""Tokens of a pass up to which reading the weights takes longer than the products."""
QUANTIZED = 4
"""Tokens up to which quantised weights are faster, whose products are made one token at a time."""


@dataclass(slots=True)
class _Layer:
    before: torch.Tensor
    qkv: Linear
    q_norm: torch.Tensor | None
    k_norm: torch.Tensor | None
    out: Linear
    between: torch.Tensor
    gate_up: Linear
    down: Linear


class Decoder:
    """Makes passes through a decoder of the Llama family.

    RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467) before attention and before a gated network
    (Shazeer 2020, arXiv 2002.05202), rotary positions, grouped heads; norms of queries and keys,
    biases and layers that do not rotate, where the model has them. Queries and keys are rotated in
    float32 and cast once, as stored keys are.

    Attributes:
        config: Its sizes and constants.
        geometry: The shape of its states.
        layers: Its layers.

    Args:
        config: See above.
        source: The model's weights by their names in transformers.
        fused: See `Linear`.

    Raises:
        Unsupported: Weights are missing, or of other shapes than the family's.
    """

    def __init__(self, config: DecoderConfig, source: Source, fused: bool = True) -> None:
        self.config = config
        embed, last = source("model.embed_tokens.weight"), source("model.norm.weight")
        if embed is None or last is None:
            raise Unsupported("model.embed_tokens, model.norm")
        self._embed, self._last = embed, last
        self.geometry = config.geometry(embed.dtype, embed.device)
        self._act = _activation(config.activation)
        self.layers = [_layer(source, n, fused) for n in range(config.num_hidden_layers)]
        tied = source("lm_head.weight") is None
        self.head = Linear(source, ["model.embed_tokens" if tied else "lm_head"])

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.geometry.device

    def linears(self) -> Iterator[Linear]:
        """All its linear layers."""
        for layer in self.layers:
            yield from (layer.qkv, layer.out, layer.gate_up, layer.down)
        yield self.head

    def quantize(self, int4: Packed | None = None) -> None:
        """Decode with weights in eight bits, a scale for each row; or in four.

        That is a half or a third of the memory traffic. A prompt is computed in the model's own
        format all the same, so its states are those of the model as it is.

        Args:
            int4: Weights that come in four bits; the others, and the vocabulary's, are in eight.
        """
        for linear in self.linears():
            linear.quantize(int4)

    def __call__(self, passes: Sequence[Pass]) -> list[torch.Tensor]:
        """Make passes of several requests; the tokens' states go into the buffers.

        Those over few tokens share the products with the weights, which take as long for sixteen
        tokens as for one; each attends to its own states.

        Args:
            passes: Each of another buffer.

        Returns:
            As `ModelView.steps`.
        """
        few = [one for one in passes if one.logits == "all" and len(one.ids) <= FEW]
        quick = sum(len(one.ids) for one in few) <= QUANTIZED
        made = iter(self._run(few, few=quick) if few else ())
        return [next(made) if one in few else self._run([one], few=False)[0] for one in passes]

    def _run(self, passes: Sequence[Pass], few: bool) -> list[torch.Tensor]:
        import torch

        geometry, config = self.geometry, self.config
        device, (only, *others) = geometry.device, passes
        counts = [len(one.ids) for one in passes]
        ids, positions = only.ids, only.positions
        if others:
            ids = torch.cat([one.ids for one in passes])
            positions = torch.cat([one.positions for one in passes])
        masks = [one.buffer.prepare(one.positions, one.rewrite) for one in passes]
        x = torch.nn.functional.embedding(ids.to(device), self._embed)
        cosines, sines = geometry.rotation.angles(positions, None, device)
        cosines = torch.cat([cosines, cosines], dim=-1)[:, None]
        sines = torch.cat([-sines, sines], dim=-1)[:, None]
        for number, layer in enumerate(self.layers):
            states = self._states(layer, x, few)
            if only.unrotated is not None:
                keys = states[:, geometry.heads : geometry.heads + geometry.kv_heads]
                only.unrotated[number] = keys.transpose(0, 1)
            if config.rotated[number]:
                states = self._rotate(states, cosines, sines)
            parts = (
                torch.split(states.transpose(0, 1)[None], counts, 2)
                if others
                else (states.transpose(0, 1)[None],)
            )
            stops = only.stop == number
            attended = [
                self._attend(number, part, each, one, stops)
                for part, each, one in zip(parts, masks, passes, strict=True)
            ]
            if stops:
                return [torch.empty(0, config.vocab_size, device=device)]
            mixed = torch.cat(attended) if others else attended[0]
            x = x + (layer.out.few(mixed) if few else layer.out(mixed))
            x = x + self._gated(layer, self._norm(x, layer.between), few)
        if only.logits == "last":
            x = x[-1:]
        x = self._norm(x, self._last)
        logits = self.head.few(x) if few else self.head(x)
        return list(torch.split(logits, counts)) if others else [logits]

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.rms_norm(x, weight.shape, weight, self.config.eps)

    def _states(self, layer: _Layer, x: torch.Tensor, few: bool) -> torch.Tensor:
        """Queries, keys and values before rotation: [tokens, heads + 2 kv_heads, head_dim]."""
        import torch

        x = self._norm(x, layer.before)
        states = (layer.qkv.few(x) if few else layer.qkv(x)).view(len(x), -1, self.config.head_dim)
        if layer.q_norm is None or layer.k_norm is None:
            return states
        heads, kv_heads = self.config.heads, self.config.kv_heads
        query, key, value = torch.split(states, [heads, kv_heads, kv_heads], 1)
        return torch.cat(
            [self._norm(query, layer.q_norm), self._norm(key, layer.k_norm), value], dim=1
        )

    def _rotate(
        self, states: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor
    ) -> torch.Tensor:
        """Rotate queries and keys; the sines of the first half are negative."""
        import torch

        count = self.config.heads + self.config.kv_heads
        plain, value = states[:, :count], states[:, count:]
        swapped = plain.roll(self.config.head_dim // 2, -1)
        rotated = (plain * cosines).addcmul_(swapped, sines)
        return torch.cat([rotated.to(states.dtype), value], dim=1)

    def _gated(self, layer: _Layer, x: torch.Tensor, few: bool) -> torch.Tensor:
        gate, up = (layer.gate_up.few(x) if few else layer.gate_up(x)).chunk(2, dim=-1)
        inner = self._act(gate) * up
        return layer.down.few(inner) if few else layer.down(inner)

    def _attend(
        self, number: int, states: torch.Tensor, masks: Masks, one: Pass, stops: bool
    ) -> torch.Tensor:
        """One request's attention: [1, heads + 2 kv_heads, tokens, head_dim] to [tokens, ...].

        Of a pass that stops here, keys and values are stored, and that is all.
        """
        import torch

        sizes = [self.config.heads, self.config.kv_heads, self.config.kv_heads]
        query, key, value = torch.split(states, sizes, 1)
        keys, values = one.buffer.update(key, value, number)
        if stops:
            return query
        attended = one.plan.attend(masks, number, query, keys, values, self.config.scale)
        return attended[0].transpose(0, 1).flatten(1)


def _activation(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    from torch.nn import functional

    if name == "silu":
        return functional.silu
    return partial(functional.gelu, approximate="tanh" if name == "gelu_tanh" else "none")


def _layer(source: Source, number: int, fused: bool) -> _Layer:
    name = f"model.layers.{number}"
    before = source(f"{name}.input_layernorm.weight")
    between = source(f"{name}.post_attention_layernorm.weight")
    if before is None or between is None:
        raise Unsupported(f"the norms of {name}")
    attention, mlp = f"{name}.self_attn", f"{name}.mlp"
    return _Layer(
        before,
        Linear(source, [f"{attention}.{part}_proj" for part in "qkv"], fused),
        source(f"{attention}.q_norm.weight"),
        source(f"{attention}.k_norm.weight"),
        Linear(source, [f"{attention}.o_proj"]),
        between,
        Linear(source, [f"{mlp}.gate_proj", f"{mlp}.up_proj"], fused),
        Linear(source, [f"{mlp}.down_proj"]),
    )
