import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rag.errors import IndexStateError
from rag.index import Index
from rag.index.local.bm25 import BM25
from tests.index import index_scenario as scenario

KILLS = 12


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, scenario.__file__, str(folder), *arguments]
    path = ":".join(entry for entry in sys.path if entry)
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PYTHONPATH": path}
    )


def content(index: Index) -> list[tuple[object, ...]]:
    found = index.dense(scenario.embed("anything"), 1000)
    return [(hit.chunk, hit.score) for hit in found]


def words(index: Index) -> list[list[tuple[object, ...]]]:
    return [
        [(hit.chunk.id, hit.score) for hit in index.sparse(word, 1000)] for word in scenario.WORDS
    ]


def test_writer_killed_at_any_moment_loses_nothing_committed(tmp_path: Path) -> None:
    scenario.resume(tmp_path / "calm")
    finished = run(tmp_path / "counted")
    assert finished.returncode == 0, finished.stderr
    changes = int(finished.stdout)
    draw = random.Random(3)  # noqa: S311 - to be repeated
    for _ in range(KILLS):
        killed = run(tmp_path / "killed", str(draw.randint(1, changes // 6)))
        assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr
        if (tmp_path / "killed" / "index.sqlite").exists():
            try:
                reader = Index.open(tmp_path / "killed")
            except IndexStateError as error:
                assert "never finished" in str(error)  # noqa: PT017 - either is right here
                continue
            rows = {hit.chunk.id for hit in reader.dense(scenario.embed("x"), 1000)}
            found = {hit.chunk.id for word in scenario.WORDS for hit in reader.sparse(word, 1000)}
            assert found == rows
            reader.close()
    scenario.resume(tmp_path / "killed")

    calm, killed_index = (Index.open(tmp_path / name) for name in ("calm", "killed"))
    assert list(calm.sources()) == list(killed_index.sources())
    assert content(calm) == content(killed_index)
    for name in ("calm", "killed"):
        # BM25 counts deleted chunks in its statistics until a compaction.
        writer = scenario.writer(tmp_path / name)
        writer.compact()
        writer.close()
    assert content(calm) == content(killed_index)
    assert words(calm) == words(killed_index)


@pytest.fixture
def half_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index whose writer died after SQLite's commit, before BM25 took it in."""
    index = scenario.writer(tmp_path / "index")
    scenario.put(index, "a", "old ferry", "old lock")
    scenario.put(index, "b", "old bridge")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BM25, "catch_up", die)
        with pytest.raises(KeyboardInterrupt):
            scenario.put(index, "a", "new ferry", "old lock")
    index.close()
    return tmp_path / "index"


def texts(index: Index, query: str) -> set[str]:
    return {hit.chunk.text for hit in index.sparse(query, 10)}


def test_reader_finishes_what_a_dead_writer_began(half_committed: Path) -> None:
    reader = Index.open(half_committed)
    assert texts(reader, "old new") == {"new ferry", "old lock", "old bridge"}


def test_next_writer_finishes_what_a_dead_writer_began(half_committed: Path) -> None:
    scenario.writer(half_committed).close()
    assert BM25(half_committed / "bm25-1", create=False).covered == (4, 1)
    assert texts(Index.open(half_committed), "ferry") == {"new ferry"}


def test_reader_beside_a_busy_writer_leaves_bm25_to_it(half_committed: Path) -> None:
    reader = Index.open(half_committed)
    writer = scenario.writer(half_committed)
    assert texts(reader, "ferry") == {"new ferry"}
    writer.close()


@pytest.mark.parametrize("damage", ["note", "folder", "meta", "ahead"])
def test_bm25_is_made_again_from_sqlite(half_committed: Path, damage: str) -> None:
    folder = half_committed / "bm25-1"
    if damage == "note":
        (folder / "covered.json").unlink()
    elif damage == "folder":
        folder.rename(half_committed.parent / "gone")
    elif damage == "meta":
        (folder / "meta.json").write_text("{")
    else:
        (folder / "covered.json").write_text("[99, 99]")
        scenario.writer(half_committed).close()
    reader = Index.open(half_committed)
    assert texts(reader, "old new") == {"new ferry", "old lock", "old bridge"}
    reader.close()
    writer = scenario.writer(half_committed)
    scenario.put(writer, "c", "new jetty")
    assert texts(writer, "jetty ferry") == {"new jetty", "new ferry"}


def test_uncommitted_vectors_are_overwritten(tmp_path: Path) -> None:
    index = scenario.writer(tmp_path)
    scenario.put(index, "a", "ferry")
    index.close()
    with (tmp_path / "vectors-1.f32").open("ab") as file:
        file.write(b"half a vector")
    index = scenario.writer(tmp_path)
    scenario.put(index, "b", "lock")
    found = index.dense(scenario.embed("lock"), 1)
    assert found[0].chunk.text == "lock"
    assert found[0].score == pytest.approx(1)


def test_compaction_that_never_committed_leaves_nothing(tmp_path: Path) -> None:
    index = scenario.writer(tmp_path)
    scenario.put(index, "a", "ferry")
    index.close()
    (tmp_path / "vectors-2.f32").write_bytes(b"half")
    (tmp_path / "bm25-2").mkdir()
    scenario.writer(tmp_path).close()
    assert not (tmp_path / "vectors-2.f32").exists()
    assert not (tmp_path / "bm25-2").exists()
