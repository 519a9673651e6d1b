"""Equal texts are embedded once: in indexes of earlier versions, and where a vector is damaged."""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

import numpy as np
import psycopg
from langchain_core.documents import Document

from rag.index import IndexWriter
from rag.index.address import address_of
from rag.index.local.database import FILE
from rag.index.postgres.address import PostgresAddress
from rag.index.store import Address
from rag.testing import ScriptedEmbedder


def asked(address: Address | Path, source: str, *texts: str) -> list[str]:
    """What the embedder is asked for when a source of these texts is written."""
    embedder = ScriptedEmbedder(16)
    documents = [Document(page_content=text, metadata={"source": source}) for text in texts]
    IndexWriter(address_of(address)).write(documents, embedder)
    return embedder.texts


def test_a_folder_of_an_earlier_version(tmp_path: Path) -> None:
    assert asked(tmp_path / "index", "a", "ferry", "lock") == ["ferry", "lock"]
    with closing(sqlite3.connect(tmp_path / "index" / FILE)) as db, db:
        db.execute("DROP INDEX chunks_equal")
    assert asked(tmp_path / "index", "b", "lock", "keel") == ["keel"]


def test_tables_of_an_earlier_version(postgres: str) -> None:
    address = PostgresAddress(postgres, uuid.uuid4().hex)
    known = "SELECT indexname FROM pg_indexes WHERE schemaname = %s AND indexdef LIKE '%%hash%%'"
    asked(address, "a", "ferry", "lock")
    with psycopg.connect(address.url, autocommit=True) as db:
        ((name,),) = db.execute(known, (address.schema,)).fetchall()
        db.execute(f'DROP INDEX "{address.schema}"."{name}"'.encode())
        assert asked(address, "b", "lock", "keel") == ["keel"]
        assert len(db.execute(known, (address.schema,)).fetchall()) == 1


def test_a_damaged_vector_does_not_spread(tmp_path: Path) -> None:
    asked(tmp_path / "index", "a", "ferry")
    (file,) = (tmp_path / "index").glob("vectors-*.f32")
    vector = np.fromfile(file, dtype=np.float32)
    vector[3] += 8
    vector.tofile(file)
    assert asked(tmp_path / "index", "b", "ferry", "lock") == ["ferry", "lock"]
