"""Full prefill: nothing is reused."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rag.kvcache.composers.base import Composer, Stored
from rag.kvcache.passes import Pass, Passes
from rag.kvcache.prefilled import Prefilled
from rag.kvcache.report import ChunkReport, Kind

if TYPE_CHECKING:
    from rag.kvcache.composition import Composition


class Full(Composer):
    """Computes everything."""

    mode: ClassVar[str] = "full"
    kind: ClassVar[Kind] = "exact"
    stores: ClassVar[Stored] = "nothing"
    relocates: ClassVar[bool] = False

    def compose(self, composition: Composition) -> Passes[Prefilled]:
        """See `Composer.compose`."""
        import torch

        layout, report = composition.layout, composition.report
        buffer = composition.new_buffer()
        ids = torch.tensor([*layout.prefix, *layout.context, *layout.suffix])
        with report.timed("recompute"):
            logits = (yield Pass(ids, torch.arange(layout.length), buffer))[0]
        report.chunks = [
            ChunkReport(len(chunk), False, "not looked for", None, len(chunk))
            for chunk in layout.chunks
        ]
        return Prefilled(logits, buffer, layout.length, report)
