"""Conversations: what was computed for earlier turns is there when the next one comes.

When a turn ends, the states of its prompt and its answer are in the buffer already: they are
stored for the price of a copy. The context, as it was composed, is one entry; every turn, question
and answer, is a segment behind it. The next turn with the same sources places them and computes its
question only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.kvcache.passes import Pass, Passes
from rag.kvcache.prefilled import Prefilled
from rag.kvcache.report import ChunkReport
from rag.kvcache.store.base import Found

if TYPE_CHECKING:
    from rag.kvcache.buffer import KVBuffer
    from rag.kvcache.composers.base import Composer
    from rag.kvcache.composition import Composition


class Conversation:
    """The stored states of one conversation.

    Args:
        composition: The prompt of its latest turn.
        composer: How its context was composed.
    """

    def __init__(self, composition: Composition, composer: Composer) -> None:
        self._composition, self._layout = composition, composition.layout
        self._composer = composer
        # A composer that stores chains finds turns as segments of them.
        self._chained = composer.stores == "chains"

    def resumed(self) -> KVBuffer | None:
        """A buffer with the states of context and all earlier turns; None: not all are stored."""
        layout, composition = self._layout, self._composition
        if self._chained or not layout.turns:
            return None
        found = []
        for key, ids in self._keys(layout.turns):
            one = composition.look_up(key, ids)
            if not isinstance(one, Found):
                return None
            found.append(one)
        buffer = composition.new_buffer()
        with composition.report.timed("compose"):
            for one in found:
                tensors = one.entry.tensors
                buffer.place(tensors["keys"], tensors["values"], tensors["positions"])
        composition.report.chunks = [
            ChunkReport(len(chunk), True, None, found[0].tier) for chunk in layout.chunks
        ]
        return buffer

    def resume(self, buffer: KVBuffer) -> Passes[Prefilled]:
        """Compute the question behind what `resumed` gave."""
        import torch

        composition, question = self._composition, self._layout.question
        start = int(buffer.positions[buffer.length - 1]) + 1
        positions = torch.arange(start, start + len(question))
        plan = self._composer.plan(composition)
        with composition.report.timed("recompute"):
            logits = (yield Pass(torch.tensor(question), positions, buffer, plan))[0]
        return Prefilled(logits, buffer, start + len(question), composition.report, plan)

    def keep(self, done: Prefilled) -> Passes[None]:
        """Store a turn whose answer is complete, and what it stands behind unless that is stored.

        Args:
            done: The turn's prompt, from which the answer was decoded.
        """
        layout, buffer, answer = self._layout, done.buffer, done.answer
        end = done.length + len(answer)
        if buffer.length < end:  # nothing followed the last token: its states are missing
            yield Pass.consecutive(answer[-1:], done.position + len(answer) - 1, buffer, done.plan)
        seconds = done.report.milliseconds["first_token"] / 1000 / done.length
        keys, start = self._keys([*layout.turns, [*layout.question, *answer]]), 0
        for number, (key, ids) in enumerate(keys):
            slots = slice(start, start + len(ids))
            start = slots.stop
            if (self._chained and not number) or self._composition.store.contains(key):
                continue
            states = {
                "keys": buffer.keys[:, :, slots].clone(),
                "values": buffer.values[:, :, slots].clone(),
            }
            if not self._chained:
                states["positions"] = buffer.positions[slots].clone()
            self._composition.keep(key, ids, states, seconds * len(ids))

    def _keys(self, turns: Sequence[Sequence[int]]) -> list[tuple[str, list[int]]]:
        """Key and tokens of the context and of each turn.

        The context's key has the first turn in it: its question chose what was recomputed.
        """
        layout, composition, composer = self._layout, self._composition, self._composer
        sources = [one for one in (layout.prefix, *layout.chunks) if one]
        kind = f"conversation {composer.mode} {composer.model_dump_json()}"
        if composer.kind == "aligned" and composition.defaults.alignment is not None:
            kind += f" {composition.defaults.alignment.digest}"
        context = [*layout.prefix, *layout.context]
        keys = [(composition.keys.of(f"{kind} context", [*sources, turns[0]], context), context)]
        for number, turn in enumerate(turns):
            before, ids = [*sources, *turns[:number]], list(turn)
            if self._chained:
                keys.append((composition.chain_key(before, ids), ids))
            else:
                keys.append((composition.keys.of(kind, before, ids), ids))
        return keys
