"""What an ingest embeds, commits, leaves alone and says."""

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document

from rag.index import Index
from rag.index.ingest import batch as batches
from rag.index.ingest import ingest as ingesting
from rag.index.ingest import unread
from rag.index.ingest.ingest import IngestReport, Progress, ingest
from rag.index.ingest.plan import IngestPlan, plan
from rag.index.readers import tables
from rag.index.types import SourceUpdate
from rag.models import Embedder
from rag.testing.encoders import ScriptedEmbedder
from rag.text.chunk import Chunk
from rag.text.splitting import split


def cut(documents: Sequence[Document]) -> list[Chunk]:
    return split(documents, size=12, overlap=0)


def paragraphs(*numbers: int) -> str:
    return "\n\n".join(f"Paragraph {n} tells of lock{n} and what its keeper does." for n in numbers)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    opened = Index.writer(tmp_path / "index", embedder="scripted", dim=16)
    yield opened
    opened.close()


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.md").write_text(paragraphs(1, 2, 3))
    (folder / "b.txt").write_text(paragraphs(4, 5))
    (folder / "deep" / "c.md").write_text("# Gates\n\n" + paragraphs(6))
    return folder


def run(index: Index, *paths: Path, prune: bool = False, fingerprint: str = "c") -> IngestReport:
    todo = plan(paths, index, fingerprint, prune=prune)
    return ingest(todo, index, ScriptedEmbedder(dim=16), split=cut, fingerprint=fingerprint)


def counts(report: IngestReport) -> tuple[int, ...]:
    return (
        report.files, report.unchanged, report.removed, len(report.skipped),
        report.chunks_added, report.chunks_kept, report.chunks_removed,
    )  # fmt: skip


def test_first_ingest(index: Index, docs: Path) -> None:
    embedder = ScriptedEmbedder(dim=16)
    told: list[Progress] = []
    todo = plan([docs], index, "c")
    report = ingest(todo, index, embedder, split=cut, fingerprint="c", on_progress=told.append)
    assert counts(report) == (3, 0, 0, 0, 6, 0, 0)
    assert report.seconds > report.embedding_seconds + report.writing_seconds > 0
    assert report.parsing_seconds > 0
    assert told[-1] == Progress(3, sum(file.size for file in todo.files), 6)
    (found,) = index.sparse("lock6", 1)
    assert found.chunk.text == "# Gates\n\n" + paragraphs(6)
    start, end = found.chunk.start, found.chunk.end
    assert (docs / "deep" / "c.md").read_text()[start:end] == found.chunk.text
    assert found.chunk.path == "deep/c.md"
    assert found.chunk.heading == found.chunk.title == "Gates"
    assert found.chunk.source == (docs / "deep" / "c.md").as_posix()
    text = f"a\n{paragraphs(2)}"
    assert text in embedder.texts
    nearest = index.dense(embedder.embed_query(text), 1)[0]
    assert (nearest.chunk.text, nearest.score) == (paragraphs(2), pytest.approx(1))


def test_second_ingest_has_nothing_to_do(index: Index, docs: Path) -> None:
    run(index, docs)
    todo = plan([docs], index, "c", prune=True)
    assert todo == IngestPlan([], 3, [], [])
    assert counts(run(index, docs)) == (0, 3, 0, 0, 0, 0, 0)


def test_touched_file_is_unchanged_and_not_read_a_third_time(index: Index, docs: Path) -> None:
    run(index, docs)
    os.utime(docs / "a.md", (1, 1))
    assert len(plan([docs], index, "c").files) == 1
    assert counts(run(index, docs)) == (0, 3, 0, 0, 0, 3, 0)
    assert plan([docs], index, "c").files == []


def test_changed_file_embeds_its_changed_chunks(index: Index, docs: Path) -> None:
    run(index, docs)
    (docs / "a.md").write_text(paragraphs(1, 7, 3, 8))
    embedder = ScriptedEmbedder(dim=16)
    report = ingest(plan([docs], index, "c"), index, embedder, split=cut, fingerprint="c")
    assert counts(report) == (1, 2, 0, 0, 2, 2, 1)
    assert sorted(embedder.texts) == [f"a\n{paragraphs(7)}", f"a\n{paragraphs(8)}"]
    assert index.sparse("lock2", 1) == []


