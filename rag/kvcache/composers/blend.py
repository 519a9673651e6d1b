"""CacheBlend: the tokens whose values change most are recomputed."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.kvcache.composers.base import Fraction, Stored
from rag.kvcache.composers.repair import Repairing
from rag.kvcache.passes import Pass, Passes
from rag.kvcache.report import Kind

if TYPE_CHECKING:
    import torch

    from rag.kvcache.buffer import KVBuffer
    from rag.kvcache.composition import Composition


class Blend(Repairing):
    """Recomputes the tokens whose values at layer 1 differ most from the stored ones.

    CacheBlend (arXiv 2405.16444, section 4.2): layer 0 is computed for all tokens, and at layer 1
    the squared distance of the values, summed over heads, ranks them.
    """

    mode: ClassVar[str] = "blend"
    kind: ClassVar[Kind] = "repaired"
    stores: ClassVar[Stored] = "chunks"

    fraction: Fraction | None = Field(
        default=None, description="share of the context recomputed; default: calibrated, else 0.2"
    )

    def choose(self, composition: Composition, buffer: KVBuffer) -> Passes[torch.Tensor]:
        """See `Repairing.choose`."""
        import torch

        from rag.kvcache.buffer import KVBuffer

        view, layout = composition.view, composition.layout
        fraction = composition.defaults.fraction if self.fraction is None else self.fraction
        layer = min(1, view.layers - 1)
        tokens = layout.start + len(layout.context)
        ids = torch.tensor([*layout.prefix, *layout.context], dtype=torch.long)
        fresh = KVBuffer(view.geometry, tokens)
        yield Pass(ids, torch.arange(tokens), fresh, stop=layer)
        context = slice(layout.start, tokens)
        new = fresh.values[layer, :, context].float()
        old = buffer.values[layer, :, context].float()
        distance = (new - old).square().sum((0, 2))
        count = ceil(fraction * len(layout.context))
        return distance.topk(count).indices.sort().values.cpu()
