"""Variants of a chunk: its states as computed behind other chunks, and how far they carry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from math import exp
from typing import TYPE_CHECKING, Any

from rag.kvcache.store.base import Entry, Found

if TYPE_CHECKING:
    from rag.kvcache.composition import Composition

Before = Sequence[tuple[str, int]]
"""What stands before a chunk: name and tokens of each chunk. A chunk that stands there twice has
two names."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What is known of the states of a chunk in one context; the states are an entry of their own.

    Attributes:
        key: Of the entry with the states.
        before: What stood before the chunk.
        inter: The attention that the chunk's tokens paid to each chunk before it, in sum.
        intra: The attention that they paid to the chunk itself.
        error: Share of the chunk that was wrong in that very context: what was not repaired there,
            and what it took over from chunks that were not.
        worth: Tokens that the variant has saved; a new one starts with what the one that it
            replaced had, so that old ones age.
    """

    key: str
    before: tuple[tuple[str, int], ...]
    inter: tuple[float, ...]
    intra: float
    error: float = 0.0
    worth: float = 0.0

    def overhead(self, tokens: int, before: Before, alpha: float) -> float:
        """CFO: the share of the chunk's tokens to recompute in another context.

        Equation 12 of Cache-Craft (arXiv 2502.15734), with beta over the union of both contexts
        (see `craft`), and the variant's own error added to what the context makes wrong.

        Args:
            tokens: Of the chunk.
            before: What stands before it now.
            alpha: Factor of the result.

        Returns:
            0 to 1.
        """
        was = {
            name: (paid, count) for (name, count), paid in zip(self.before, self.inter, strict=True)
        }
        now = dict(before)
        shared = sum(paid for name, (paid, _) in was.items() if name in now)
        lost = sum(paid for name, (paid, _) in was.items() if name not in now)
        pairs = sum(count for _, count in was.values()) * tokens
        # Where nothing stood before, later context is weighed as the chunk weighs itself.
        rate = (shared + lost) / pairs if pairs else 2 * self.intra / tokens**2
        new = sum(rate * tokens * count for name, count in now.items() if name not in was)
        total = shared + lost + new
        beta = shared / total if total else 1.0
        old = [name for name, _ in self.before if name in now]
        beta *= 1 - _disorder(old, [name for name, _ in before if name in was])
        a = sum(paid / (tokens * count) for paid, count in was.values()) or rate * len(now)
        b = self.intra / tokens**2
        impact = 1 / (1 + exp(-a / b)) if b else 1.0
        return min(1.0, max(0.0, alpha * (impact * (1 - beta) + self.error)))


def _disorder(old: list[str], new: list[str]) -> float:
    """Kendall's tau distance: the share of pairs in the other order (equation 7)."""
    place = {name: number for number, name in enumerate(new)}
    pairs = list(combinations(old, 2))
    return sum(place[a] > place[b] for a, b in pairs) / len(pairs) if pairs else 0.0


def states_key(composition: Composition, index: int) -> str:
    """The key of a chunk's states behind what stands before it in a prompt."""
    layout = composition.layout
    before = [layout.prefix, *layout.chunks[:index]]
    return composition.keys.of("craft variant", before, layout.chunks[index])


class VariantIndex:
    """The variants of one chunk behind one prefix, in one small entry without states.

    Args:
        composition: The prompt.
        index: The chunk's number in it.
    """

    def __init__(self, composition: Composition, index: int) -> None:
        self._composition = composition
        self._ids = composition.layout.chunks[index]
        self.name = composition.keys.of("craft", [composition.layout.prefix], self._ids)
        """Of the chunk: the key of this entry."""
        self.why = "absent"
        """Why there are no variants."""
        self.variants: list[Variant] = []
        self._cost = 0.0

    def read(self) -> None:
        """Look the variants up."""
        found = self._composition.look_up(self.name, self._ids)
        if isinstance(found, Found):
            self._take(found.entry)
        else:
            self.why = found.reason

    def _take(self, entry: Entry | None) -> None:
        if entry is not None:
            self._cost = entry.cost
            self.variants = [_variant(one) for one in json.loads(entry.meta["variants"])]

    def _refresh(self) -> None:
        """Another prompt, or a copy of the chunk in this one, may have added some meanwhile."""
        self._take(self._composition.store.peek(self.name))

    def used(self, variant: Variant, saved: int) -> None:
        """Note that a variant saved so many tokens; in the fastest tier only, until it is kept."""
        self._refresh()
        self._change(variant.key, lambda one: replace(one, worth=one.worth + saved))
        self._write(lasting=False)

    def lost(self, variant: Variant) -> None:
        """Forget a variant whose states were evicted."""
        self._refresh()
        self.variants = [one for one in self.variants if one.key != variant.key]
        self._write(lasting=True)

    def keep(self, variant: Variant, most: int, cost: float) -> None:
        """Add a variant, in the place of the one of the same context, or of the least worth.

        The worth is uses times tokens saved.

        Args:
            variant: Its states are stored already.
            most: Variants of a chunk.
            cost: Seconds that computing the chunk took.
        """
        self._refresh()
        if any(one.key == variant.key for one in self.variants):
            self._change(variant.key, lambda one: replace(variant, worth=one.worth))
        else:
            worth = 0.0
            while len(self.variants) >= most:
                least = min(self.variants, key=lambda one: one.worth)
                worth = max(worth, least.worth)
                self.variants.remove(least)
                self._composition.store.discard(least.key)
            self.variants.append(replace(variant, worth=worth))
        self._cost = cost
        self._write(lasting=True)

    def _change(self, key: str, change: Callable[[Variant], Variant]) -> None:
        self.variants = [change(one) if one.key == key else one for one in self.variants]

    def _write(self, *, lasting: bool) -> None:
        import torch

        # No layers: an entry of the store has keys and values of its tokens.
        nothing = torch.zeros(0, 0, len(self._ids), 0)
        meta = {"variants": json.dumps([asdict(one) for one in self.variants])}
        tensors = {"keys": nothing, "values": nothing}
        entry = Entry(tuple(self._ids), tensors, meta, self._cost)
        self._composition.store.put(self.name, entry, lasting=lasting)


def _variant(fields: dict[str, Any]) -> Variant:
    before = tuple((str(name), int(count)) for name, count in fields["before"])
    return Variant(**{**fields, "before": before, "inter": tuple(fields["inter"])})


def contexts(names: Sequence[str], lengths: Iterable[int]) -> list[list[tuple[str, int]]]:
    """What stands before each chunk of a prompt, from all chunks' names and tokens."""
    seen: dict[str, int] = {}
    before: list[tuple[str, int]] = []
    found = []
    for name, length in zip(names, lengths, strict=True):
        found.append(list(before))
        seen[name] = seen.get(name, 0) + 1
        before.append((name if seen[name] == 1 else f"{name} {seen[name]}", length))
    return found
