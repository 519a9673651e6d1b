"""Whether the tables of an index fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag.index.types import IndexProblem

if TYPE_CHECKING:
    from psycopg import Connection

MOST = 10
"""Problems of a kind that are named."""

_CHECKS = {
    ("sources", "{0} is to have {1} chunks and has {2}"): """
        SELECT uri, chunks, (SELECT count(*) FROM chunks WHERE source = uri) FROM sources
        WHERE chunks <> (SELECT count(*) FROM chunks WHERE source = uri)""",
    ("chunks", "{0} is not among the sources"): """
        SELECT DISTINCT source FROM chunks WHERE source NOT IN (SELECT uri FROM sources)""",
    ("postings", "the words of chunk {0} are not those that were counted"): """
        SELECT id FROM chunks LEFT JOIN (SELECT row, sum(times) AS found FROM postings
        GROUP BY row) AS counted USING (row) WHERE words <> coalesce(found, 0)""",
    ("postings", "there are words of row {0}, which is no chunk"): """
        SELECT DISTINCT row FROM postings WHERE row NOT IN (SELECT row FROM chunks)""",
    ("commits", "{0} chunks of {1} words were counted, and there are {2} of {3}"): """
        SELECT * FROM
        (SELECT coalesce(sum(chunks), 0), coalesce(sum(words), 0) FROM commits) AS a (c, w),
        (SELECT count(*), coalesce(sum(words), 0) FROM chunks) AS b (d, v)
        WHERE c <> d OR w <> v""",
}
"""Table and what is wrong, to the rows for which it is."""


def problems(db: Connection[Any]) -> list[IndexProblem]:
    """What does not fit together; the connection is in a transaction that reads one state."""
    return [
        IndexProblem(table, what.format(*row))
        for (table, what), sql in _CHECKS.items()
        for row in db.execute(f"{sql} LIMIT {MOST}".encode()).fetchall()
    ]
