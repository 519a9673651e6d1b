"""CacheBlend: the tokens whose values change most are recomputed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.kvcache.composers.base import Fraction, Stored
from rag.kvcache.composers.repair import Repairing
from rag.kvcache.passes import Pass
from rag.kvcache.plan import Masked
from rag.kvcache.report import Kind

if TYPE_CHECKING:
    import torch

    from rag.kvcache.buffer import KVBuffer
    from rag.kvcache.composition import Composition
    from rag.kvcache.masks import Masks


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

    def choose(self, composition: Composition, buffer: KVBuffer) -> torch.Tensor:
        """See `Repairing.choose`."""
        import torch

        from rag.kvcache.buffer import KVBuffer

        view, layout = composition.view, composition.layout
        fraction = composition.defaults.fraction if self.fraction is None else self.fraction
        plan = _UpTo(min(1, view.layers - 1))
        tokens = layout.start + len(layout.context)
        ids = torch.tensor([*layout.prefix, *layout.context], dtype=torch.long)
        fresh = KVBuffer(view.geometry, tokens)
        with suppress(_LayerReached):
            view.forward(Pass(ids, torch.arange(tokens), fresh, plan))
        context = slice(layout.start, tokens)
        new = fresh.values[plan.layer, :, context].float()
        old = buffer.values[plan.layer, :, context].float()
        distance = (new - old).square().sum((0, 2))
        count = ceil(fraction * len(layout.context))
        return distance.topk(count).indices.sort().values.cpu()


class _LayerReached(Exception):  # noqa: N818 - ends a pass whose other layers are not needed
    pass


@dataclass
class _UpTo(Masked):
    """Ends the pass at a layer, whose states are in the buffer then."""

    layer: int

    def attend(
        self,
        masks: Masks,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        if layer == self.layer:
            raise _LayerReached
        return super().attend(masks, layer, query, key, value, scale)
