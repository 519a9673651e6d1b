"""Prefix caching: the longest beginning that was computed before is reused."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, ClassVar

from rag.kvcache.composers.base import Composer, Stored
from rag.kvcache.passes import Pass, Passes
from rag.kvcache.prefilled import Prefilled
from rag.kvcache.report import ChunkReport, Kind
from rag.kvcache.store.base import Found

if TYPE_CHECKING:
    from rag.kvcache.buffer import KVBuffer
    from rag.kvcache.composition import Composition


class Prefix(Composer):
    """Reuses the longest beginning that was computed before, segment by segment.

    A segment's key contains all segments before it, which makes the store a radix tree over
    sequences of chunks. Keys are stored rotated: they never move.
    """

    mode: ClassVar[str] = "prefix"
    kind: ClassVar[Kind] = "exact"
    stores: ClassVar[Stored] = "chains"
    relocates: ClassVar[bool] = False

    def compose(self, composition: Composition) -> Passes[Prefilled]:
        """See `Composer.compose`."""
        import torch

        layout, report = composition.layout, composition.report
        buffer = composition.new_buffer()
        segments = [*([layout.prefix] if layout.prefix else []), *layout.chunks, *layout.turns]
        keys = [
            composition.chain_key(segments[:number], ids) for number, ids in enumerate(segments)
        ]
        composition.store.prefetch(keys)
        reports = _place_stored(composition, buffer, segments, keys)
        end = len(segments) - len(layout.turns)
        report.chunks = reports[end - len(layout.chunks) : end]
        hits, start = sum(one.hit for one in reports), buffer.length
        rest = [token for segment in segments[hits:] for token in segment]
        ids = torch.tensor([*rest, *layout.question])
        with report.timed("recompute"):
            started = perf_counter()
            logits = (yield Pass(ids, torch.arange(start, layout.length), buffer))[0]
            seconds_per_token = (perf_counter() - started) / len(ids)
        for key, segment in zip(keys[hits:], segments[hits:], strict=True):
            slots = slice(start, start + len(segment))
            states = {
                "keys": buffer.keys[:, :, slots].clone(),
                "values": buffer.values[:, :, slots].clone(),
            }
            composition.keep(key, segment, states, seconds_per_token * len(segment))
            start = slots.stop
        return Prefilled(logits, buffer, layout.length, report)


def _place_stored(
    composition: Composition, buffer: KVBuffer, segments: list[list[int]], keys: list[str]
) -> list[ChunkReport]:
    """Append the stored segments up to the first that is missing; report on all."""
    import torch

    reports: list[ChunkReport] = []
    why: str | None = None
    for key, ids in zip(keys, segments, strict=True):
        found = None if why else composition.look_up(key, ids)
        if isinstance(found, Found):
            with composition.report.timed("compose"):
                tensors = found.entry.tensors
                positions = torch.arange(buffer.length, buffer.length + len(ids))
                buffer.place(tensors["keys"], tensors["values"], positions)
            reports.append(ChunkReport(len(ids), True, None, found.tier))
        else:
            why = why or (found.reason if found is not None else "absent")
            reports.append(ChunkReport(len(ids), False, why, None, len(ids)))
    return reports
