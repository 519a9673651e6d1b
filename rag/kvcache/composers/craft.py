"""Cache-Craft (arXiv 2502.15734): states stored with the context that they were computed in.

A chunk's states are computed where it stands in a prompt, and stored with how much attention they
paid to what stood before. In another prompt, that shows how much of them is wrong. A chunk without
stored states is computed in its place, over the reused states of the others, and stored.

Two things differ from the paper. Its prefix overlap is only the share of the old attention that is
still there, so that a chunk first seen behind nothing would never be repaired behind something.
Here the overlap is taken over the union: with shared, lost and new earlier chunks,

    beta = shared / (shared + lost + new)

shared and lost are attention measured then; new is estimated as the chunk's measured attention per
pair of tokens to earlier chunks (or, where nothing stood before it, its attention to itself) times
the pairs of tokens that there are now. And the question chooses the tokens to recompute, within a
budget (`selection.query_attended`), unless `by: attention` asks for the published rule.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, exp
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeFloat

from rag.kvcache.composers.base import Composer, Fraction, Stored
from rag.kvcache.composers.repair import place, recompute
from rag.kvcache.composers.selection import query_attended
from rag.kvcache.passes import Pass, Passes
from rag.kvcache.plan import ChunkAttention
from rag.kvcache.report import ChunkReport, Kind
from rag.kvcache.store.base import Entry, Found

if TYPE_CHECKING:
    import torch

    from rag.kvcache.buffer import KVBuffer
    from rag.kvcache.composition import Composition
    from rag.kvcache.prefilled import Prefilled

OBSERVED_LAYERS = 6
"""Layers, evenly spread, whose attention is measured while a chunk is computed."""


class Craft(Composer):
    """Reuses chunks as computed behind other chunks; recomputes what the new context makes wrong.

    See the module.
    """

    mode: ClassVar[str] = "craft"
    kind: ClassVar[Kind] = "repaired"
    stores: ClassVar[Stored] = "variants"

    fraction: Fraction | None = Field(
        default=None,
        description="share of the context recomputed at most; default: calibrated, else 0.2",
    )
    starts: Fraction = Field(
        default=0.33, description="share of the fraction spent on the chunks' first tokens"
    )
    alpha: NonNegativeFloat = Field(
        default=1.0, description="factor of the share of a chunk that its new context makes wrong"
    )
    by: Literal["question", "attention"] = Field(
        default="question",
        description="what chooses the tokens to recompute: the question's attention; or as "
        "published, their attention to the old context, where alpha alone sets how many",
    )
    variants: int = Field(default=3, ge=1, description="stored per chunk")

    def compose(self, composition: Composition) -> Passes[Prefilled]:
        """See `Composer.compose`."""
        variants = _Variants(composition, self)
        buffer = yield from place(composition, variants.entries)
        with composition.report.timed("encode"):
            yield from variants.compute(buffer)
        with composition.report.timed("choose"):
            chosen = yield from variants.choose(buffer)
        return (yield from recompute(composition, buffer, chosen))


@dataclass(frozen=True)
class _Variant:
    """A stored variant of a chunk, and the share of its tokens to recompute in this prompt."""

    entry: Entry
    tier: str
    overhead: float


class _Variants:
    """For each chunk of a prompt the stored variant that needs least repair, if there is one."""

    def __init__(self, composition: Composition, settings: Craft) -> None:
        self._composition, self._settings = composition, settings
        self._layout = layout = composition.layout
        self._keys = [
            composition.keys.of("craft", [layout.prefix], chunk) for chunk in layout.chunks
        ]
        self._best: list[_Variant | None] = []
        with composition.report.timed("lookup"):
            for index, chunk in enumerate(layout.chunks):
                stored, why = self._stored(index)
                before = self._before(index)
                best = min(
                    (
                        _Variant(one.entry, one.tier, overhead(one.entry, before, settings.alpha))
                        for one in stored
                    ),
                    key=lambda one: one.overhead,
                    default=None,
                )
                self._best.append(best)
                report = ChunkReport(len(chunk), False, why, None, len(chunk))
                if best is not None:
                    report = ChunkReport(len(chunk), True, None, best.tier)
                composition.report.chunks.append(report)

    @property
    def entries(self) -> list[Entry | None]:
        """The chosen variants; None: the chunk has none."""
        return [None if one is None else one.entry for one in self._best]

    def compute(self, buffer: KVBuffer) -> Passes[None]:
        """Compute the chunks without a variant where they stand, and store them.

        Args:
            buffer: With the other chunks' states, and reserved slots for these.
        """
        import torch

        view, layout = self._composition.view, self._layout
        missing = [index for index, one in enumerate(self._best) if one is None]
        if not missing:
            return
        slots = torch.cat([torch.arange(*layout.slots[index]) for index in missing])
        rows, end = {}, 0
        for index in missing:
            rows[index] = (end, end + len(layout.chunks[index]))
            end = rows[index][1]
        step = max(1, view.layers // OBSERVED_LAYERS)
        layers = frozenset(range(step // 2, view.layers, step))
        attention = ChunkAttention(layers, layout.slots, rows)
        started = perf_counter()
        ids, keys = layout.context_ids[slots - layout.start], view.geometry.empty(len(slots))
        yield Pass(ids, slots, buffer, attention, rewrite=slots, unrotated=keys)
        seconds_per_token = (perf_counter() - started) / len(slots)
        for index in missing:
            states = {
                "keys": keys[:, :, slice(*rows[index])].clone(),
                "values": buffer.values[:, :, slice(*layout.slots[index])].clone(),
            }
            self._keep(index, states, attention.paid, seconds_per_token)

    def choose(self, buffer: KVBuffer) -> Passes[torch.Tensor]:
        """The tokens to recompute: places in the context, rising."""
        import torch

        composition, layout, settings = self._composition, self._layout, self._settings
        wrong = {index: one for index, one in enumerate(self._best) if one and one.overhead}
        counts = {index: ceil(one.overhead * len(one.entry.ids)) for index, one in wrong.items()}
        if settings.by == "question":
            fraction = settings.fraction
            if fraction is None:
                fraction = composition.defaults.fraction
            budget = min(ceil(fraction * len(layout.context)), sum(counts.values()))
            return (
                yield from query_attended(
                    composition.view, layout, buffer, budget, list(wrong), settings.starts
                )
            )
        places = [torch.zeros(0, dtype=torch.long)]
        for index, one in wrong.items():
            weight = one.entry.tensors["inter"].float().sum(0)
            most = weight.topk(counts[index]).indices.sort().values
            places.append(layout.bounds[index][0] + most.cpu())
        return torch.cat(places)

    def _before(self, index: int) -> list[tuple[str, int]]:
        """Key and length of each chunk that stands before one."""
        return [(self._keys[i], len(self._layout.chunks[i])) for i in range(index)]

    def _stored(self, index: int) -> tuple[list[Found], str]:
        """The stored variants of a chunk, and why there are no more."""
        chunk = self._layout.chunks[index]
        variants: list[Found] = []
        for number in range(self._settings.variants):
            found = self._composition.store.get(self._variant_key(index, number), chunk)
            if not isinstance(found, Found):
                return variants, found.reason
            variants.append(found)
        return variants, "absent"

    def _variant_key(self, index: int, number: int) -> str:
        chunk_key = list(bytes.fromhex(self._keys[index]))
        return self._composition.keys.of(f"craft {number}", [], chunk_key)

    def _keep(
        self,
        index: int,
        states: dict[str, torch.Tensor],
        paid: dict[tuple[int, int], torch.Tensor],
        seconds_per_token: float,
    ) -> None:
        """Store a variant: in a free place, or that of the same context, or the last one."""
        import torch

        chunk, before = self._layout.chunks[index], self._before(index)
        inter = torch.zeros(0, len(chunk))
        if index:
            inter = torch.stack([paid[index, other] for other in range(index)])
        pairs = len(chunk) * sum(count for _, count in before)
        intra = float(paid[index, index].sum())
        # Where nothing stood before, later context is weighed as the chunk weighs itself.
        per_pair = float(inter.sum()) / pairs if pairs else 2 * intra / len(chunk) ** 2
        meta = {"before": json.dumps(before), "intra": repr(intra), "rate": repr(per_pair)}
        tensors = {**states, "inter": inter.to(torch.float32)}
        store, most = self._composition.store, self._settings.variants
        for number in range(most):
            key = self._variant_key(index, number)
            found = store.get(key, chunk)
            if not isinstance(found, Found) or found.entry.meta["before"] == meta["before"]:
                break
        self._composition.keep(key, chunk, tensors, seconds_per_token * len(chunk), meta)


def overhead(entry: Entry, before: Sequence[tuple[str, int]], alpha: float) -> float:
    """CFO: the share of a chunk's tokens to recompute (equation 12, beta over the union).

    Args:
        entry: A variant of the chunk, with its attention and what stood before it.
        before: Key and length of each chunk that stands before it now.
        alpha: Factor of the result.

    Returns:
        0 to 1.
    """
    old = json.loads(entry.meta["before"])
    tokens = len(entry.ids)
    inter = entry.tensors["inter"].float().sum(1).tolist()
    intra = float(entry.meta["intra"])
    was = {name: (amount, count) for (name, count), amount in zip(old, inter, strict=True)}
    now = dict(before)
    shared = sum(amount for name, (amount, _) in was.items() if name in now)
    lost = sum(amount for name, (amount, _) in was.items() if name not in now)
    pairs = sum(count for _, count in was.values()) * tokens
    rate = (shared + lost) / pairs if pairs else float(entry.meta["rate"])
    new = sum(rate * tokens * count for name, count in now.items() if name not in was)
    total = shared + lost + new
    beta = shared / total if total else 1.0
    beta *= 1 - _disorder([n for n, _ in old if n in now], [n for n, _ in before if n in was])
    a = sum(amount / (tokens * count) for amount, count in was.values()) or rate * len(now)
    b = intra / tokens**2
    impact = 1 / (1 + exp(-a / b)) if b else 1.0
    return min(1.0, max(0.0, alpha * impact * (1 - beta)))


def _disorder(old: list[str], new: list[str]) -> float:
    """Kendall's tau distance: the share of pairs in the other order (equation 7)."""
    place = {name: number for number, name in enumerate(new)}
    pairs = list(combinations(old, 2))
    return sum(place[a] > place[b] for a, b in pairs) / len(pairs) if pairs else 0.0
