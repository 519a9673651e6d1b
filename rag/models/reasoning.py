"""Reasoning that a model writes before its answer, kept apart from the text."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal, cast

from rag.models.llm import Generation

OPEN, CLOSE = "<think>", "</think>"
"""The delimiters of Qwen3, DeepSeek-R1 and most other open models that reason."""


class ReasoningSplitter:
    """Splits an output that comes in pieces: reasoning between `<think>` and `</think>`, then text.

    Reasoning is only looked for at the start: an answer may speak of these delimiters.

    Args:
        inside: Whether the prompt has opened the reasoning already.
    """

    def __init__(self, *, inside: bool = False) -> None:
        self._state: Literal["start", "inside", "behind", "text"] = "inside" if inside else "start"
        self._held = ""
        self._reasoning: list[str] = []
        self.offset = 0
        """Characters of the output before its text."""

    @property
    def reasoning(self) -> str:
        """What was written before the text, without delimiters and outer white space."""
        return "".join(self._reasoning).strip()

    def add(self, piece: str) -> str:
        """The text in the next piece; what may belong to a delimiter is held back."""
        self._held += piece
        if self._state == "start":
            start = self._held.lstrip()
            if OPEN.startswith(start):
                return ""
            if start.startswith(OPEN):
                self._skip(len(self._held) - len(start) + len(OPEN))
                self._state = "inside"
            else:
                self._state = "text"
        if self._state == "inside":
            at = self._held.find(CLOSE)
            # Without a delimiter, the end of what is held may be the beginning of one.
            self._reasoning.append(
                self._skip(at if at >= 0 else max(len(self._held) - len(CLOSE) + 1, 0))
            )
            if at < 0:
                return ""
            self._skip(len(CLOSE))
            self._state = "behind"
        if self._state == "behind":
            self._skip(len(self._held) - len(self._held.lstrip()))
            if not self._held:
                return ""
            self._state = "text"
        text, self._held = self._held, ""
        return text

    def end(self) -> str:
        """The text that was held back; nothing where the reasoning never ended."""
        rest = self._skip(len(self._held)) if self._state == "inside" else ""
        self._reasoning.append(rest)
        return self._held

    def _skip(self, count: int) -> str:
        """Go past so many characters that are no text, which are returned."""
        skipped, self._held = self._held[:count], self._held[count:]
        self.offset += count
        return skipped


async def without_reasoning(
    pieces: AsyncIterator[str | Generation], *, inside: bool = False
) -> AsyncGenerator[str | Generation]:
    """A stream of `LLM.stream` whose text has no reasoning; `Generation.reasoning` has it.

    The one place that knows how models write reasoning. Closing it closes `pieces`. An output
    that closes a reasoning which it did not open (the prompt did, on a server) loses what stands
    before in `Generation.text`.

    Args:
        pieces: As a model gives them, the `Generation` last.
        inside: Whether the prompt has opened the reasoning already.
    """
    splitter = ReasoningSplitter(inside=inside)
    async with aclosing(cast("AsyncGenerator[str | Generation]", pieces)) as stream:
        async for piece in stream:
            if isinstance(piece, str):
                if text := splitter.add(piece):
                    yield text
            else:
                if text := splitter.end():
                    yield text
                yield _apart(piece, splitter)


def _apart(done: Generation, splitter: ReasoningSplitter) -> Generation:
    offset, reasoning = splitter.offset, splitter.reasoning
    if not reasoning and CLOSE in done.text:
        offset = done.text.rfind(CLOSE) + len(CLOSE)
        reasoning = done.text[: offset - len(CLOSE)].strip()
    if not offset:
        return done
    changes: dict[str, Any] = {
        "text": done.text[offset:],
        "reasoning": "\n".join(filter(None, (done.reasoning, reasoning))),
    }
    if done.logprobs is not None:
        first, length = 0, 0
        while first < len(done.logprobs) and length < offset:
            length += len(done.logprobs[first][0])
            first += 1
        changes["logprobs"] = done.logprobs[first:]
        if done.alternatives is not None:
            changes["alternatives"] = done.alternatives[first:]
    return replace(done, **changes)
