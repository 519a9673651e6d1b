"""What is derived from the stored chunks is made again wherever it cannot be used."""

from __future__ import annotations

import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from rag.errors import IndexStateError
from rag.flow.resources import Resources
from rag.index import Index, IndexBinding
from rag.index.local.bm25 import BM25, translated
from rag.index.local.derived import Derived
from rag.index.local.derived_table import FILE
from rag.index.types import Hit
from rag.testing.encoders import ScriptedEmbedder
from rag.text.chunk import Chunk
from tests.index import index_scenario as scenario

KILLS = 40


def texts(hits: list[Hit]) -> set[str]:
    return {hit.chunk.text for hit in hits}


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """An index whose writer was killed in its first commit, which deleted chunks.

    Killed within Tantivy's commit: the file of deletes is there, and `meta.json` does not name it.
    Tantivy names such files by a counter that it reads from `meta.json`, so the same deletes make
    the same name again.
    """
    folder = tmp_path / "index"
    with closing(scenario.writer(folder)) as index:
        scenario.put(index, "a", *(f"ferry {n}" for n in range(10)))
    with closing(scenario.writer(folder)) as index:
        names = ("meta.json", "covered.json")
        before = {name: (folder / "bm25-1" / name).read_bytes() for name in names}
        scenario.put(index, "a", *(f"ferry {n}" for n in range(7)))
    assert list((folder / "bm25-1").glob("*.del"))
    for name, content in before.items():
        (folder / "bm25-1" / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("first", ["reader", "writer"])
def test_kill_within_a_commit_of_deletes(killed: Path, first: str) -> None:
    kept = {f"ferry {n}" for n in range(7)}
    if first == "writer":
        with closing(scenario.writer(killed)) as index:
            assert texts(index.sparse("ferry", 30)) == kept
            scenario.put(index, "b", "new ferry")
            kept.add("new ferry")
    with closing(Index.open(killed)) as reader:
        assert texts(reader.sparse("ferry", 30)) == kept
        assert texts(reader.dense(scenario.embed("x"), 30)) == kept
    with closing(scenario.writer(killed)) as index:
        index.delete(["a"])
        assert texts(index.sparse("ferry", 30)) == kept - {f"ferry {n}" for n in range(7)}
    names = {path.name for path in killed.iterdir()}
    assert names == {"bm25-1", "index.sqlite", "lock", "vectors-1.f32"}


def test_reader_that_was_open_follows_a_rebuild(killed: Path) -> None:
    with closing(Index.open(killed)) as reader:
        assert len(reader.dense(scenario.embed("x"), 30)) == 7
        scenario.writer(killed).close()
        assert len(reader.sparse("ferry", 30)) == 7
        with closing(scenario.writer(killed)) as index:
            scenario.put(index, "b", "new ferry")
            assert len(reader.sparse("ferry", 30)) == 8


def test_failed_rebuild_leaves_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = scenario.writer(tmp_path)
    scenario.put(index, "a", "ferry", "lock")

    def full(self: BM25, *_: object) -> None:
        with translated(self.path):
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(BM25, "_apply", full)
        with pytest.raises(IndexStateError, match="No space left"):
            scenario.put(index, "a", "ferry", "keel")
        assert texts(index.sparse("ferry", 9)) == {"ferry"}
    assert {path.name for path in tmp_path.glob("bm25*")} == {"bm25-1"}
    scenario.put(index, "b", "jetty")
    assert texts(index.sparse("ferry keel jetty lock", 9)) == {"ferry", "keel", "jetty"}
    index.close()


class Counting(ScriptedEmbedder):
    """The scenario's vectors."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.batches.append(list(texts))
        return scenario.vectors_of(list(texts))


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-4])


@pytest.mark.parametrize("lose", [Path.unlink, shorten])
def test_lost_vectors_are_made_again_from_the_texts(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    with closing(scenario.writer(tmp_path / "index")) as index:
        scenario.put(index, "a", "ferry", "lock", "keel")
        scenario.put(index, "b", "jetty")
        scenario.put(index, "a", "ferry", "keel")
        before = index.dense(scenario.embed("x"), 9)
    lose(tmp_path / "index" / "vectors-1.f32")
    with pytest.raises(IndexStateError, match="were committed"):
        scenario.writer(tmp_path / "index")
    embedder = Counting(scenario.DIM)
    binding = IndexBinding(Resources({"embedder": embedder}, base=tmp_path))
    with pytest.raises(IndexStateError, match="rag ingest"):
        binding.open()
    with closing(binding.open(repair=True)) as reader:
        assert reader.dense(scenario.embed("x"), 9) == before
        assert len(reader.sparse("ferry keel jetty lock", 9)) == 3
    assert embedder.texts == ["ferry", "keel", "jetty"]
    binding.writer().close()
    assert len(embedder.batches) == 1


def test_index_that_was_begun_and_never_finished_is_finished(tmp_path: Path) -> None:
    binding = IndexBinding(Resources({"embedder": Counting(scenario.DIM)}, base=tmp_path))
    (tmp_path / "index").mkdir()
    for file in ("lock", "index.sqlite"):
        (tmp_path / "index" / file).touch()
        with closing(binding.open(repair=True)) as reader:
            assert reader.stats().chunks == 0


def test_damaged_derived_data_are_computed_again(tmp_path: Path) -> None:
    computed: list[str] = []

    def compute(chunks: Sequence[Chunk]) -> list[bytes]:
        computed.extend(chunk.text for chunk in chunks)
        return [chunk.text.encode() for chunk in chunks]

    derived = Derived("kind", compute, list)
    with closing(scenario.writer(tmp_path)) as index:
        scenario.put(index, "a", "ferry", "lock")
        assert derived.of(index)[1] == [b"ferry", b"lock"]
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    for _ in range(2):
        with closing(Index.open(tmp_path)) as reader:
            assert derived.of(reader)[1] == [b"ferry", b"lock"]
    assert computed == ["ferry", "lock"] * 2
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        assert db.execute("SELECT count(*) FROM derived").fetchone() == (2,)
    assert not list(tmp_path.glob("derived*.lock"))


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Real kills, of which some come within Tantivy's own threads."""
    path = ":".join(entry for entry in (str(Path(__file__).parents[2]), *sys.path) if entry)
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path / "index")],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == KILLS


