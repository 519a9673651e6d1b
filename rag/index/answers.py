"""Answers that were given before, found by how near their questions are."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, PositiveInt

from rag.errors import ConfigError
from rag.flow.resources import Resource, Spec
from rag.sqlite import connect, transaction, translated

if TYPE_CHECKING:
    import numpy as np

MOST = 2_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    id INTEGER PRIMARY KEY, scope TEXT NOT NULL, query TEXT NOT NULL, vector BLOB NOT NULL,
    chunks TEXT NOT NULL, data TEXT NOT NULL, used INTEGER NOT NULL, UNIQUE (scope, query)
);
CREATE INDEX IF NOT EXISTS answers_by_use ON answers (used);
"""
_USE = """
UPDATE answers SET used = (SELECT max(used) + 1 FROM answers) WHERE id = ?
"""
_PUT = """
INSERT OR REPLACE INTO answers (scope, query, vector, chunks, data, used)
VALUES (?, ?, ?, ?, ?, (SELECT coalesce(max(used), 0) + 1 FROM answers))
"""


class AnswersSpec(Spec):
    """What a pipeline may say of its stored answers."""

    path: Path | None = Field(
        default=None, description="an SQLite file that processes may share; none: memory"
    )
    most: PositiveInt = Field(
        default=MOST, description="answers at most; the least recently used go first"
    )
    salt: str = Field(default="", description="the user's: answers are never shared between salts")


@dataclass(frozen=True)
class StoredAnswer:
    """An answer that was given before.

    Attributes:
        id: Its number.
        query: The question that it was given to.
        similarity: The cosine of that question with the one that is asked.
        chunks: Ids of the chunks that it was given from.
        data: What was stored.
    """

    id: int
    query: str
    similarity: float
    chunks: list[str]
    data: dict[str, Any]


class Answers(Resource):
    """Stored answers, in SQLite. Safe from any thread; processes may share the file.

    What an answer depends on is its scope, a digest: nothing is ever found in another scope. A
    write is one transaction: a process that is killed leaves all of an answer or nothing.

    Args:
        path: The file; None: memory.
        most: Answers at most, of all scopes together.
        salt: The user's; part of every scope.

    Raises:
        ConfigError: The file cannot be opened.
    """

    default: ClassVar[Any] = {}
    Spec = AnswersSpec
    shorthand = "path"

    def __init__(self, path: Path | None = None, most: int = MOST, salt: str = "") -> None:
        self.most, self.salt = most, salt
        self._lock = threading.Lock()
        fix = "name a file that can be written"
        with translated(ConfigError, "the answer cache", where=path or "memory", fix=fix):
            self._db = connect(path, schema=_SCHEMA, timeout=5.0, private=True)

    @classmethod
    def open(cls, spec: AnswersSpec, *, base: Path) -> Self:
        """See `Resource.open`."""
        path = None if spec.path is None else base / spec.path.expanduser()
        return cls(path, spec.most, spec.salt)

    def salted(self, salt: str) -> Answers:
        """The same store for another user, who finds nothing of this one's."""
        view = object.__new__(Answers)
        view.__dict__.update(self.__dict__)
        view.salt = salt
        return view

    def scope(self, **parts: Any) -> str:
        """The digest of all that answers depend on, and of the user."""
        text = json.dumps([self.salt, parts], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def nearest(self, scope: str, vector: np.ndarray, least: float, k: int) -> list[StoredAnswer]:
        """Answers to the questions nearest to one, nearest first.

        Args:
            scope: Whose answers.
            vector: Of the question: float32 [dim], unit length.
            least: The cosine that it takes.
            k: How many at most.

        Raises:
            sqlite3.Error: The file cannot be read.
        """
        import numpy as np

        with self._lock:
            rows = self._db.execute(
                "SELECT id, vector FROM answers WHERE scope = ? AND length(vector) = ?",
                (scope, 4 * len(vector)),
            ).fetchall()
            if not rows:
                return []
            matrix = np.frombuffer(b"".join(data for _, data in rows), dtype=np.float32)
            cosines = matrix.reshape(len(rows), -1) @ np.asarray(vector, dtype=np.float32)
            order = [int(at) for at in np.argsort(-cosines, kind="stable")[:k]]
            found = []
            for at in order:
                if cosines[at] < least:
                    break
                key = rows[at][0]
                query, chunks, data = self._db.execute(
                    "SELECT query, chunks, data FROM answers WHERE id = ?", (key,)
                ).fetchone() or ("", "[]", "")
                if data:
                    given = json.loads(chunks), json.loads(data)
                    found.append(StoredAnswer(key, query, float(cosines[at]), *given))
            return found

    def use(self, key: int) -> None:
        """Note that an answer was used."""
        with self._lock, transaction(self._db):
            self._db.execute(_USE, (key,))

    def put(
        self,
        scope: str,
        query: str,
        vector: np.ndarray,
        chunks: Sequence[str],
        data: Mapping[str, Any],
    ) -> None:
        """Store an answer, in the place of an earlier one to the same question.

        Args:
            scope: What it depends on.
            query: The question.
            vector: Of the question: float32 [dim], unit length.
            chunks: Ids of the chunks that it was given from.
            data: Plain values.

        Raises:
            sqlite3.Error: The file cannot be written.
        """
        import numpy as np

        packed = np.ascontiguousarray(vector, dtype=np.float32).tobytes()
        row = (scope, query, packed, json.dumps(list(chunks)), json.dumps(data))
        with self._lock, transaction(self._db):
            self._db.execute(
                _PUT,
                row,
            )
            self._db.execute(
                "DELETE FROM answers WHERE id IN"
                " (SELECT id FROM answers ORDER BY used DESC LIMIT -1 OFFSET ?)",
                (self.most,),
            )

    def drop(self, key: int) -> None:
        """Forget an answer."""
        with self._lock, transaction(self._db):
            self._db.execute("DELETE FROM answers WHERE id = ?", (key,))

    def __len__(self) -> int:
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
