"""Alignment: states computed alone are mapped to what they would be in context."""

from __future__ import annotations

import logging
from functools import cache
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
    from rag.kvcache.store.base import Entry

_LOG = logging.getLogger(__name__)


class Align(Repairing):
    """Maps chunks computed alone to what context makes of them, and recomputes the rest of a share.

    The map is linear, of low rank, and fitted to the model in closed form (`rag.kvcache.align`);
    `docs/align.md` derives and measures it. The first chunk is exact as it is. A model without a
    map is composed unaligned: as by `focus`, or by `concat` where nothing is recomputed.
    """

    mode: ClassVar[str] = "align"
    kind: ClassVar[Kind] = "aligned"
    stores: ClassVar[Stored] = "chunks"

    fraction: Fraction = Field(
        default=0.15, description="share of the context recomputed after alignment"
    )
    starts: Fraction = Field(
        default=0.66, description="share of the fraction spent on the chunks' first tokens"
    )

    def entries(self, composition: Composition) -> Passes[list[Entry]]:
        """See `Repairing.entries`."""
        alignment = composition.defaults.alignment
        if alignment is None:
            _warn(composition.view.id)
            composition.report.kind = "repaired" if self.fraction else "unrepaired"
        return composition.chunk_entries(alignment)

    def choose(self, composition: Composition, buffer: KVBuffer) -> Passes[torch.Tensor]:
        """See `Repairing.choose`."""
        view, layout, layers = composition.view, composition.layout, composition.defaults.layers
        budget = ceil(self.fraction * len(layout.context))
        others = range(1, len(layout.chunks))
        return (
            yield from query_attended(view, layout, buffer, budget, others, self.starts, layers)
        )


@cache
def _warn(model: str) -> None:
    """Once for each model."""
    _LOG.warning(
        "%r has no alignment, so chunks are used as they were computed; fit one: rag cache "
        "calibrate",
        model,
    )