def change(folder: Path, seed: int, pipe: int) -> None:
    """Open the index and change it without end; a byte for each change that is committed."""
    draw = random.Random(seed)  # noqa: S311 - to be repeated
    index = scenario.writer(folder)
    while True:
        uri = f"doc{draw.randrange(6)}"
        match draw.choice(("write", "write", "delete", "compact")):
            case "write":
                lines = [" ".join(draw.choices(scenario.WORDS, k=4)) for _ in range(20)]
                scenario.put(index, uri, *lines)
            case "delete":
                index.delete([uri])
            case _:
                index.compact()
        os.write(pipe, b".")


def kill_while_changing(folder: Path, draw: random.Random) -> None:
    """Let a process change the index, and kill it after some commits and part of another."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        change(folder, draw.randrange(2**32), writing)
    os.close(writing)
    for _ in range(draw.choice((0, 0, 0, 1, 3))):
        assert os.read(reading, 1)
    select.select([reading], [], [], draw.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)


def compare_searches(index: Index) -> None:
    """BM25, vectors and chunks are of the same commit."""
    chunks = {chunk.id: chunk for batch in index.batches(500) for chunk in batch}
    assert len(chunks) == index.stats().chunks
    assert {hit.chunk.id for hit in index.dense(scenario.embed("x"), 10_000)} == chunks.keys()
    for word in scenario.WORDS:
        expected = {key for key, chunk in chunks.items() if word in chunk.text.split()}
        assert {hit.chunk.id for hit in index.sparse(word, 10_000)} == expected
    for chunk in list(chunks.values())[:20]:
        best = index.dense(scenario.embed(chunk.text), 1)[0]
        assert best.score == pytest.approx(1, abs=1e-5)
        assert best.chunk.text == chunk.text


def main(folder: Path) -> None:
    """Fork a process for each kill, since a fresh one spends its time on imports."""
    scenario.writer(folder).close()
    draw = random.Random(5)  # noqa: S311 - to be repeated
    for number in range(KILLS):
        kill_while_changing(folder, draw)
        opened = Index.open(folder) if number % 2 else scenario.writer(folder)
        with closing(opened) as index:
            compare_searches(index)
    print(KILLS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
