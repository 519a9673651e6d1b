"""Indexes in folders that cannot be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rag.errors import IndexStateError
from rag.index import Index
from rag.index.local.bm25 import BM25
from rag.index.local.derived import Derived
from rag.index.local.derived_table import FILE
from tests.index import index_scenario as scenario

pytestmark = pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")

PROGRAM = """
import json, mmap, os, pathlib, sys
import faiss, numpy, tantivy
import rag.index.local.mirror
from rag.index import Index
from rag.index.local.derived import Derived
from tests.index import index_scenario as scenario

if os.getuid() == 0:
    os.setuid(65534)
derived = Derived("kind", lambda chunks: [chunk.text.encode() for chunk in chunks], len)
index = Index.open(pathlib.Path(sys.argv[1]))
for line in sys.stdin:
    query, vector = line.strip(), scenario.embed(line.strip())
    found = [
        index.dense(vector, 9),
        index.sparse(query, 9),
        index.hybrid(query, vector, 9, depth=9, score=lambda candidates: candidates.dense),
    ]
    texts = [sorted(hit.chunk.text for hit in hits) for hits in found]
    print(json.dumps([*texts, derived.of(index)[1]]), flush=True)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """An index that other users may read, in a folder that they reach, which pytest's are not."""
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o755)
        with closing(scenario.writer(Path(outer) / "index")) as index:
            scenario.put(index, "a", "ferry", "lock")
        yield Path(outer) / "index"
        shut(Path(outer) / "index", write=True)


def shut(folder: Path, *, write: bool) -> None:
    """Forbid or allow writing, for a process that is not root's."""
    for path in (folder, *folder.glob("bm25-*")):
        path.chmod(0o755 if write else 0o555)


@pytest.mark.parametrize("kept", [False, True])
def test_searched_while_its_owner_changes_it(folder: Path, kept: bool) -> None:
    if kept:  # the owner has computed what further models make of it
        with closing(Index.open(folder)) as index:
            Derived("kind", lambda chunks: [b""] * len(chunks), len).of(index)
        assert (folder / FILE).exists()
    shut(folder, write=False)
    path = ":".join(entry for entry in (str(Path(__file__).parents[2]), *sys.path) if entry)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as other:  # fmt: skip

        def search(query: str) -> object:
            assert other.stdin is not None
            assert other.stdout is not None
            other.stdin.write(f"{query}\n")
            other.stdin.flush()
            return json.loads(other.stdout.readline())

        both = ["ferry", "lock"]
        assert search("ferry") == [both, ["ferry"], both, 2]
        shut(folder, write=True)
        with closing(scenario.writer(folder)) as index:
            scenario.put(index, "b", "keel ferry")
        shut(folder, write=False)
        every = ["ferry", "keel ferry", "lock"]
        assert search("ferry") == [every, ["ferry", "keel ferry"], every, 3]
        shut(folder, write=True)
        with closing(scenario.writer(folder)) as index:
            index.delete(["a"])
            index.compact()
        shut(folder, write=False)
        assert search("ferry") == [["keel ferry"]] * 3 + [1]
        other.communicate()
    assert (folder / FILE).exists() == kept


def test_commit_without_bm25_is_searched_as_far_as_it_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that cannot take the writer's lock repairs nothing."""
    with closing(scenario.writer(folder)) as index, monkeypatch.context() as patch:
        patch.setattr(BM25, "catch_up", lambda *_: None)
        scenario.put(index, "b", "keel ferry")
    with monkeypatch.context() as patch:

        def refused(path: Path) -> None:
            raise IndexStateError("the index cannot be written", where=str(path))

        patch.setattr("rag.index.local.reader.writer_lock", refused)
        with closing(Index.open(folder)) as reader:
            assert [hit.chunk.text for hit in reader.sparse("ferry", 9)] == ["ferry"]
            assert len(reader.dense(scenario.embed("x"), 9)) == 3
    with closing(Index.open(folder)) as reader:
        assert len(reader.sparse("ferry", 9)) == 2