def test_other_splitting_is_a_change(index: Index, docs: Path) -> None:
    run(index, docs)
    assert counts(run(index, docs, fingerprint="d")) == (3, 0, 0, 0, 0, 6, 0)


def test_prune_removes_what_is_gone_under_the_paths_only(index: Index, docs: Path) -> None:
    run(index, docs)
    (docs / "a.md").unlink()
    (docs / "deep" / "c.md").unlink()
    assert counts(run(index, docs)) == (0, 1, 0, 0, 0, 0, 0)
    assert counts(run(index, docs / "x" / ".." / "deep", prune=True)) == (0, 0, 1, 0, 0, 0, 1)
    assert [Path(source.uri).name for source in index.sources()] == ["a.md", "b.txt"]
    assert counts(run(index, docs, prune=True)) == (0, 1, 1, 0, 0, 0, 3)


def test_prune_keeps_what_cannot_be_looked_at(index: Index, docs: Path, tmp_path: Path) -> None:
    run(index, docs)
    with (docs / "b.txt").open("wb") as file:
        file.truncate(50 * 2**20)
    report = run(index, docs, prune=True)
    assert counts(report) == (0, 2, 0, 1, 0, 0, 0)
    docs.rename(tmp_path / "unmounted")
    report = run(index, docs, prune=True)
    assert report.skipped[0].reason == "there is no such file or folder"
    assert report.removed == 0


def test_bad_files_are_skipped_with_reasons(index: Index, docs: Path) -> None:
    (docs / "a.pdf").write_bytes(b"%PDF broken")
    (docs / "b.txt").write_bytes(b"\x00\x01")
    (docs / "c.png").write_bytes(b"x")
    report = run(index, docs)
    assert counts(report) == (2, 0, 0, 3, 4, 0, 0)
    assert {one.path.name: one.reason for one in report.skipped} == {
        "a.pdf": "broken PDF",
        "b.txt": "not text: it holds zero bytes",
        "c.png": "unknown file type .png",
    }


def test_files_that_vanish_or_change_after_discovery(index: Index, docs: Path) -> None:
    todo = plan([docs], index, "c")
    (docs / "a.md").unlink()
    (docs / "b.txt").write_text(paragraphs(4, 5, 9))
    report = ingest(todo, index, ScriptedEmbedder(dim=16), split=cut, fingerprint="c")
    assert {one.path.name: one.reason for one in report.skipped} == {
        "a.md": "cannot be read: No such file or directory",
        "b.txt": "changed while it was ingested; ingest it again",
    }
    assert counts(run(index, docs)) == (1, 1, 0, 0, 3, 0, 0)


def test_file_name_that_is_no_utf8(index: Index, docs: Path) -> None:
    (Path(os.fsdecode(os.fsencode(docs) + b"/caf\xe9.md"))).write_text(paragraphs(9))
    assert run(index, docs).files == 4
    assert plan([docs], index, "c", prune=True) == IngestPlan([], 4, [], [])


def test_windows_are_bounded_and_sorted_by_length(
    index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "WINDOW", 8)
    for number in range(30):
        (docs / f"{number:02}.md").write_text(paragraphs(*range(number, number + 3)))
    embedder, told = ScriptedEmbedder(dim=16), list[Progress]()
    todo = plan([docs], index, "c")
    report = ingest(todo, index, embedder, split=cut, fingerprint="c", on_progress=told.append)
    assert report.chunks_added == 96
    assert max(map(len, embedder.batches)) <= 10
    for batch in embedder.batches:
        assert batch == sorted(batch, key=len, reverse=True)
    assert [one.chunks for one in told] == sorted(one.chunks for one in told)


