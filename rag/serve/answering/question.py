"""A question: what is asked, by whom, of which pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rag.serve.errors import Problem
from rag.serve.identity.identity import Identity
from rag.serve.pipelines.pipeline import Overrides, Pipeline


@dataclass(frozen=True)
class Question:
    """What is asked, by whom, of which pipeline.

    Args:
        query: The question.
        pipeline: The pipeline that answers.
        identity: Who asks.
        inputs: Further inputs of the flow.
        history: Earlier messages, oldest first, each `role` and `content`.
        overrides: What differs from the pipeline's own settings.
        conversation: The conversation that the question continues.
        instead_of: Number of the conversation's question that it takes the place of.
    """

    query: str
    pipeline: Pipeline
    identity: Identity
    inputs: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[dict[str, str], ...] = ()
    overrides: Overrides = field(default_factory=Overrides)
    conversation: str | None = None
    instead_of: int | None = None


def checked_query(query: str, max_characters: int) -> str:
    """The question's text without surrounding space and lone surrogates.

    Raises:
        Problem: 422, it is empty or too long.
    """
    query = query.strip()
    if not query:
        raise Problem(422, "empty_question", "the question is empty", where="query", fix="ask")
    if len(query) > max_characters:
        what = f"the question has {len(query):,} characters, the limit is {max_characters:,}"
        raise Problem(422, "question_too_long", what, where="query", fix="ask a shorter one")
    return query.encode("utf-8", "replace").decode()
