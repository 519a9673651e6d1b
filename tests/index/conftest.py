"""The server that tests of shared indexes use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a database in PostgreSQL."""
    with server() as folder:
        yield f"postgresql://rag@/postgres?host={folder}"
