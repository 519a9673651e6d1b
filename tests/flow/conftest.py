"""Where runs are stored: every test that takes `where` is run with each store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path]:
    """The folder of a PostgreSQL server's socket."""
    with server() as folder:
        yield folder


@pytest.fixture
def database(postgres: Path) -> str:
    """The URL of an empty database in PostgreSQL."""
    import psycopg

    name = f"runs_{uuid.uuid4().hex}"
    with psycopg.connect(f"postgresql://rag@/postgres?host={postgres}", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    return f"postgresql://rag@/{name}?host={postgres}"


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where runs are stored, empty at the beginning."""
    if request.param == "sqlite":
        return str(tmp_path / "runs")
    return str(request.getfixturevalue("database"))
