"""An encoder of the BERT family: what a row of texts becomes, layer by layer.

BERT (Devlin et al. 2019, arXiv 1810.04805) and RoBERTa (Liu et al. 2019, arXiv 1907.11692), which
differs in where positions begin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.kvcache.native.linear import Linear, Unsupported
from rag.models.local.encoder.config import Activation, EncoderConfig
from rag.models.local.encoder.packing import Group, Row, pack

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import torch

    from rag.kvcache.native.linear import Source

CACHED = 6 * 2**20
"""Bytes of a row's widest states: more of them would not stay in the processor's cache between two
steps."""
LEAST = 512
"""Tokens of a row, as fewer would not fill a product's registers."""


@dataclass(slots=True)
class _Layer:
    qkv: Linear
    out: Linear
    attended: _Norm
    up: Linear
    down: Linear
    last: _Norm


class Encoder:
    """Computes the states of tokens in rows.

    Args:
        config: Sizes and constants.
        source: The model's weights by their names in transformers.

    Raises:
        Unsupported: Weights are missing.

    Attributes:
        config: See above.
        device: Where it computes.
    """

    def __init__(self, config: EncoderConfig, source: Source) -> None:
        self.config = config

        def found(name: str) -> torch.Tensor:
            weight = source(f"{config.prefix}embeddings.{name}.weight")
            if weight is None:
                raise Unsupported(f"embeddings.{name}")
            return weight

        def inner(name: str) -> torch.Tensor | None:
            return source(f"{config.prefix}{name}")

        self._words, self._positions = found("word_embeddings"), found("position_embeddings")
        self._types = found("token_type_embeddings")
        self._first = _Norm(inner, "embeddings.LayerNorm", config.eps)
        self._layers = [_layer(inner, f"encoder.layer.{n}", config) for n in range(config.layers)]
        self._act = _activation(config.activation)
        self.device = self._words.device
        wide = config.intermediate_size * self._words.element_size()
        self._room = max(CACHED // wide, LEAST)

    def __call__(
        self, texts: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None
    ) -> Iterator[tuple[Row, torch.Tensor]]:
        """The states of all tokens of some texts, row by row, like lengths together.

        Args:
            texts: Token ids of each, at least one.
            types: Of which of two parts each token is; None: there is one part.

        Yields:
            A row, and its states [tokens, hidden_size].
        """
        import torch

        for row in pack([len(ids) for ids in texts], self._room):
            with torch.inference_mode():
                given = torch.tensor([one for at in row.texts for one in texts[at]])
                parts = None
                if types is not None:
                    parts = torch.tensor([one for at in row.texts for one in types[at]])
                yield row, self._states(row.groups, given, parts)

    @staticmethod
    def array(states: torch.Tensor) -> np.ndarray:
        """States as float32 of NumPy: [tokens, hidden_size]."""
        found: np.ndarray = states.float().cpu().numpy()
        return found

    def pooled(self, states: torch.Tensor, group: Group) -> np.ndarray:
        """The vectors of the texts of one length in a row: float32 [count, hidden_size], unit."""
        import torch

        each = states[group.start : group.end].view(group.count, group.length, -1)
        means = self.config.pooling == "mean"
        found = each.mean(1, dtype=torch.float32) if means else each[:, 0]
        return self.array(torch.nn.functional.normalize(found.float()))

    def _states(
        self, groups: list[Group], ids: torch.Tensor, types: torch.Tensor | None
    ) -> torch.Tensor:
        import torch

        places = [torch.arange(one.length).repeat(one.count) for one in groups]
        positions = torch.cat(places) + self.config.first_position
        x = self._words[ids.to(self.device)] + self._positions[positions.to(self.device)]
        x += self._types[0] if types is None else self._types[types.to(self.device)]
        x = self._first(x)
        for layer in self._layers:
            x = layer.attended(layer.out(self._attend(groups, layer.qkv(x))).add_(x))
            x = layer.last(layer.down(self._act(layer.up(x))).add_(x))
        return x

    def _attend(self, groups: list[Group], qkv: torch.Tensor) -> torch.Tensor:
        """Each text attends to itself: [tokens, 3 * hidden_size] to [tokens, hidden_size]."""
        import torch

        heads, hidden = self.config.heads, self.config.hidden_size
        found = torch.empty(len(qkv), hidden, dtype=qkv.dtype, device=qkv.device)
        for one in groups:
            place = slice(one.start, one.end)
            states = qkv[place].view(one.count, one.length, 3, heads, hidden // heads)
            query, key, value = states.permute(2, 0, 3, 1, 4)
            mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value)
            found[place] = mixed.transpose(1, 2).reshape(-1, hidden)
        return found


class _Norm:
    def __init__(self, source: Source, name: str, eps: float) -> None:
        weight, bias = source(f"{name}.weight"), source(f"{name}.bias")
        if weight is None or bias is None:
            raise Unsupported(name)
        self._weight, self._bias, self._eps = weight, bias, eps

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.layer_norm(x, self._weight.shape, self._weight, self._bias, self._eps)


def _layer(source: Source, name: str, config: EncoderConfig) -> _Layer:
    attention = f"{name}.attention"
    return _Layer(
        Linear(source, [f"{attention}.self.{part}" for part in ("query", "key", "value")]),
        Linear(source, [f"{attention}.output.dense"]),
        _Norm(source, f"{attention}.output.LayerNorm", config.eps),
        Linear(source, [f"{name}.intermediate.dense"]),
        Linear(source, [f"{name}.output.dense"]),
        _Norm(source, f"{name}.output.LayerNorm", config.eps),
    )


def _activation(name: Activation) -> Callable[[torch.Tensor], torch.Tensor]:
    """In place: the states between two products are the widest that there are."""
    import torch

    if name == "relu":
        return torch.relu_
    how = "tanh" if name == "gelu_tanh" else "none"
    return lambda x: torch.ops.aten.gelu_(x, approximate=how)
