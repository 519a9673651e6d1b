"""Likelihoods by the local engine: of answers, of texts, and mixed over several prompts."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rag.errors import InputError
from rag.kvcache.model import cache_name
from rag.models.base import Prompt
from rag.models.choice import Scored
from rag.prompts.layout import Parts, length

if TYPE_CHECKING:
    import torch

    from rag.kvcache.engine import Prefilled
    from rag.kvcache.model import ModelView
    from rag.models.local.model import LocalLLM, Tokens

BLOCK = 256
"""Tokens whose logits are held at a time."""


class Composed:
    """A prompt's states in the chunk-KV cache's buffer, and the logits behind them."""

    def __init__(self, view: ModelView, done: Prefilled) -> None:
        self._view, self._done = view, done
        self._position = done.position
        self.logits = done.logits

    def step(self, ids: Sequence[int]) -> torch.Tensor:
        """Go on by these tokens; returns their logits [tokens, vocabulary]."""
        import torch

        done = self._done
        found = self._view.step(torch.tensor(ids), self._position, done.buffer, **done.plan)
        self._position += len(ids)
        self.logits = found[-1]
        return found

    def peek(self, ids: Sequence[int]) -> torch.Tensor:
        """As `step`, and back again."""
        before = self._position, self._done.buffer.length, self.logits
        found = self.step(ids)
        self._position, length, self.logits = before
        self._done.buffer.cut(length)
        return found


class Plain:
    """The same over transformers' own cache, for a model that the buffer does not understand."""

    def __init__(self, model: Any, ids: Sequence[int]) -> None:
        from transformers import DynamicCache

        self._model = model
        self._cache = DynamicCache(config=model.config)
        self._name = cache_name(model)
        self.logits: torch.Tensor = self.step(ids)[-1]

    def step(self, ids: Sequence[int]) -> torch.Tensor:
        """See `Composed.step`."""
        import torch

        given = torch.tensor([list(ids)], device=self._model.device)
        found: torch.Tensor = self._model(
            given, use_cache=True, **{self._name: self._cache}
        ).logits[0]
        self.logits = found[-1]
        return found

    def peek(self, ids: Sequence[int]) -> torch.Tensor:
        """See `Composed.peek`; layers with a sliding window cannot be cut, so a copy goes on."""
        kept, logits = self._cache, self.logits
        self._cache = copy.deepcopy(kept)
        found = self.step(ids)
        self._cache, self.logits = kept, logits
        return found


def opened(llm: LocalLLM, parts: Parts, room: int) -> Composed | Plain:
    """A prompt's states with room for so many tokens more.

    A beginning with chunks that was computed before is not computed again: judges and rerankers
    put many questions to one document.
    """
    from rag.kvcache.settings import ContextSettings

    engine = llm._engine_or_none(None)
    if engine is None:
        return Plain(llm._model, [*parts[0], *(one for c in parts[1] for one in c), *parts[2]])
    mode: Literal["prefix", "full"] = "prefix" if parts[1] else "full"
    done = engine.prefill(*parts, ContextSettings(mode=mode), room=room)
    return Composed(engine.view, done)


def score(llm: LocalLLM, prompt: Prompt, answers: Sequence[str]) -> Generator[Scored, Any, None]:
    """The answers' likelihoods, one by one; the prompt is computed once.

    Raises:
        InputError: An answer is empty.
        ModelError: Prompt and answer do not fit the window.
    """
    import torch

    encoded = [llm._encode(answer) for answer in answers]
    if any(not ids for ids in encoded):
        raise InputError("an answer to score is empty", fix="leave it out")
    room = max(map(len, encoded), default=0)
    parts = llm.fitting(prompt, room)
    states = opened(llm, parts, room)
    for ids in encoded:
        logits = states.logits[None]
        if len(ids) > 1:
            logits = torch.cat([logits, states.peek(ids[:-1])])
        yield Scored(tuple(logprobs(logits, ids)), length(parts))


def logprobs(logits: torch.Tensor, ids: Sequence[int]) -> list[float]:
    """Natural log probabilities of tokens `ids` under logits [tokens, vocabulary]."""
    import torch

    shares = torch.log_softmax(logits.float(), dim=-1)
    places = torch.tensor(list(ids), device=shares.device)
    found: list[float] = shares.gather(1, places[:, None])[:, 0].tolist()
    return found


def surprise(llm: LocalLLM, text: str, after: str) -> Generator[tuple[int, int, float], Any, None]:
    """Spans of the text's tokens in characters, and the surprise of each in nats."""
    import torch

    spans, ids = llm.spans(text)
    given = [llm.begin, *llm._encode(after)]
    everything = [*given, *ids]
    half = llm.window // 2
    # Whatever stands further back than half the window is out of sight.
    for start in range(0, len(ids), half):
        until = min(start + half, len(ids))
        first = max(0, len(given) + start - half)
        seen = everything[first : len(given) + start]
        states = opened(llm, (seen[:-1], [], seen[-1:]), half)
        for at in range(start, until, BLOCK):
            block = ids[at : min(at + BLOCK, until)]
            logits = torch.cat([states.logits[None], states.step(block)])
            for place, value in enumerate(logprobs(logits[:-1], block), start=at):
                yield (*spans[place], -value)


def mixed(
    llm: LocalLLM,
    prompts: Sequence[Parts],
    weights: Sequence[float],
    next_token: Callable[[torch.Tensor], int],
    limit: int,
) -> Tokens:
    """Tokens of an answer whose every distribution is a weighted mean over prompts (REPLUG).

    Args:
        llm: The model.
        prompts: Each computed once; all go on by the same token.
        weights: One per prompt; they sum to 1.
        next_token: Log probabilities [vocabulary] to a token.
        limit: Tokens at most.
    """
    import torch

    states = [opened(llm, parts, limit) for parts in prompts]
    shares = torch.tensor([math.log(weight) for weight in weights])[:, None]
    for left in reversed(range(limit)):
        each = torch.stack([torch.log_softmax(one.logits.float(), dim=-1) for one in states])
        token = next_token(torch.logsumexp(each + shares.to(each.device), dim=0))
        yield token
        if left:
            for one in states:
                one.step([token])


def normalised(prompts: Sequence[Prompt], weights: Sequence[float]) -> list[tuple[Prompt, float]]:
    """The prompts that count, with weights that sum to 1.

    Raises:
        InputError: There are not as many weights as prompts, or none is above 0.
    """
    if len(prompts) != len(weights):
        raise InputError(f"{len(prompts)} prompts have {len(weights)} weights", fix="one for each")
    if any(not math.isfinite(w) or w < 0 for w in weights) or not sum(weights) > 0:
        raise InputError(f"weights {list(weights)!r}", fix="from 0, at least one above it")
    total = sum(weights)
    return [(p, w / total) for p, w in zip(prompts, weights, strict=True) if w > 0]
