"""A prompt's states that further tokens are put behind, for exact log-probabilities."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rag.kvcache.attention import cache_name
from rag.kvcache.passes import Pass, Passes
from rag.prompts.layout import PromptTokens

if TYPE_CHECKING:
    import torch

    from rag.kvcache.engine import KVEngine
    from rag.kvcache.prefilled import Prefilled


class States(Protocol):
    """The states of all tokens so far."""

    logits: torch.Tensor
    """Of the next token: [vocabulary]."""

    def step(self, ids: Sequence[int]) -> Passes[torch.Tensor]:
        """Append these tokens; returns their logits [tokens, vocabulary]."""

    def peek(self, ids: Sequence[int]) -> Passes[torch.Tensor]:
        """As `step`, and remove them again."""


class ComposedStates:
    """States in the buffer of the chunk-KV cache.

    Args:
        done: The prompt's states.
    """

    def __init__(self, done: Prefilled) -> None:
        self._done = done
        self._position = done.position
        self.logits = done.logits

    def step(self, ids: Sequence[int]) -> Passes[torch.Tensor]:
        """See `States.step`."""
        done = self._done
        logits = yield Pass.consecutive(ids, self._position, done.buffer, done.plan)
        self._position += len(ids)
        self.logits = logits[-1]
        return logits

    def peek(self, ids: Sequence[int]) -> Passes[torch.Tensor]:
        """See `States.peek`."""
        before = self._position, self._done.buffer.length, self.logits
        logits = yield from self.step(ids)
        self._position, length, self.logits = before
        self._done.buffer.cut(length)
        return logits


class LibraryStates:
    """States in transformers' own cache, for a model that the buffer does not support.

    Args:
        model: Of transformers.
        ids: The prompt.
    """

    def __init__(self, model: Any, ids: Sequence[int]) -> None:
        from transformers import DynamicCache

        self._model = model
        self._cache = DynamicCache(config=model.config)
        self._name = cache_name(model)
        self.logits: torch.Tensor = self._forward(ids)[-1]

    def step(self, ids: Sequence[int]) -> Passes[torch.Tensor]:
        """See `States.step`."""
        yield from ()
        return self._forward(ids)

    def _forward(self, ids: Sequence[int]) -> torch.Tensor:
        import torch

        batch = torch.tensor([list(ids)], device=self._model.device)
        logits: torch.Tensor = self._model(
            batch, use_cache=True, **{self._name: self._cache}
        ).logits[0]
        self.logits = logits[-1]
        return logits

    def peek(self, ids: Sequence[int]) -> Passes[torch.Tensor]:
        """See `States.peek`; layers with a sliding window cannot be cut, so a copy is stepped."""
        yield from ()
        cache, before = self._cache, self.logits
        self._cache = copy.deepcopy(cache)
        logits = self._forward(ids)
        self._cache, self.logits = cache, before
        return logits


def compute_states(
    engine: KVEngine | None, model: Any, tokens: PromptTokens, room: int
) -> Passes[States]:
    """The exact states of a prompt.

    A prefix with chunks that was computed before is not computed again: judges and rerankers ask
    many questions about one document.

    Args:
        engine: The model's; None where it does not support the model.
        model: Of transformers.
        tokens: The prompt.
        room: Tokens that may be appended.
    """
    from rag.kvcache.settings import ReuseSettings

    if engine is None:
        return LibraryStates(model, tokens.ids)
    mode: Literal["prefix", "full"] = "prefix" if tokens.chunks else "full"
    done = yield from engine.prefilling(*tokens.plain, ReuseSettings(mode=mode), room=room)
    return ComposedStates(done)
