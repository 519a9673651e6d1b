"""The engine: from a prompt in parts to the states and logits that an answer begins with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rag.kvcache.buffer import KVBuffer
from rag.kvcache.composers import choose, craft
from rag.kvcache.composers.choose import Prompt
from rag.kvcache.encode import encode_chunks, encode_prefix
from rag.kvcache.keys import Keys
from rag.kvcache.model import ModelView
from rag.kvcache.report import ChunkReport, Kind, Report
from rag.kvcache.settings import ReuseSettings
from rag.kvcache.store import Entry, Found, KVStore

if TYPE_CHECKING:
    import torch

KINDS: dict[str, Kind] = {
    "full": "exact",
    "prefix": "exact",
    "parallel": "parallel",
    "ape": "parallel",
    "concat": "unrepaired",
    "epic": "repaired",
    "random": "repaired",
    "blend": "repaired",
    "focus": "repaired",
    "craft": "repaired",
}


@dataclass
class Prefilled:
    """A prompt whose states are ready.

    Attributes:
        logits: Of the first token of the answer: [vocabulary].
        buffer: The states, with room for the answer.
        position: Where the answer's first token stands.
        context: Slots of the chunks, where they are weighed apart in every further pass (APE).
        report: What was reused and computed.
    """

    logits: torch.Tensor
    buffer: KVBuffer
    position: int
    report: Report
    context: tuple[int, int] | None = None
    temperature: float = 1.0
    scale: float = 1.0

    @property
    def plan(self) -> dict[str, Any]:
        """What every further pass is told."""
        if self.context is None:
            return {}
        return {
            "context": self.context,
            "temperature": self.temperature,
            "scale": self.scale,
        }


class KVEngine:
    """Composes prompts' states from stored ones.

    Args:
        view: The model.
        store: Where states are kept.
        keys: Makes the store's keys.
        ape: T and S where settings name none: calibrated for the model.
        fraction: The share recomputed where settings name none.
    """

    def __init__(
        self,
        view: ModelView,
        store: KVStore,
        keys: Keys,
        ape: tuple[float, float] = (0.9, 0.9),
        fraction: float = 0.2,
    ) -> None:
        self.view, self.store, self.keys = view, store, keys
        self.ape, self.fraction = ape, fraction

    def prefill(
        self,
        prefix: Sequence[int],
        chunks: Sequence[Sequence[int]],
        suffix: Sequence[int],
        settings: ReuseSettings,
        room: int = 0,
    ) -> Prefilled:
        """The states of `prefix | chunks | suffix`, and the logits of the token behind them.

        Args:
            prefix: Token ids before the chunks.
            chunks: Token ids of each chunk, in the order of the prompt.
            suffix: Token ids behind the chunks; at least one.
            settings: The composer and its numbers.
            room: Slots for the answer.

        Raises:
            ModelError: The model's states cannot be composed so.
        """
        import torch

        if not self.view.attends:
            self.view.compose_or_refuse(0)
        prompt = Prompt(prefix, [chunk for chunk in chunks if len(chunk)], suffix)
        report = Report(settings.mode, KINDS[settings.mode], tokens=prompt.length)
        started = perf_counter()
        with self.view.lock, torch.inference_mode():
            if settings.mode == "full":
                done = self._full(prompt, report, room)
            elif settings.mode == "prefix":
                done = self._prefix(prompt, report, room)
            else:
                self.view.compose_or_refuse(prompt.length)
                if settings.mode in ("parallel", "ape"):
                    done = self._parallel(prompt, report, settings, room)
                else:
                    done = self._placed(prompt, report, settings, room)
            # Reading a number waits for the device: the first token's time is real.
            float(done.logits[0])
        report.milliseconds["first_token"] = (perf_counter() - started) * 1000
        return done

    def salted(self, salt: str) -> KVEngine:
        """The same over the same store, whose entries no other salt finds."""
        keys = Keys(self.keys.model, self.keys.tokenizer, salt)
        return KVEngine(self.view, self.store, keys, self.ape, self.fraction)

    def share(self, settings: ReuseSettings) -> float:
        """The share of the context that is computed again."""
        return self.fraction if settings.fraction is None else settings.fraction

    # Exact

    def _full(self, prompt: Prompt, report: Report, room: int) -> Prefilled:
        import torch

        buffer = KVBuffer(self.view, prompt.length + room)
        ids = torch.tensor([*prompt.prefix, *prompt.context, *prompt.suffix])
        with _timed(report, "recompute"):
            logits = self.view.forward(ids, torch.arange(prompt.length), buffer)
        report.chunks = [
            ChunkReport(len(chunk), False, "not looked for", None, len(chunk))
            for chunk in prompt.chunks
        ]
        return Prefilled(logits, buffer, prompt.length, report)

    def _prefix(self, prompt: Prompt, report: Report, room: int) -> Prefilled:
        """The longest beginning that was computed before, segment by segment.

        A segment's key holds all segments before it, which makes the store a radix tree over
        sequences of chunks. Its keys are kept at their places: they never stand elsewhere.
        """
        import torch

        view = self.view
        buffer = KVBuffer(view, prompt.length + room)
        segments = [prompt.prefix, *prompt.chunks] if prompt.prefix else list(prompt.chunks)
        skip = 1 if prompt.prefix else 0
        names = [self.keys.of("chain", segments[:n], one) for n, one in enumerate(segments)]
        hits = 0
        reports: list[ChunkReport] = []
        why: str | None = None
        for name, ids in zip(names, segments, strict=True):
            with _timed(report, "lookup"):
                found = None if why else self.store.get(name, ids)
            if isinstance(found, Found):
                hits += 1
                with _timed(report, "compose"):
                    start = buffer.length
                    tensors = found.entry.tensors
                    places = torch.arange(start, start + len(ids))
                    buffer.place(tensors["keys"], tensors["values"], places)
                reports.append(ChunkReport(len(ids), True, None, found.tier))
            else:
                why = why or (found.reason if found is not None else "absent")
                reports.append(ChunkReport(len(ids), False, why, None, len(ids)))
        report.chunks = reports[skip:]
        start = buffer.length
        rest = [one for segment in segments[hits:] for one in segment]
        ids_left = torch.tensor([*rest, *prompt.suffix])
        with _timed(report, "recompute"):
            before = perf_counter()
            logits = view.forward(ids_left, torch.arange(start, prompt.length), buffer)
            rate = (perf_counter() - before) / len(ids_left)
        for name, ids in zip(names[hits:], segments[hits:], strict=True):
            slots = slice(start, start + len(ids))
            self._keep(name, ids, buffer.keys[:, :, slots], buffer.values[:, :, slots], rate)
            start = slots.stop
        return Prefilled(logits, buffer, prompt.length, report)

    # Parallel

    def _parallel(
        self, prompt: Prompt, report: Report, settings: ReuseSettings, room: int
    ) -> Prefilled:
        """Every chunk stands right behind the prefix; the suffix behind the longest of them.

        The chunks' slots come first, so that the rest is one piece (see `attention`).
        """
        import torch

        view = self.view
        entries = self._entries(prompt, report)
        keys, values = self._prefix_states(prompt.prefix, report)
        buffer = KVBuffer(view, prompt.length + room)
        with _timed(report, "compose"):
            for entry in entries:
                count = len(entry.ids)
                places = torch.arange(prompt.start, prompt.start + count)
                buffer.place_plain(entry.tensors["keys"], entry.tensors["values"], places)
            context = (0, buffer.length)
            buffer.place(keys, values, torch.arange(prompt.start))
        start = prompt.start + max((len(chunk) for chunk in prompt.chunks), default=0)
        end = start + len(prompt.suffix)
        fields = {}
        temperature, scale = 1.0, 1.0
        if settings.mode == "ape":
            temperature = settings.temperature or self.ape[0]
            scale = settings.scale or self.ape[1]
            fields = {"context": context, "temperature": temperature, "scale": scale}
        with _timed(report, "recompute"):
            logits = view.forward(prompt.suffix_ids, torch.arange(start, end), buffer, **fields)
        weighed = context if settings.mode == "ape" else None
        return Prefilled(logits, buffer, end, report, weighed, temperature, scale)

    # At true positions

    def _placed(
        self, prompt: Prompt, report: Report, settings: ReuseSettings, room: int
    ) -> Prefilled:
        """Chunks one after another, some of their tokens computed again where they stand now."""
        import torch

        view = self.view
        variants = None
        entries: Sequence[Entry | None]
        if settings.mode == "craft":
            variants = craft.Variants(self, prompt, report, settings)
            entries = variants.entries
        else:
            entries = self._entries(prompt, report)
        keys, values = self._prefix_states(prompt.prefix, report)
        buffer = KVBuffer(view, prompt.length + room)
        with _timed(report, "compose"):
            buffer.place(keys, values, torch.arange(prompt.start))
            for entry, (first, end) in zip(entries, prompt.bounds, strict=True):
                places = torch.arange(prompt.start + first, prompt.start + end)
                if entry is None:
                    buffer.reserve(places)
                else:
                    buffer.place_plain(entry.tensors["keys"], entry.tensors["values"], places)
        if variants is not None:
            with _timed(report, "encode"):
                variants.compute(buffer)
        with _timed(report, "choose"):
            if variants is not None:
                chosen = variants.chosen(buffer)
            else:
                chosen = self._chosen(prompt, buffer, settings)
        with _timed(report, "recompute"):
            slots = chosen + prompt.start
            ids = torch.cat([prompt.context_ids[chosen], prompt.suffix_ids])
            positions = torch.cat([slots, prompt.suffix_positions])
            logits = view.forward(ids, positions, buffer, rewrite=slots.to(view.device))
        for chunk, (first, end) in zip(report.chunks, prompt.bounds, strict=True):
            again = int(((chosen >= first) & (chosen < end)).sum())
            chunk.recomputed = chunk.tokens if not chunk.hit else again
        return Prefilled(logits, buffer, prompt.length, report)

    def _chosen(self, prompt: Prompt, buffer: KVBuffer, settings: ReuseSettings) -> torch.Tensor:
        import torch

        fraction = self.share(settings)
        match settings.mode:
            case "epic":
                return choose.starts(prompt, settings.first)
            case "random":
                return choose.at_random(prompt, fraction, settings.seed)
            case "blend":
                return choose.deviating(self.view, prompt, buffer, fraction)
            case "focus":
                budget = ceil(fraction * len(prompt.context))
                # The first chunk stands where it was computed.
                rest = range(1, len(prompt.chunks))
                return choose.asked_for(self.view, prompt, buffer, budget, rest, settings.starts)
        return torch.zeros(0, dtype=torch.long)

    # The store

    def _prefix_states(
        self, ids: Sequence[int], report: Report
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The prefix's keys at their places, and its values."""
        import torch

        if not ids:
            shape = (self.view.layers, self.view.kv_heads, 0, self.view.head_dim)
            empty = torch.zeros(shape, dtype=self.view.dtype, device=self.view.device)
            return empty, empty
        name = self.keys.of("chain", [], ids)
        with _timed(report, "lookup"):
            found = self.store.get(name, ids)
        if isinstance(found, Found):
            device = self.view.device
            tensors = found.entry.tensors
            return tensors["keys"].to(device), tensors["values"].to(device)
        with _timed(report, "encode"):
            before = perf_counter()
            _, keys, values = encode_prefix(self.view, ids)
            self._keep(name, ids, keys, values, (perf_counter() - before) / len(ids))
        return keys, values

    def _entries(self, prompt: Prompt, report: Report) -> list[Entry]:
        """Every chunk's states behind the prefix, from the store or computed now."""
        found: dict[int, Entry] = {}
        names = [self.keys.of("chunk", [prompt.prefix], chunk) for chunk in prompt.chunks]
        for index, (name, chunk) in enumerate(zip(names, prompt.chunks, strict=True)):
            with _timed(report, "lookup"):
                got = self.store.get(name, chunk)
            if isinstance(got, Found):
                found[index] = got.entry
                report.chunks.append(ChunkReport(len(chunk), True, None, got.tier))
                load = report.milliseconds.get("load", 0.0)
                report.milliseconds["load"] = load + got.load_seconds * 1000
            else:
                miss = ChunkReport(len(chunk), False, got.reason, None, len(chunk))
                report.chunks.append(miss)
        missing = [index for index in range(len(prompt.chunks)) if index not in found]
        if missing:
            prefix = self._prefix_states(prompt.prefix, report)
            with _timed(report, "encode"):
                for at, keys, values, seconds in encode_chunks(
                    self.view, prefix, [prompt.chunks[index] for index in missing]
                ):
                    index = missing[at]
                    ids = prompt.chunks[index]
                    found[index] = self._keep(names[index], ids, keys, values, seconds / len(ids))
        return [found[index] for index in range(len(prompt.chunks))]

    def warm(self, prefix: Sequence[int], chunks: Sequence[Sequence[int]]) -> int:
        """Compute and keep the states of chunks that are not in the store; returns how many."""
        wanted = {self.keys.of("chunk", [prefix], chunk): chunk for chunk in chunks if len(chunk)}
        names = [name for name in wanted if not self.store.contains(name)]
        if names:
            states = self._prefix_states(prefix, Report("parallel", "parallel"))
            todo = [wanted[name] for name in names]
            for at, keys, values, seconds in encode_chunks(self.view, states, todo):
                self._keep(names[at], todo[at], keys, values, seconds / len(todo[at]))
        return len(names)

    def _keep(
        self,
        name: str,
        ids: Sequence[int],
        keys: torch.Tensor,
        values: torch.Tensor,
        seconds_per_token: float,
        **more: torch.Tensor,
    ) -> Entry:
        tensors = {"keys": keys.contiguous(), "values": values.contiguous(), **more}
        if tensors["keys"].data_ptr() == keys.data_ptr():
            tensors["keys"] = tensors["keys"].clone()
        if tensors["values"].data_ptr() == values.data_ptr():
            tensors["values"] = tensors["values"].clone()
        entry = Entry(tuple(ids), tensors, {}, seconds_per_token * len(ids))
        self.store.put(name, entry)
        return entry


@contextmanager
def _timed(report: Report, what: str) -> Iterator[None]:
    started = perf_counter()
    try:
        yield
    finally:
        spent = (perf_counter() - started) * 1000
        report.milliseconds[what] = report.milliseconds.get(what, 0.0) + spent
