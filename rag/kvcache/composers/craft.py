"""Cache-Craft (arXiv 2502.15734): states kept with the context they were computed in.

A chunk's states are computed where it stands in a prompt, and kept with how much attention they
paid to what stood before. Placed in another prompt, that tells how much of them is wrong. A chunk
that was never seen is computed in its place, over the reused states of the others, and kept.

Two things differ from the paper. Its prefix overlap asks only which share of the old attention is
still there, so that a chunk first seen behind nothing would never be repaired behind something.
Here the overlap is taken over the union: with kept, lost and new earlier chunks,

    beta = kept / (kept + lost + new)

kept and lost are attention measured then; new is estimated as the chunk's measured attention per
pair of tokens to earlier chunks (or, where nothing stood before it, its attention to itself) times
the pairs of tokens that there are now. And which tokens are computed again is asked of the question
(`choose.asked_for`) within a budget, unless `by: attention` asks for the published rule.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, exp
from time import perf_counter
from typing import TYPE_CHECKING

from rag.kvcache.buffer import KVBuffer
from rag.kvcache.composers import choose
from rag.kvcache.composers.choose import Prompt
from rag.kvcache.report import ChunkReport, Report
from rag.kvcache.settings import ReuseSettings
from rag.kvcache.store import Entry, Found

if TYPE_CHECKING:
    import torch

    from rag.kvcache.engine import KVEngine

WATCHED_LAYERS = 6
"""Layers, evenly spread, whose attention is measured while a chunk is computed."""


@dataclass(frozen=True)
class Overhead:
    """How much of a variant is wrong in a prompt."""

    entry: Entry
    tier: str
    fraction: float


class Variants:
    """For each chunk of a prompt the kept variant that needs least repair, if there is one.

    Args:
        engine: With the store.
        prompt: The prompt.
        report: Is told of hits and misses.
        settings: Of the mode.
    """

    def __init__(
        self, engine: KVEngine, prompt: Prompt, report: Report, settings: ReuseSettings
    ) -> None:
        self._engine, self._prompt, self._settings = engine, prompt, settings
        self._names = [name_of(engine, prompt, chunk) for chunk in prompt.chunks]
        self._chosen: list[Overhead | None] = []
        started = perf_counter()
        for index, chunk in enumerate(prompt.chunks):
            variants, why = _variants(engine, self._names[index], chunk, settings.variants)
            before = self._before(index)
            best = min(
                (
                    Overhead(found.entry, found.tier, overhead(found.entry, before, settings.alpha))
                    for found in variants
                ),
                key=lambda one: one.fraction,
                default=None,
            )
            self._chosen.append(best)
            if best is None:
                report.chunks.append(ChunkReport(len(chunk), False, why, None, len(chunk)))
            else:
                report.chunks.append(ChunkReport(len(chunk), True, None, best.tier))
        report.milliseconds["lookup"] = (perf_counter() - started) * 1000

    @property
    def entries(self) -> list[Entry | None]:
        """The variants' entries; None: never seen."""
        return [None if one is None else one.entry for one in self._chosen]

    def compute(self, buffer: KVBuffer) -> None:
        """Compute the chunks that were never seen where they stand, and keep them.

        Args:
            buffer: Holds the other chunks' states, and free slots for these.
        """
        import torch

        prompt, view = self._prompt, self._engine.view
        missing = [index for index, one in enumerate(self._chosen) if one is None]
        if not missing:
            return
        bounds = [(prompt.start + first, prompt.start + end) for first, end in prompt.bounds]
        slots = torch.cat([torch.arange(*bounds[index]) for index in missing])
        rows, end = {}, 0
        for index in missing:
            rows[index] = (end, end + len(prompt.chunks[index]))
            end = rows[index][1]
        step = max(1, view.layers // WATCHED_LAYERS)
        watched = frozenset(range(step // 2, view.layers, step))
        started = perf_counter()
        with view.capturing() as captured:
            ids = prompt.context_ids[slots - prompt.start]
            seen = view.measured(ids, slots, buffer, watched, bounds, rows)
            plain = torch.stack([captured[layer] for layer in range(view.layers)])
        rate = (perf_counter() - started) / len(slots)
        for index in missing:
            tensors = {
                "keys": plain[:, :, slice(*rows[index])].clone(),
                "values": buffer.values[:, :, slice(*bounds[index])].clone(),
            }
            self._keep(index, tensors, seen, rate)

    def _keep(
        self,
        index: int,
        tensors: dict[str, torch.Tensor],
        seen: dict[tuple[int, int], torch.Tensor],
        rate: float,
    ) -> None:
        import torch

        chunk = self._prompt.chunks[index]
        before = self._before(index)
        inter = torch.zeros(0, len(chunk))
        if index:
            inter = torch.stack([seen[index, other] for other in range(index)])
        pairs = len(chunk) * sum(count for _, count in before)
        intra = float(seen[index, index].sum())
        # Where nothing stood before, later context is weighed as the chunk weighs itself.
        per_pair = float(inter.sum()) / pairs if pairs else 2 * intra / len(chunk) ** 2
        meta = {"before": json.dumps(before), "intra": repr(intra), "rate": repr(per_pair)}
        tensors["inter"] = inter.to(torch.float32)
        entry = Entry(tuple(chunk), tensors, meta, rate * len(chunk))
        _add_variant(self._engine, self._names[index], entry, self._settings.variants)

    def chosen(self, buffer: KVBuffer) -> torch.Tensor:
        """The tokens to compute again: places in the context, in their order."""
        import torch

        prompt, settings, engine = self._prompt, self._settings, self._engine
        wrong = {index: one for index, one in enumerate(self._chosen) if one and one.fraction}
        counts = {index: ceil(one.fraction * len(one.entry.ids)) for index, one in wrong.items()}
        if settings.by == "question":
            most = ceil(engine.share(settings) * len(prompt.context))
            budget = min(most, sum(counts.values()))
            return choose.asked_for(
                engine.view, prompt, buffer, budget, list(wrong), settings.starts
            )
        places = [torch.zeros(0, dtype=torch.long)]
        for index, one in wrong.items():
            weight = one.entry.tensors["inter"].float().sum(0)
            found = weight.topk(counts[index]).indices.sort().values
            places.append(prompt.bounds[index][0] + found.cpu())
        return torch.cat(places)

    def _before(self, index: int) -> list[tuple[str, int]]:
        """Key and length of each chunk that stands before one."""
        return [(self._names[i], len(self._prompt.chunks[i])) for i in range(index)]


def overhead(entry: Entry, before: Sequence[tuple[str, int]], alpha: float) -> float:
    """CFO: the share of a chunk's tokens to compute again (equation 12, beta over the union).

    Args:
        entry: A variant of the chunk, with its attention and what stood before it.
        before: Key and length of each chunk that stands before it now.
        alpha: Weighs all of it.
    """
    old = json.loads(entry.meta["before"])
    tokens = len(entry.ids)
    inter = entry.tensors["inter"].float().sum(1).tolist()
    intra = float(entry.meta["intra"])
    was = {name: (amount, count) for (name, count), amount in zip(old, inter, strict=True)}
    now = dict(before)
    kept = sum(amount for name, (amount, _) in was.items() if name in now)
    lost = sum(amount for name, (amount, _) in was.items() if name not in now)
    pairs = sum(count for _, count in was.values()) * tokens
    rate = (kept + lost) / pairs if pairs else float(entry.meta["rate"])
    new = sum(rate * tokens * count for name, count in now.items() if name not in was)
    total = kept + lost + new
    beta = kept / total if total else 1.0
    beta *= 1 - _disorder([n for n, _ in old if n in now], [n for n, _ in before if n in was])
    a = sum(amount / (tokens * count) for amount, count in was.values()) or rate * len(now)
    b = intra / tokens**2
    impact = 1 / (1 + exp(-a / b)) if b else 1.0
    return min(1.0, max(0.0, alpha * impact * (1 - beta)))


def _disorder(old: list[str], new: list[str]) -> float:
    """Kendall's tau distance: the share of pairs that stand in the other order (equation 7)."""
    place = {name: number for number, name in enumerate(new)}
    pairs = list(combinations(old, 2))
    return sum(place[a] > place[b] for a, b in pairs) / len(pairs) if pairs else 0.0


def name_of(engine: KVEngine, prompt: Prompt, chunk: Sequence[int]) -> str:
    """The key of a chunk's variants: they differ in what came between prefix and chunk."""
    return engine.keys.of("craft", [prompt.prefix], chunk)


def _slot(engine: KVEngine, name: str, number: int) -> str:
    return engine.keys.of(f"craft {number}", [], list(bytes.fromhex(name)))


def _variants(
    engine: KVEngine, name: str, chunk: Sequence[int], most: int
) -> tuple[list[Found], str]:
    found: list[Found] = []
    why = "absent"
    for number in range(most):
        got = engine.store.get(_slot(engine, name, number), chunk)
        if not isinstance(got, Found):
            why = got.reason
            break
        found.append(got)
    return found, why


def _add_variant(engine: KVEngine, name: str, entry: Entry, most: int) -> None:
    """Keep a variant: in a free place, or in the place of the cheapest one."""
    for number in range(most):
        slot = _slot(engine, name, number)
        got = engine.store.get(slot, entry.ids)
        if not isinstance(got, Found) or got.entry.meta["before"] == entry.meta["before"]:
            engine.store.put(slot, entry)
            return
    engine.store.put(_slot(engine, name, most - 1), entry)
