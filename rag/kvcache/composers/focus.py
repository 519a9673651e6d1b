"""The question chooses which tokens are recomputed."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.kvcache.composers.base import Fraction, Stored
from rag.kvcache.composers.repair import Repairing
from rag.kvcache.composers.selection import query_attended
from rag.kvcache.report import Kind

if TYPE_CHECKING:
    import torch

    from rag.kvcache.buffer import KVBuffer
    from rag.kvcache.composition import Composition
    from rag.kvcache.passes import Passes


class Focus(Repairing):
    """Recomputes the tokens that the question attends to, and the chunks' first tokens."""

    mode: ClassVar[str] = "focus"
    kind: ClassVar[Kind] = "repaired"
    stores: ClassVar[Stored] = "chunks"

    fraction: Fraction | None = Field(
        default=None, description="share of the context recomputed; default: calibrated, else 0.2"
    )
    starts: Fraction = Field(
        default=0.33, description="share of the fraction spent on the chunks' first tokens"
    )

    def choose(self, composition: Composition, buffer: KVBuffer) -> Passes[torch.Tensor]:
        """See `Repairing.choose`. The first chunk stands where it was computed: it is exact."""
        layout = composition.layout
        fraction = composition.defaults.fraction if self.fraction is None else self.fraction
        budget = ceil(fraction * len(layout.context))
        others = range(1, len(layout.chunks))
        view, layers = composition.view, composition.defaults.layers
        return (
            yield from query_attended(view, layout, buffer, budget, others, self.starts, layers)
        )
