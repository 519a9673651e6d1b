"""Data sets in BEIR's format (Thakur et al. 2021, arXiv 2104.08663)."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from rag.errors import ConfigError


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
    """A corpus with judged queries."""

    name: str
    documents: list[Document]
    queries: list[Query]


def load(
    folder: Path, *, split: str | None = None, limit: int | None = None, seed: int = 0
) -> Dataset:
    """Read `corpus.jsonl`, `queries.jsonl` and `qrels/SPLIT.tsv`.

    Args:
        folder: The data set's folder.
        split: The file in `qrels`; default: `test`, else the only one there.
        limit: At most so many queries, drawn with `seed`; the corpus stays whole.
        seed: For the draw.

    Raises:
        ConfigError: The folder is not such a data set.
    """
    relevant: dict[str, dict[str, int]] = {}
    for number, row in enumerate(_qrels(folder, split).read_text(encoding="utf-8").splitlines()):
        parts = row.split("\t")
        if number == 0 and not parts[-1].lstrip("-").isdigit():
            continue
        relevant.setdefault(parts[0], {})[parts[1]] = int(parts[2])
    documents = [
        Document(
            id=str(row["_id"]),
            page_content=row["text"],
            metadata={"title": row.get("title") or None, "source": str(row["_id"])},
        )
        for row in _rows(folder / "corpus.jsonl")
    ]
    queries = [
        Query(
            str(row["_id"]),
            row["text"],
            relevant[str(row["_id"])],
            tuple((row.get("metadata") or {}).get("answers") or ()),
        )
        for row in _rows(folder / "queries.jsonl")
        if str(row["_id"]) in relevant
    ]
    if limit is not None and limit < len(queries):
        queries = random.Random(seed).sample(queries, limit)  # noqa: S311 - a draw, no secret
    return Dataset(folder.name, documents, queries)


def _qrels(folder: Path, split: str | None) -> Path:
    found = sorted((folder / "qrels").glob("*.tsv"))
    names = [file.stem for file in found]
    chosen = split or ("test" if "test" in names else names[0] if len(names) == 1 else None)
    for file in found:
        if file.stem == chosen:
            return file
    raise ConfigError(
        f"no judgements {chosen or ''} in qrels/".replace("  ", " "),
        where=str(folder),
        fix=f"there are: {', '.join(names)}" if names else "give a folder in BEIR's format",
    )


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    try:
                        yield json.loads(line)
                    except json.JSONDecodeError as error:
                        raise ConfigError(
                            f"not JSON: {error.msg}", where=f"{file}:{number}"
                        ) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(file)) from error
