"""Metadata keys that are filtered often: a table of their values, which triggers bring up to date.

A filter on another key reads the JSON of all chunks, which takes a second for a million.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from rag.index.local.conditions import json_path
from rag.text.surrogates import escape_surrogates


def declared(connection: sqlite3.Connection) -> dict[str, int]:
    """The declared keys, by name: their numbers in `filter_values`."""
    return dict(connection.execute("SELECT name, key FROM filter_keys"))


def declare(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """Make these the declared keys; the values of all are read again if they were not.

    Args:
        connection: In a transaction that writes.
        names: Keys of the metadata. `source` needs none of this and is passed over.
    """
    wanted = {escape_surrogates(name) for name in names} - {"source"}
    if declared(connection).keys() == wanted:
        return
    connection.execute("DELETE FROM filter_keys")
    connection.executemany(
        "INSERT INTO filter_keys (name, path) VALUES (?, ?)",
        [(name, json_path(name)) for name in sorted(wanted)],
    )
    read_again(connection)


def read_again(connection: sqlite3.Connection) -> None:
    """Read the values of all declared keys from the metadata of all chunks."""
    connection.execute("DELETE FROM filter_values")
    connection.execute(
        "INSERT OR IGNORE INTO filter_values SELECT key, value, row FROM chunk_values"
        " ORDER BY key, value, row"
    )


def is_right(connection: sqlite3.Connection) -> bool:
    """Whether the values are those of the chunks; of deleted chunks some may be left."""
    known = "SELECT key, value, row FROM filter_values WHERE row IN (SELECT row FROM chunks)"
    right = "SELECT key, value, row FROM chunk_values"
    paths = connection.execute("SELECT name, path FROM filter_keys")
    return all(path == json_path(name) for name, path in paths) and not any(
        connection.execute(f"{one} EXCEPT {other}").fetchone()
        for one, other in ((known, right), (right, known))
    )
