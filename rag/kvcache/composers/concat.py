"""Chunks one after another, as they are: the baseline of the repairing composers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rag.kvcache.composers.base import Stored
from rag.kvcache.composers.repair import Repairing
from rag.kvcache.report import Kind

if TYPE_CHECKING:
    import torch

    from rag.kvcache.buffer import KVBuffer
    from rag.kvcache.composition import Composition
    from rag.kvcache.passes import Passes


class Concat(Repairing):
    """Places chunks at their true positions and recomputes nothing."""

    mode: ClassVar[str] = "concat"
    kind: ClassVar[Kind] = "unrepaired"
    stores: ClassVar[Stored] = "chunks"

    def choose(self, composition: Composition, buffer: KVBuffer) -> Passes[torch.Tensor]:
        """See `Repairing.choose`."""
        import torch

        yield from ()
        return torch.zeros(0, dtype=torch.long)
