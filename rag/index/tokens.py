"""Token vectors of an index's chunks, kept while it is filled: a first question need not wait.

Reranking by late interaction compares the tokens of some thirty chunks with the question's. An
embedder computes them for the chunks' vectors anyway, so they cost their space, which is limited:
of a large index those are kept that came first, and the others are computed when they are needed.
Nothing depends on the file. It goes with the folder, and a chunk's row goes with the chunk.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from rag.index.local.checksums import checksum
from rag.index.types import SourceUpdate, WriteReport
from rag.sqlite import connect, is_damage, transaction
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    import numpy as np

FILE = "tokens.sqlite"
BYTES = 256 * 2**20
"""Of the file: the tokens of some 1,700 chunks of 200 tokens in 384 dimensions."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens (
    id TEXT PRIMARY KEY, made_of INTEGER NOT NULL, vectors BLOB NOT NULL, checksum INTEGER NOT NULL
) WITHOUT ROWID
"""
_PUT = "INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?)"


class TokenVectors:
    """The file in an index's folder; any thread may use it. No error of it stops anybody.

    Args:
        folder: Of the index. The file is made with its first row. None: nothing is kept, as of an
            index on a server, whose chunks go without this machine being told.
        budget: Bytes of the file: behind them, nothing more is kept.

    Attributes:
        full: There is no room for more, as a chunk has shown.
    """

    def __init__(self, folder: Path | None, budget: int = BYTES) -> None:
        self._file, self._budget = folder and folder / FILE, budget
        self._lock = threading.Lock()
        self.full = folder is None

    @property
    def there(self) -> bool:
        """Whether anything is kept."""
        return self._file is not None and self._file.is_file()

    def get(self, embedder: str, dim: int, chunks: Sequence[Chunk]) -> dict[str, np.ndarray]:
        """What is kept of chunks: their `embedding_text` to float32 [tokens, dim].

        Args:
            embedder: Id of the embedder that made them.
            dim: Length of its vectors.
            chunks: With ids.
        """
        import numpy as np

        found: dict[str, np.ndarray] = {}
        if not self.there:
            return found
        try:
            with self._lock, closing(connect(self._file, read_only=True)) as db:
                for chunk in chunks:
                    made_of = checksum(embedder, chunk.embedding_text)
                    row = db.execute(
                        "SELECT vectors, checksum FROM tokens WHERE id = ? AND made_of = ?",
                        (chunk.id, made_of),
                    ).fetchone()
                    if row is not None and checksum(row[0]) == row[1]:
                        half = np.frombuffer(row[0], dtype=np.float16).reshape(-1, dim)
                        found[chunk.embedding_text] = half.astype(np.float32)
        except (sqlite3.Error, OSError):
            pass  # they are computed
        return found

    def put(self, embedder: str, chunks: Sequence[Chunk], vectors: Sequence[np.ndarray]) -> None:
        """Keep the token vectors of chunks, as long as there is room.

        Args:
            embedder: Id of the embedder that made them.
            chunks: With ids.
            vectors: For each chunk those of its `embedding_text`: [tokens, dim], unit length.
        """
        import numpy as np

        try:
            with self._lock, closing(self._writable()) as db, transaction(db):
                pages = db.execute("PRAGMA page_count").fetchone()[0]
                room = self._budget - pages * db.execute("PRAGMA page_size").fetchone()[0]
                for chunk, one in zip(chunks, vectors, strict=True):
                    data = np.ascontiguousarray(one, dtype=np.float16).tobytes()
                    room -= len(data)
                    if room < 0:
                        self.full = True
                        break
                    made_of = checksum(embedder, chunk.embedding_text)
                    db.execute(_PUT, (chunk.id, made_of, data, checksum(data)))
        except (sqlite3.Error, OSError):
            pass  # a full disk, say: the index itself will tell

    def drop_replaced(self, updates: Sequence[SourceUpdate], report: WriteReport) -> None:
        """Forget the chunks that went with a write."""
        plans = [one.plan for one in updates if one.plan.uri not in report.changed]
        self.drop(key for plan in plans for key in plan.gone)

    def drop(self, ids: Iterable[str | None]) -> None:
        """Forget chunks."""
        gone = [(one,) for one in ids]
        if not self.there or not gone:
            return
        try:
            with self._lock, closing(self._writable()) as db, transaction(db):
                db.executemany("DELETE FROM tokens WHERE id = ?", gone)
        except (sqlite3.Error, OSError):
            self.clear()  # rather nothing than what was to be forgotten

    def clear(self) -> None:
        """Forget all."""
        if not self.there:
            return
        for ending in ("", "-wal", "-shm"):
            Path(f"{self._file}{ending}").unlink(missing_ok=True)

    def _writable(self) -> sqlite3.Connection:
        try:
            db = connect(self._file, schema=_SCHEMA, synchronous="OFF")
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self.clear()
            db = connect(self._file, schema=_SCHEMA, synchronous="OFF")
        db.execute("PRAGMA secure_delete=ON")
        return db
