"""Tokens chosen at random: what every rule of choice must beat."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.kvcache.composers.base import Fraction, Stored
from rag.kvcache.composers.repair import Repairing
from rag.kvcache.report import Kind

if TYPE_CHECKING:
    import torch

    from rag.kvcache.buffer import KVBuffer
    from rag.kvcache.composition import Composition
    from rag.kvcache.passes import Passes


class Random(Repairing):
    """Recomputes a share of the context chosen at random."""

    mode: ClassVar[str] = "random"
    kind: ClassVar[Kind] = "repaired"
    stores: ClassVar[Stored] = "chunks"

    fraction: Fraction | None = Field(
        default=None, description="share of the context recomputed; default: calibrated, else 0.2"
    )
    seed: int = Field(default=0, description="of the choice")

    def choose(self, composition: Composition, buffer: KVBuffer) -> Passes[torch.Tensor]:
        """See `Repairing.choose`."""
        import torch

        yield from ()
        fraction = composition.defaults.fraction if self.fraction is None else self.fraction
        tokens = len(composition.layout.context)
        order = torch.randperm(tokens, generator=torch.Generator().manual_seed(self.seed))
        return order[: ceil(fraction * tokens)].sort().values
