"""Fitting the map of alignment: least squares in closed form, with the model as its own teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rag.kvcache.align.alignment import PLACES, Alignment, flatten, places
from rag.kvcache.encode import encode_chunks, encode_prefix
from rag.kvcache.layout import Layout
from rag.kvcache.passes import Pass, Passes, run

if TYPE_CHECKING:
    import torch

    from rag.kvcache.model import ModelView

    States = tuple[torch.Tensor, torch.Tensor]
    Parts = tuple[Sequence[int], Sequence[Sequence[int]], Sequence[int]]

RANK = 32
RIDGE = 1e-3
"""Added to the diagonal of the normal equations, relative to it: features count by variance."""


def fit_alignment(
    view: ModelView,
    prompts: Sequence[Parts],
    rank: int = RANK,
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Alignment:
    """The map of a model, from prompts without any answers: full prefill says what is right.

    Args:
        view: The model.
        prompts: Prefix, chunks and suffix of each as token ids; the suffix is not used. Some must
            have two chunks.
        rank: Of the map.
        progress: Called with how many of how many prompts are done.

    Raises:
        ModelError: The model's states cannot be composed.
        ValueError: No prompt has a chunk behind another.
    """
    import torch

    geometry = view.geometry
    fit = Fit(geometry.layers, geometry.kv_heads * geometry.head_dim)
    for number, (prefix, chunks, _) in enumerate(prompts, start=1):
        layout = Layout(prefix, [chunk for chunk in chunks if len(chunk)], ())
        view.require_composable(layout.length)
        with torch.inference_mode():
            pairs = run(states_twice(view, layout), view.steps)
            for alone, context in pairs[1:]:
                fit.add(alone, context)
        progress(number, len(prompts))
    if not fit.tokens:
        raise ValueError("no prompt has two chunks")
    return fit.solve(rank)


def states_twice(view: ModelView, layout: Layout) -> Passes[list[tuple[States, States]]]:
    """The states of each chunk, computed alone behind the prefix, and in full prefill.

    Keys are before rotation.
    """
    import torch

    from rag.kvcache.buffer import KVBuffer

    geometry, start, end = view.geometry, layout.start, layout.start + len(layout.context)
    if layout.prefix:
        prefix = yield from encode_prefix(view, layout.prefix)
    else:
        prefix = geometry.empty(0), geometry.empty(0)
    alone = yield from encode_chunks(view, prefix, layout.chunks)
    buffer, keys = KVBuffer(geometry, end), geometry.empty(end - start)
    buffer.place(*prefix, torch.arange(start))
    yield Pass(layout.context_ids, torch.arange(start, end), buffer, unrotated=keys)
    pairs = []
    for one in sorted(alone, key=lambda one: one.index):
        first, last = layout.bounds[one.index]
        values = buffer.values[:, :, start + first : start + last]
        pairs.append(((one.keys, one.values), (keys[:, :, first:last], values)))
    return pairs


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
            ridge: Relative to the diagonal of the normal equations.
        """
        import torch

        downs, ups = [], []
        for inputs, targets in zip(self._inputs, self._targets, strict=True):
            # Features that never varied have no variance; they get a penalty all the same.
            diagonal = inputs.diagonal()
            penalty = ridge * diagonal.clamp(min=float(diagonal.mean()) * 1e-6 + 1e-12)
            factor = torch.linalg.cholesky(inputs + torch.diag(penalty))
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
