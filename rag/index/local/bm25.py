"""BM25 by Tantivy: derived from SQLite, behind it by at most the last commit.

A file beside Tantivy's says which changes it covers; it is replaced after Tantivy's own commit.
After a crash between any two of these steps the changes are applied again: a row is deleted
before it is added. Where Tantivy cannot apply them again (it names a file of deletes by a counter
that a lost commit sets back, and finds the file there), the index is built again from SQLite.

SQLite's FTS5 would share SQLite's transaction, but it scores every match, where Tantivy skips what
cannot reach the top; bm25s rebuilds everything at each addition. `benchmarks/bm25_engines.py`:
quality on Cranfield and NQ-open, the rest over 100,000 documents drawn from Cranfield's words, with
its long queries (which match nearly every document), on 2 cores:

| engine | nDCG@10 Cranfield | NQ-open | fill | +100 | open | p50 | p95 |
|---|---|---|---|---|---|---|---|
| Tantivy | 0.373 | 0.880 | 4.4 s | 17 ms | 3 ms | 0.9 ms | 1.5 ms |
| FTS5 | 0.373 | 0.879 | 2.5 s | 3 ms | 0.8 s | 803 ms | 1120 ms |
| bm25s | 0.352 | 0.850 | 6.4 s | 6.5 s | 9 ms | 1.3 ms | 15 ms |

Tantivy counts deleted chunks in its statistics until a compaction: scores shift a little.
"""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import IndexStateError
from rag.files import sync_folder, write_atomically
from rag.index.local.database import State
from rag.index.local.mirror import Mirror
from rag.index.words import analyzer, spaced
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

_LOG = logging.getLogger(__name__)

HEAP = 32_000_000  # bytes buffered before a segment is written; Tantivy's minimum is 15 MB
MARGIN = 16  # hits beyond those that are wanted, for equal scores at the border
TERMS = 2_000  # up to this many rows, a term for each is faster than a set of terms
COVERED = "covered.json"

Position = tuple[int, int]
"""The last row of `chunks` and the last of `tombstones` that are covered."""


def bm25_folder(folder: Path, generation: int) -> Path:
    """The folder of a generation."""
    return folder / f"bm25-{generation}"


class BM25:
    """One Tantivy index, opened; searched by any thread, changed by one.

    Args:
        path: Its folder.
        create: Make it if missing, and again if it is damaged.

    Raises:
        IndexStateError: It is missing or damaged, and `create` is false.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        self._writer: Any = None
        self._mirror: Mirror | None = None
        try:
            self._open(create=create)
        except IndexStateError:
            if not create:
                raise
            _remove(path)
            self._open(create=True)

    def _open(self, *, create: bool) -> None:
        import tantivy

        with translated(self.path):
            self._analyzer = analyzer()
            if create:
                self.path.mkdir(exist_ok=True)
                self._index = tantivy.Index(_schema(), str(self.path), reuse=True)
            else:
                if Mirror.needed(self.path):
                    self._mirror = Mirror(self.path)
                opened = self._mirror.path if self._mirror else self.path
                self._index = tantivy.Index.open(str(opened))
            self._index.register_tokenizer("english", self._analyzer)
            self._index.config_reader("manual")
        self.refresh()
        # Whether there is nothing in it that `covered` does not say.
        self._exact = not self._searcher.num_docs

    def refresh(self) -> None:
        """See the last commit."""
        # First what is covered: the searcher then sees at least that commit.
        self.covered = _read_covered(self.path)
        with translated(self.path):
            if self._mirror:
                self._mirror.update()
            self._index.reload()
            self._searcher = self._index.searcher()

    def catch_up(
        self, connection: sqlite3.Connection, state: State, new: Mapping[int, str] | None = None
    ) -> None:
        """Take in what SQLite holds beyond `covered`; the caller holds the writer lock.

        Where that fails, for whatever reason, the index is built again from SQLite: it holds
        nothing of its own.

        Args:
            connection: In a transaction that sees `state`.
            state: What to cover.
            new: Row to indexed text of the chunks of the last commit, where they are at hand.

        Raises:
            IndexStateError: It can be neither brought up to date nor built again; what is there
                stays.
        """
        goal = (state.last_row, state.last_tombstone)
        if self.covered == goal:
            return
        try:
            if any(have > want for have, want in zip(self.covered, goal, strict=True)):
                # SQLite was put back to an earlier state: no row number can be trusted.
                raise IndexStateError("BM25 is ahead of SQLite", where=str(self.path))
            self._apply(connection, goal, new or {})
        except IndexStateError as error:
            _LOG.warning("BM25 is built again from SQLite: %s", error.what)
            self._rebuild(connection, goal)
        self.refresh()

    def _apply(
        self, connection: sqlite3.Connection, goal: Position, new: Mapping[int, str]
    ) -> None:
        row, tombstone = self.covered
        # A commit that a dead writer did not write down may have added rows behind these.
        again, self._exact = not self._exact, False
        with translated(self.path):
            dead = connection.execute("SELECT row FROM tombstones WHERE n > ?", (tombstone,))
            for (gone,) in dead:
                self._write().delete_documents_by_term("row", gone)
            added = new.items() if row + 1 in new else _indexed(connection, row)
            for number, text in added:
                if again:
                    self._write().delete_documents_by_term("row", number)
                self._write().add_document(_document(number, text))
            if self._writer is not None:
                self._writer.commit()
            _share(self.path)
            write_atomically(self.path / COVERED, json.dumps(goal))
        self._exact = True

    def _rebuild(self, connection: sqlite3.Connection, goal: Position) -> None:
        """Build the index beside this one, then put it in its place."""
        self._writer = None
        draft = self.path.with_name(f"{self.path.name}.new")
        _remove(draft)
        built = BM25(draft, create=True)
        try:
            built._apply(connection, goal, {})
        except BaseException:
            built._writer = None
            _remove(draft)
            raise
        built.close()
        former = self.path.with_name(f"{self.path.name}.old")
        _remove(former)
        with translated(self.path):
            self.path.replace(former)
            draft.replace(self.path)
            sync_folder(self.path.parent)
        _remove(former)
        self._open(create=True)

    def search(
        self,
        query: str,
        k: int,
        keep: Callable[[np.ndarray], np.ndarray],
        few: np.ndarray | None = None,
        share: float = 1.0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best rows for the words of a query.

        Args:
            query: Plain text; nothing in it is syntax.
            k: How many, at least 1.
            keep: Rows, int64 [n], to which of them are allowed, bool [n].
            few: Not None: the only rows that are allowed, int64 [m]; see `is_few`.
            share: How much of all `keep` lets through, about; above 0.

        Returns:
            Rows int64 [n] and scores float32 [n], by falling score, then by row; n < k only if
            no more match.
        """
        import numpy as np

        with translated(self.path):
            searcher = self._searcher
            parsed = self._query(query, few)
            total = searcher.num_docs
            limit = int((k + MARGIN) / (share if few is None else 1.0) * 1.25)
            while parsed is not None and total:
                limit = min(limit, total)
                hits = searcher.search(parsed, limit, count=False).hits
                found = searcher.fast_field_values("row", [address for _, address in hits])
                rows = np.array(found, dtype=np.int64)
                scores = np.array([score for score, _ in hits], dtype=np.float32)
                kept = keep(rows)
                rows, kept_scores = rows[kept], scores[kept]
                exhausted = len(hits) < limit or limit == total
                if exhausted or (len(rows) >= k and kept_scores[k - 1] > scores[-1]):
                    order = np.lexsort((rows, -kept_scores))[:k]
                    return rows[order], kept_scores[order]
                limit *= 8
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)

    def _query(self, text: str, few: np.ndarray | None) -> Any:
        """A disjunction of the analysed terms; None if there are none."""
        from tantivy import Occur, Query

        schema = self._index.schema
        words = Counter(self._analyzer.analyze(spaced(text)))
        clauses = []
        for word, times in words.items():
            term = Query.term_query(schema, "text", word, "freq")
            clauses.append((Occur.Should, Query.boost_query(term, times) if times > 1 else term))
        if not clauses:
            return None
        query = Query.boolean_query(clauses)
        if few is None:
            return query
        if len(few) <= TERMS:
            rows = [Query.term_query(schema, "row", row) for row in few.tolist()]
            among = Query.boolean_query([(Occur.Should, row) for row in rows])
        else:
            among = Query.term_set_query(schema, "row", few.tolist())
        return Query.boolean_query(
            [(Occur.Must, query), (Occur.Must, Query.const_score_query(among, 0.0))]
        )

    def _write(self) -> Any:
        if self._writer is None:
            self._writer = self._index.writer(heap_size=HEAP, num_threads=1)
        return self._writer

    def close(self) -> None:
        """Wait for merges and free Tantivy's own lock."""
        if self._writer is not None:
            with translated(self.path):
                self._writer.wait_merging_threads()
            self._writer = None


