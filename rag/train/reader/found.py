"""Examples from what a user has: data sets with answers, and texts that questions are made from."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import ConfigError
from rag.eval.metrics import contains
from rag.text.chunk import Chunk
from rag.text.sentences import sentences
from rag.train.reader.example import Example, abstaining, capitalized, cited
from rag.train.reader.passages import Passages
from rag.train.reader.stated import LONGEST, Stated, answer_to, stated_in

if TYPE_CHECKING:
    from rag.eval.dataset import Dataset, Query
    from rag.models import Embedder

NONE_SHARE = 0.22
"""Share of examples whose sources do not have the answer."""
SEVERAL_SHARE = 0.12
"""Share of examples from texts that ask for two facts."""
DEFINING = 0.35
"""Share of questions `What is ...?` that are kept: the rule for them fits too often."""
PER_EXAMPLE = 6
"""Passages of texts for each example: many give none."""
CHUNK = 200
"""Words of a passage of a text."""


def of_dataset(data: Dataset, embedder: Embedder, count: int, seed: int = 0) -> list[Example]:
    """Examples of the questions that have answers, and a passage.

    Args:
        data: In BEIR's format with answers, or a file of questions with their passages.
        embedder: Finds what stands beside the right passage.
        count: Examples at most, drawn at random.
        seed: Of all random choices.

    Raises:
        ConfigError: No question has both.
    """
    chunks = [Chunk.of(one) for one in data.documents]
    place = {str(one.id): at for at, one in enumerate(chunks)}
    right: dict[str, list[int]] = {}
    for query in data.queries:
        right[query.id] = [place[one] for one in _best(query) if one in place]
        if not data.documents:
            for text in query.passages:
                right[query.id].append(place.setdefault(text, len(place)))
                if len(chunks) < len(place):
                    chunks.append(Chunk(text))
    passages, found = Passages(chunks, embedder), []
    usable = [
        one
        for one in data.queries
        if chunks and (not one.answerable or (one.answers and right[one.id]))
    ]
    if len(usable) > count:
        usable = random.Random(seed).sample(usable, count)  # noqa: S311 - no secret
    for query in usable:
        at = right[query.id]
        rng = random.Random(f"{seed} {query.id}")  # noqa: S311 - no secret
        group = f"{data.name} {min(at) if at else query.id}"
        found.append(_asked(query, at, passages, data.name, group, rng))
    if not found:
        raise ConfigError(
            "no question has an answer and a passage that is there", where=data.name,
            fix="give questions with `answers` and `passages`, or a folder in BEIR's format",
        )  # fmt: skip
    return found


def _best(query: Query) -> list[str]:
    """The documents of the highest grade, the first of them."""
    grades = {one: grade for one, grade in query.relevant.items() if grade > 0}
    return [max(grades, key=lambda one: grades[one])] if grades else []


def _asked(
    query: Query, at: Sequence[int], passages: Passages, origin: str, group: str, rng: random.Random
) -> Example:
    question = query.text.strip()
    if rng.random() < 0.5:  # people write questions with and without
        question = capitalized(question.rstrip("?")) + "?"
    if not query.answerable or (at and len(passages.chunks) > 1 and rng.random() < NONE_SHARE):
        texts, _ = passages.sources(question, [], query.answers, rng)
        return abstaining(question, texts, origin, group)
    gold = [(one, _evidence(passages.chunks[one].text, query.answers)) for one in at]
    texts, numbers = passages.sources(question, gold, query.answers, rng)
    holder = next((n for n, (_, one) in enumerate(gold) if contains(one, query.answers)), 0)
    sentence = gold[holder][1]
    short = len(sentence.split()) <= LONGEST and contains(sentence, query.answers)
    answer = next((one for one in query.answers if contains(sentence, [one])), query.answers[0])
    cites = numbers if len(numbers) > 1 else [numbers[holder]]
    target = cited(sentence if short else answer, cites)
    return Example(question, tuple(texts), target, (tuple(query.answers),), origin, group)


def _evidence(text: str, answers: Sequence[str]) -> str:
    """The sentence of a passage that has an answer; the whole passage if none alone has."""
    plain = " ".join(text.split())
    found = (one for one in sentences(plain) if contains(one, answers))
    return next(found, plain)


def of_texts(
    chunks: Iterable[Chunk], embedder: Embedder, origin: str, count: int, seed: int = 0
) -> list[Example]:
    """Examples by rules from passages, one or two from each; at most `count`.

    Args:
        chunks: Passages in English; what no rule fits gives nothing.
        embedder: Finds what stands beside the right passage.
        origin: As reports name it.
        count: Examples.
        seed: Of all random choices.
    """
    rng = random.Random(seed)  # noqa: S311 - no secret
    given = list(chunks)
    if len(given) > PER_EXAMPLE * count:  # each is embedded
        given = rng.sample(given, PER_EXAMPLE * count)
    passages = Passages(given, embedder)
    asked = list(_questions(passages.chunks, rng))
    rng.shuffle(asked)
    found = []
    for number, (at, one) in enumerate(asked[:count]):
        group = f"{origin} {passages.chunks[at].source or at}"
        draw = rng.random()
        if draw < NONE_SHARE and len(passages.chunks) > 1:
            texts, _ = passages.sources(one.question, [], [one.value], rng)
            found.append(abstaining(one.question, texts, origin, group))
            continue
        parts = [(at, one)]
        other = asked[(number + 1) % len(asked)]
        if draw > 1 - SEVERAL_SHARE and other[0] != at:
            parts.append(other)
        question = " And ".join(part.question for _, part in parts)
        values = [part.value for _, part in parts]
        gold = [(place, part.sentence) for place, part in parts]
        texts, numbers = passages.sources(question, gold, values, rng)
        target = " ".join(
            cited(answer_to(part), [n]) for (_, part), n in zip(parts, numbers, strict=True)
        )
        answers = tuple((value,) for value in values)
        found.append(Example(question, tuple(texts), target, answers, origin, group))
    return found


def _questions(chunks: Sequence[Chunk], rng: random.Random) -> Iterator[tuple[int, Stated]]:
    """Questions and the passages that answer them; none that two passages are asked."""
    taken: set[str] = set()
    for at, chunk in enumerate(chunks):
        paragraphs = (
            " ".join(one.split()) for one in re.split(r"\n\s*\n|\n(?=[-*#>|])", chunk.text)
        )
        for one in (found for text in paragraphs for found in stated_in(text)):
            if one.question in taken:
                continue
            if one.question.startswith("What is ") and rng.random() > DEFINING:
                continue
            taken.add(one.question)
            yield at, one


def passages_of(path: Path, embedder: Embedder) -> list[Chunk]:
    """The passages of a file or folder that `rag ingest` reads, or of a corpus in BEIR's format.

    Raises:
        ConfigError: There is nothing to read.
    """
    from rag.eval.loading import load_dataset
    from rag.flow import Flow
    from rag.operators import Load, Split

    if not path.exists():
        raise ConfigError("there is no such file or folder", where=str(path), fix="check the path")
    if (path / "corpus.jsonl").is_file():
        documents = load_dataset(path).documents
    else:
        flow = Flow(
            Load() >> Split.model_validate({"chunk_size": CHUNK}),
            inputs={"paths": list[str]},
            resources={"embedder": embedder},
        )
        documents = flow.invoke(paths=[str(path)])["documents"]
    if not documents:
        fix = "give files that `rag ingest` reads"
        raise ConfigError("nothing could be read of it", where=str(path), fix=fix)
    return [Chunk.of(one) for one in documents]
