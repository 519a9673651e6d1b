"""From a prefilled prompt to tokens: in place, and several at once where the answer quotes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from rag.kvcache.engine import Prefilled
    from rag.kvcache.model import ModelView

LOOK_BACK = (4, 3, 2)
"""Lengths of the endings that are looked for in the prompt, the longest first."""


def decode(
    view: ModelView,
    done: Prefilled,
    choose: Callable[[torch.Tensor], int],
    limit: int,
    quoted: Sequence[int] = (),
    draft: int = 0,
) -> Iterator[int]:
    """The answer's tokens, one after another.

    Args:
        view: The model.
        done: The prompt.
        choose: Logits [vocabulary] to the next token.
        limit: Tokens at most.
        quoted: Tokens that the answer may quote: where its last ones stand there, what follows
            is proposed, and checked in one pass (prompt-lookup decoding). Only for a `choose`
            without chance: then the answer is the same, whatever is proposed.
        draft: Tokens proposed at most; 0: none.
    """
    import torch

    buffer, position, logits = done.buffer, done.position, done.logits
    said: list[int] = []
    while True:
        token = choose(logits)
        yield token
        said.append(token)
        if len(said) >= limit:
            return
        room = min(draft, limit - len(said) - 1, buffer.capacity - buffer.length - 1)
        guess = _continuation(quoted, said, room) if room > 0 else []
        found = view.step(torch.tensor([token, *guess]), position, buffer, **done.plan)
        kept = 0
        for number, expected in enumerate(guess):
            token = choose(found[number])
            if token != expected:
                break
            yield token
            said.append(token)
            kept += 1
        buffer.cut(buffer.length - (len(guess) - kept))
        position += 1 + kept
        logits = found[kept]
        if len(said) >= limit:
            return


def _continuation(quoted: Sequence[int], said: list[int], count: int) -> list[int]:
    """What follows in `quoted` where the end of `said` stands in it; the last place counts."""
    for length in LOOK_BACK:
        ending = said[-length:]
        if len(ending) < length:
            continue
        for start in range(len(quoted) - length - 1, -1, -1):
            if list(quoted[start : start + length]) == ending:
                return list(quoted[start + length : start + length + count])
    return []
