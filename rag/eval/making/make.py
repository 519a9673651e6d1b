"""A test set made from an index: each question is checked before it is kept."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from rag.errors import ConfigError
from rag.eval.digests import flow_digest
from rag.eval.making.cloze import Cloze, altered, clozes, fillers, question_of, stated
from rag.eval.making.steps import AnswerFrom, GradeSources, Kind, WriteQuestion, Written
from rag.eval.metrics import contains, normalized, token_f1
from rag.eval.rows import json_rows
from rag.flow import Flow, Resources
from rag.index import Index
from rag.operators import Hybrid
from rag.operators.support import support
from rag.paths import write_errors
from rag.text.abstention import abstains
from rag.text.chunk import Chunk
from rag.text.sentences import sentences

HITS = 8
"""Chunks that a search finds, in which an unanswerable question must not be answered."""
TRIES = 3
"""Passages that are tried for one question, by the model and by rules."""
SAME = 0.6
"""Token F1 from which two answers say the same."""
ANSWERED = 0.5
"""Grade from which a source answers a question."""
LEAST_WORDS = 20
"""Of a passage that questions are made from."""
_ALOUD = re.compile(
    r"\b(?:sources?|passages?|texts?|documents?|excerpts?|context|according to|mentioned)\b",
    re.IGNORECASE,
)
"""Words of questions that only make sense beside their passage."""


@dataclass(frozen=True)
class Made:
    """A question that was made, as a row of a file of questions.

    Attributes:
        id: Its kind and number.
        question: What is asked.
        answers: The right answer; empty: the index does not say.
        documents: Paths, or sources, of the passages that it was made from.
        passages: The sentences that the answer follows from.
        kind: `single`, `several` or `none`.
        by: `model`, or `rules`: a sentence with a gap.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    documents: tuple[str, ...]
    passages: tuple[str, ...]
    kind: Kind
    by: str


class Maker:
    """Makes questions from the chunks of an index.

    The model writes a question and its answer; the question is kept if the model, asked again with
    the passage alone, gives the same answer (round-trip consistency, Alberti et al. 2019, arXiv
    1906.05416). One about several passages must not be answered so by either alone; one without
    an answer must be answered by none of the passages that a search finds for it. Where no
    question holds after a few passages, a sentence with a gap is asked instead, and checked by
    rules: what fills it must be the same wherever the sentence stands.

    Args:
        resources: With `index`, `embedder` and `llm`.
        seed: Of all random choices.
    """

    def __init__(self, resources: Resources, seed: int = 0) -> None:
        self._seed = seed
        self._index = resources.get("index", Index)
        both = {"query": str, "documents": list[Document]}
        self._write: dict[Kind, Flow] = {
            kind: Flow(
                WriteQuestion(kind=kind), inputs={"documents": list[Document]}, resources=resources
            )
            for kind in KINDS
        }
        self._answer = Flow(AnswerFrom(), inputs=both, resources=resources)
        self._grade = Flow(GradeSources(), inputs=both, resources=resources)
        self._search = Flow(Hybrid(k=HITS), inputs={"query": str}, resources=resources)
        self._ids = [
            str(chunk.id)
            for batch in self._index.batches(1000) for chunk in batch
            if len(chunk.text.split()) >= LEAST_WORDS
        ]  # fmt: skip
        if not self._ids:
            raise ConfigError(
                f"the index has no chunk of {LEAST_WORDS} words", where=str(self._index.address),
                fix="ingest documents first",
            )  # fmt: skip

    @property
    def digest(self) -> str:
        """Changes with the model, its prompts, the index, the seed, and how questions are made."""
        parts = [*self._write.values(), self._answer, self._grade]
        about = [self._seed, self._index.version(), len(self._ids)]
        text = repr([*map(flow_digest, parts), *about])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def make(self, kind: Kind, number: int, taken: set[str]) -> Made | None:
        """A question, the same for the same seed, kind, number and taken questions.

        Args:
            kind: Of the question.
            number: Of its kind.
            taken: Questions that there are already.

        Returns:
            None if no passage that was tried gives one.
        """
        rng = random.Random(f"{self._seed} {kind} {number}")  # noqa: S311 - no secret
        drawn = self._drawn(kind, number)
        groups = [group for one in drawn if (group := self._group(one, kind))]
        ways: tuple[Callable[..., Written | None], ...] = (self._by_model, self._by_rules)
        for by, way in zip(("model", "rules"), ways, strict=True):
            for group in groups:
                found = way(kind, group, rng)
                if found is None or normalized(found.question) in taken:
                    continue
                return Made(
                    id=f"{kind}-{number}",
                    question=found.question,
                    answers=() if kind == "none" else (found.answer,),
                    documents=() if kind == "none" else tuple(map(_name, group)),
                    passages=() if kind == "none" else tuple(_evidence(found, group)),
                    kind=kind,
                    by=by,
                )
        return None

    def _drawn(self, kind: Kind, number: int) -> list[str]:
        """The passages that are tried: others for each number while there are some."""
        order = list(self._ids)
        random.Random(f"{self._seed} {kind}").shuffle(order)  # noqa: S311 - no secret
        first = number * TRIES
        return [order[at % len(order)] for at in range(first, first + min(TRIES, len(order)))]

    def _group(self, chunk_id: str, kind: Kind) -> list[Document]:
        """The passages that a question is made from; none if there is no second one."""
        (chunk,) = self._index.get([chunk_id])
        if kind != "several":
            return [chunk.document()]
        near = self._hits(chunk.embedding_text)
        other = next((one for one in near if Chunk.of(one).source != chunk.source), None)
        return [] if other is None else [chunk.document(), other]

    def _hits(self, query: str) -> list[Document]:
        found: list[Document] = self._search.invoke(query=query)["documents"]
        return found

    def _by_model(self, kind: Kind, group: list[Document], rng: random.Random) -> Written | None:
        written = self._write[kind].invoke(documents=group)["written"]
        return written if written is not None and self._holds(kind, written, group) else None

    def _holds(self, kind: Kind, written: Written, group: list[Document]) -> bool:
        """Whether a question can be asked alone, and has the answer that it is said to have."""
        question, answer = written.question.strip(), written.answer.strip()
        words = len(question.split())
        if not question.endswith("?") or words < 4 or _ALOUD.search(question):
            return False
        if kind == "none":
            return self._unanswerable(question)
        if not normalized(answer) or contains(question, [answer]) or abstains(answer):
            return False
        if not self._agrees(question, answer, group):
            return False
        return kind == "single" or not any(self._agrees(question, answer, [one]) for one in group)

    def _agrees(self, question: str, answer: str, documents: list[Document]) -> bool:
        again = self._answer.invoke(query=question, documents=documents)["answer"]
        return bool(contains(again, [answer])) or token_f1(again, [answer]) >= SAME

    def _unanswerable(self, question: str) -> bool:
        hits = self._hits(question)
        grades = self._grade.invoke(query=question, documents=hits)["grades"]
        if any(grade >= ANSWERED for grade in grades):
            return False
        return abstains(self._answer.invoke(query=question, documents=hits)["answer"])

    def _by_rules(self, kind: Kind, group: list[Document], rng: random.Random) -> Written | None:
        parts = []
        for document in group:
            options = clozes(document.page_content)
            rng.shuffle(options)
            if kind == "none":
                made = (other for one in options for other in self._altered(one, rng))
            else:
                made = (one for one in options if self._clear(one))
            cloze = next(made, None)
            if cloze is None:
                return None
            parts.append(cloze)
        return Written(
            question=question_of(parts),
            answer=" and ".join(one.answer for one in parts),
        )

    def _clear(self, cloze: Cloze) -> bool:
        """Whether the same fills the gap wherever the sentence stands."""
        found = fillers(cloze, [one.page_content for one in self._hits(cloze.question)])
        return found == {cloze.answer}

    def _altered(self, cloze: Cloze, rng: random.Random) -> Iterator[Cloze]:
        (other,) = self._index.get([rng.choice(self._ids)])
        for one in list(altered(cloze, [other.text], rng))[:TRIES]:
            hits = [hit.page_content for hit in self._hits(one.question)]
            if not fillers(one, hits) and not stated(one, hits):
                yield one


