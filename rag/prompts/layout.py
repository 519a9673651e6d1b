"""How the parts of a prompt become chat messages, the same for every model."""

from __future__ import annotations

from typing import NamedTuple

from rag.prompts.prompt import Prompt
from rag.prompts.sanitize import harmless
from rag.prompts.templates import prompts

OPEN, CLOSE = "<source>", "</source>"


class PromptTokens(NamedTuple):
    """A prompt's token ids."""

    prefix: list[int]
    """Before the chunks; all of them in a prompt without chunks."""
    chunks: list[list[int]]
    """Of each chunk."""
    suffix: list[int]
    """After the chunks: the question, and what begins the answer."""
    turns: list[list[int]] = []  # noqa: RUF012 - of a tuple, and never changed
    """Between chunks and suffix: earlier turns, each a question and its answer."""
    scopes: tuple[str, ...] = ()
    """Of each chunk the collection that it is of; empty: of none."""

    @property
    def plain(self) -> tuple[list[int], list[list[int]], list[int]]:
        """Prefix, chunks and suffix, the earlier turns in the suffix."""
        earlier = [token for turn in self.turns for token in turn]
        return self.prefix, self.chunks, [*earlier, *self.suffix]

    @property
    def ids(self) -> list[int]:
        """All of them in one list."""
        prefix, chunks, suffix = self.plain
        return [*prefix, *(token for chunk in chunks for token in chunk), *suffix]

    @property
    def total(self) -> int:
        """How many there are."""
        between = (*self.chunks, *self.turns)
        return len(self.prefix) + sum(map(len, between)) + len(self.suffix)


def messages(prompt: Prompt) -> list[tuple[str, str]]:
    """The prompt as (role, text) pairs: system, history, question; see `Prompt` for the sources."""
    return [(role, "".join(pieces)) for role, pieces in message_pieces(prompt)]


def message_pieces(prompt: Prompt) -> list[tuple[str, list[str]]]:
    """As `messages`, each text in pieces: in the one with the sources every chunk is a piece."""
    result: list[tuple[str, list[str]]] = []
    if prompt.system:
        result.append(("system", [prompt.system]))
    turns = [*prompt.history, ("user", prompt.question)]
    asked = [number for number, (role, _) in enumerate(turns) if role == "user"]
    with_sources = asked[-1 if prompt.numbered else 0] if prompt.chunks else None
    for number, (role, text) in enumerate(turns):
        pieces = _with_sources(prompt, text) if number == with_sources else [text]
        result.append((role, pieces))
    return result


def _with_sources(prompt: Prompt, question: str) -> list[str]:
    # A number would make a chunk's text depend on its position: its states could not be reused.
    chunks = [
        delimited(chunk, number if prompt.numbered else None)
        for number, chunk in enumerate(prompt.chunks, start=1)
    ]
    heading = f"{prompts()['layout_sources'].text}\n\n"
    return [heading, *chunks, prompts()["layout_question"].format(question=question)]


def delimited(chunk: str, number: int | None = None) -> str:
    """A source between delimiters that nothing in its text can close."""
    opening = OPEN if number is None else f"{OPEN[:-1]} {number}>"
    return f"{opening}\n{harmless(chunk.strip())}\n{CLOSE}\n\n"
