"""From a prefilled prompt to tokens: in place, and several at once where the answer quotes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from rag.kvcache.passes import Pass

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
    """The answer's tokens, one after another; see `decoding`."""
    work = decoding(done, choose, limit, quoted, draft)
    logits: torch.Tensor | None = None
    while True:
        try:
            found = work.send(logits)
        except StopIteration:
            return
        logits = None
        if isinstance(found, Pass):
            (logits,) = view.steps([found])
        else:
            yield found


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
        quoted: Tokens that the answer may quote: where its last ones stand there, what follows
            is proposed, and checked in one pass (prompt-lookup decoding). Only for a `choose`
            without chance: then the answer is the same, whatever is proposed.
        draft: Tokens proposed at most; 0: none.
    """
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
        found = yield Pass([token, *guess], position, buffer, done.plan)
        assert found is not None  # noqa: S101 - what is sent for a pass
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
