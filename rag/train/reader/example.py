"""What a reader learns from, and is measured on: a question over sources, with its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rag.eval.metrics import normalized
from rag.operators.answering import DO_NOT_KNOW

Kind = Literal["single", "several", "none"]


@dataclass(frozen=True)
class Example:
    """A question over numbered sources.

    Attributes:
        question: What is asked.
        sources: As they stand in a prompt, in order.
        target: What the reader is to write, with the numbers of sources as `[n]`.
        answers: Of each fact that is asked for, the texts that count as right; empty: the sources
            do not say.
        origin: Where it comes from, as reports name it.
        group: Examples of a group are on the same side of a split: they share a document.
    """

    question: str
    sources: tuple[str, ...]
    target: str
    answers: tuple[tuple[str, ...], ...]
    origin: str
    group: str = ""

    @property
    def kind(self) -> Kind:
        """`single`, `several` facts, or `none` that the sources have."""
        return "none" if not self.answers else "single" if len(self.answers) == 1 else "several"

    @property
    def key(self) -> str:
        """The question, however it is written."""
        return normalized(self.question)


def abstaining(question: str, sources: Sequence[str], origin: str, group: str = "") -> Example:
    """An example whose sources do not have the answer."""
    return Example(question, tuple(sources), DO_NOT_KNOW, (), origin, group)


def cited(sentence: str, numbers: Sequence[int]) -> str:
    """A sentence with its marks before the full stop.

    Args:
        sentence: With or without a full stop.
        numbers: Of sources, from 1.
    """
    marks = "".join(f"[{number}]" for number in dict.fromkeys(numbers))
    body = capitalized(sentence.strip().rstrip(".!?"))
    return f"{body} {marks}." if marks else f"{body}."


def capitalized(text: str) -> str:
    """The text with a capital letter first."""
    return text[:1].upper() + text[1:]
