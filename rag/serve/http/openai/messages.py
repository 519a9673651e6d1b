"""The messages of a request, as a question and what came before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from rag.serve.errors import Problem
from rag.serve.http.openai.errors import unsupported

TEXTS = ("text", "input_text", "output_text")
"""Types of parts that hold text."""


class PartBody(BaseModel):
    """A part of a message."""

    type: str
    text: str = ""


class MessageBody(BaseModel):
    """A message."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[PartBody] | None = None

    def text(self, where: str) -> str:
        """Its text.

        Args:
            where: The field that it is in.

        Raises:
            Problem: It holds something else.
        """
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        for part in self.content:
            if part.type not in TEXTS:
                raise unsupported(f"content of type {part.type[:40]!r}", where)
        return "".join(part.text for part in self.content)


@dataclass(frozen=True)
class Asked:
    """What messages ask.

    Args:
        query: The last one, the user's.
        history: Those before it, each `role` and `content`.
        system: What the system or the developer says.
    """

    query: str
    history: tuple[dict[str, str], ...]
    system: str | None


def asked(messages: Sequence[MessageBody], where: str) -> Asked:
    """The last message as a question, the others as its history.

    Args:
        messages: Oldest first.
        where: The field that they are in.

    Raises:
        Problem: They hold what pipelines cannot read, or do not end with the user's.
    """
    system: list[str] = []
    turns: list[dict[str, str]] = []
    for message in messages:
        if message.role in ("tool", "function"):
            raise unsupported(f"messages of the role {message.role}", where)
        text = message.text(where)
        if message.role in ("system", "developer"):
            system.append(text)
        else:
            turns.append({"role": message.role, "content": text})
    if not turns or turns[-1]["role"] != "user":
        raise Problem(
            400, "no_question", "the last message is not the user's", where=where,
            fix="end with a message of the role user",
        )  # fmt: skip
    *history, last = turns
    return Asked(last["content"], tuple(history), "\n".join(system) or None)
