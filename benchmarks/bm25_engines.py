"""Which engine should answer BM25: Tantivy, SQLite's FTS5 or bm25s?

    python benchmarks/bm25_engines.py --data DIR [--data DIR ...] [--docs 100000]

Quality is nDCG@10 on each BEIR-format folder. Costs are measured on documents drawn word by word,
with a seed, from the first folder's corpus and searched with that folder's queries: filling the
index, adding 100 documents to the full one durably, opening it again, and the latency of a query.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

K = 10
ADDED = 100
TIMED = 200


class Engine(Protocol):
    """What is measured: made on a folder, filled, then made on the same folder again."""

    def __init__(self, folder: Path) -> None: ...

    def add(self, first: int, texts: list[str]) -> None:
        """Add texts under the rows `first`, `first + 1`, ... and wait until they are on disk."""

    def search(self, query: str, k: int) -> list[int]:
        """Rows of the best k."""


class Tantivy:
    """As `rag.index` uses it."""

    def __init__(self, folder: Path) -> None:
        from rag.index.local.bm25 import BM25, bm25_folder

        self.database = sqlite3.connect(folder / "rows.sqlite", isolation_level=None)
        self.database.execute(
            "CREATE TABLE IF NOT EXISTS chunks (row INTEGER PRIMARY KEY, content TEXT)"
        )
        self.database.execute("CREATE TABLE IF NOT EXISTS tombstones (n INTEGER, row INTEGER)")
        self.bm25 = BM25(bm25_folder(folder, 1), create=True)

    def add(self, first: int, texts: list[str]) -> None:
        """Add texts."""
        from rag.index.local.database import State

        rows = enumerate(texts, first)
        self.database.execute("BEGIN")
        self.database.executemany("INSERT INTO chunks VALUES (?, ?)", rows)
        self.database.execute("COMMIT")
        state = State("", 1, 1, 1, 0, first + len(texts) - 1, 0, 0)
        self.bm25.catch_up(self.database, state)

    def search(self, query: str, k: int) -> list[int]:
        """Find rows."""
        import numpy as np

        rows, _ = self.bm25.search(query, k, lambda found: np.ones(len(found), dtype=bool))
        return [int(row) for row in rows]


class FTS5:
    """SQLite's own, with its Porter stemmer; stop words are dropped from queries."""

    def __init__(self, folder: Path) -> None:
        self.database = sqlite3.connect(folder / "fts.sqlite", isolation_level=None)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute(
            "CREATE VIRTUAL TABLE IF NOT EXISTS texts USING"
            " fts5(text, tokenize='porter unicode61 remove_diacritics 2', detail=column)"
        )

    def add(self, first: int, texts: list[str]) -> None:
        """Add texts."""
        self.database.execute("BEGIN")
        self.database.executemany(
            "INSERT INTO texts (rowid, text) VALUES (?, ?)", enumerate(texts, first)
        )
        self.database.execute("COMMIT")

    def search(self, query: str, k: int) -> list[int]:
        """Find rows."""
        from bm25s.stopwords import STOPWORDS_EN

        words = [word for word in re.findall(r"\w+", query.lower()) if word not in STOPWORDS_EN]
        if not words:
            return []
        found = self.database.execute(
            "SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rank LIMIT ?",
            (" OR ".join(f'"{word}"' for word in words), k),
        )
        return [row for (row,) in found]


class Bm25s:
    """Scores computed ahead; an addition builds everything anew."""

    def __init__(self, folder: Path) -> None:
        import bm25s

        self.folder = folder / "bm25s"
        self.texts: list[str] = []
        self.first = 0
        if self.folder.exists():
            self.index = bm25s.BM25.load(self.folder, mmap=True)

    def add(self, first: int, texts: list[str]) -> None:
        """Add texts."""
        import bm25s

        self.first = self.first or first
        self.texts += texts
        self.index = bm25s.BM25()
        tokens = bm25s.tokenize(self.texts, stopwords="en", show_progress=False)
        self.index.index(tokens, show_progress=False)
        self.index.save(self.folder)

    def search(self, query: str, k: int) -> list[int]:
        """Find rows."""
        import bm25s

        tokens = bm25s.tokenize(query, stopwords="en", show_progress=False)
        found, scores = self.index.retrieve(tokens, k=k, show_progress=False)
        pairs = zip(found[0], scores[0], strict=True)
        return [int(row) + self.first for row, score in pairs if score > 0]


ENGINES: dict[str, type[Engine]] = {"tantivy": Tantivy, "fts5": FTS5, "bm25s": Bm25s}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def texts_of(data: Path) -> tuple[list[str], list[str]]:
    corpus = lines(data / "corpus.jsonl")
    texts = [f"{entry.get('title', '')} {entry['text']}".strip() for entry in corpus]
    return [str(entry["_id"]) for entry in corpus], texts


def quality(engine: type[Engine], data: Path) -> float:
    """Mean nDCG@10 over the judged queries."""
    ids, texts = texts_of(data)
    judged: dict[str, dict[str, int]] = {}
    for row in next((data / "qrels").glob("*.tsv")).read_text().splitlines()[1:]:
        query, document, grade = row.split("\t")
        judged.setdefault(query, {})[document] = int(grade)
    gains = []
    with tempfile.TemporaryDirectory() as folder:
        index = engine(Path(folder))
        index.add(1, texts)
        for query in lines(data / "queries.jsonl"):
            grades = judged.get(str(query["_id"]))
            if not grades or max(grades.values()) < 1:
                continue
            found = [ids[row - 1] for row in index.search(query["text"], K)]
            best = dcg(sorted(grades.values(), reverse=True)[:K])
            gains.append(dcg(grades.get(document, 0) for document in found) / best)
    return statistics.mean(gains)


def dcg(grades: Iterable[int]) -> float:
    return sum(grade / math.log2(place + 2) for place, grade in enumerate(grades))


def costs(engine: type[Engine], data: Path, count: int) -> dict[str, float]:
    """Seconds of filling, adding, reopening; milliseconds of queries."""
    words = " ".join(texts_of(data)[1]).split()
    draw = random.Random(7)
    documents = [" ".join(draw.choices(words, k=draw.randint(40, 160))) for _ in range(count)]
    queries = [query["text"] for query in lines(data / "queries.jsonl")][:TIMED]
    with tempfile.TemporaryDirectory() as folder:
        index = engine(Path(folder))
        filling = clock(lambda: index.add(1, documents))
        adding = clock(lambda: index.add(count + 1, documents[:ADDED]))
        started = time.perf_counter()
        index = engine(Path(folder))
        index.search(queries[0], K)
        opening = time.perf_counter() - started
        times = sorted(clock(lambda q=query: index.search(q, K)) * 1e3 for query in queries)
    return {
        "fill s": filling,
        f"+{ADDED} s": adding,
        "open s": opening,
        "p50 ms": times[len(times) // 2],
        "p95 ms": times[len(times) * 95 // 100],
    }


def clock(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--docs", type=int, default=100_000)
    arguments = parser.parse_args()
    for number, (name, engine) in enumerate(ENGINES.items()):
        row = {f"nDCG@10 {data.name}": quality(engine, data) for data in arguments.data}
        row |= costs(engine, arguments.data[0], arguments.docs)
        if not number:
            print("| engine | " + " | ".join(row) + " |")
            print("|---" * (len(row) + 1) + "|")
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in row.values()) + " |")


if __name__ == "__main__":
    main()
