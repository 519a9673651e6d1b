"""How the tokens of a pass attend: one class per kind of pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rag.kvcache import kernels
from rag.kvcache.masks import Masks, additive, visible

if TYPE_CHECKING:
    import torch


class Plan(ABC):
    """The attention of one pass, called at every layer."""

    def behind(self, tokens: int) -> Plan:
        """The same for what is left of the pass behind its first tokens."""
        return self

    def kept(self, tokens: int) -> Plan:
        """The same where only so many tokens of the context are left in the buffer."""
        return self

    @abstractmethod
    def attend(
        self,
        masks: Masks,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """Attention of one layer.

        Args:
            masks: Who sees whom, by position.
            layer: The layer's number.
            query: [1, heads, queries, head_dim].
            key: Of all slots: [1, kv_heads, keys, head_dim].
            value: As `key`.
            scale: Factor of the scores.

        Returns:
            As `query`.
        """


class Masked(Plan):
    """Every token sees what stands before it: prefill, repair and decoding."""

    def attend(
        self,
        masks: Masks,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """See `Plan.attend`."""
        import torch

        window, groups = masks.windows[layer], masks.groups
        if masks.causal and (window is None or key.shape[2] <= window):
            return kernels.causal(query, key, value, groups, scale)
        if masks.unmasked(window):
            folded = kernels.fold(query, groups)
            return kernels.unfold(kernels.fused(folded, key, value, None, scale), groups)
        out = torch.empty_like(query)
        for rows, slots, mask in masks.blocks(window, query.dtype):
            folded = kernels.fold(query[:, :, rows], groups)
            part = kernels.masked(folded, key[:, :, slots], value[:, :, slots], mask, scale)
            out[:, :, rows] = kernels.unfold(part, groups)
        return out


@dataclass(frozen=True)
class Packed(Plan):
    """Segments that see a shared beginning and themselves.

    Prepacking (arXiv 2404.09529, section 3).

    Attributes:
        segments: First token and end of each segment in the whole pass.
        shared: Slots, from 0, that every segment sees. The pass's own slots are the last ones.
        offset: Tokens of the whole pass that were computed before.
    """

    segments: Sequence[tuple[int, int]]
    shared: int
    offset: int = 0
    _masks: dict[tuple[int | None, int, int], torch.Tensor] = field(default_factory=dict)
    """Equal parts of segments at the same positions have the same mask."""

    def behind(self, tokens: int) -> Packed:
        """See `Plan.behind`."""
        return replace(self, offset=self.offset + tokens)

    def attend(
        self,
        masks: Masks,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """See `Plan.attend`."""
        import torch

        window = masks.windows[layer]
        out = torch.empty_like(query)
        base = key.shape[2] - query.shape[2] - self.offset
        shared = slice(0, self.shared)
        for first, last in self.segments:
            rows = _within(first, last, self.offset, query.shape[2])
            if rows is None:
                continue
            end = self.offset + rows.stop
            own = slice(base + first, base + end)
            keys = torch.cat([key[:, :, shared], key[:, :, own]], dim=2)
            values = torch.cat([value[:, :, shared], value[:, :, own]], dim=2)
            place = (window, end - first, rows.stop - rows.start)
            if place not in self._masks:
                positions = torch.cat([masks.keys[shared], masks.keys[own]])
                seen = visible(masks.queries[rows], positions, window)
                self._masks[place] = additive(seen, query.dtype, masks.groups)
            folded = kernels.fold(query[:, :, rows], masks.groups)
            part = kernels.fused(folded, keys, values, self._masks[place], scale)
            out[:, :, rows] = kernels.unfold(part, masks.groups)
        return out


@dataclass(frozen=True)
class Reweighted(Plan):
    """The context's attention is sharpened and scaled: adaptive parallel encoding (APE).

    Yang et al. 2025, arXiv 2502.05431, section 4. The scores over the context are divided by T, its
    log-sum-exp L is multiplied by S, and the context merges with the rest by their log-sum-exps.
    That is one softmax in float32 over scores to which (S - 1) L is added in the context.

    Attributes:
        context: First slot and end of the context.
        temperature: T.
        scale: S.
    """

    context: tuple[int, int]
    temperature: float
    scale: float

    def kept(self, tokens: int) -> Reweighted:
        """See `Plan.kept`."""
        first = self.context[0]
        return replace(self, context=(first, first + tokens))

    def attend(
        self,
        masks: Masks,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """See `Plan.attend`."""
        import torch

        window, groups = masks.windows[layer], masks.groups
        first, end = self.context
        unmasked = masks.unmasked(window)
        out = torch.empty_like(query)
        for rows, slots, mask in masks.blocks(window, torch.float32):
            scores = kernels.scores(
                kernels.fold(query[:, :, rows], groups), key[:, :, slots], scale
            )
            if not unmasked:
                scores += mask
            context = scores[..., max(first - slots.start, 0) : max(end - slots.start, 0)]
            log = context.div_(self.temperature).logsumexp(-1, keepdim=True)
            # Where a query sees nothing of the context there is nothing to scale.
            context += (self.scale - 1) * log.nan_to_num(neginf=0.0)
            weights = torch.softmax(scores, dim=-1).to(value.dtype)
            out[:, :, rows] = kernels.unfold(weights @ value[:, :, slots], groups)
        return out


def attention_weights(
    masks: Masks, layer: int, query: torch.Tensor, key: torch.Tensor, scale: float
) -> torch.Tensor:
    """What each query pays each key, as `Masked` attends: for few queries.

    Args:
        masks: See `Plan.attend`, with all that follow.
        layer: See there.
        query: See there.
        key: See there.
        scale: See there.

    Returns:
        Float32 [1, kv_heads, groups * queries, keys], folded as by `kernels.fold`.
    """
    import torch

    scores = kernels.scores(kernels.fold(query, masks.groups), key, scale)
    scores += masks.additive(masks.windows[layer], scores.dtype)
    return torch.softmax(scores, dim=-1)


@dataclass
class SlotAttention(Masked):
    """As `Masked`; records how much attention each slot gets. For few queries.

    Attributes:
        layers: Whose attention weights are summed.
        parts: Layer and position of a slice's first token to the weight of each slot, summed over
            the slice's queries, averaged over heads: [keys]. A slice that is made again counts
            once.
    """

    layers: Collection[int]
    parts: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)

    @property
    def total(self) -> torch.Tensor:
        """Weight of each slot, summed over queries and layers: [keys]."""
        import torch

        parts = list(self.parts.values())
        total = torch.zeros(max(map(len, parts)), device=parts[0].device)
        for part in parts:
            total[: len(part)] += part  # an earlier slice saw fewer slots
        return total

    def attend(
        self,
        masks: Masks,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """See `Plan.attend`."""
        if layer not in self.layers:
            return super().attend(masks, layer, query, key, value, scale)
        weights = attention_weights(masks, layer, query, key, scale)
        per_head = weights.reshape(-1, masks.groups, query.shape[2], key.shape[2])
        self.parts[layer, int(masks.queries[0])] = per_head.sum(2).mean((0, 1)).float()
        return kernels.unfold(weights.to(value.dtype) @ value, masks.groups)


@dataclass
class ChunkAttention(Masked):
    """As `Masked`; records what the tokens of chunks attend to, a chunk at a time.

    Attributes:
        layers: Whose attention weights are summed.
        slots: First slot and end of every chunk of the prompt.
        rows: Number of each chunk in the whole pass to its first token and end there.
        offset: Tokens of the whole pass that were computed before.
        parts: Layer, chunk in the pass, chunk up to it, and a first token of the first, to the
            attention that the slice's tokens of the first pay to the second: [tokens], averaged
            over heads. A slice that is made again counts once.
    """

    layers: Collection[int]
    slots: Sequence[tuple[int, int]]
    rows: Mapping[int, tuple[int, int]]
    offset: int = 0
    parts: dict[tuple[int, int, int, int], torch.Tensor] = field(default_factory=dict)

    @property
    def paid(self) -> dict[tuple[int, int], torch.Tensor]:
        """Chunk in the pass and chunk up to it to what each token of the first pays: [tokens].

        Summed over layers, averaged over heads.
        """
        import torch

        paid: dict[tuple[int, int], torch.Tensor] = {}
        for (_, chunk, other, start), weight in self.parts.items():
            first, last = self.rows[chunk]
            total = paid.setdefault((chunk, other), torch.zeros(last - first))
            total[start : start + len(weight)] += weight
        return paid

    def behind(self, tokens: int) -> ChunkAttention:
        """See `Plan.behind`. All parts record in one place."""
        return replace(self, offset=self.offset + tokens)

    def attend(
        self,
        masks: Masks,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """See `Plan.attend`."""
        if layer in self.layers:
            self._record(masks, layer, query, key, scale)
        return super().attend(masks, layer, query, key, value, scale)

    def _record(
        self,
        masks: Masks,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        scale: float,
    ) -> None:
        import torch

        for chunk, (first, last) in self.rows.items():
            rows = _within(first, last, self.offset, query.shape[2])
            if rows is None:
                continue
            end = self.slots[chunk][1]
            folded = kernels.fold(query[:, :, rows], masks.groups)
            scores = kernels.scores(folded, key[:, :, :end], scale)
            seen = visible(masks.queries[rows], masks.keys[:end], masks.windows[layer])
            scores += additive(seen, scores.dtype, masks.groups)
            weights = torch.softmax(scores, dim=-1)
            mean = weights.reshape(-1, masks.groups, rows.stop - rows.start, end).mean((0, 1))
            token = self.offset + rows.start - first
            for other, (start, stop) in enumerate(self.slots[: chunk + 1]):
                self.parts[layer, chunk, other, token] = mean[:, start:stop].sum(-1).cpu()


def _within(first: int, end: int, offset: int, tokens: int) -> slice | None:
    """Rows of a slice that lie in `first` to `end` of the whole pass; None: no row does.

    Args:
        first: In the whole pass.
        end: In the whole pass.
        offset: Tokens of the whole pass before the slice.
        tokens: Of the slice.
    """
    rows = slice(max(first - offset, 0), min(end - offset, tokens))
    return rows if rows.start < rows.stop else None
