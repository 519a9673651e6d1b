"""How the parts of a prompt become chat messages, the same for every model."""

from __future__ import annotations

from rag.llm.base import Prompt


def messages(prompt: Prompt) -> list[tuple[str, str]]:
    """The prompt as (role, text) pairs: system, history, then sources and question."""
    return [(role, "".join(pieces)) for role, pieces in pieces_of(prompt)]


def pieces_of(prompt: Prompt) -> list[tuple[str, list[str]]]:
    """As `messages`, each text in pieces: in the last one, every chunk is a piece of its own."""
    found: list[tuple[str, list[str]]] = []
    if prompt.system:
        found.append(("system", [prompt.system]))
    found.extend((role, [text]) for role, text in prompt.history)
    if not prompt.chunks:
        found.append(("user", [prompt.question]))
        return found
    # A number would make a chunk's text depend on its place: its states could not be reused.
    chunks = [
        f"[{n}] {chunk.strip()}\n\n" if prompt.numbered else f"{chunk.strip()}\n\n"
        for n, chunk in enumerate(prompt.chunks, start=1)
    ]
    found.append(("user", ["Sources:\n\n", *chunks, f"Question: {prompt.question}"]))
    return found
