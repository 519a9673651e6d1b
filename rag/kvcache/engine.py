"""The engine: from a prompt in parts to the states and logits that an answer begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rag.kvcache.composition import Composition, Defaults
from rag.kvcache.conversation import Conversation
from rag.kvcache.layout import Layout
from rag.kvcache.passes import Passes, run
from rag.kvcache.prefilled import Prefilled
from rag.kvcache.report import Report
from rag.kvcache.sparse import narrowed

if TYPE_CHECKING:
    from rag.kvcache.keys import Keys
    from rag.kvcache.model import ModelView
    from rag.kvcache.settings import ReuseSettings
    from rag.kvcache.store.tiered import KVStore


@dataclass
class KVEngine:
    """Composes prompts' states from stored ones.

    Attributes:
        view: The model.
        store: Stored states.
        keys: Makes the store's keys.
        defaults: Numbers for settings that give none: calibrated for the model.
    """

    view: ModelView
    store: KVStore
    keys: Keys
    defaults: Defaults = field(default_factory=Defaults)

    def prefill(
        self,
        prefix: Sequence[int],
        chunks: Sequence[Sequence[int]],
        suffix: Sequence[int],
        settings: ReuseSettings,
        room: int = 0,
        turns: Sequence[Sequence[int]] = (),
        scopes: Sequence[str] = (),
    ) -> Prefilled:
        """As `prefilling`, to its end, in this thread."""
        import torch

        work = self.prefilling(prefix, chunks, suffix, settings, room, turns, scopes)
        with torch.inference_mode():
            return run(work, self.view.steps)

    def prefilling(
        self,
        prefix: Sequence[int],
        chunks: Sequence[Sequence[int]],
        suffix: Sequence[int],
        settings: ReuseSettings,
        room: int = 0,
        turns: Sequence[Sequence[int]] = (),
        scopes: Sequence[str] = (),
    ) -> Passes[Prefilled]:
        """The states of `prefix | chunks | turns | suffix`, and the logits of the token behind.

        For whoever makes the passes of several prompts in turns; in inference mode.

        Args:
            prefix: Token ids before the chunks.
            chunks: Token ids of each chunk, in prompt order; empty ones are left out.
            suffix: Token ids behind the chunks; at least one, or none in a prompt without chunks.
            settings: The composer.
            room: Slots for the answer.
            turns: Token ids of each earlier turn of a conversation: question and answer.
            scopes: Of each chunk the collection that it is of (`Keys.shared`); empty: of none.

        Raises:
            ModelError: The model's states cannot be composed so.
        """
        if not self.view.attends:
            self.view.require_composable(0)
        composer = settings.composer.resolved(self.defaults)
        if not suffix and not any(map(len, chunks)):  # the last token's logits are needed
            prefix, suffix = prefix[:-1], prefix[-1:]
        layout = Layout(prefix, chunks, suffix, turns, scopes)
        if composer.relocates:
            self.view.require_composable(layout.length + room)
        report = Report(composer.mode, composer.kind, tokens=layout.length)
        composition = self._composition(layout, report, room)
        with report.timed("first_token"):
            conversation = Conversation(composition, composer)
            buffer = conversation.resumed()
            if buffer is None:
                prefilled = yield from composer.compose(composition)
            else:
                prefilled = yield from conversation.resume(buffer)
            if settings.sparse is not None:
                with report.timed("sparse"):
                    prefilled = yield from narrowed(prefilled, layout, settings.sparse)
            # Reading a number waits for the device: the first token's time is real.
            float(prefilled.logits[0])
        return prefilled

    def keeping(
        self,
        prefix: Sequence[int],
        chunks: Sequence[Sequence[int]],
        suffix: Sequence[int],
        settings: ReuseSettings,
        done: Prefilled,
        turns: Sequence[Sequence[int]] = (),
    ) -> Passes[None]:
        """Store the states of a conversation's turn, for the turn that follows it.

        Args:
            prefix: As for `prefilling`, with all that follow.
            chunks: See there.
            suffix: See there.
            settings: See there.
            done: What `prefilling` returned, from which the whole answer has been decoded.
            turns: See there.
        """
        composer = settings.composer.resolved(self.defaults)
        layout = Layout(prefix, chunks, suffix, turns)
        if composer.stores == "nothing" or not layout.chunks or done.report.sparse is not None:
            return
        room = done.buffer.capacity - layout.length
        composition = self._composition(layout, done.report, room)
        yield from Conversation(composition, composer).keep(done)

    def warm(self, prefix: Sequence[int], chunks: Sequence[Sequence[int]]) -> int:
        """Compute and store chunks alone behind a prefix, those that are not stored yet.

        Args:
            prefix: Token ids before the chunks.
            chunks: Token ids of each chunk.

        Returns:
            How many were computed.
        """
        import torch

        by_key = {self.keys.of("chunk", [prefix], chunk): chunk for chunk in chunks if len(chunk)}
        missing = [chunk for key, chunk in by_key.items() if not self.store.contains(key)]
        composition = self._composition(Layout(prefix, missing, ()), Report("warm", "exact"))
        with torch.inference_mode():
            run(composition.compute_chunks(range(len(missing))), self.view.steps)
        return len(missing)

    def warm_behind(
        self,
        prefix: Sequence[int],
        related: Sequence[Sequence[int]],
        chunk: Sequence[int],
        suffix: Sequence[int],
        settings: ReuseSettings,
    ) -> bool:
        """Compute and store a chunk behind related ones, unless that is stored already.

        For composers that store variants. States computed behind what is often retrieved with a
        chunk need less repair than those computed alone (FusionRAG, arXiv 2601.12904).

        Args:
            prefix: Token ids before the chunks.
            related: Token ids of the chunks before it; what is stored of them is reused.
            chunk: Token ids; at least one.
            suffix: Token ids of any question.
            settings: The composer.

        Returns:
            Whether it was computed.
        """
        import torch

        layout = Layout(prefix, [*related, chunk], suffix)
        self.view.require_composable(layout.length)
        composition = self._composition(layout, Report("warm", "repaired"))
        with torch.inference_mode():
            composer = settings.composer.resolved(self.defaults)
            return run(composer.warm(composition), self.view.steps)

    def salted(self, salt: str, shared: Mapping[str, str] | None = None) -> KVEngine:
        """The same engine over the same store, whose entries no other salt finds.

        Args:
            salt: The user's.
            shared: Collection to the salt of those who may read it.
        """
        return replace(self, keys=replace(self.keys, salt=salt, shared=dict(shared or {})))

    def _composition(self, layout: Layout, report: Report, room: int = 0) -> Composition:
        return Composition(self.view, self.store, self.keys, layout, report, self.defaults, room)
