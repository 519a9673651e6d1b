"""Folders in every bad state, and several processes at one index."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rag.errors import ConfigError, IndexStateError
from rag.index import Index
from rag.index.local.lock import writer_lock
from tests.index import index_scenario as scenario


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    index = scenario.writer(tmp_path / "index")
    scenario.put(index, "a", *scenario.WORDS * 20)
    index.close()
    return tmp_path / "index"


def damage_header(folder: Path) -> None:
    (folder / "index.sqlite").write_bytes(b"no database, but long enough to be read" * 200)


def damage_pages(folder: Path) -> None:
    with (folder / "index.sqlite").open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))


def empty_file(folder: Path) -> None:
    (folder / "index.sqlite").write_bytes(b"")


def later_format(folder: Path) -> None:
    with sqlite3.connect(folder / "index.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")


def other_program(folder: Path) -> None:
    (folder / "index.sqlite").unlink()
    with sqlite3.connect(folder / "index.sqlite") as connection:
        connection.execute("CREATE TABLE bookmarks (url)")


def lost_table(folder: Path) -> None:
    with sqlite3.connect(folder / "index.sqlite") as connection:
        connection.execute("DROP TABLE state")


def lost_vectors(folder: Path) -> None:
    (folder / "vectors-1.f32").unlink()


def short_vectors(folder: Path) -> None:
    file = folder / "vectors-1.f32"
    file.write_bytes(file.read_bytes()[:-4])


@pytest.mark.parametrize(
    ("damage", "message", "stops_writer"),
    [
        (damage_header, "damaged", True),
        (damage_pages, "damaged", True),
        (empty_file, "never finished", False),
        (later_format, "format 99", True),
        (other_program, "another program", True),
        (lost_table, "damaged", True),
        (lost_vectors, "0 bytes where 15360 were committed", True),
        (short_vectors, "15356 bytes where 15360 were committed", True),
    ],
)
def test_bad_states(
    folder: Path, damage: Callable[[Path], None], message: str, stops_writer: bool
) -> None:
    damage(folder)
    with pytest.raises(IndexStateError, match=message) as caught:
        Index.open(folder)
    assert caught.value.where == str(folder)
    assert caught.value.fix
    if stops_writer:
        with pytest.raises(IndexStateError, match=message):
            scenario.writer(folder)
    else:
        scenario.writer(folder).close()
        assert Index.open(folder).stats().chunks == 0


def test_missing(tmp_path: Path) -> None:
    for attempt in (
        lambda: Index.open(tmp_path / "none"),
        lambda: Index.load("none", base=tmp_path),
        lambda: Index.writer(tmp_path / "none", embedder="e", dim=2, create=False),
    ):
        with pytest.raises(IndexStateError, match="no index here") as caught:
            attempt()
        assert caught.value.fix == "rag ingest PATH"
    assert not (tmp_path / "none").exists()


def test_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.pdf").write_bytes(b"")
    with pytest.raises(IndexStateError, match="holds other files"):
        scenario.writer(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.pdf"]


def test_path_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("")
    with pytest.raises(IndexStateError):
        scenario.writer(tmp_path / "index")
    with pytest.raises(IndexStateError, match="no index here"):
        Index.open(tmp_path / "index")


def test_load(folder: Path) -> None:
    for spec in ("index", {"path": "index"}, {"path": str(folder)}):
        assert Index.load(spec, base=folder.parent).dim == scenario.DIM
    for wrong in (7, {"folder": "index"}, None):
        with pytest.raises(ConfigError):
            Index.load(wrong, base=folder.parent)


def test_other_embedder_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(IndexStateError, match=r"scripted \(16 .*minilm \(384"):
        Index.writer(folder, embedder="minilm", dim=384)
    index = Index.open(folder)
    with pytest.raises(IndexStateError, match="minilm"):
        index.dense(scenario.embed("x"), 1, embedder="minilm")
    with pytest.raises(IndexStateError, match="3 dimensions"):
        index.dense(scenario.embed("x")[:3], 1)
    assert index.dense(scenario.embed("x"), 1, embedder="scripted")
    with pytest.raises(IndexStateError, match="open for reading"):
        index.delete(["a"])


def test_second_writer_is_refused_by_pid(folder: Path) -> None:
    program = (
        "import sys, pathlib, tests.index.index_scenario as s\n"
        "index = s.writer(pathlib.Path(sys.argv[1])); print('open', flush=True); input()\n"
    )
    path = ":".join(entry for entry in sys.path if entry)
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": path},
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(IndexStateError, match=rf"another process writes .*pid {other.pid}\b"):
            scenario.writer(folder)
        assert Index.open(folder).sparse("ferry", 1)
        other.communicate("\n")
    scenario.writer(folder).close()


def test_a_search_waits_for_words_that_a_writer_is_making(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, aside = folder / "bm25-1", folder.with_name("aside")
    words.rename(aside)
    lock = writer_lock(folder)
    index = Index.open(folder)

    def wait(_: float) -> None:
        lock.release()
        aside.rename(words)

    monkeypatch.setattr("rag.index.local.reader.time.sleep", wait)
    assert index.sparse("ferry", 1)
    index.close()


def test_reader_sees_commits_of_another_process(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, tests.index.index_scenario as s\n"
        "index = s.writer(pathlib.Path(sys.argv[1]))\n"
        "for line in sys.stdin:\n"
        "    index.compact() if line == 'compact\\n' else s.put(index, 'a', *line.split())\n"
        "    print('done', flush=True)\n"
    )
    path = ":".join(entry for entry in sys.path if entry)
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": path},
    ) as other:

        def tell(line: str) -> None:
            assert other.stdin is not None
            assert other.stdout is not None
            other.stdin.write(line + "\n")
            other.stdin.flush()
            assert other.stdout.readline() == "done\n"

        tell("ferry lock")
        reader = Index.open(tmp_path)
        for line in ("lock keel", "compact", "keel jetty", "", "inlet"):
            tell(line)
            wanted = set(line.split()) if line != "compact" else {"lock", "keel"}
            dense = reader.dense(scenario.embed("x"), 9)
            sparse = reader.sparse("ferry lock keel jetty inlet", 9)
            assert {hit.chunk.text for hit in dense} == wanted
            assert {hit.chunk.text for hit in sparse} == wanted
        other.communicate()
