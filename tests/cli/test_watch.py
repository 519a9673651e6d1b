"""`rag ingest --watch`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from rag.cli import ingest
from tests.cli.command import rag


def test_what_changes_is_ingested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "north.md").write_text("The north lock opens at six.")

    def changes(paths: Iterable[str]) -> Iterator[object]:
        assert list(paths) == ["docs"]
        (docs / "south.md").write_text("The south lock is closed.")
        yield
        yield  # nothing has changed: nothing is printed
        (docs / "north.md").unlink()
        yield

    monkeypatch.setattr(ingest, "changes", changes)
    out = rag("ingest", "docs", "--watch", "--prune", cwd=tmp_path)
    assert [line for line in out.splitlines() if "ingested" in line] == [
        "1 files ingested, 0 unchanged",
        "1 files ingested, 1 unchanged",
        "0 files ingested, 1 unchanged, 1 removed",
    ]
    assert "docs/south.md" in rag("index", "list", cwd=tmp_path)


def test_there_is_nothing_to_watch(tmp_path: Path) -> None:
    error = rag("ingest", "nowhere", "--watch", cwd=tmp_path, code=2)
    assert "there is no such file or folder to watch" in error
