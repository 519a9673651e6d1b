"""EPIC: the first tokens of each chunk are recomputed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, NonNegativeInt

from rag.kvcache.composers.base import Stored
from rag.kvcache.composers.repair import Repairing
from rag.kvcache.composers.selection import chunk_starts
from rag.kvcache.report import Kind

if TYPE_CHECKING:
    import torch

    from rag.kvcache.buffer import KVBuffer
    from rag.kvcache.composition import Composition
    from rag.kvcache.passes import Passes


class Epic(Repairing):
    """Recomputes the first tokens of each chunk but the first (EPIC, arXiv 2410.15332)."""

    mode: ClassVar[str] = "epic"
    kind: ClassVar[Kind] = "repaired"
    stores: ClassVar[Stored] = "chunks"

    first: NonNegativeInt = Field(
        default=16, description="tokens of each chunk that are recomputed"
    )

    def choose(self, composition: Composition, buffer: KVBuffer) -> Passes[torch.Tensor]:
        """See `Repairing.choose`."""
        yield from ()
        return chunk_starts(composition.layout, self.first)
