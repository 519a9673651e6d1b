"""From the sampled tokens of an answer to its text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rag.kvcache.attention import cache_name
from rag.kvcache.passes import Pass
from rag.models.llm import Generation
from rag.models.local.detokenizer import Detokenizer, cut
from rag.models.local.sampler import Sampler

if TYPE_CHECKING:
    import torch

Tokens = Generator["int | Pass", "torch.Tensor | None", None]
"""An answer's tokens, and between them passes, whose logits are sent."""
AnswerStream = Generator["str | Generation | Pass", "torch.Tensor | None", None]
"""The same as text, and last the result."""


def decode_stream(
    tokens: Tokens,
    sampler: Sampler,
    tokenizer: Any,
    ends: Collection[int],
    prompt_tokens: int,
    report: dict[str, Any] | None = None,
) -> AnswerStream:
    """The text of an answer as its tokens come, and last the `Generation`.

    Args:
        tokens: Of the answer.
        sampler: That chooses them.
        tokenizer: A `FastTokenizer`, or a tokenizer of transformers.
        ends: Tokens that end the answer.
        prompt_tokens: Of the prompt.
        report: `Generation.reuse`.
    """
    sampling = sampler.sampling
    text = Detokenizer(tokenizer, sampling.stop)
    # Pieces that belong to one token each: with stop texts, `text` holds some back.
    each = Detokenizer(tokenizer, ()) if sampling.logprobs else None
    pieces: list[str] = []
    finish: Literal["stop", "length"] = "length"
    logits: torch.Tensor | None = None
    while (token := _send(tokens, logits)) is not None:
        logits = None
        if isinstance(token, Pass):
            logits = yield token
            continue
        if token in ends:
            finish = "stop"
            break
        if each is not None:
            pieces.append(each.add(token)[0])
        piece, stopped = text.add(token)
        if piece:
            yield piece
        if stopped:
            finish = "stop"
            break
    rest = text.rest()
    if rest:
        yield rest
    logprobs = None
    if each is not None:
        pieces[-1:] = [pieces[-1] + each.rest()] if pieces else []
        # The token that ends the answer has a log-probability too, and no text.
        logprobs = tuple(zip(cut(pieces, text.text), sampler.logprobs, strict=False))
    yield Generation(text.text, prompt_tokens, text.tokens, finish, report, logprobs)


def library_tokens(
    model: Any, ids: Sequence[int], next_token: Callable[[torch.Tensor], int], limit: int
) -> Tokens:
    """An answer's tokens by transformers, for a model that the KV buffer does not support.

    Args:
        model: Of transformers.
        ids: The prompt.
        next_token: Logits [vocabulary] to a token.
        limit: Tokens at most.
    """
    import torch
    from transformers import DynamicCache

    cache = {cache_name(model): DynamicCache(config=model.config)}
    batch = torch.tensor([list(ids)], device=model.device)
    for _ in range(limit):
        logits = model(batch, use_cache=True, logits_to_keep=1, **cache).logits
        token = next_token(logits[0, -1])
        yield token
        batch = torch.tensor([[token]], device=model.device)


def _send(tokens: Tokens, logits: torch.Tensor | None) -> int | Pass | None:
    try:
        return tokens.send(logits)
    except StopIteration:
        return None
