"""From a prefilled prompt to an answer's tokens, several at once where the answer quotes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from rag.kvcache.passes import Pass

if TYPE_CHECKING:
    import torch

    from rag.kvcache.model import ModelView
    from rag.kvcache.prefilled import Prefilled

LOOK_BACK = (4, 3, 2)
"""Lengths of the endings searched for in the prompt, longest first."""


def decode(
    view: ModelView,
    done: Prefilled,
    choose: Callable[[torch.Tensor], int],
    limit: int,
    quoted: Sequence[int] = (),
    draft: int = 0,
) -> Iterator[int]:
    """The answer's tokens, one after another; see `decoding`."""
    work = decoding(done, choose, limit, quoted, draft)
    logits: torch.Tensor | None = None
    while True:
        try:
            wanted = work.send(logits)
        except StopIteration:
            return
        logits = None
        if isinstance(wanted, Pass):
            (logits,) = view.steps([wanted])
        else:
            yield wanted


def decoding(
    done: Prefilled,
    choose: Callable[[torch.Tensor], int],
    limit: int,
    quoted: Sequence[int] = (),
    draft: int = 0,
) -> Generator[int | Pass, torch.Tensor | None, None]:
    """The answer's tokens, and between them the passes whose logits must be sent.

    Args:
        done: The prompt.
        choose: Logits [vocabulary] to the next token.
        limit: Tokens at most.
        quoted: Tokens that the answer may quote: where its last ones occur there, what follows
            is proposed, and checked in one pass (prompt-lookup decoding). Only for a
            deterministic `choose`: then proposals never change the answer.
        draft: Tokens proposed at most; 0: none.

    Yields:
        Tokens, and passes. For a pass its logits [tokens, vocabulary] must be sent.
    """
    buffer, position, logits = done.buffer, done.position, done.logits
    quotes = Quotes(quoted) if draft else None
    answer = done.answer = []
    while True:
        token = choose(logits)
        yield token
        answer.append(token)
        if len(answer) >= limit:
            return
        room = min(draft, limit - len(answer) - 1, buffer.capacity - buffer.length - 1)
        proposed = quotes.after(answer, room) if quotes is not None and room > 0 else []
        sent = yield Pass.consecutive([token, *proposed], position, buffer, done.plan)
        assert sent is not None  # noqa: S101 - logits are sent for a pass
        accepted = 0
        for number, expected in enumerate(proposed):
            token = choose(sent[number])
            if token != expected:
                break
            yield token
            answer.append(token)
            accepted += 1
        buffer.cut(buffer.length - (len(proposed) - accepted))
        position += 1 + accepted
        logits = sent[accepted]
        if len(answer) >= limit:
            return


class Quotes:
    """What follows in a text where the end of an answer occurs in it.

    Args:
        tokens: The text. Where an ending occurs several times, the last one counts.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = tokens
        self._behind = {
            tuple(tokens[start : start + length]): start + length
            for length in LOOK_BACK
            for start in range(len(tokens) - length)
        }

    def after(self, answer: list[int], count: int) -> list[int]:
        """At most `count` tokens that may follow an answer; the longest known ending decides."""
        for length in LOOK_BACK:
            place = self._behind.get(tuple(answer[-length:]))
            if place is not None:
                return list(self._tokens[place : place + count])
        return []