def test_files_without_new_chunks_are_committed_within_bounds(
    index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (batches, ingesting):
        monkeypatch.setattr(module, "HELD", 3)
    run(index, docs)
    told = list[Progress]()
    todo = plan([docs], index, "d")
    ingest(
        todo, index, ScriptedEmbedder(dim=16), split=cut, fingerprint="d", on_progress=told.append
    )
    assert [one.files for one in told] == [1, 3]


class Stops(ScriptedEmbedder):
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        if self.batches:
            raise KeyboardInterrupt
        return super().embed(texts)


@pytest.mark.parametrize("where", ["embedder", "split", "progress"])
def test_a_stop_leaves_the_last_commit_and_no_thread(
    index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(batches, "WINDOW", 2)
    for module in (batches, ingesting):
        monkeypatch.setattr(module, "HELD", 3)

    def cut_some(documents: Sequence[Document]) -> list[Chunk]:
        if where == "split" and documents[0].metadata["path"] == "b.txt":
            raise KeyboardInterrupt
        return cut(documents)

    def tell(progress: Progress) -> None:
        if where == "progress" and progress.files:
            raise KeyboardInterrupt

    embedder = Stops(dim=16) if where == "embedder" else ScriptedEmbedder(dim=16)
    with pytest.raises(KeyboardInterrupt):
        ingest(
            plan([docs], index, "c"), index, embedder,
            split=cut_some, fingerprint="c", on_progress=tell,
        )  # fmt: skip
    assert not [one for one in threading.enumerate() if one.name.startswith("rag-worker")]
    assert [Path(source.uri).name for source in index.sources()] == ["a.md"]
    assert counts(run(index, docs)) == (2, 1, 0, 0, 3, 0, 0)


def test_the_real_embedder(docs: Path, tmp_path: Path) -> None:
    embedder = Embedder.load(Embedder.default, base=tmp_path)
    index = Index.writer(tmp_path / "real", embedder=embedder.id, dim=embedder.dim)
    (docs / "ferry.md").write_text("The ferry carries bicycles and passengers over the river.")
    ingest(
        plan([docs], index, "c"), index, embedder,
        split=lambda documents: split(documents, count=embedder.lengths), fingerprint="c",
    )  # fmt: skip
    found = index.dense(embedder.embed_query("Can I take my bike across the water?"), 1)
    assert found[0].chunk.path == "ferry.md"
    index.close()
    embedder.close()


def test_equal_texts_are_embedded_once(index: Index, docs: Path) -> None:
    (docs / "copy.md").write_text(paragraphs(1, 2, 3))
    (docs / "deep" / "a.md").write_text(paragraphs(1, 2, 3))
    embedder = ScriptedEmbedder(dim=16)
    report = ingest(plan([docs], index, "c"), index, embedder, split=cut, fingerprint="c")
    assert report.chunks_added == 12
    assert len(embedder.texts) == len(set(embedder.texts)) == 9
    for text in set(embedder.texts):
        hits = index.dense(embedder.embed_query(text), 2)
        assert hits[0].score == pytest.approx(1)


def test_files_are_named_relative_to_a_root_and_may_move_with_it(
    index: Index, docs: Path, tmp_path: Path
) -> None:
    def again(folder: Path, root: Path, *, prune: bool = False) -> IngestReport:
        todo = plan([folder], index, "c", root=root, prune=prune)
        return ingest(todo, index, ScriptedEmbedder(dim=16), split=cut, fingerprint="c")

    assert again(docs, tmp_path).files == 3
    names = ["docs/a.md", "docs/b.txt", "docs/deep/c.md"]
    assert [source.uri for source in index.sources()] == names
    moved = tmp_path / "elsewhere" / "docs"
    moved.parent.mkdir()
    docs.rename(moved)
    assert counts(again(moved, moved.parent, prune=True)) == (0, 3, 0, 0, 0, 0, 0)
    outside = tmp_path / "outside.md"
    outside.write_text(paragraphs(9))
    again(outside, moved.parent)
    (moved / "a.md").unlink()
    assert again(moved, moved.parent, prune=True).removed == 1
    assert [source.uri for source in index.sources()] == [str(outside), *names[1:]]


def test_pruning_takes_no_source_that_is_no_file(index: Index, docs: Path, tmp_path: Path) -> None:
    writer = {"vectors": np.eye(1, 16, dtype=np.float32)}
    for uri in ("note-1", "https://example.org/a"):
        index.write([SourceUpdate(index.plan(uri, [Chunk("text")]), **writer)])
    todo = plan([tmp_path], index, "c", root=tmp_path, prune=True)
    assert todo.gone == []


def table(path: Path, rows: int, first: int = 0) -> None:
    lines = [f"{n},the water of lock{n} at noon" for n in range(first, first + rows)]
    path.write_text("\n".join(["name,text", *lines]) + "\n")


def test_a_large_table_is_stored_in_parts(
    index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PART", 400)
    path = docs / "deep" / "t.csv"
    table(path, 40)
    first = run(index, path)
    assert (first.files, first.chunks_removed) == (1, 0)
    parts = [source.uri for source in index.sources()]
    assert len(parts) > 3
    assert parts[0] == path.as_posix()
    assert all(uri.startswith(f"{path.as_posix()}#row=") for uri in parts[1:])
    (hit,) = index.sparse("lock33", 1)
    assert hit.chunk.rows is not None
    assert hit.chunk.rows[0] <= 35 <= hit.chunk.rows[1]
    assert run(index, path).unchanged == 1
    table(path, 42)  # rows are added: what was there keeps its vectors
    more = run(index, path)
    assert (more.files, more.chunks_removed) == (1, 0)
    assert more.chunks_kept >= first.chunks_added - 1
    table(path, 5)
    assert run(index, path).chunks_removed > 0
    assert [source.uri for source in index.sources()] == parts[:1]
    table(path, 40)
    run(index, path)
    path.unlink()
    gone = run(index, docs / "deep", prune=True)
    assert gone.removed == len(parts)
    assert [source.uri for source in index.sources()] == [(docs / "deep" / "c.md").as_posix()]


def test_a_table_that_was_stopped_is_read_again(
    index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PART", 400)
    monkeypatch.setattr(batches, "WINDOW", 4)
    path = docs / "t.csv"
    table(path, 40)

    class Stops(ScriptedEmbedder):
        def embed(self, texts: Sequence[str]) -> np.ndarray:
            if any("lock30" in text for text in texts):
                raise KeyboardInterrupt
            return super().embed(texts)

    with pytest.raises(KeyboardInterrupt):
        ingest(plan([path], index, "c"), index, Stops(dim=16), split=cut, fingerprint="c")
    assert list(index.sources())
    table(path, 3)
    assert run(index, path).files == 1
    assert [source.uri for source in index.sources()] == [path.as_posix()]


def test_what_cannot_be_read_is_not_tried_again_before_it_changes(index: Index, docs: Path) -> None:
    broken = docs / "broken.pdf"
    broken.write_bytes(b"%PDF-1.7 and then nothing")
    assert [one.reason for one in run(index, docs).skipped] == ["broken PDF"]
    again = plan([docs], index, "c")
    assert (again.files, again.unchanged) == ([], 3)
    assert [(one.path, one.reason) for one in again.skipped] == [(broken, "broken PDF")]
    run(index, docs / "a.md", fingerprint="other")
    assert plan([docs], index, "c").skipped == again.skipped
    (docs / "broken.pdf").write_bytes(b"%PDF-1.7 and then something else")
    assert [file.path for file in plan([broken], index, "c").files] == [broken]
    broken.write_text("now it is text")
    (docs / "broken.pdf").rename(docs / "mended.md")
    assert run(index, docs).skipped == []
    (index.folder / unread.FILE).write_text("{")
    assert plan([docs], index, "c").skipped == []


def test_progress_moves_within_a_batch(
    index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "SLICE", 2)
    shown: list[Progress] = []
    todo = plan([docs], index, "c")
    ingest(
        todo, index, ScriptedEmbedder(dim=16), split=cut, fingerprint="c", on_progress=shown.append
    )
    total = sum(file.size for file in todo.files)
    assert [one.files for one in shown] == [0, 0, 0, 3]
    assert [one.bytes * 3 // total for one in shown] == [1, 2, 3, 3]


def test_a_named_file_that_is_gone_is_pruned_and_a_named_folder_is_not(
    index: Index, docs: Path
) -> None:
    run(index, docs)
    (docs / "a.md").unlink()
    assert plan([docs / "a.md"], index, "c").gone == []
    assert plan([docs / "a.md"], index, "c", prune=True).gone == [(docs / "a.md").as_posix()]
    (docs / "a.md").symlink_to(docs / "nowhere.md")
    assert plan([docs / "a.md"], index, "c", prune=True).gone == []
    docs.rename(docs.parent / "away")  # as an unmounted disk
    for path in (docs, docs / "b.txt"):
        assert plan([path], index, "c", prune=True).gone == []
