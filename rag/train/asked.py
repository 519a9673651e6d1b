"""Questions with judged documents: those that a model learns from, and those it is measured on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from langchain_core.documents import Document

from rag.errors import ConfigError
from rag.eval.dataset import Dataset, Query
from rag.eval.metrics import normalized
from rag.train.split import groups, refuse_few, refuse_leak, split

if TYPE_CHECKING:
    from rag.index import Index

HELD_OUT = 500
"""Questions that are measured, at most."""


@dataclass(frozen=True)
class Asked:
    """A question of a split.

    Attributes:
        query: The question.
        group: The same for those that are nearly equal.
    """

    query: Query
    group: str

    @property
    def key(self) -> str:
        """The question, however it is written."""
        return normalized(self.query.text)


@dataclass(frozen=True)
class Questions:
    """What is learned from, and what is measured; each data set has its corpus.

    Attributes:
        learned: Questions to learn from.
        held_out: Others over the same documents.
        tests: Other data sets, which decide too.
    """

    learned: Dataset
    held_out: Dataset
    tests: tuple[Dataset, ...] = ()

    @property
    def measured(self) -> dict[str, Dataset]:
        """What a model is measured on, by name."""
        return {"held-out": self.held_out, **{f"test {one.name}": one for one in self.tests}}

    @property
    def digest(self) -> str:
        """Changes with questions, judgements and documents."""
        parts = (self.learned, self.held_out, *self.tests)
        rows = [[one.digest, *(asdict(query) for query in one.queries)] for one in parts]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]

    def counts(self) -> dict[str, dict[str, int]]:
        """For the card: data set to its numbers of questions and documents."""
        mine = {"learned": len(self.learned.queries), "held out": len(self.held_out.queries)}
        found = {self.learned.name: {**mine, "documents": len(self.learned.documents)}}
        for one in self.tests:
            found[one.name] = {"held out": len(one.queries), "documents": len(one.documents)}
        return found


def questions(
    data: Dataset,
    tests: Sequence[Dataset] = (),
    *,
    held_out: int = HELD_OUT,
    seed: int = 0,
) -> Questions:
    """Split the questions that have a relevant document; nearly equal ones stay together.

    Args:
        data: With judgements.
        tests: Further data sets that are only measured.
        held_out: Questions of `data` that are measured, at most; of few questions half.
        seed: Of the split.

    Raises:
        ConfigError: There are too few questions, or one is both learned and tested.
    """
    refuse_leak(data, tests)
    usable = [one for one in data.queries if any(grade > 0 for grade in one.relevant.values())]
    alike = groups([one.text for one in usable])
    examples = [Asked(one, str(number)) for one, number in zip(usable, alike, strict=True)]
    learned, held = split(examples, held_out, seed, share=0.5)
    refuse_few(len(learned), len(held), f"--data {data.name}")
    return Questions(
        replace(data, queries=[one.query for one in learned]),
        replace(data, queries=[one.query for one in held]),
        tuple(tests),
    )


def with_corpus(data: Dataset, index: Index | None) -> Dataset:
    """The data set with documents that can be embedded anew, and judgements of them.

    Args:
        data: Of a data set that has documents nothing is changed.
        index: What the questions of a file are about: its chunks become the documents; what a
            question names as `documents` is relevant, or else the chunks with its `passages`.
            None: the passages of all questions are the documents.

    Raises:
        ConfigError: Nothing is known of what answers the questions.
    """
    if data.documents:
        return data
    made = _of_passages(data) if index is None else _of_index(data, index)
    if not any(one.relevant for one in made.queries):
        raise ConfigError(
            "no question has a passage or a document that is there", where=data.name,
            fix="give questions with `passages`, or with `documents` of the pipeline's index (-c)",
        )  # fmt: skip
    return made


def _of_passages(data: Dataset) -> Dataset:
    texts = dict.fromkeys(text for one in data.queries for text in one.passages if text.strip())
    names = {text: f"p{number}" for number, text in enumerate(texts, 1)}
    documents = [
        Document(id=name, page_content=text, metadata={"source": name})
        for text, name in names.items()
    ]
    queries = [
        replace(one, relevant={names[text]: 1 for text in one.passages if text in names})
        for one in data.queries
    ]
    return replace(data, documents=documents, queries=queries)


def _of_index(data: Dataset, index: Index) -> Dataset:
    judged = {name for one in data.queries for name in one.relevant}
    documents, plain = [], {}
    for batch in index.batches(1000):
        for chunk in batch:
            # A judgement is of a whole document, a document here is one chunk of it: judged is
            # the path, which all its chunks share.
            name = chunk.path if chunk.path in judged else chunk.source
            kept = {key: chunk.metadata[key] for key in _KEPT if key in chunk.metadata}
            identity = str(chunk.id)
            metadata = {**kept, "source": identity, "path": name}
            documents.append(Document(id=identity, page_content=chunk.text, metadata=metadata))
            plain[identity] = " ".join(chunk.text.split())
    queries = []
    for one in data.queries:
        relevant = {name: grade for name, grade in one.relevant.items() if grade > 0}
        wanted = [" ".join(text.split()) for text in one.passages]
        if wanted:
            relevant = {
                name: 1 for name, text in plain.items() if any(part in text for part in wanted)
            }
        queries.append(replace(one, relevant=relevant))
    return replace(data, documents=documents, queries=queries)


_KEPT = ("title", "heading", "language")
"""What of a chunk's metadata is embedded with it."""
