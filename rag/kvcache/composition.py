"""One prompt while its states are composed: what every composer works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING

from rag.kvcache.encode import encode_chunks, encode_prefix
from rag.kvcache.report import ChunkReport, Report
from rag.kvcache.store.base import Entry, Found, Miss

if TYPE_CHECKING:
    import torch

    from rag.kvcache.align.alignment import Alignment
    from rag.kvcache.buffer import KVBuffer
    from rag.kvcache.keys import Keys
    from rag.kvcache.layout import Layout
    from rag.kvcache.model import ModelView
    from rag.kvcache.passes import Passes
    from rag.kvcache.store.tiered import KVStore


@dataclass(frozen=True)
class Defaults:
    """What settings do not say; calibration finds it for a model.

    Attributes:
        temperature: T of APE.
        scale: S of APE.
        fraction: Share of the context that is recomputed.
        layers: First layer and end of those in which the question chooses tokens; None: the middle
            ones.
        alignment: The model's map from states computed alone to those in context; None: none was
            fitted.
    """

    temperature: float = 0.9
    scale: float = 0.9
    fraction: float = 0.2
    layers: tuple[int, int] | None = None
    alignment: Alignment | None = None


@dataclass
class Composition:
    """A prompt, the model, and the store.

    Attributes:
        view: The model.
        store: Stored states.
        keys: Makes the store's keys.
        layout: The prompt.
        report: Receives what was reused and computed.
        defaults: Numbers for settings that give none.
        room: Slots for the answer.
    """

    view: ModelView
    store: KVStore
    keys: Keys
    layout: Layout
    report: Report
    defaults: Defaults = field(default_factory=Defaults)
    room: int = 0
    _prefix: tuple[torch.Tensor, torch.Tensor] | None = field(default=None, init=False)

    def new_buffer(self) -> KVBuffer:
        """An empty buffer for the prompt and its answer."""
        from rag.kvcache.buffer import KVBuffer

        return KVBuffer(self.view.geometry, self.layout.length + self.room)

    def look_up(self, key: str, ids: Sequence[int]) -> Found | Miss:
        """The stored states of `ids` under a key."""
        with self.report.timed("lookup"):
            return self.store.get(key, ids)

    def keep(
        self,
        key: str,
        ids: Sequence[int],
        tensors: dict[str, torch.Tensor],
        seconds: float,
        meta: dict[str, str] | None = None,
    ) -> Entry:
        """Store states.

        Args:
            key: Where.
            ids: The tokens.
            tensors: `keys` and `values` [layers, kv_heads, tokens, head_dim], and others by any
                name. They are stored as they are: no views of a buffer.
            seconds: How long computing them took.
            meta: Short texts.
        """
        entry = Entry(tuple(ids), tensors, meta or {}, seconds)
        self.store.put(key, entry)
        return entry

    def prefix_states(self) -> Passes[tuple[torch.Tensor, torch.Tensor]]:
        """Rotated keys and values of the prefix, from the store or computed now.

        Each [layers, kv_heads, tokens, head_dim].
        """
        if self._prefix is None:
            self._prefix = yield from self._prefix_states()
        return self._prefix

    def _prefix_states(self) -> Passes[tuple[torch.Tensor, torch.Tensor]]:
        geometry, ids = self.view.geometry, self.layout.prefix
        if not ids:
            return geometry.empty(0), geometry.empty(0)
        key = self.chain_key([], ids)
        found = self.look_up(key, ids)
        if isinstance(found, Found):
            tensors = found.entry.tensors
            return tensors["keys"].to(geometry.device), tensors["values"].to(geometry.device)
        with self.report.timed("encode"):
            started = perf_counter()
            keys, values = yield from encode_prefix(self.view, ids)
            states = {"keys": keys, "values": values}
            self.keep(key, ids, states, perf_counter() - started)
        return keys, values

    def chain_key(self, before: Sequence[Sequence[int]], ids: Sequence[int]) -> str:
        """The key of a segment computed where it stands, behind all segments before it."""
        regime = self.view.geometry.rotation.regime(self.layout.length + self.room)
        return self.keys.of(f"chain {regime}" if regime else "chain", before, ids)

    def chunk_key(self, index: int, alignment: Alignment | None = None) -> str:
        """The key of a chunk computed alone behind the prefix, as it is or aligned."""
        kind = "chunk" if alignment is None else f"aligned {alignment.digest}"
        layout = self.layout
        return self.keys.of(kind, [layout.prefix], layout.chunks[index], layout.scopes[index])

    def chunk_entries(self, alignment: Alignment | None = None) -> Passes[list[Entry]]:
        """Every chunk's states as computed alone behind the prefix, stored or computed now.

        Args:
            alignment: Maps the states of all chunks but the first, which stands where it was
                computed: its states are exact. What it gives is stored too.
        """
        entries: dict[int, Entry] = {}
        maps = [alignment if index else None for index in range(len(self.layout.chunks))]
        self.store.prefetch(self.chunk_key(index, one) for index, one in enumerate(maps))
        for index, chunk in enumerate(self.layout.chunks):
            found = self._stored(index, maps[index])
            if isinstance(found, Found):
                entries[index] = found.entry
                self.report.chunks.append(ChunkReport(len(chunk), True, None, found.tier))
                self.report.add("load", found.load_seconds)
            else:
                miss = ChunkReport(len(chunk), False, found.reason, None, len(chunk))
                self.report.chunks.append(miss)
        missing = [index for index in range(len(self.layout.chunks)) if index not in entries]
        entries |= yield from self.compute_chunks(missing, maps)
        return [entries[index] for index in range(len(self.layout.chunks))]

    def _stored(self, index: int, alignment: Alignment | None) -> Found | Miss:
        """A chunk's states, aligned now if they are stored only as they were computed."""
        ids = self.layout.chunks[index]
        found = self.look_up(self.chunk_key(index, alignment), ids)
        if alignment is None or isinstance(found, Found):
            return found
        plain = self.look_up(self.chunk_key(index), ids)
        if isinstance(plain, Miss):
            return found
        one = plain.entry
        with self.report.timed("align"):
            states = alignment.states(one.tensors)
            entry = self.keep(self.chunk_key(index, alignment), ids, states, one.cost)
        return replace(plain, entry=entry)

    def compute_chunks(
        self, indices: Sequence[int], alignments: Sequence[Alignment | None] | None = None
    ) -> Passes[dict[int, Entry]]:
        """Compute chunks alone behind the prefix, and store them; index to states.

        Args:
            indices: The chunks' numbers.
            alignments: For each chunk of the prompt the map of its states; None: they are stored as
                they were computed.
        """
        if not indices:
            return {}
        prefix, entries = (yield from self.prefix_states()), {}
        chunks = [self.layout.chunks[index] for index in indices]
        with self.report.timed("encode"):
            for one in (yield from encode_chunks(self.view, prefix, chunks)):
                index = indices[one.index]
                alignment = None if alignments is None else alignments[index]
                states = {"keys": one.keys, "values": one.values}
                if alignment is not None:
                    states = alignment.states(states)
                key, ids = self.chunk_key(index, alignment), self.layout.chunks[index]
                entries[index] = self.keep(key, ids, states, one.seconds)
        return entries
