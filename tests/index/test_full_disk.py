"""A disk that is full at any moment of an ingest: one error, the index as before or in between.

The limit is the system's own on the size of a file, since a disk of our own would take root.
"""

import os
import resource
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from rag.errors import IndexStateError
from rag.index import Index
from rag.index.ingest import batch
from tests.index.test_ingest_killed import content, run, write_first, write_second

LIMITS = (
    0,
    512,
    2_000,
    4_096,
    5_000,
    8_192,
    12_000,
    20_000,
    33_000,
    40_000,
    90_000,
    150_000,
    200_000,
    1_000_000,
)
"""Bytes: around the sizes of the files that this ingest writes, the largest is SQLite's."""


def limited(limit: int, work: Callable[[], object]) -> str:
    """What the work says in a process whose files cannot grow beyond a limit: "done", an error."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        said = ""
        try:
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            work()
            said = "done"
        except IndexStateError as error:
            said = f"{type(error).__name__}: {error}"
        except BaseException as error:  # noqa: BLE001 - the parent process tells
            said = f"not ours: {error!r}"
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_full_at_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "WINDOW", batch.WINDOW)  # `run` sets it
    docs = tmp_path / "docs"
    write_first(docs)
    run(docs, tmp_path / "start")
    before = content(tmp_path / "start")
    write_second(docs)
    shutil.copytree(tmp_path / "start", tmp_path / "calm")
    run(docs, tmp_path / "calm")
    expected = content(tmp_path / "calm")
    said = {}
    for limit in LIMITS:
        folder = tmp_path / f"full{limit}"
        shutil.copytree(tmp_path / "start", folder)
        said[limit] = limited(limit, lambda folder=folder: run(docs, folder))
        with closing(Index.writer(folder, embedder="scripted", dim=16)) as index:
            assert index.verify() == [], (limit, said[limit])
        if said[limit] != "done" and limit <= 2_000:
            assert content(folder) == before
        run(docs, folder)
        assert content(folder) == expected, (limit, said[limit])
    *errors, last = said.values()
    assert last == "done"
    assert all(error.startswith("IndexStateError") for error in errors), said