def is_few(count: int, k: int, total: int) -> bool:
    """Whether k hits among `count` of `total` rows are found faster by querying for these rows.

    The other way is to filter hits: 1.2 microseconds for each that is looked at, k x total / count
    and a quarter more. A row costs 4 microseconds as a term of its own; a set of terms costs 6,000
    and 1.2 for each row (measured over 100,000 chunks).
    """
    rows = min(4 * count, 6_000 + 1.2 * count)
    return rows * count <= 1.5 * (k + MARGIN) * total


def _schema() -> Any:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("row", indexed=True, fast=True)
    builder.add_text_field("text", tokenizer_name="english", index_option="freq")
    return builder.build()


def _document(row: int, content: str) -> Any:
    import tantivy

    return tantivy.Document(row=row, text=spaced(content))


def _indexed(connection: sqlite3.Connection, row: int) -> Iterator[tuple[int, str]]:
    """The chunks behind a row, as row and indexed text."""
    found = connection.execute("SELECT row, metadata, content FROM chunks WHERE row > ?", (row,))
    for number, metadata, content in found:
        yield number, Chunk(content, json.loads(metadata)).indexed_text


def _remove(path: Path) -> None:
    """Remove the folder of an index, its note first: no half of it counts as complete."""
    with translated(path):
        if path.exists():
            (path / COVERED).unlink(missing_ok=True)
            shutil.rmtree(path)


def _share(path: Path) -> None:
    """Let whoever may read the folder read the files that Tantivy makes for their owner only."""
    for name in ("meta.json", ".managed.json"):
        file = path / name
        if file.exists():
            file.chmod(path.stat().st_mode & 0o666)


def _read_covered(path: Path) -> Position:
    try:
        row, tombstone = json.loads((path / COVERED).read_text())
    except (OSError, ValueError):
        # Never finished, or lost: everything is applied again.
        return 0, 0
    return int(row), int(tombstone)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of Tantivy, panics of its Rust code among them, as IndexStateError."""
    try:
        yield
    except IndexStateError:
        raise
    except BaseException as error:
        # PanicException derives from BaseException alone and cannot be imported.
        panic = type(error).__name__ == "PanicException"
        if not panic and not isinstance(error, ValueError | OSError | RuntimeError):
            raise
        raise IndexStateError(
            f"the BM25 index is damaged: {error}",
            where=str(path),
            fix="run rag index rebuild",
        ) from error
