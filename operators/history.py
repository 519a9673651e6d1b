"""The earlier turns of a conversation, as operators read them from the channel `history`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rag.errors import InputError
from rag.prompts.sanitize import harmless

Role = Literal["user", "assistant"]
History = list[dict[str, str]]
"""Earlier turns, older first: `{role: user, content: ...}`, `{role: assistant, content: ...}`."""


def turns(history: Sequence[Mapping[str, Any]] | None) -> list[tuple[Role, str]]:
    """The turns as (role, text) pairs, ready for `Prompt.history`.

    An answer may quote a document, so its delimiters are made harmless.

    Args:
        history: As OpenAI's messages, without system messages and tool calls.

    Raises:
        InputError: A turn has another role, or no text.
    """
    found: list[tuple[Role, str]] = []
    for number, turn in enumerate(history or ()):
        role = turn.get("role") if isinstance(turn, Mapping) else None
        text = turn.get("content") if isinstance(turn, Mapping) else None
        if not isinstance(text, str) or role not in ("user", "assistant"):
            raise InputError(
                f"turn {number} of the history is {turn!r}",
                where="history",
                fix="give each as {role: user, content: text} or {role: assistant, content: text}",
            )
        if role == "user":
            found.append(("user", text))
        else:
            found.append(("assistant", harmless(text)))
    return found
