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

    @property
    def ids(self) -> list[int]:
        """All of them in one list."""
        return [*self.prefix, *(token for chunk in self.chunks for token in chunk), *self.suffix]

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.prefix) + sum(map(len, self.chunks)) + len(self.suffix)


def messages(prompt: Prompt) -> list[tuple[str, str]]:
    """The prompt as (role, text) pairs: system, history, then sources and question."""
    return [(role, "".join(pieces)) for role, pieces in message_pieces(prompt)]


def message_pieces(prompt: Prompt) -> list[tuple[str, list[str]]]:
    """As `messages`, each text in pieces: in the last one, every chunk is a piece of its own."""
    result: list[tuple[str, list[str]]] = []
    if prompt.system:
        result.append(("system", [prompt.system]))
    result.extend((role, [text]) for role, text in prompt.history)
    if not prompt.chunks:
        result.append(("user", [prompt.question]))
        return result
    # A number would make a chunk's text depend on its position: its states could not be reused.
    chunks = [
        delimited(chunk, number if prompt.numbered else None)
        for number, chunk in enumerate(prompt.chunks, start=1)
    ]
    heading = f"{prompts()['layout_sources'].text}\n\n"
    question = prompts()["layout_question"].format(question=prompt.question)
    result.append(("user", [heading, *chunks, question]))
    return result


def delimited(chunk: str, number: int | None = None) -> str:
    """A source between delimiters that nothing in its text can close."""
    opening = OPEN if number is None else f"{OPEN[:-1]} {number}>"
    return f"{opening}\n{harmless(chunk.strip())}\n{CLOSE}\n\n"
