"""Listing, removing, exporting, importing sources, and setting their metadata."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rag.cli.main import app
from rag.errors import InputError, LoadError
from rag.index import Index
from rag.index.ingest.batch import Batch
from rag.index.sources import exported, imported, matching, of_file, set_metadata
from rag.testing.encoders import ScriptedEmbedder
from rag.text.chunk import Chunk

NAMES = ["docs/a.md", "docs/b.md", "docs/t.csv", "docs/t.csv#row=9", "https://example.org/"]


def fill(index: Index, *names: str) -> None:
    batch = Batch(index, ScriptedEmbedder(dim=16))
    for number, name in enumerate(names):
        chunks = [
            Chunk(f"text {at} of {name}", {"path": name, "start": 20 * at, "tags": ["é", number]})
            for at in range(number + 1)
        ]
        batch.add(name, chunks, f"hash{number}:c", 100 + number, number * 10**9)
    batch.commit()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    opened = Index.writer(tmp_path / "index", embedder="scripted", dim=16)
    fill(opened, *NAMES)
    yield opened
    opened.close()


def lines(index: Index) -> list[str]:
    return [json.dumps(one) for one in exported(index)]


def contents(index: Index) -> dict[str, Any]:
    return {
        source.uri: (source, [(one.text, one.metadata) for one in index.of_source(source.uri)])
        for source in index.sources()
    }


def test_patterns(index: Index) -> None:
    assert [one.uri for one in matching(index, ["docs/*"])] == NAMES[:4]
    assert [one.uri for one in matching(index, ["docs/t.csv", "docs/a.md"])] == [
        NAMES[0], NAMES[2], NAMES[3]
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"no source is called 'docs/c\.md'"):
        matching(index, ["docs/a.md", "docs/c.md"])


def test_a_file_is_all_of_its_parts(index: Index) -> None:
    assert [one.uri for one in of_file(index, "docs/t.csv")] == NAMES[2:4]
    assert of_file(index, "docs/t") == []


def test_another_index_takes_what_was_exported(index: Index, tmp_path: Path) -> None:
    other = Index.writer(tmp_path / "other", embedder="scripted", dim=16)
    try:
        embedder = ScriptedEmbedder(dim=16)
        (report,) = imported(other, embedder, lines(index), where="x")
        assert (report.added, report.kept, report.removed) == (15, 0, 0)
        assert contents(other) == contents(index)
        (again,) = imported(other, embedder, lines(index), where="x")
        assert (again.added, again.kept) == (0, 15)
        assert len(embedder.texts) == 15
        hit = other.dense(embedder.embed_query("text 2 of docs/t.csv"), 1)[0]
        assert hit.chunk.text == "text 2 of docs/t.csv"
    finally:
        other.close()


@pytest.mark.parametrize(
    ("change", "why", "where"),
    [
        (lambda all_: all_[:-1], "4 of 5 chunks of https", "x:14"),
        (lambda all_: [*all_[:4], all_[4][:30]], "no line of an export", "x:5"),
        (lambda all_: [all_[0], "7", *all_[1:]], "no line of an export", "x:2"),
        (lambda all_: [all_[0], all_[2], all_[1], *all_[3:]], None, ""),
    ],
)
def test_what_is_imported_is_whole_sources(
    index: Index, tmp_path: Path, change: Any, why: str | None, where: str
) -> None:
    other = Index.writer(tmp_path / "other", embedder="scripted", dim=16)
    try:
        work = imported(other, ScriptedEmbedder(dim=16), change(lines(index)), where="x")
        if why is None:
            list(work)
        else:
            with pytest.raises(LoadError, match=why) as caught:
                list(work)
            assert caught.value.where == where
        assert all(
            len(other.of_source(source.uri)) == source.chunks == index.source(source.uri).chunks
            for source in other.sources()
        )
        assert other.source("docs/a.md")
    finally:
        other.close()


def test_metadata_are_set_without_embedding(index: Index) -> None:
    before = contents(index)
    assert set_metadata(index, matching(index, ["docs/*.md"]), {"year": 1990, "tags": None}) == 3
    hits = index.sparse("text", 9, where={"year": 1990})
    assert {hit.chunk.source for hit in hits} == {"docs/a.md", "docs/b.md"}
    assert all("tags" not in hit.chunk.metadata for hit in hits)
    after = contents(index)
    assert [one[0] for one in after.values()] == [one[0] for one in before.values()]
    for refused in ("title", "source", "start"):
        with pytest.raises(InputError, match=refused):
            set_metadata(index, [], {refused: "x"})


def test_the_commands(index: Index, tmp_path: Path) -> None:
    index.close()
    where = ["--index", str(tmp_path / "index")]

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["index", *arguments], catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    listed = json.loads(run("list", "--json", *where))
    assert listed[2] == {
        "source": "docs/t.csv", "chunks": 7, "bytes": 102, "changed": "1970-01-01T00:00:02Z"
    }  # fmt: skip
    assert "docs/a.md" in run("list", *where)
    assert "docs/a.md" not in run("list", "https:*", *where)
    run("set-metadata", "docs/a.md", "--set", "year=1990", "-s", "by=A. Keeper", *where)
    run("export", str(tmp_path / "out.jsonl"), *where)
    text = (tmp_path / "out.jsonl").read_text()
    assert text == run("export", "-", *where)
    first = json.loads(io.StringIO(text).readline())["metadata"]
    assert (first["year"], first["by"]) == (1990, "A. Keeper")
    assert json.loads(run("remove", "docs/t.csv", "--json", *where)) == {
        "sources": ["docs/t.csv", "docs/t.csv#row=9"], "chunks": 7
    }  # fmt: skip
    assert len(json.loads(run("list", "--json", *where))) == 3
    with pytest.raises(InputError, match="no source"):
        run("remove", "docs/t.csv", *where)
