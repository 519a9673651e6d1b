"""Questions with what is known of their answers, and the corpus that they are about."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

from langchain_core.documents import Document


@dataclass(frozen=True)
class Query:
    """A question, and what is known of its answer.

    Attributes:
        id: Unique in its data set.
        text: What is asked.
        relevant: Id of a document to its grade; above 0 it is relevant.
        answers: The answers that count as right; empty: none is known.
        answerable: False: the documents do not say, and the right answer says so.
        passages: Texts that the answer follows from, all of which are needed.
        kind: What questions of its kind are called in reports.
    """

    id: str
    text: str
    relevant: dict[str, int]
    answers: tuple[str, ...]
    answerable: bool = True
    passages: tuple[str, ...] = ()
    kind: str = ""

    @property
    def measurable(self) -> bool:
        """Whether an answer to it can be right or wrong."""
        return bool(self.answers) or not self.answerable


@dataclass(frozen=True)
class Dataset:
    """Questions, and the corpus that they are about.

    Attributes:
        name: The folder's or file's name.
        documents: The corpus; empty: the pipelines are asked over the indexes that they name.
        queries: The questions.
        notes: Oddities that are no error, but matter when the measures are read.
    """

    name: str
    documents: list[Document]
    queries: list[Query]
    notes: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """A digest of the corpus: texts, and what they are called."""
        digest = hashlib.sha256()
        for one in self.documents:
            named = [one.metadata.get(name) for name in ("source", "title")]
            row = [one.id, *named, one.page_content]
            digest.update(json.dumps(row).encode())
        return digest.hexdigest()[:16]
