"""Parallel encoding: no chunk sees another, and all start at the same position."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rag.kvcache.composers.base import Composer, Stored
from rag.kvcache.passes import Pass, Passes
from rag.kvcache.prefilled import Prefilled
from rag.kvcache.report import Kind

if TYPE_CHECKING:
    from rag.kvcache.composition import Composition


class Parallel(Composer):
    """Places every chunk right behind the prefix, and the suffix behind the longest of them.

    Parallel context windows (Ratner et al. 2023, arXiv 2212.10947).
    """

    mode: ClassVar[str] = "parallel"
    kind: ClassVar[Kind] = "parallel"
    stores: ClassVar[Stored] = "chunks"

    def compose(self, composition: Composition) -> Passes[Prefilled]:
        """See `Composer.compose`. The chunks' slots come first, then the prefix's."""
        import torch

        layout, report = composition.layout, composition.report
        entries = yield from composition.chunk_entries()
        prefix = yield from composition.prefix_states()
        buffer = composition.new_buffer()
        with report.timed("compose"):
            for entry in entries:
                positions = torch.arange(layout.start, layout.start + len(entry.ids))
                tensors = entry.tensors
                buffer.place_unrotated(tensors["keys"], tensors["values"], positions)
            buffer.place(*prefix, torch.arange(layout.start))
        start = layout.start + max(map(len, layout.chunks), default=0)
        end = start + len(layout.suffix)
        plan = self.plan(composition)
        with report.timed("recompute"):
            logits = (yield Pass(layout.suffix_ids, torch.arange(start, end), buffer, plan))[0]
        return Prefilled(logits, buffer, end, report, plan)
