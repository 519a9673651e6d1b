"""How well do the stores rank by words, and would PostgreSQL's own ranking do?

    python benchmarks/store_words.py --data DIR [--data DIR ...] --server URL [--queries 300]

`--server` is the URL of a PostgreSQL database that may be written, with pgvector; a schema is made
in it and dropped again. Qdrant is its client's own engine in a folder. Data folders are in BEIR's
format. Prints nDCG@10 of BM25 in each store, and of ts_rank and ts_rank_cd over the same texts (any
word matches; with and without division by length).
"""

from __future__ import annotations

import argparse
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rag.eval.beir import read_beir
from rag.eval.dataset import Dataset
from rag.index import Index, SourceUpdate
from rag.index.postgres.address import PostgresAddress
from rag.text.chunk import Chunk

K = 10
BATCH = 500

Search = Callable[[str], list[str]]
"""A query to the ids of the best documents."""


def fill(index: Index, data: Dataset) -> None:
    for start in range(0, len(data.documents), BATCH):
        chunks = [
            Chunk(one.page_content, {**one.metadata, "document": one.id})
            for one in data.documents[start : start + BATCH]
        ]
        plan = index.plan(f"from {start}", chunks)
        index.write([SourceUpdate(plan, np.ones((len(chunks), 1), dtype=np.float32))])


def by_bm25(index: Index) -> Search:
    return lambda query: [str(hit.chunk.metadata["document"]) for hit in index.sparse(query, K)]


def by_tsvector(connection: Any, rank: str, division: int) -> Search:
    """Any word of the query matches, as for BM25: plainto_tsquery joins by AND."""
    sql = f"""
        WITH asked AS (
            SELECT replace(plainto_tsquery('english', %s)::text, '&', '|')::tsquery AS query)
        SELECT document FROM texts, asked WHERE words @@ query
        ORDER BY {rank}(words, query, {division}) DESC, row LIMIT {K}"""  # noqa: S608

    def search(query: str) -> list[str]:
        return [document for (document,) in connection.execute(sql.encode(), (query,)).fetchall()]

    return search


def ndcg(data: Dataset, search: Search, queries: int) -> float:
    found = []
    for query in data.queries[:queries]:
        gains = [query.relevant.get(source, 0) for source in search(query.text)]
        best = sorted(query.relevant.values(), reverse=True)[:K]
        ideal = sum(gain / np.log2(n + 2) for n, gain in enumerate(best))
        found.append(sum(g / np.log2(n + 2) for n, g in enumerate(gains)) / ideal if ideal else 0.0)
    return float(np.mean(found))


def main() -> None:
    import psycopg

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--queries", type=int, default=300)
    arguments = parser.parse_args()
    for folder in arguments.data:
        data = read_beir(folder)
        address = PostgresAddress.of(arguments.server)
        address = PostgresAddress(address.url, f"words-{uuid.uuid4().hex}")
        with tempfile.TemporaryDirectory() as scratch, psycopg.connect(address.url) as connection:
            shared = Index.writer(address, embedder="none", dim=1)
            local = Index.writer(Path(scratch) / "index", embedder="none", dim=1)
            qdrant = Index.writer(f"qdrant+file://{scratch}/qdrant/words", embedder="none", dim=1)
            for index in (shared, local, qdrant):
                fill(index, data)
            connection.execute(f'SET search_path = "{address.schema}", public'.encode())
            connection.execute(
                "CREATE TEMPORARY TABLE texts AS SELECT row,"
                " metadata::jsonb ->> 'document' AS document, to_tsvector('english',"
                " coalesce(metadata::jsonb ->> 'title', '') || ' ' || content) AS words FROM chunks"
            )
            ways = {
                "folder": by_bm25(local),
                "PostgreSQL": by_bm25(shared),
                "Qdrant": by_bm25(qdrant),
            }
            for rank in ("ts_rank", "ts_rank_cd"):
                ways[rank] = by_tsvector(connection, rank, 0)
                ways[f"{rank}, by length"] = by_tsvector(connection, rank, 1)
            print(f"{folder.name}: {len(data.documents)} documents, nDCG@{K}")
            for name, search in ways.items():
                print(f"  {name:22} {ndcg(data, search, arguments.queries):.3f}")
            for index in (shared, local, qdrant):
                index.close()
            connection.execute(f'DROP SCHEMA "{address.schema}" CASCADE'.encode())


if __name__ == "__main__":
    main()
