"""Questions with their gold passage among others: the task that context reuse is judged on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.errors import ConfigError
from rag.prompts.layout import PromptTokens
from rag.prompts.prompt import Prompt
from rag.text.chunk import Chunk
from rag.text.sentences import sentences

if TYPE_CHECKING:
    from rag.eval.dataset import Dataset
    from rag.models.local.model import LocalLLM


@dataclass(frozen=True)
class Sample:
    """One question over its passages.

    Attributes:
        id: The question's id.
        question: Its text.
        answers: The gold answers.
        chunks: The passages, shuffled.
        other_contexts: Contexts that contain the same passages among others, in another order.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    chunks: tuple[str, ...]
    other_contexts: tuple[tuple[str, ...], ...]


def samples(data: Dataset, count: int, others: int = 4, seed: int = 0) -> list[Sample]:
    """Questions with answers, each over a gold passage and others drawn at random, shuffled.

    Args:
        data: A data set whose queries have answers.
        count: Questions at most.
        others: Passages besides the gold one.
        seed: Of all random choices.

    Raises:
        ConfigError: The corpus is too small.
    """
    rng = random.Random(seed)  # noqa: S311 - a sample, no secret
    texts = {
        str(chunk.id): f"{chunk.title}\n{chunk.text}".strip()
        for chunk in map(Chunk.of, data.documents)
    }
    ids, drawn = sorted(texts), 3 * others + 2
    if len(ids) < drawn:
        raise ConfigError(
            f"the corpus has {len(ids)} documents, {drawn} are needed",
            where=data.name,
            fix="use a larger one",
        )
    # Judgements may name documents that are not in the corpus.
    graded = [
        (q, {one: q.relevant[one] for one in q.relevant if one in texts}) for q in data.queries
    ]
    queries = [(query, grades) for query, grades in graded if query.answers and grades]
    drawn_queries = rng.sample(queries, min(count, len(queries)))
    result = []
    for query, grades in drawn_queries:
        gold = max(grades, key=lambda one: grades[one])
        rest = [one for one in rng.sample(ids, drawn) if one != gold]
        chosen = [gold, *rest[:others]]
        rng.shuffle(chosen)
        spare = rest[others:]
        half = (len(chosen) + 1) // 2
        other_contexts = []
        for part in (chosen[:half], chosen[half:]):
            context = [*part, *(spare.pop() for _ in range(len(chosen) - len(part)))]
            rng.shuffle(context)
            other_contexts.append(tuple(texts[one] for one in context))
        result.append(
            Sample(
                id=query.id,
                question=query.text,
                answers=query.answers,
                chunks=tuple(texts[one] for one in chosen),
                other_contexts=tuple(other_contexts),
            )
        )
    return result


def made_up(texts: Sequence[str], count: int, seed: int = 0) -> list[Sample]:
    """Prompts over passages of one's own, each with one of their sentences as its question.

    They have no answers. What is fitted to how a model reads contexts needs none.

    Args:
        texts: Passages; at least two.
        count: Prompts.
        seed: Of all random choices.
    """
    rng = random.Random(seed)  # noqa: S311 - a sample, no secret
    result = []
    for number in range(count):
        chunks = rng.sample(list(texts), min(rng.randint(3, 8), len(texts)))
        pieces = sentences(rng.choice(chunks)) or chunks
        result.append(Sample(str(number), rng.choice(pieces), (), tuple(chunks), ()))
    return result


def parts(llm: LocalLLM, question: str, chunks: Sequence[str]) -> PromptTokens:
    """The token ids of a prompt over these chunks."""
    system = llm.prompt_set["generate"].text
    return llm.template.tokenize(Prompt(question, system, tuple(chunks), numbered=False))
