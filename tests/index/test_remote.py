"""Files on other file systems, here fsspec's own in memory, and its view of this machine's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import fsspec
import pytest

from rag.errors import LoadError
from rag.index import Index
from rag.index.ingest.ingest import IngestReport, ingest
from rag.index.ingest.plan import plan
from rag.index.readers.discover import FileRef, Skipped
from rag.index.readers.remote import discover_url, local
from rag.testing.encoders import ScriptedEmbedder
from tests.index.test_ingest import cut, paragraphs


@pytest.fixture
def system() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    system.pipe(
        {
            "/docs/a.md": paragraphs(1, 2).encode(),
            "/docs/deep/b.txt": paragraphs(3).encode(),
            "/docs/.git/c.md": b"hidden",
            "/docs/empty.md": b"",
            "/docs/film.mkv": b"123",
        }
    )
    yield system
    system.rm("/docs", recursive=True)


def run(folder: Path, *paths: str | Path, prune: bool = False) -> IngestReport:
    with closing(Index.writer(folder, embedder="scripted", dim=16)) as index:
        todo = plan(paths, index, "c", prune=prune)
        return ingest(todo, index, ScriptedEmbedder(dim=16), split=cut, fingerprint="c")


def sources(folder: Path) -> list[str]:
    with closing(Index.open(folder)) as index:
        return [source.uri for source in index.sources()]


def test_files_elsewhere_are_ingested_kept_changed_and_pruned(system: Any, tmp_path: Path) -> None:
    first = run(tmp_path / "index", "memory://docs")
    assert (first.files, first.chunks_added) == (2, 3)
    assert {(str(one.path), one.reason) for one in first.skipped} == {
        ("memory:///docs/empty.md", "the file is empty"),
        ("memory:///docs/film.mkv", "unknown file type .mkv"),
    }
    assert sources(tmp_path / "index") == ["memory:///docs/a.md", "memory:///docs/deep/b.txt"]
    with closing(Index.open(tmp_path / "index")) as index:
        (hit,) = index.sparse("lock3", 1)
        assert (hit.chunk.path, hit.chunk.source) == ("deep/b.txt", "memory:///docs/deep/b.txt")
    again = run(tmp_path / "index", "memory://docs/")
    assert (again.files, again.unchanged) == (0, 2)
    system.pipe({"/docs/a.md": paragraphs(1, 9).encode()})
    system.rm("/docs/deep/b.txt")
    changed = run(tmp_path / "index", "memory://docs", prune=True)
    assert (changed.files, changed.removed, changed.chunks_added) == (1, 1, 1)
    assert sources(tmp_path / "index") == ["memory:///docs/a.md"]


def test_what_cannot_be_listed_is_not_gone(system: Any, tmp_path: Path) -> None:
    run(tmp_path / "index", "memory://docs")
    report = run(tmp_path / "index", "memory://elsewhere", prune=True)
    assert [one.reason for one in report.skipped] == ["there is no such file or folder"]
    system.rm("/docs", recursive=True)
    assert run(tmp_path / "index", "memory://docs", prune=True).removed == 0
    system.pipe({"/docs/a.md": b"a"})
    assert len(sources(tmp_path / "index")) == 2


def test_a_single_file_is_found_by_its_name(system: Any) -> None:
    (found,) = discover_url("memory://docs/deep/b.txt")
    assert isinstance(found, FileRef)
    assert (found.name, found.url) == ("b.txt", "memory:///docs/deep/b.txt")
    with local(found) as here:
        assert here.path.read_text() == paragraphs(3)
    assert not here.path.exists()


def test_a_file_that_changes_meanwhile_is_refused(system: Any) -> None:
    (found,) = discover_url("memory://docs/deep/b.txt")
    assert isinstance(found, FileRef)
    system.pipe({"/docs/deep/b.txt": b"other"})
    with pytest.raises(LoadError, match="changed while"), local(found):
        pass
    system.rm("/docs/deep/b.txt")
    with pytest.raises(LoadError, match="cannot be fetched"), local(found):
        pass


def test_an_unknown_file_system_is_said() -> None:
    (found,) = discover_url("nowhere://bucket")
    assert isinstance(found, Skipped)
    assert "cannot be listed" in found.reason
