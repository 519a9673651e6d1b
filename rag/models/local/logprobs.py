"""Exact log-probabilities: of answers, of texts, and mixed over several prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rag.errors import InputError
from rag.kvcache.passes import Pass, Passes
from rag.models.llm import Scored
from rag.models.local.scheduler import Reserve
from rag.models.local.states import States
from rag.models.local.template import ChatTemplate
from rag.prompts.layout import PromptTokens
from rag.prompts.prompt import Prompt

if TYPE_CHECKING:
    import torch

BLOCK = 256
"""Tokens whose logits are in memory at a time."""


class ExactModel(Protocol):
    """What is needed of a local model."""

    template: ChatTemplate
    window: int

    def fit(self, prompt: Prompt, room: int = 1) -> PromptTokens:
        """The prompt's tokens; raises ModelError if the window has no room for `room` more."""

    def reserve(self, tokens: int) -> Reserve:
        """Room for the states of so many tokens, to be asked for before `states`."""

    def states(self, tokens: PromptTokens, room: int) -> Passes[States]:
        """A prompt's states, with room for so many tokens more."""


def score(
    model: ExactModel, prompt: Prompt, answers: Sequence[str]
) -> Generator[Scored | Pass | Reserve, Any, None]:
    """The answers' log-probabilities, one by one; the prompt is computed once.

    Raises:
        InputError: An answer is empty.
        ModelError: Prompt and answer do not fit the window.
    """
    import torch

    encoded = [model.template.encode(answer) for answer in answers]
    if any(not ids for ids in encoded):
        raise InputError("an answer to score is empty", fix="leave it out")
    room = max(map(len, encoded), default=0)
    tokens = model.fit(prompt, room)
    yield model.reserve(tokens.total + room)
    states = yield from model.states(tokens, room)
    for ids in encoded:
        logits = states.logits[None]
        if len(ids) > 1:
            logits = torch.cat([logits, (yield from states.peek(ids[:-1]))])
        yield Scored(tuple(logprobs(logits, ids)), tokens.total)


def logprobs(logits: torch.Tensor, ids: Sequence[int]) -> list[float]:
    """Natural log-probabilities of tokens `ids` under logits [tokens, vocabulary]."""
    import torch

    normalized = torch.log_softmax(logits.float(), dim=-1)
    index = torch.tensor(list(ids), device=normalized.device)
    values: list[float] = normalized.gather(1, index[:, None])[:, 0].tolist()
    return values


def token_surprisal(
    model: ExactModel, text: str, after: str
) -> Generator[tuple[int, int, float] | Pass | Reserve, Any, None]:
    """Start and end of each token of the text in characters, and its surprisal in nats."""
    import torch

    spans, ids = model.template.spans(text)
    before = [model.template.bos, *model.template.encode(after)]
    everything = [*before, *ids]
    half = model.window // 2
    yield model.reserve(min(len(everything), 2 * half) + half)
    # A token is conditioned on half a window at most.
    for start in range(0, len(ids), half):
        end = min(start + half, len(ids))
        first = max(0, len(before) + start - half)
        seen = everything[first : len(before) + start]
        states = yield from model.states(PromptTokens(seen[:-1], [], seen[-1:]), half)
        for at in range(start, end, BLOCK):
            block = ids[at : min(at + BLOCK, end)]
            first_logits = states.logits[None]
            logits = torch.cat([first_logits, (yield from states.step(block))])
            for position, value in enumerate(logprobs(logits[:-1], block), start=at):
                yield (*spans[position], -value)


def mixed(
    model: ExactModel,
    prompts: Sequence[PromptTokens],
    weights: Sequence[float],
    next_token: Callable[[torch.Tensor], int],
    limit: int,
) -> Generator[int | Pass, Any, None]:
    """Tokens of an answer whose every distribution is a weighted mean over prompts (REPLUG).

    Args:
        model: The model.
        prompts: Each computed once; every sampled token is appended to all.
        weights: One per prompt; they sum to 1.
        next_token: Log-probabilities [vocabulary] to a token.
        limit: Tokens at most.
    """
    import torch

    states: list[States] = []
    for tokens in prompts:
        computed = yield from model.states(tokens, limit)
        states.append(computed)
    log_weights = torch.tensor([math.log(weight) for weight in weights])[:, None]
    for left in reversed(range(limit)):
        each = torch.stack([torch.log_softmax(one.logits.float(), dim=-1) for one in states])
        token = next_token(torch.logsumexp(each + log_weights.to(each.device), dim=0))
        yield token
        if left:
            for one in states:
                yield from one.step([token])


def weighted(prompts: Sequence[Prompt], weights: Sequence[float]) -> list[tuple[Prompt, float]]:
    """The prompts with a weight above 0, the weights normalised to a sum of 1.

    Raises:
        InputError: There are not as many weights as prompts, or none is above 0.
    """
    if len(prompts) != len(weights):
        raise InputError(f"{len(prompts)} prompts have {len(weights)} weights", fix="one for each")
    if any(not math.isfinite(w) or w < 0 for w in weights) or not sum(weights) > 0:
        raise InputError(f"weights {list(weights)!r}", fix="from 0, at least one above it")
    total = sum(weights)
    return [(p, w / total) for p, w in zip(prompts, weights, strict=True) if w > 0]