KINDS: tuple[Kind, ...] = ("single", "several", "none")


def _name(document: Document) -> str:
    chunk = Chunk.of(document)
    return chunk.path or chunk.source


def _evidence(written: Written, group: Sequence[Document]) -> Iterator[str]:
    """Of each passage the sentence that supports question and answer most."""
    statement = f"{written.question} {written.answer}"
    for document in group:
        found = sentences(document.page_content, lines=True)
        yield max(found, key=lambda one: (contains(one, [written.answer]), support(statement, one)))


def make_questions(
    maker: Maker,
    counts: Mapping[Kind, int],
    path: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Made]:
    """Make questions, each appended to a file as it is made; what the file has is not made again.

    Args:
        maker: Makes them.
        counts: Kind to number of questions.
        path: JSONL, as `rag eval answers --data` reads it.
        progress: Called with the number of questions that were tried, and of all.

    Returns:
        All questions of the file, in their order there.

    Raises:
        ConfigError: The file cannot be written, or was made from something else.
    """
    digest = maker.digest
    made = _read(path, digest)
    taken = {normalized(one.question) for one in made}
    there = {one.id for one in made}
    slots = [(kind, number) for kind in KINDS for number in range(counts.get(kind, 0))]
    for done, (kind, number) in enumerate(slots):
        progress(done, len(slots))
        if f"{kind}-{number}" in there:
            continue
        found = maker.make(kind, number, taken)
        if found is None:
            continue
        made.append(found)
        taken.add(normalized(found.question))
        row = {**asdict(found), "digest": digest}
        with write_errors(path, "--out"), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    progress(len(slots), len(slots))
    return made


def _read(path: Path, digest: str) -> list[Made]:
    """The questions that a stopped run has made; a line that it was writing is cut off."""
    if not path.exists():
        return []
    with write_errors(path, "--out"):
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            path.write_bytes(whole)
    made = []
    for number, row in json_rows(path, "one that `rag eval make` wrote"):
        if not isinstance(row, dict) or row.pop("digest", None) != digest:
            raise ConfigError(
                "this question was made from another index, model or seed",
                where=f"{path}:{number}", fix="give another --out",
            )  # fmt: skip
        lists: dict[str, Any] = {
            key: tuple(row[key]) for key in ("answers", "documents", "passages")
        }
        made.append(Made(**{**row, **lists}))
    return made
