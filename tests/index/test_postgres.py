"""What goes wrong with a server, and addresses."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from langchain_core.documents import Document

from rag.errors import ConfigError, IndexStateError
from rag.flow.resources import Resources
from rag.index import Index, IndexBinding, IndexWriter, WriteReport
from rag.index.address import address_of
from rag.index.postgres import write
from rag.index.postgres.address import PostgresAddress
from rag.index.types import Candidates
from rag.testing import ScriptedEmbedder
from rag.text.chunk import Chunk
from tests.index.index_scenario import DIM, embed, put, update

Sabotage = Callable[[str], None]
EMBEDDER = ScriptedEmbedder(DIM)


@pytest.fixture
def address(postgres: str) -> PostgresAddress:
    return PostgresAddress(postgres, uuid.uuid4().hex)


@pytest.fixture
def index(address: PostgresAddress) -> Iterator[Index]:
    opened = Index.writer(address, embedder="scripted", dim=DIM)
    put(opened, "a", "ferry one", "ferry two")
    yield opened
    opened.close()


@pytest.fixture
def sabotage(address: PostgresAddress, index: Index) -> Sabotage:
    """Let the server do something as soon as the word `mooring` is written."""

    def install(action: str) -> None:
        with psycopg.connect(address.url, options=f"-csearch_path={address.schema}") as admin:
            admin.execute(
                "CREATE OR REPLACE FUNCTION sabotage() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$ BEGIN {action}; RETURN new; END $$".encode()
            )
            admin.execute(
                "CREATE OR REPLACE TRIGGER sabotage BEFORE INSERT ON postings FOR EACH ROW"
                " WHEN (new.term = 'moor') EXECUTE FUNCTION sabotage()"
            )

    return install


@pytest.mark.parametrize(
    ("action", "what"),
    [
        ("PERFORM pg_terminate_backend(pg_backend_pid())", "went away"),
        ("RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'", "disk .* full"),
    ],
)
def test_a_server_that_fails_in_the_middle_of_an_ingest(
    index: Index, address: PostgresAddress, sabotage: Sabotage, action: str, what: str
) -> None:
    sabotage(action)
    documents = [
        Document(page_content=text, metadata={"source": uri})
        for uri, texts in {"a": ["ferry new", "ferry mooring"], "b": ["keel"]}.items()
        for text in texts
    ]
    with pytest.raises(IndexStateError, match=what) as failed:
        IndexWriter(address).write(documents, EMBEDDER)
    assert failed.value.fix
    assert [chunk.text for chunk in index.of_source("a")] == ["ferry one", "ferry two"]
    assert index.verify() == []
    sabotage("NULL")
    report = IndexWriter(address).write(documents, EMBEDDER)
    assert (report.added, report.removed) == (3, 2)
    assert [hit.chunk.text for hit in index.sparse("mooring", 5)] == ["ferry mooring"]
    assert index.verify() == []


def test_two_writes_of_one_source_follow_one_another(
    index: Index, address: PostgresAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Index.writer(address, embedder="scripted", dim=DIM)
    first, second = (
        update(one, "a", [Chunk(text)]) for one, text in ((index, "keel"), (other, "jetty"))
    )
    wrote: list[WriteReport] = []
    thread = threading.Thread(target=lambda: wrote.append(other.write([second])))
    added = write._added

    def held(db: Any, *arguments: Any) -> Any:
        if not wrote and not thread.is_alive():
            thread.start()
            waits = "SELECT 1 FROM pg_locks WHERE NOT granted"
            while thread.is_alive() and not db.execute(waits).fetchone():
                pass  # until the other one waits for this transaction
        return added(db, *arguments)

    monkeypatch.setattr(write, "_added", held)
    assert index.write([first]) == WriteReport(1, 0, 2)
    thread.join()
    assert wrote == [WriteReport(0, 0, 0, ("a",))]
    assert [chunk.text for chunk in index.of_source("a")] == ["keel"]
    other.close()


def test_a_server_that_was_restarted_is_asked_again(index: Index, address: PostgresAddress) -> None:
    before = index.sparse("ferry", 5)
    with psycopg.connect(address.url) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND query <> ''"
        )
    assert index.sparse("ferry", 5) == before


def test_a_server_that_goes_away_in_the_middle_of_a_question(
    index: Index, address: PostgresAddress
) -> None:
    def score(found: Candidates) -> np.ndarray:
        with psycopg.connect(address.url) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND query <> ''"
            )
        return found.dense

    with pytest.raises(IndexStateError, match="went away") as failed:
        index.hybrid("ferry", embed("ferry"), 3, depth=5, score=score)
    assert "try again" in str(failed.value.fix)
    hits = index.hybrid("ferry", embed("ferry"), 3, depth=5, score=lambda found: found.dense)
    assert len(hits) == 2


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    address = f"postgresql://rag:secret@/nothing?host={tmp_path}"
    for failing in (
        lambda: Index.open(address),
        lambda: Index.writer(address, embedder="scripted", dim=DIM),
        lambda: address_of(address).exists(),
    ):
        with pytest.raises(IndexStateError, match="cannot be reached") as failed:
            failing()
        assert "secret" not in str(failed.value)


def test_what_does_not_fit_together_is_named_and_mended(
    index: Index, address: PostgresAddress
) -> None:
    put(index, "b", "keel", "lock")
    before = index.sparse("ferry", 5)
    with psycopg.connect(address.url, options=f"-csearch_path={address.schema}") as admin:
        admin.execute("DELETE FROM postings WHERE term = 'ferri'")
        admin.execute("DELETE FROM chunks WHERE content = 'keel'")
        admin.execute("UPDATE commits SET words = 0")
    assert {problem.file for problem in index.verify()} == {"sources", "postings", "commits"}
    assert index.rebuild() == ["b"]
    assert index.verify() == []
    assert index.source("b") is None
    assert [hit.chunk for hit in index.sparse("ferry", 5)] == [hit.chunk for hit in before]


def test_counts_are_added_up(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.index.postgres.write.FOLDED", 3)
    for number in range(9):
        put(index, "a", f"ferry {number}")
    with index._store._database.connection() as db:  # type: ignore[attr-defined]
        (count,) = db.execute("SELECT count(*) FROM commits").fetchone()
    assert count <= 4
    assert index.verify() == []


def test_vectors_that_no_index_takes_are_scanned(address: PostgresAddress) -> None:
    index = Index.writer(address, embedder="large", dim=2_001)
    assert index.stats().vectors == "flat"
    index.close()


def test_addresses(tmp_path: Path) -> None:
    address = address_of("postgres://me:pass@host:5432/db?sslmode=require&collection=hand-book")
    assert isinstance(address, PostgresAddress)
    shown = "postgresql://me@host:5432/db?sslmode=require&collection=hand-book"
    assert (str(address), address.key) == (shown, shown)
    assert "pass" not in repr(address)
    assert address.url == "postgresql://me:pass@host:5432/db?sslmode=require"
    assert str(address_of("postgresql://host/db?password=pass&x=1")) == "postgresql://host/db?x=1"
    assert str(address_of("./index", tmp_path)) == str(tmp_path / "index")
    assert len(address.of_collection("x" * 64).schema) <= 63
    for wrong, what in {
        "postgressql://host/db": "did you mean 'postgresql'",
        "postgresql://host": "names no database",
        "postgresql://host/db?collection=a b": "no name of a collection",
    }.items():
        with pytest.raises(ConfigError, match=what):
            assert IndexBinding(Resources({"index": {"path": wrong}})).address
        absent = Index.absent(wrong, base=tmp_path)
        assert isinstance(absent, ConfigError)
