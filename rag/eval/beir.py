"""Data sets in BEIR's format (Thakur et al. 2021, arXiv 2104.08663)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

from langchain_core.documents import Document
from pydantic import BaseModel, ConfigDict, Field

from rag.errors import ConfigError
from rag.eval.dataset import Dataset, Query
from rag.eval.rows import Ids, json_rows, text_lines, validated
from rag.names import suggestion


class _Row(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    id: str = Field(alias="_id", min_length=1)


class _CorpusRow(_Row):
    title: str | None = None
    text: str


class _Metadata(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    answers: list[str] | None = None
    kind: str = ""


class _QueryRow(_Row):
    text: str = Field(min_length=1)
    metadata: _Metadata | None = None

    @property
    def unanswerable(self) -> bool:
        """Whether the row says that there is no answer."""
        return self.metadata is not None and self.metadata.answers == []


_R = TypeVar("_R", bound=_Row)
_EXAMPLE: dict[type[_Row], str] = {
    _CorpusRow: '{"_id": "d1", "title": "Locks", "text": "The north lock is 120 m long."}',
    _QueryRow: '{"_id": "q1", "text": "How long is it?", "metadata": {"answers": ["120 m"]}}',
}


def read_beir(folder: Path, split: str | None = None) -> Dataset:
    """Read `corpus.jsonl`, `queries.jsonl` and `qrels/SPLIT.tsv`.

    Without `corpus.jsonl` the questions are asked over the indexes that pipelines name. Queries
    with `"answers": []` are unanswerable; they need no judgement.

    Judgements of documents that are not in the corpus are kept, as trec_eval keeps them: such a
    document counts as not found. The notes say how many there are.

    Args:
        folder: The data set's folder.
        split: The file in `qrels`; default: `test`, else the only one there.

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
        for row in _rows(folder / "corpus.jsonl", _CorpusRow, optional=True)
    ]
    queries = [
        _query(row, relevant.get(row.id, {}))
        for row in _rows(folder / "queries.jsonl", _QueryRow)
        if row.id in relevant or row.unanswerable
    ]
    if not queries:
        raise ConfigError(
            "it judges no query of queries.jsonl",
            where=str(judged),
            fix="the first column is the `_id` of a query",
        )
    notes = _notes(judged, relevant, documents, queries)
    return Dataset(folder.name, documents, queries, notes)


def _notes(
    judged: Path,
    relevant: dict[str, dict[str, int]],
    documents: list[Document],
    queries: list[Query],
) -> tuple[str, ...]:
    known = {one.id for one in documents}
    missing = sum(one not in known for query in queries for one in query.relevant)
    unknown = len(relevant.keys() - {query.id for query in queries})
    notes = []
    if missing and documents:
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
    for number, line in text_lines(file):
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


def _rows(file: Path, kind: type[_R], *, optional: bool = False) -> list[_R]:
    """The rows of a file, validated; ids are unique.

    Args:
        file: JSONL.
        kind: Of its rows.
        optional: Whether the file may be missing.
    """
    if optional and not file.exists():
        return []
    example, ids, rows = _EXAMPLE[kind], Ids(file), []
    for number, row in validated(file, json_rows(file, example), kind, example):
        ids.use(row.id, number)
        rows.append(row)
    return rows


def _query(row: _QueryRow, relevant: dict[str, int]) -> Query:
    metadata = row.metadata or _Metadata()
    return Query(
        row.id,
        row.text,
        relevant,
        tuple(metadata.answers or ()),
        answerable=not row.unanswerable,
        kind=metadata.kind,
    )
