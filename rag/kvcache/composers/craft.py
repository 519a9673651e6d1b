"""Cache-Craft (arXiv 2502.15734): states stored with the context that they were computed in.

A chunk's states are stored with how much attention they paid to what stood before. In another
prompt, that shows how much of them is wrong (CFO). Each chunk has some such variants, of which the
one with the lowest CFO is used. What is wrong of it is recomputed, together with chunks that have
no variant, and the question, in one pass in the order of the prompt: so all see what was repaired.
A chunk of which much was wrong is stored again as it is then, as a variant for this context.

Three things differ from the paper. Its prefix overlap is only the share of the old attention that
is still there, so that a chunk first seen behind nothing would never be repaired behind something.
Here the overlap is taken over the union: with shared, lost and new earlier chunks,

    beta = shared / (shared + lost + new)

shared and lost are attention measured then; new is estimated as the chunk's measured attention per
pair of tokens to earlier chunks (or, where nothing stood before it, its attention to itself) times
the pairs of tokens that there are now. A variant that was computed behind chunks which were not
right themselves, or of which not all was repaired, has that as an error of its own, which is added.
And the question chooses the tokens to recompute, within a budget (`selection.query_attended`) and
of each chunk no more than are wrong, unless `by: attention` asks for the published rule. There, the
paper stops repairing chunks that the question does not focus on in the upper layers; here the
question's own pass finds these chunks before (`focused`), since all tokens of a pass go through all
layers. In a context that a variant was repaired in before, other tokens are repaired first, so that
prompts that come again become right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeFloat

from rag.kvcache.composers.base import Composer, Fraction, Stored
from rag.kvcache.composers.repair import place, recompute
from rag.kvcache.composers.selection import context_attention, query_attended
from rag.kvcache.composers.variants import Variant, VariantIndex, contexts, states_key
from rag.kvcache.passes import Passes
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
    focused: Fraction = Field(
        default=1.0,
        description="of `by: attention`: only the chunks are repaired that get this share of the "
        "question's attention",
    )
    variants: int = Field(default=3, ge=1, description="stored per chunk")
    write_back: Fraction = Field(
        default=0.1,
        description="a chunk of which more than this share was wrong is stored as repaired; in a "
        "context that was there before, any chunk, unless this is 1",
    )

    def compose(self, composition: Composition) -> Passes[Prefilled]:
        """See `Composer.compose`."""
        return (yield from self._compose(composition, self._look_up(composition)))

    def warm(self, composition: Composition) -> Passes[bool]:
        """See `Composer.warm`."""
        if composition.store.contains(states_key(composition, len(composition.layout.chunks) - 1)):
            return False
        chunks = self._look_up(composition)
        chunks[-1].variant = chunks[-1].entry = None
        yield from self.model_copy(update={"write_back": 1.0})._compose(composition, chunks)
        return True

    def _compose(self, composition: Composition, chunks: Sequence[_Chunk]) -> Passes[Prefilled]:
        buffer = yield from place(composition, [one.entry for one in chunks])
        with composition.report.timed("choose"):
            repaired = yield from self._choose(composition, chunks, buffer)
        return (yield from self._recompute(composition, chunks, buffer, repaired))

    def _look_up(self, composition: Composition) -> list[_Chunk]:
        """Each chunk of the prompt with the stored variant that needs least repair."""
        layout, store = composition.layout, composition.store
        indexes = [VariantIndex(composition, number) for number in range(len(layout.chunks))]
        store.prefetch(index.name for index in indexes)
        for index in indexes:
            index.read()
        before = contexts([index.name for index in indexes], map(len, layout.chunks))
        chunks = [
            _Chunk(number, layout.chunks[number], index, before[number])
            for number, index in enumerate(indexes)
        ]
        ranked = [one.ranked(self.alpha) for one in chunks]
        store.prefetch(variants[0].key for variants in ranked if variants)
        for one, variants in zip(chunks, ranked, strict=True):
            one.read(composition, variants, self.alpha)
            why = one.index.why if one.entry is None else None
            report = ChunkReport(len(one.ids), why is None, why, one.tier, len(one.ids))
            composition.report.chunks.append(report)
        return chunks

    def _choose(
        self, composition: Composition, chunks: Sequence[_Chunk], buffer: KVBuffer
    ) -> Passes[torch.Tensor]:
        """The tokens of stored chunks to recompute: places in the context, rising."""
        import torch

        view, layout, layers = composition.view, composition.layout, composition.defaults.layers
        wrong = [one for one in chunks if one.entry is not None and one.wrong]
        if self.by == "question":
            fraction = composition.defaults.fraction if self.fraction is None else self.fraction
            most = {one.number: one.wrong for one in wrong}
            budget = min(ceil(fraction * len(layout.context)), sum(most.values()))
            last = torch.zeros(len(layout.context), dtype=torch.bool)
            for one in wrong:
                last[slice(*layout.bounds[one.number])] = one.right
            return (
                yield from query_attended(
                    view, layout, buffer, budget, list(most), self.starts, layers, most, last
                )
            )
        if self.focused < 1 and wrong:
            weight = yield from context_attention(view, layout, buffer, layers)
            wrong = _focused(wrong, weight, layout.bounds, self.focused)
        places = [torch.zeros(0, dtype=torch.long)]
        for one in wrong:
            assert one.entry is not None  # noqa: S101 - only stored chunks are wrong
            paid = one.entry.tensors["inter"].masked_fill(one.right, -1)
            chosen = paid.topk(one.wrong).indices.sort().values
            places.append(layout.bounds[one.number][0] + chosen.cpu())
        return torch.cat(places)

    def _recompute(
        self,
        composition: Composition,
        chunks: Sequence[_Chunk],
        buffer: KVBuffer,
        repaired: torch.Tensor,
    ) -> Passes[Prefilled]:
        """One pass over repairs, missing chunks and the question; stores what is worth it."""
        import torch

        view, layout = composition.view, composition.layout
        again = torch.zeros(len(layout.context), dtype=torch.bool)
        again[repaired] = True
        for one in chunks:
            if one.entry is None:
                again[slice(*layout.bounds[one.number])] = True
        chosen = again.nonzero()[:, 0]
        rows = {}
        for one in chunks:
            first, end = (int((chosen < place).sum()) for place in layout.bounds[one.number])
            one.repaired = end - first
            # Of a context that comes again, however little: it would be repaired each time.
            limit = 0.0 if one.returned and self.write_back < 1 else self.write_back
            if one.repaired and (one.entry is None or one.overhead > limit):
                rows[one.number] = first, end
        step = max(1, view.layers // OBSERVED_LAYERS)
        plan = ChunkAttention(frozenset(range(step // 2, view.layers, step)), layout.slots, rows)
        keys = view.geometry.empty(len(chosen) + len(layout.suffix)) if rows else None
        started = perf_counter()
        done = yield from recompute(composition, buffer, chosen, plan if rows else None, keys)
        seconds = (perf_counter() - started) / max(1, len(chosen) + len(layout.suffix))
        paid, errors = plan.paid, list[float]()
        for one in chunks:
            if one.number in rows:
                assert keys is not None  # noqa: S101 - made for these rows
                fresh = keys[:, :, slice(*rows[one.number])]
                where = chosen[slice(*rows[one.number])] - layout.bounds[one.number][0]
                self._keep(composition, buffer, one, paid, errors, (fresh, where), seconds)
            else:
                errors.append(one.left(self.alpha))
            if one.variant is not None:
                one.index.used(one.variant, len(one.ids) - one.repaired)
        return done

    def _keep(
        self,
        composition: Composition,
        buffer: KVBuffer,
        one: _Chunk,
        paid: dict[tuple[int, int], torch.Tensor],
        errors: list[float],
        fresh: tuple[torch.Tensor, torch.Tensor],
        seconds_per_token: float,
    ) -> None:
        """Store a chunk as it stands in the buffer.

        Args:
            composition: The prompt.
            buffer: Its states.
            one: The chunk.
            paid: The attention of the tokens that were computed (`ChunkAttention.paid`).
            errors: Of the chunks before; this one's is appended.
            fresh: Keys before rotation of the tokens that were computed, and their places in the
                chunk.
            seconds_per_token: Of the pass.
        """
        import torch

        layout, number, tokens = composition.layout, one.number, len(one.ids)
        keys, where = fresh
        inter, right = torch.zeros(tokens), torch.zeros(tokens, dtype=torch.bool)
        if one.entry is not None:
            own = one.entry.tensors["keys"].to(keys.device).clone()
            own[:, :, where] = keys
            keys, inter, right = own, one.entry.tensors["inter"].clone(), one.right.clone()
        right[where] = True
        inter[where] = sum((paid[number, other].float() for other in range(number)), torch.zeros(1))
        # What some tokens paid stands for all.
        whole = tokens / len(where)
        sums = [float(paid[number, other].sum()) * whole for other in range(number)]
        intra = float(paid[number, number].sum()) * whole
        inherited = sum(a * b for a, b in zip(sums, errors, strict=True)) / (sum(sums) + intra)
        left = one.left(self.alpha)
        error = min(1.0, left + (1 - left) * inherited)
        errors.append(error)
        states = {
            "keys": keys.clone(),
            "values": buffer.values[:, :, slice(*layout.slots[number])].clone(),
            "inter": inter,
            "right": right,
        }
        key = states_key(composition, number)
        seconds = seconds_per_token * tokens
        composition.keep(key, one.ids, states, seconds)
        variant = Variant(key, tuple(one.before), tuple(sums), intra, error)
        one.index.keep(variant, self.variants, seconds)


@dataclass(slots=True, eq=False)
class _Chunk:
    """A chunk of the prompt.

    Attributes:
        number: In the prompt.
        ids: Its tokens.
        index: Its variants.
        before: What stands before it.
        variant: The one that is used; None: there is none.
        entry: Its states.
        tier: Where they were.
        overhead: Share of the chunk that is wrong here.
        repaired: Tokens that are recomputed.
    """

    number: int
    ids: list[int]
    index: VariantIndex
    before: list[tuple[str, int]]
    variant: Variant | None = None
    entry: Entry | None = None
    tier: str | None = None
    overhead: float = 0.0
    repaired: int = 0

    def ranked(self, alpha: float) -> list[Variant]:
        """The variants, that with the lowest CFO first; of equal ones that of this context."""

        def rank(one: Variant) -> tuple[float, bool]:
            overhead = one.overhead(len(self.ids), self.before, alpha)
            return overhead, list(one.before) != self.before

        return sorted(self.index.variants, key=rank)

    def read(self, composition: Composition, ranked: Sequence[Variant], alpha: float) -> None:
        """Read the states of the first variant that still has some."""
        for variant in ranked:
            found = composition.look_up(variant.key, self.ids)
            if isinstance(found, Found):
                composition.report.add("load", found.load_seconds)
                self.variant, self.entry, self.tier = variant, found.entry, found.tier
                self.overhead = variant.overhead(len(self.ids), self.before, alpha)
                return
            self.index.why = found.reason
            self.index.lost(variant)

    @property
    def returned(self) -> bool:
        """Whether the variant was computed in this very context."""
        return self.variant is not None and list(self.variant.before) == self.before

    @property
    def right(self) -> torch.Tensor:
        """Which tokens were computed in this very context: [tokens]."""
        import torch

        if self.entry is None or not self.returned:
            return torch.zeros(len(self.ids), dtype=torch.bool)
        return self.entry.tensors["right"]

    @property
    def wrong(self) -> int:
        """Tokens to recompute."""
        return round(self.overhead * len(self.ids))

    def left(self, alpha: float) -> float:
        """Share of the chunk that is wrong and was not repaired, as if alpha were 1."""
        if self.entry is None or not alpha:
            return 0.0
        return max(0.0, (self.wrong - self.repaired) / len(self.ids) / alpha)


def _focused(
    chunks: Sequence[_Chunk],
    weight: torch.Tensor,
    bounds: Sequence[tuple[int, int]],
    share: float,
) -> list[_Chunk]:
    """The chunks, in order, that together get a share of the question's attention."""
    paid = {one.number: float(weight[slice(*bounds[one.number])].sum()) for one in chunks}
    wanted, focused = share * sum(paid.values()), set[int]()
    for number in sorted(paid, key=lambda one: -paid[one]):
        if sum(paid[one] for one in focused) >= wanted:
            break
        focused.add(number)
    return [one for one in chunks if one.number in focused]
