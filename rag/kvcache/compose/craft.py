"""Cache-Craft (arXiv 2502.15734): states kept with the context they were computed in.

A chunk's states are computed in a prompt, and kept with how much attention they paid to what
stood before. Placed in another prompt, that tells how much of them is wrong and which tokens are.

The published prefix overlap asks only which share of the old attention is still there, so that a
chunk first seen behind nothing would never be repaired behind something. Here the overlap is
taken over the union: with kept, lost and new earlier chunks,

    beta = kept / (kept + lost + new)

kept and lost are attention measured then; new is estimated as the chunk's measured attention per
pair of tokens to earlier chunks (or, where nothing stood before it, the mean of the prompt's other
chunks, or its attention to itself) times the pairs of tokens that there are now.
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
from rag.kvcache.compose.choose import Prompt
from rag.kvcache.report import ChunkReport, Report
from rag.kvcache.settings import ContextSettings
from rag.kvcache.store import Entry, Found

if TYPE_CHECKING:
    import torch

    from rag.kvcache.engine import KVEngine, Prefilled

WATCHED_LAYERS = 6
"""Layers, evenly spread, whose attention is measured while a chunk is computed."""


@dataclass(frozen=True)
class Overhead:
    """How much of a variant is to be computed again in a prompt."""

    entry: Entry
    tier: str
    fraction: float


def entries(
    engine: KVEngine, prompt: Prompt, report: Report, settings: ContextSettings
) -> tuple[list[Entry] | None, torch.Tensor]:
    """For each chunk the variant that needs least repair, and the tokens to compute again.

    None in place of the entries if a chunk has no variant: then the prompt is computed, and
    its chunks are kept with their contexts.
    """
    import torch

    names = [name_of(engine, prompt, chunk) for chunk in prompt.chunks]
    chosen: list[Overhead] = []
    for index, chunk in enumerate(prompt.chunks):
        variants, why = _variants(engine, names[index], chunk, settings.variants)
        before = [(names[i], len(prompt.chunks[i])) for i in range(index)]
        best = min(
            (
                Overhead(found.entry, found.tier, overhead(found.entry, before, settings.alpha))
                for found in variants
            ),
            key=lambda one: one.fraction,
            default=None,
        )
        if best is None:
            report.chunks = [
                ChunkReport(len(one), False, why, None, len(one)) for one in prompt.chunks
            ]
            return None, torch.zeros(0, dtype=torch.long)
        chosen.append(best)
        report.chunks.append(ChunkReport(len(chunk), True, None, best.tier))
    places = []
    for (first, end), one in zip(prompt.bounds, chosen, strict=True):
        count = ceil(one.fraction * (end - first))
        weight = one.entry.tensors["inter"].float().sum(0)
        places.append(first + weight.topk(count).indices.sort().values)
    return [one.entry for one in chosen], torch.cat(places)


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


def compute(
    engine: KVEngine, prompt: Prompt, report: Report, settings: ContextSettings, room: int
) -> Prefilled:
    """Full prefill, which keeps every chunk with its context and its attention."""
    import torch

    from rag.kvcache.engine import Prefilled

    view = engine.view
    buffer = KVBuffer(view, prompt.length + room)
    ids = torch.tensor([*prompt.prefix, *prompt.context, *prompt.suffix])
    step = max(1, view.layers // WATCHED_LAYERS)
    watched = frozenset(range(step // 2, view.layers, step))
    bounds = [(prompt.start + first, prompt.start + end) for first, end in prompt.bounds]
    started = perf_counter()
    with view.capturing() as captured:
        logits, seen = view.measured(ids, buffer, watched, bounds)
        plain = torch.stack([captured[layer] for layer in range(view.layers)])
    rate = (perf_counter() - started) / prompt.length
    report.milliseconds["recompute"] = (perf_counter() - started) * 1000
    names = [name_of(engine, prompt, chunk) for chunk in prompt.chunks]
    for index, chunk in enumerate(prompt.chunks):
        first, end = bounds[index]
        inter = torch.stack([seen[index, other] for other in range(index)]) if index else (
            torch.zeros(0, len(chunk))
        )  # fmt: skip
        before = [(names[i], len(prompt.chunks[i])) for i in range(index)]
        pairs = len(chunk) * sum(count for _, count in before)
        intra = float(seen[index, index].sum())
        # Where nothing stood before, later context is weighed as the chunk weighs itself.
        per_pair = float(inter.sum()) / pairs if pairs else 2 * intra / len(chunk) ** 2
        meta = {"before": json.dumps(before), "intra": repr(intra), "rate": repr(per_pair)}
        _add_variant(
            engine,
            names[index],
            Entry(
                tuple(chunk),
                {
                    "keys": plain[:, :, first:end].clone(),
                    "values": buffer.values[:, :, first:end].clone(),
                    "inter": inter.to(torch.float32),
                },
                meta,
                rate * len(chunk),
            ),
            settings.variants,
        )
    return Prefilled(logits, buffer, prompt.length, report)


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
