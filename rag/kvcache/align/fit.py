"""Fitting the map of alignment: least squares in closed form, with the model as its own teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag.kvcache.align.alignment import PLACES, Alignment, flatten, places

if TYPE_CHECKING:
    import torch

RANK = 32
RIDGE = 1e-3
"""Added to the diagonal of the normal equations, relative to its mean."""


class Fit:
    """The normal equations of all layers, accumulated chunk by chunk.

    Memory does not grow with the prompts: layers * (2 * width)^2 numbers in float64, twice.

    Attributes:
        tokens: That were added.

    Args:
        layers: Of the model.
        width: kv_heads * head_dim.
    """

    def __init__(self, layers: int, width: int) -> None:
        import torch

        features = 2 * width + PLACES
        self.tokens = 0
        self._inputs = torch.zeros(layers, features, features, dtype=torch.float64)
        self._targets = torch.zeros(layers, features, 2 * width, dtype=torch.float64)

    def add(
        self,
        alone: tuple[torch.Tensor, torch.Tensor],
        context: tuple[torch.Tensor, torch.Tensor],
    ) -> None:
        """Add a chunk that stands behind others.

        Args:
            alone: Its keys before rotation and its values, computed without the others: each
                [layers, kv_heads, tokens, head_dim].
            context: The same in full prefill.
        """
        import torch

        states = flatten(*alone).cpu()
        change = flatten(*context).cpu() - states
        layers, tokens, _ = states.shape
        x = torch.cat([states, places(tokens).expand(layers, -1, -1)], dim=2)
        for layer in range(layers):
            self._inputs[layer] += (x[layer].T @ x[layer]).double()
            self._targets[layer] += (x[layer].T @ change[layer]).double()
        self.tokens += tokens

    def solve(self, rank: int = RANK, ridge: float = RIDGE) -> Alignment:
        """The map of this rank that predicts best what context changes.

        Ridge regression, then the projection of the predicted changes on their leading directions
        (reduced-rank regression; Izenman 1975). Keys and values count alike: their changes are
        scaled to the same mean square before.

        Args:
            rank: At most 2 * width.
            ridge: Relative to the mean of the diagonal of the normal equations.
        """
        import torch

        downs, ups = [], []
        for inputs, targets in zip(self._inputs, self._targets, strict=True):
            penalty = ridge * inputs.diagonal().mean().clamp(min=1e-12)
            penalised = inputs + penalty * torch.eye(len(inputs), dtype=inputs.dtype)
            factor = torch.linalg.cholesky(penalised)
            weights = torch.cholesky_solve(targets, factor)
            predicted = weights.T @ inputs @ weights
            scale = _scale(predicted.diagonal())
            directions = torch.linalg.eigh(predicted * scale * scale[:, None])[1][:, -rank:]
            downs.append((weights * scale) @ directions)
            ups.append(directions.T / scale)
        down = torch.stack(downs).float()
        cut = down.shape[1] - PLACES
        return Alignment(
            down[:, :cut].contiguous(), down[:, cut:].contiguous(), torch.stack(ups).float()
        )


def _scale(squares: torch.Tensor) -> torch.Tensor:
    """One over the root of the mean square of the keys' half and of the values' half."""
    half = len(squares) // 2
    means = squares.reshape(2, half).mean(1, keepdim=True).clamp(min=1e-12)
    return means.rsqrt().expand(2, half).reshape(-1)
