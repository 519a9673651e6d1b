"""How the parts of a prompt become chat messages, the same for every model."""

from __future__ import annotations

from rag.llm.base import Prompt


def messages(prompt: Prompt) -> list[tuple[str, str]]:
    """The prompt as (role, text) pairs: system, history, then sources and question."""
    found: list[tuple[str, str]] = []
    if prompt.system:
        found.append(("system", prompt.system))
    found.extend(prompt.history)
    sources = "".join(
        f"[{n}] {chunk.strip()}\n\n" for n, chunk in enumerate(prompt.chunks, start=1)
    )
    question = f"Sources:\n\n{sources}Question: {prompt.question}" if sources else prompt.question
    found.append(("user", question))
    return found
