"""What a ranking model learns from: a question, a text that answers it, and one that does not.

Texts that do not are hard negatives: what our own search finds for the question and nobody judged
relevant.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document

from rag.errors import ConfigError
from rag.eval.ranking import document_name
from rag.flow import Flow
from rag.index import Index
from rag.models import Embedder
from rag.operators import Hybrid
from rag.operators.scores import scores_of
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    from rag.eval.dataset import Dataset, Query
    from rag.train.teachers import Teacher

JUDGED = 1.0
"""The least margin of a judged text over another, in standard deviations of the teacher's scores:
people's judgements count more than a teacher's."""


@dataclass(frozen=True)
class Mining:
    """How triples are found.

    Attributes:
        depth: Texts that the search finds, from which those that do not answer are drawn.
        each: Triples of each question.
        seed: Of what is drawn.
    """

    depth: int = 30
    each: int = 4
    seed: int = 0


@dataclass(frozen=True)
class Triple:
    """A question with a text that answers it and one that does not.

    Attributes:
        query: Id of the question.
        question: Its text.
        positive: As it is embedded.
        negative: The same.
        margin: By how much the teacher prefers the positive text; 0 without a teacher.
    """

    query: str
    question: str
    positive: str
    negative: str
    margin: float = 0.0
    documents: tuple[str, str] = ("", "")
    """What judgements call the documents of both texts."""


def mined(
    flow: Flow,
    data: Dataset,
    settings: Mining,
    teacher: Teacher | None = None,
    spread: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Triple]:
    """Triples of the questions of a data set.

    Args:
        flow: Bound to the index and the embedder that search.
        data: Questions with judgements.
        settings: How many.
        teacher: Gives margins.
        spread: The standard deviation that its scores are given; None: that of the embedder's
            cosines, which a student that gives cosines can reach.
        progress: Called with the questions that are done, and all.

    Raises:
        ConfigError: The index has none of the judged documents, or nothing beside them.
    """
    index = flow.resources.get("index", Index)
    embedder = flow.resources.get("embedder", Embedder)
    search = Flow(
        Hybrid(k=settings.depth), inputs={"query": str},
        resources={"index": index, "embedder": embedder},
    )  # fmt: skip
    found: list[Triple] = []
    for number, query in enumerate(data.queries):
        hits: list[Document] = search.invoke(query=query.text)["documents"]
        right = _relevant(query, hits, index, embedder, settings.each)
        wrong = [one for one in hits if not _is_relevant(query, one)]
        rng = random.Random(f"{settings.seed} {query.id}")  # noqa: S311 - no secret
        rng.shuffle(right)
        wrong = rng.sample(wrong, min(settings.each, len(wrong)))
        if right and wrong:
            margins = _margins(query, right, wrong, hits, teacher, spread)
            for at, negative in enumerate(wrong):
                positive = right[at % len(right)]
                names = (_name(query, positive), _name(query, negative))
                found.append(
                    Triple(
                        query.id, query.text, _text(positive), _text(negative),
                        margins(positive, negative), names,
                    )
                )  # fmt: skip
        progress(number + 1, len(data.queries))
    if not found:
        raise ConfigError(
            "no question has both a relevant text and another that the search finds",
            where=data.name, fix="give a corpus with other documents than the relevant ones",
        )  # fmt: skip
    return found


def _text(document: Document) -> str:
    return Chunk.of(document).embedding_text


def _name(query: Query, document: Document) -> str:
    return document_name(query, Chunk.of(document))


def _is_relevant(query: Query, document: Document) -> bool:
    return query.relevant.get(_name(query, document), 0) > 0


def _relevant(
    query: Query, hits: Sequence[Document], index: Index, embedder: Embedder, most: int
) -> list[Document]:
    """Of the relevant documents, best grades first, the chunk next to the question."""
    names = [one for one, grade in query.relevant.items() if grade > 0]
    names.sort(key=lambda one: -query.relevant[one])
    vector = None
    found = []
    for name in names[:most]:
        hit = next((one for one in hits if _name(query, one) == name), None)
        if hit is None:
            vector = embedder.embed_query(query.text) if vector is None else vector
            where = {"$or": [{"source": name}, {"path": name}]}
            near = index.dense(vector, 1, where=where, embedder=embedder.id)
            hit = near[0].document("dense") if near else None
        if hit is not None:
            found.append(hit)
    return found


def _margins(
    query: Query,
    right: Sequence[Document],
    wrong: Sequence[Document],
    hits: Sequence[Document],
    teacher: Teacher | None,
    spread: float | None,
) -> Callable[[Document, Document], float]:
    import numpy as np

    if teacher is None:
        return lambda positive, negative: 0.0
    seen = {one.id: one for one in (*hits, *right)}
    scores = teacher(query.text, list(seen.values()))
    wide = spread
    if wide is None:
        wide = float(np.std([scores_of(one).get("dense", 0.0) for one in hits]))
    scale = wide / max(float(np.std(list(scores.values()))), 1e-9)
    least = JUDGED * wide

    def margin(positive: Document, negative: Document) -> float:
        given = scale * (scores[str(positive.id)] - scores[str(negative.id)])
        return max(given, least)

    return margin


def answering(triples: Sequence[Triple], data: Dataset) -> dict[str, set[str]]:
    """Question to the texts among the triples' that answer it, by the judgements."""
    texts: dict[str, set[str]] = defaultdict(set)
    for one in triples:
        for name, text in zip(one.documents, (one.positive, one.negative), strict=True):
            texts[name].add(text)
    found: dict[str, set[str]] = defaultdict(set)
    for query in data.queries:
        for name, grade in query.relevant.items():
            if grade > 0:
                found[query.text] |= texts.get(name, set())
    return found


def columns(triples: Sequence[Triple], *, margins: bool) -> Mapping[str, list[Any]]:
    """As the trainers of sentence-transformers take them.

    Args:
        triples: The rows.
        margins: Whether the loss takes them.
    """
    found: dict[str, list[Any]] = {
        "anchor": [one.question for one in triples],
        "positive": [one.positive for one in triples],
        "negative": [one.negative for one in triples],
    }
    if margins:
        found["label"] = [one.margin for one in triples]
    return found
