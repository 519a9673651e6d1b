"""A database as the parts of a server see it: SQL that SQLite and PostgreSQL read alike.

What differs between the two is here and in the two classes below it. SQL is written with `?` for
values, `DOUBLE PRECISION`, `BIGINT`, `INTEGER` (also for what is true or false), `TEXT`,
`ON CONFLICT ... DO UPDATE`, `RETURNING`; without `rowid`, `INSERT OR REPLACE`, `iif`, `IS ?` and
the word `user`, which PostgreSQL takes for the one who is logged in. Numbers that the database is
to give out are `{identity}` in a schema.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rag.serve.errors import Problem

T = TypeVar("T")
Row = dict[str, Any]
"""Column to value."""

FORMAT = 4


class Database(ABC):
    """A connection, used by one thread at a time. Statements run inside of `within` only."""

    @abstractmethod
    def within(self, work: Callable[[Database], T], *, flushed: bool = True) -> T:
        """The result of some statements, which are one transaction.

        The work may be done a second time where the connection broke before it was committed.

        Args:
            work: The statements.
            flushed: Wait until it is on the disk. Else it outlives the end of this process, and
                may be lost when the machine's power fails, or the database's server.

        Raises:
            Problem: 503, the database cannot be used now; 507, it is full.
        """

    @abstractmethod
    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """What a statement finds or returns."""

    @abstractmethod
    def execute(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Carry out a statement; the number of rows that it changed."""

    @abstractmethod
    def lock(self, name: str) -> None:
        """Until the transaction ends, nobody else gets behind a lock of this name.

        For work that writes by what it has read. (In SQLite there is one writer at a time anyway.)
        """

    @abstractmethod
    def now(self) -> float:
        """Seconds since the epoch, by a clock that all processes share."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    def row(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        """The first row that a statement finds or returns; None: there is none."""
        found = self.rows(sql, values)
        return found[0] if found else None


def cannot_be_used(error: Exception, *, full: bool) -> Problem:
    """The answer where the state cannot be read or written.

    Args:
        error: What the database says.
        full: There is no room for it.
    """
    code, status = ("disk_full", 507) if full else ("state_unavailable", 503)
    return Problem(
        status, code, f"the server's state cannot be used: {str(error).strip()}", where="state",
        fix="make room" if full else "see that it can be reached and written",
        headers={"Retry-After": "10"}, internal=True,
    )  # fmt: skip


def other_format(found: int) -> tuple[str, str]:
    """What is wrong with a state of another format, and how to mend it."""
    if found > FORMAT:
        return "the server's state was made by a later version", "update the package"
    fix = "move its folder away, or give another one with --data or --state"
    return "the server's state was made by an earlier version", fix


def like(words: str) -> list[str]:
    """What `lower(...) LIKE ? ESCAPE '!'` finds each of some words by, wherever they stand."""
    escaped = str.maketrans({special: f"!{special}" for special in "!%_"})
    return [f"%{word.translate(escaped)}%" for word in words.lower().split()]
