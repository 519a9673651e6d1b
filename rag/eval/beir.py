"""Data sets in BEIR's format (Thakur et al. 2021, arXiv 2104.08663)."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from langchain_core.documents import Document
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag.errors import ConfigError
from rag.names import suggestion


@dataclass(frozen=True)
class Query:
    """A question, the documents judged for it, and answers where the data has them."""

    id: str
    text: str
    relevant: dict[str, int]
    """Document id to grade."""
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """A corpus with judged queries.

    Attributes:
        name: The folder's name.
        documents: The corpus.
        queries: The judged queries.
        notes: Oddities that are no error, but matter when the measures are read.
    """

    name: str
    documents: list[Document]
    queries: list[Query]
    notes: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """A digest of the corpus."""
        digest = hashlib.sha256()
        for one in self.documents:
            row = [one.id, one.metadata.get("title"), one.page_content]
            digest.update(json.dumps(row).encode())
        return digest.hexdigest()[:16]


class _Row(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    id: str = Field(alias="_id", min_length=1)


class _CorpusRow(_Row):
    title: str | None = None
    text: str


class _Metadata(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    answers: list[str] | None = None


class _QueryRow(_Row):
    text: str = Field(min_length=1)
    metadata: _Metadata | None = None


_R = TypeVar("_R", bound=_Row)
_EXAMPLE: dict[type[_Row], str] = {
    _CorpusRow: '{"_id": "d1", "title": "Locks", "text": "The north lock is 120 m long."}',
    _QueryRow: '{"_id": "q1", "text": "How long is it?", "metadata": {"answers": ["120 m"]}}',
}


def load_dataset(
    folder: Path, *, split: str | None = None, limit: int | None = None, seed: int = 0
) -> Dataset:
    """Read `corpus.jsonl`, `queries.jsonl` and `qrels/SPLIT.tsv`.

    Judgements of documents that are not in the corpus are kept, as trec_eval keeps them: such a
    document counts as not found. The notes say how many there are.

    Args:
        folder: The data set's folder.
        split: The file in `qrels`; default: `test`, else the only one there.
        limit: Maximum number of queries, sampled with `seed`; the corpus stays complete.
        seed: Of the sample.

    Raises:
        ConfigError: The folder is not such a data set; the error names file and line.
    """
    judged = _qrels(folder, split)
    relevant = _judgements(judged)
    documents = [
        Document(
            id=row.id,
            page_content=row.text,
            metadata={"title": row.title or None, "source": row.id},
        )
        for row in _rows(folder / "corpus.jsonl", _CorpusRow)
    ]
    queries = [
        Query(
            row.id,
            row.text,
            relevant[row.id],
            tuple((row.metadata.answers if row.metadata else None) or ()),
        )
        for row in _rows(folder / "queries.jsonl", _QueryRow)
        if row.id in relevant
    ]
    if not queries:
        raise ConfigError(
            "it judges no query of queries.jsonl",
            where=str(judged),
            fix="the first column is the `_id` of a query",
        )
    notes = _notes(judged, relevant, documents, queries)
    if limit is not None and limit < len(queries):
        queries = random.Random(seed).sample(queries, limit)  # noqa: S311 - a sample, no secret
    return Dataset(folder.name, documents, queries, notes)


def _notes(
    judged: Path,
    relevant: dict[str, dict[str, int]],
    documents: list[Document],
    queries: list[Query],
) -> tuple[str, ...]:
    known = {one.id for one in documents}
    missing = sum(one not in known for query in queries for one in query.relevant)
    unknown = len(relevant) - len(queries)
    notes = []
    if missing:
        notes.append(
            f"{judged}: {missing} of the judged documents are not in corpus.jsonl; "
            "they count as not found"
        )
    if unknown:
        notes.append(
            f"{judged}: {unknown} of the judged queries are not in queries.jsonl; they are left out"
        )
    return tuple(notes)


def _qrels(folder: Path, split: str | None) -> Path:
    """The file of judgements."""
    files = {file.stem: file for file in sorted((folder / "qrels").glob("*.tsv"))}
    if not files:
        fix = "give a folder in BEIR's format"
        raise ConfigError("no judgements in qrels/", where=str(folder), fix=fix)
    chosen = split or ("test" if "test" in files or len(files) > 1 else next(iter(files)))
    if chosen not in files:
        raise ConfigError(
            f"no judgements {chosen!r} in qrels/",
            where=str(folder),
            fix=suggestion(chosen, files, label="--split takes"),
        )
    return files[chosen]


def _judgements(file: Path) -> dict[str, dict[str, int]]:
    """Query to document to grade, of BEIR's three columns or TREC's four."""
    judgements: dict[str, dict[str, int]] = {}
    for number, line in _lines(file):
        parts = line.split("\t") if "\t" in line else line.split()
        grade, fits = parts[-1].strip(), len(parts) in {3, 4}
        if number == 1 and fits and not _is_number(grade):
            continue
        if not fits or not re.fullmatch(r"[+-]?\d+", grade):
            raise ConfigError(
                f"not a judgement: {line.strip()!r}",
                where=f"{file}:{number}",
                fix="write query, document and grade, a whole number, with tabs between them",
            )
        judgements.setdefault(parts[0], {})[parts[-2]] = int(grade)
    if not judgements:
        fix = "write query, document and grade, with tabs between them, one judgement per line"
        raise ConfigError("there are no judgements", where=str(file), fix=fix)
    return judgements


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _rows(file: Path, kind: type[_R]) -> list[_R]:
    """The rows of a file, validated; ids are unique."""
    rows: list[_R] = []
    lines: dict[str, int] = {}
    for number, line in _lines(file):
        where, fix = f"{file}:{number}", f"a line looks like {_EXAMPLE[kind]}"
        try:
            row = kind.model_validate(json.loads(line))
        except ValidationError as error:
            wrong = error.errors()[0]
            place = ".".join(map(str, wrong["loc"]))
            what = f"{place}: {wrong['msg']}" if place else wrong["msg"]
            raise ConfigError(what, where=where, fix=fix) from error
        except ValueError as error:
            raise ConfigError(f"not JSON: {error}", where=where, fix=fix) from error
        first = lines.setdefault(row.id, number)
        if first != number:
            raise ConfigError(
                f"the id {row.id!r} is already used in line {first}",
                where=where,
                fix="give each line an id of its own",
            )
        rows.append(row)
    if not rows:
        fix = f"a line looks like {_EXAMPLE[kind]}"
        raise ConfigError("it has no lines", where=str(file), fix=fix)
    return rows


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of each line that is not blank."""
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                text = line.decode().rstrip("\r\n")
                if text.strip():
                    yield number, text
    except UnicodeDecodeError as error:
        raise ConfigError(
            "it is not UTF-8 text", where=f"{file}:{number}", fix="save it as UTF-8"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(file)) from error
